#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// Reading numbers out of hostile bytes. Callers check the bounds first.
namespace eyespot::codec {

using Bytes = std::span<const std::uint8_t>;

[[nodiscard]] inline std::uint32_t read_be16(Bytes bytes, std::size_t at) noexcept {
  return (std::uint32_t{bytes[at]} << 8U) | bytes[at + 1];
}

[[nodiscard]] inline std::uint32_t read_be32(Bytes bytes, std::size_t at) noexcept {
  return (read_be16(bytes, at) << 16U) | read_be16(bytes, at + 2);
}

[[nodiscard]] inline std::uint32_t read_le16(Bytes bytes, std::size_t at) noexcept {
  return (std::uint32_t{bytes[at + 1]} << 8U) | bytes[at];
}

[[nodiscard]] inline std::uint32_t read_le32(Bytes bytes, std::size_t at) noexcept {
  return (read_le16(bytes, at + 2) << 16U) | read_le16(bytes, at);
}

/// True when `count` bytes lie at `at`; no sum that could wrap.
[[nodiscard]] inline bool has(Bytes bytes, std::size_t at, std::size_t count) noexcept {
  return at <= bytes.size() && count <= bytes.size() - at;
}

/// True when JPEG's end-of-image marker is somewhere in `bytes`, which a sound file ends with.
/// Inside entropy-coded data 0xFF is followed by 0 or a restart marker, so what is found is the
/// marker.
[[nodiscard]] inline bool has_end_of_image(Bytes bytes) noexcept {
  for (std::size_t end = bytes.size(); end >= 2; --end) {
    if (bytes[end - 2] == 0xFF && bytes[end - 1] == 0xD9) return true;
  }
  return false;
}

}  // namespace eyespot::codec
