#include <doctest/doctest.h>

#include <array>
#include <string>
#include <string_view>

#include "codec_images.hpp"
#include "exif.hpp"
#include "eyespot/codec.hpp"

using namespace eyespot;
using namespace eyespot::test;

namespace {

Buffer bytes_of(std::string_view text) {
  Buffer bytes(text.begin(), text.end());
  bytes.resize(text.size() + 16);
  return bytes;
}

}  // namespace

TEST_CASE("a format is told by its first bytes") {
  using namespace std::string_view_literals;
  CHECK(sniff(bytes_of("\xFF\xD8\xFF\xE0"sv)) == ImageFormat::jpeg);
  CHECK(sniff(bytes_of("\x89PNG\r\n\x1A\n"sv)) == ImageFormat::png);
  CHECK(sniff(bytes_of("RIFF1234WEBPVP8 "sv)) == ImageFormat::webp);
  CHECK(sniff(bytes_of("RIFF1234WAVEfmt "sv)) == ImageFormat::unknown);
  CHECK(sniff(bytes_of("GIF89a"sv)) == ImageFormat::gif);
  CHECK(sniff(bytes_of("BM"sv)) == ImageFormat::bmp);
  CHECK(sniff(bytes_of("II*\0"sv)) == ImageFormat::tiff);
  CHECK(sniff(bytes_of("\0\0\0\x1C"
                       "ftypheic"sv)) == ImageFormat::heif);
  CHECK(sniff(bytes_of("\0\0\0\x1C"
                       "ftypavif"sv)) == ImageFormat::avif);
  CHECK(sniff(bytes_of("\0\0\0\x1C"
                       "ftypisom"sv)) == ImageFormat::unknown);
  CHECK(sniff(bytes_of("8BPS"sv)) == ImageFormat::psd);
  CHECK(sniff({}) == ImageFormat::unknown);
  CHECK(sniff(Buffer{0xFF, 0xD8}) == ImageFormat::unknown);
}

TEST_CASE("a format that the core leaves alone is named, and so are its own") {
  const Buffer gif = bytes_of("GIF89a");
  try {
    (void)probe(gif, "cat.gif");
    FAIL("a GIF was taken");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::unsupported_format);
    CHECK(error.source() == "cat.gif");
    CHECK(error.message().find("gif") != std::string::npos);
  }
  CHECK(error_of([] { (void)probe({}, "empty"); }) == "corrupt_image");
  CHECK(error_of([] { (void)probe(Buffer(100, 7), "noise"); }) == "unsupported_format");
  CHECK(image_format_name(ImageFormat::jpeg2000) == "jpeg2000");
}

TEST_CASE("the orientation tag is read in both byte orders, and nonsense means upright") {
  for (int value = 1; value <= 8; ++value) {
    for (const bool big_endian : {false, true}) {
      CHECK(codec::exif_orientation(exif_block(value, big_endian)) ==
            static_cast<Orientation>(value));
    }
  }
  CHECK(codec::exif_orientation(exif_block(0, true)) == Orientation::top_left);
  CHECK(codec::exif_orientation(exif_block(9, false)) == Orientation::top_left);
  CHECK(codec::exif_orientation({}) == Orientation::top_left);
}

TEST_CASE("a broken EXIF block is read as far as it goes, and never past its end") {
  const Buffer block = exif_block(6, true);
  for (std::size_t cut = 0; cut < block.size(); ++cut) {
    const Buffer part(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(cut));
    const Orientation value = codec::exif_orientation(part);
    CHECK((value == Orientation::top_left || value == Orientation::right_top));
  }
  for (std::size_t at = 0; at < block.size(); ++at) {
    for (const int byte : {0x00, 0x7F, 0x80, 0xFF}) {
      Buffer broken = block;
      broken[at] = static_cast<std::uint8_t>(byte);
      const auto value = static_cast<int>(codec::exif_orientation(broken));
      CHECK(value >= 1);
      CHECK(value <= 8);
    }
  }
  Buffer far = block;
  far[4] = far[5] = far[6] = far[7] = 0xFF;  // the directory lies 4 GiB away
  CHECK(codec::exif_orientation(far) == Orientation::top_left);
}

