#include <algorithm>
#include <array>

#include "exif.hpp"
#include "formats.hpp"

namespace eyespot::codec {
namespace {

constexpr std::uint8_t kSof0 = 0xC0;
constexpr std::uint8_t kDht = 0xC4;
constexpr std::uint8_t kJpg = 0xC8;
constexpr std::uint8_t kDac = 0xCC;
constexpr std::uint8_t kSof15 = 0xCF;
constexpr std::uint8_t kRst0 = 0xD0;
constexpr std::uint8_t kSoi = 0xD8;
constexpr std::uint8_t kEoi = 0xD9;
constexpr std::uint8_t kSos = 0xDA;
constexpr std::uint8_t kApp1 = 0xE1;
constexpr std::uint8_t kTem = 0x01;

bool is_frame_header(std::uint8_t marker) noexcept {
  return marker >= kSof0 && marker <= kSof15 && marker != kDht && marker != kJpg && marker != kDac;
}

bool stands_alone(std::uint8_t marker) noexcept {
  return marker == kTem || (marker >= kRst0 && marker <= kSoi);
}

bool is_exif(Bytes segment) noexcept {
  constexpr std::array<std::uint8_t, 5> kExif{'E', 'x', 'i', 'f', 0};
  return segment.size() > 6 && std::ranges::equal(segment.first(5), kExif);
}

[[noreturn]] void fail_truncated(std::string_view source, std::size_t size) {
  fail(ErrorCode::corrupt_image, source,
       "JPEG ends after " + std::to_string(size) + " bytes, before its frame header");
}

}  // namespace

JpegHeader read_jpeg_header(Bytes bytes, std::string_view source) {
  JpegHeader header;
  bool oriented = false;
  std::size_t at = 2;
  for (;;) {
    // Like libjpeg, step over anything that is not a marker, and over fill bytes.
    while (at < bytes.size() && bytes[at] != 0xFF) ++at;
    while (at < bytes.size() && bytes[at] == 0xFF) ++at;
    if (at >= bytes.size()) fail_truncated(source, bytes.size());
    const std::uint8_t marker = bytes[at++];
    if (marker == 0 || stands_alone(marker)) continue;
    if (marker == kEoi || marker == kSos) {
      fail(ErrorCode::corrupt_image, source, "JPEG has no frame header before its first scan");
    }
    if (!has(bytes, at, 2)) fail_truncated(source, bytes.size());
    const std::size_t length = read_be16(bytes, at);
    if (length < 2) fail(ErrorCode::corrupt_image, source, "JPEG marker segment of length < 2");
    if (!has(bytes, at, length)) fail_truncated(source, bytes.size());
    const Bytes segment = bytes.subspan(at + 2, length - 2);
    at += length;

    if (marker == kApp1 && !oriented && is_exif(segment)) {
      header.orientation = exif_orientation(segment);
      oriented = header.orientation != Orientation::top_left;
    }
    if (!is_frame_header(marker)) continue;
    if (segment.size() < 6) {
      fail(ErrorCode::corrupt_image, source, "JPEG frame header is too short");
    }
    header.frame_marker = marker;
    header.precision = segment[0];
    header.size = {.width = read_be16(segment, 3), .height = read_be16(segment, 1)};
    header.channels = segment[5];
    return header;
  }
}

}  // namespace eyespot::codec
