#include <algorithm>
#include <string_view>

#include "bytes.hpp"
#include "eyespot/codec.hpp"

namespace eyespot {
namespace {

using codec::Bytes;
using codec::has;
using namespace std::string_view_literals;

bool matches(Bytes bytes, std::size_t at, std::string_view magic) noexcept {
  return has(bytes, at, magic.size()) &&
         std::ranges::equal(bytes.subspan(at, magic.size()), magic, [](std::uint8_t a, char b) {
           return a == static_cast<std::uint8_t>(b);
         });
}

/// ISO base media files name their kind in the brand that follows "ftyp".
ImageFormat sniff_brand(Bytes bytes) noexcept {
  for (const std::string_view brand : {"avif"sv, "avis"sv}) {
    if (matches(bytes, 8, brand)) return ImageFormat::avif;
  }
  for (const std::string_view brand : {"heic"sv, "heix"sv, "hevc"sv, "hevx"sv, "heim"sv, "heis"sv,
                                       "hevm"sv, "hevs"sv, "mif1"sv, "msf1"sv}) {
    if (matches(bytes, 8, brand)) return ImageFormat::heif;
  }
  return ImageFormat::unknown;
}

}  // namespace

ImageFormat sniff(std::span<const std::uint8_t> bytes) noexcept {
  struct Magic {
    std::string_view text;
    ImageFormat format;
  };
  static constexpr Magic kMagics[] = {
      {"\xFF\xD8\xFF"sv, ImageFormat::jpeg},
      {"\x89PNG\r\n\x1A\n"sv, ImageFormat::png},
      {"GIF87a"sv, ImageFormat::gif},
      {"GIF89a"sv, ImageFormat::gif},
      {"BM"sv, ImageFormat::bmp},
      {"II*\0"sv, ImageFormat::tiff},
      {"MM\0*"sv, ImageFormat::tiff},
      {"II+\0"sv, ImageFormat::tiff},
      {"MM\0+"sv, ImageFormat::tiff},
      {"\0\0\1\0"sv, ImageFormat::ico},
      {"\0\0\0\x0CjP  "sv, ImageFormat::jpeg2000},
      {"\xFF\x4F\xFF\x51"sv, ImageFormat::jpeg2000},
      {"\0\0\0\x0CJXL "sv, ImageFormat::jpegxl},
      {"\xFF\x0A"sv, ImageFormat::jpegxl},
      {"8BPS"sv, ImageFormat::psd},
  };
  for (const Magic& magic : kMagics) {
    if (matches(bytes, 0, magic.text)) return magic.format;
  }
  if (matches(bytes, 0, "RIFF") && matches(bytes, 8, "WEBP")) return ImageFormat::webp;
  if (matches(bytes, 4, "ftyp")) return sniff_brand(bytes);
  return ImageFormat::unknown;
}

std::string_view image_format_name(ImageFormat format) noexcept {
  switch (format) {
    case ImageFormat::unknown: return "unknown";
    case ImageFormat::jpeg: return "jpeg";
    case ImageFormat::png: return "png";
    case ImageFormat::webp: return "webp";
    case ImageFormat::gif: return "gif";
    case ImageFormat::bmp: return "bmp";
    case ImageFormat::tiff: return "tiff";
    case ImageFormat::ico: return "ico";
    case ImageFormat::heif: return "heif";
    case ImageFormat::avif: return "avif";
    case ImageFormat::jpeg2000: return "jpeg2000";
    case ImageFormat::jpegxl: return "jpegxl";
    case ImageFormat::psd: return "psd";
  }
  return "unknown";
}

}  // namespace eyespot
