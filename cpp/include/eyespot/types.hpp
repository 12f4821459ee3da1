#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "eyespot/error.hpp"

namespace eyespot {

/// Width and height in pixels.
struct Size {
  std::uint32_t width = 0;
  std::uint32_t height = 0;

  friend bool operator==(const Size&, const Size&) = default;
};

/// A rectangle of whole pixels; (x, y) is its top left corner.
struct Rect {
  std::uint32_t x = 0;
  std::uint32_t y = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;

  friend bool operator==(const Rect&, const Rect&) = default;
};

/// a * b, or Error(limit_exceeded) naming `what` when the product does not fit in size_t.
[[nodiscard]] inline std::size_t checked_mul(std::size_t a, std::size_t b, const char* what) {
  if (a != 0 && b > std::numeric_limits<std::size_t>::max() / a) {
    throw Error(ErrorCode::limit_exceeded, what,
                "size " + std::to_string(a) + " x " + std::to_string(b) + " overflows");
  }
  return a * b;
}

/// a + b, or Error(limit_exceeded) naming `what` when the sum does not fit in size_t.
[[nodiscard]] inline std::size_t checked_add(std::size_t a, std::size_t b, const char* what) {
  if (b > std::numeric_limits<std::size_t>::max() - a) {
    throw Error(ErrorCode::limit_exceeded, what,
                "size " + std::to_string(a) + " + " + std::to_string(b) + " overflows");
  }
  return a + b;
}

/// Number of pixels; never overflows, because both sides are 32-bit.
[[nodiscard]] constexpr std::uint64_t pixel_count(Size size) noexcept {
  return std::uint64_t{size.width} * size.height;
}

}  // namespace eyespot
