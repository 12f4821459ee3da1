#include <algorithm>
#include <string_view>

#include "exif.hpp"
#include "formats.hpp"

namespace eyespot::codec {
namespace {

constexpr std::size_t kSignatureBytes = 8;
constexpr std::size_t kChunkOverhead = 12;  // length, type, CRC
constexpr std::uint32_t kMaxChunk = 0x7FFFFFFF;

constexpr std::uint32_t four(const char (&name)[5]) noexcept {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = (value << 8U) | static_cast<std::uint8_t>(name[i]);
  return value;
}
constexpr std::uint32_t kIhdr = four("IHDR");
constexpr std::uint32_t kPlte = four("PLTE");
constexpr std::uint32_t kTrns = four("tRNS");
constexpr std::uint32_t kIdat = four("IDAT");
constexpr std::uint32_t kIend = four("IEND");
constexpr std::uint32_t kExif = four("eXIf");
constexpr std::uint32_t kCgbi = four("CgBI");
constexpr std::uint32_t kActl = four("acTL");
constexpr std::uint32_t kAncillaryBit = 0x20000000;

bool is_chunk_name(std::uint32_t type) noexcept {
  for (unsigned shift = 0; shift < 32; shift += 8) {
    const std::uint32_t letter = (type >> shift) & 0xDFU;
    if (letter < 'A' || letter > 'Z') return false;
  }
  return true;
}

std::string chunk_name(std::uint32_t type) {
  std::string name;
  for (const unsigned shift : {24U, 16U, 8U, 0U}) {
    name += static_cast<char>((type >> shift) & 0xFFU);
  }
  return name;
}

/// Adds a chunk, joined to the one before it where they touch.
void keep(PngChunks& chunks, std::size_t offset, std::size_t length) {
  if (!chunks.needed.empty()) {
    PngChunks::Range& last = chunks.needed.back();
    if (last.offset + last.length == offset) {
      last.length += length;
      return;
    }
  }
  chunks.needed.push_back({.offset = offset, .length = length});
}

void read_header(Bytes bytes, PngChunks& chunks, std::string_view source) {
  constexpr std::size_t kHeaderBytes = 13;
  if (!has(bytes, kSignatureBytes, kChunkOverhead + kHeaderBytes)) {
    fail(ErrorCode::corrupt_image, source, "PNG ends inside its header");
  }
  if (read_be32(bytes, 12) == kCgbi) {
    fail(ErrorCode::unsupported_format, source,
         "PNG rewritten by Apple's tools (CgBI); it is not readable as a PNG");
  }
  if (read_be32(bytes, 8) != kHeaderBytes || read_be32(bytes, 12) != kIhdr) {
    fail(ErrorCode::corrupt_image, source, "PNG does not start with an IHDR chunk of 13 bytes");
  }
  chunks.size = {.width = read_be32(bytes, 16), .height = read_be32(bytes, 20)};
  chunks.bit_depth = bytes[24];
  chunks.colour_type = bytes[25];
  chunks.interlaced = bytes[28] != 0;
}

}  // namespace

PngChunks read_png_chunks(Bytes bytes, std::string_view source) {
  PngChunks chunks;
  read_header(bytes, chunks, source);
  keep(chunks, 0, kSignatureBytes);

  bool in_data = false;
  bool after_data = false;
  std::size_t at = kSignatureBytes;
  while (!chunks.ended && has(bytes, at, kChunkOverhead - 4)) {
    const std::uint32_t length = read_be32(bytes, at);
    const std::uint32_t type = read_be32(bytes, at + 4);
    if (length > kMaxChunk || !is_chunk_name(type)) {
      if (after_data || in_data) break;  // rubbish after the picture; the decoder will tell
      fail(ErrorCode::corrupt_image, source, "PNG has a chunk with an impossible name or length");
    }
    const std::size_t left = bytes.size() - at;
    const std::size_t whole = std::size_t{length} + kChunkOverhead;
    const std::size_t present = std::min(whole, left);
    if (in_data && type != kIdat) {
      in_data = false;
      after_data = true;
    }
    switch (type) {
      case kIdat:
        if (after_data) {
          fail(ErrorCode::corrupt_image, source, "PNG image data is not in consecutive chunks");
        }
        in_data = true;
        keep(chunks, at, present);
        break;
      case kTrns:
        if (after_data || in_data) break;
        chunks.has_transparency = true;
        keep(chunks, at, present);
        break;
      case kIhdr:
      case kPlte:
      case kIend:
        keep(chunks, at, present);
        chunks.ended = type == kIend && present == whole;
        break;
      case kExif:
        if (present == whole) chunks.orientation = exif_orientation(bytes.subspan(at + 8, length));
        break;
      case kActl: chunks.animated = true; break;
      default:
        if ((type & kAncillaryBit) == 0) {
          fail(ErrorCode::unsupported_format, source,
               "PNG variant with the critical chunk " + chunk_name(type));
        }
        break;
    }
    at += present;
  }
  if (!in_data && !after_data) {
    fail(ErrorCode::corrupt_image, source, "PNG has no image data");
  }
  return chunks;
}

}  // namespace eyespot::codec