TEST_CASE("all eight orientations stand upright, in all three containers") {
  // Stored pixel (x, y) of a 45 x 37 picture goes to the place that the EXIF standard says.
  constexpr Size kStored{.width = 45, .height = 37};
  const Buffer rgb = picture(kStored, 3);
  for (int value = 1; value <= 8; ++value) {
    const std::array<Buffer, 3> files{
        encode_jpeg(kStored, {.orientation = value}),
        encode_png(kStored, {.orientation = value}, rgb),
        wrap_webp(encode_webp(kStored, 3, rgb, -1), {.canvas = kStored, .orientation = value})};
    for (const Buffer& file : files) {
      CAPTURE(value);
      const ImageInfo info = probe(file, "turned");
      REQUIRE(static_cast<int>(info.orientation) == value);
      const Image stored = decode(file, {.apply_orientation = false}, "turned");
      const Image upright = decode(file, {}, "turned");
      REQUIRE(upright.size() == info.size());
      const std::uint32_t right = kStored.width - 1;
      const std::uint32_t bottom = kStored.height - 1;
      std::size_t wrong = 0;
      for (std::uint32_t y = 0; y <= bottom; ++y) {
        for (std::uint32_t x = 0; x <= right; ++x) {
          const std::array<std::array<std::uint32_t, 2>, 8> places{{{x, y},
                                                                    {right - x, y},
                                                                    {right - x, bottom - y},
                                                                    {x, bottom - y},
                                                                    {y, x},
                                                                    {bottom - y, x},
                                                                    {bottom - y, right - x},
                                                                    {y, right - x}}};
          const auto [to_x, to_y] = places.at(static_cast<std::size_t>(value - 1));
          const std::uint8_t* a = stored.view().row(y) + std::size_t{x} * 3;
          const std::uint8_t* b = upright.view().row(to_y) + std::size_t{to_x} * 3;
          wrong += std::equal(a, a + 3, b) ? 0 : 1;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("limits hold from the header on, and say what they allow") {
  const Buffer jpeg = encode_jpeg({.width = 64, .height = 48}, {});
  CHECK(error_of([&] { (void)decode(jpeg, {.limits = {.max_pixels = 3071}}, "x"); }) ==
        "limit_exceeded");
  CHECK(error_of([&] { (void)decode(jpeg, {.limits = {.max_pixels = 3072}}, "x"); }) == "");
  CHECK(error_of([&] { (void)decode(jpeg, {.limits = {.max_bytes = 9000}}, "x"); }) ==
        "limit_exceeded");
  try {
    (void)decode(jpeg, {.limits = {.max_pixels = 100}}, "big.jpg");
  } catch (const Error& error) {
    CHECK(error.what() == std::string("big.jpg: 64 x 48 px exceeds max_pixels 100"));
  }
}

TEST_CASE("a region outside the image is the caller's mistake") {
  const Buffer jpeg = encode_jpeg({.width = 64, .height = 48}, {});
  const ImageInfo info = probe(jpeg, "x");
  for (const Rect region : {Rect{.x = 60, .y = 0, .width = 5, .height = 5},
                            Rect{.x = 0, .y = 48, .width = 1, .height = 1},
                            Rect{.x = 0xFFFFFFFF, .y = 0, .width = 2, .height = 2},
                            Rect{.x = 1, .y = 1, .width = 0xFFFFFFFF, .height = 4}}) {
    CollectSink sink;
    CHECK(error_of([&] {
            decode_rows(jpeg, info, {.region = region, .target = {}}, {}, sink, "x");
          }) == "invalid_argument");
  }
}

TEST_CASE("an info that belongs to other bytes is noticed") {
  const Buffer small = encode_jpeg({.width = 8, .height = 8}, {});
  for (const Buffer& large :
       {encode_jpeg({.width = 64, .height = 48}, {}),
        encode_png({.width = 64, .height = 48}, {}, picture({.width = 64, .height = 48}, 3))}) {
    CollectSink sink;
    CHECK(error_of([&] { decode_rows(small, probe(large, "x"), {}, {}, sink, "x"); }) ==
          "corrupt_image");
  }
}
