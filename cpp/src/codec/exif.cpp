#include "exif.hpp"

#include <algorithm>
#include <array>

namespace eyespot::codec {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::size_t kEntryBytes = 12;
// Field types that cameras have written this tag with.
constexpr std::uint32_t kByte = 1;
constexpr std::uint32_t kShort = 3;
constexpr std::uint32_t kLong = 4;

/// A TIFF structure in either byte order.
struct Tiff {
  Bytes bytes;
  bool big_endian;

  [[nodiscard]] std::uint32_t u16(std::size_t at) const noexcept {
    return big_endian ? read_be16(bytes, at) : read_le16(bytes, at);
  }
  [[nodiscard]] std::uint32_t u32(std::size_t at) const noexcept {
    return big_endian ? read_be32(bytes, at) : read_le32(bytes, at);
  }
};

/// The value field of one directory entry, or 0 when its type or count is not one value of ours.
std::uint32_t entry_value(const Tiff& tiff, std::size_t entry) noexcept {
  if (tiff.u32(entry + 4) != 1) return 0;
  switch (tiff.u16(entry + 2)) {
    case kByte: return tiff.bytes[entry + 8];
    case kShort: return tiff.u16(entry + 8);
    case kLong: return tiff.u32(entry + 8);
    default: return 0;
  }
}

}  // namespace

Orientation exif_orientation(Bytes payload) noexcept {
  constexpr std::array<std::uint8_t, 6> kPrefix{'E', 'x', 'i', 'f', 0, 0};
  if (payload.size() >= kPrefix.size() && std::ranges::equal(payload.first(6), kPrefix)) {
    payload = payload.subspan(kPrefix.size());
  }
  if (payload.size() < 8) return Orientation::top_left;
  const bool big_endian = payload[0] == 'M' && payload[1] == 'M';
  if (!big_endian && !(payload[0] == 'I' && payload[1] == 'I')) return Orientation::top_left;
  const Tiff tiff{.bytes = payload, .big_endian = big_endian};
  if (tiff.u16(2) != 42) return Orientation::top_left;

  const std::size_t directory = tiff.u32(4);
  if (!has(payload, directory, 2)) return Orientation::top_left;
  const std::size_t count = tiff.u16(directory);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (!has(payload, entry, kEntryBytes)) break;
    if (tiff.u16(entry) != kOrientationTag) continue;
    const std::uint32_t value = entry_value(tiff, entry);
    return value >= 1 && value <= 8 ? static_cast<Orientation>(value) : Orientation::top_left;
  }
  return Orientation::top_left;
}

}  // namespace eyespot::codec
