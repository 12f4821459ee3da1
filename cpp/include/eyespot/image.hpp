#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "eyespot/types.hpp"

namespace eyespot {

/// Read-only pixels that somebody else owns: interleaved uint8, `channels` samples a pixel, rows
/// `stride` bytes apart.
struct ImageView {
  const std::uint8_t* data = nullptr;
  Size size;
  std::size_t channels = 3;
  std::size_t stride = 0;

  [[nodiscard]] const std::uint8_t* row(std::size_t y) const noexcept { return data + y * stride; }
};

/// Pixels that somebody else owns, to be filled.
struct MutableImageView {
  std::uint8_t* data = nullptr;
  Size size;
  std::size_t channels = 3;
  std::size_t stride = 0;

  [[nodiscard]] std::uint8_t* row(std::size_t y) const noexcept { return data + y * stride; }
  // NOLINTNEXTLINE(misc-explicit-constructor): reading what may be written is always fine
  [[nodiscard]] operator ImageView() const noexcept { return {data, size, channels, stride}; }
};

/// An image that owns its pixels: interleaved uint8, rows packed without padding. Move-only, so
/// that a copy of pixels is always visible in the code.
class Image {
 public:
  Image() = default;
  /// Uninitialised pixels. Throws Error(limit_exceeded) on overflow, std::bad_alloc when memory is
  /// out.
  explicit Image(Size size, std::size_t channels = 3)
      : size_(size),
        channels_(channels),
        data_(std::make_unique_for_overwrite<std::uint8_t[]>(
            checked_mul(checked_mul(size.width, channels, "image row"), size.height, "image"))) {}

  [[nodiscard]] Size size() const noexcept { return size_; }
  [[nodiscard]] std::size_t channels() const noexcept { return channels_; }
  [[nodiscard]] std::size_t stride() const noexcept { return size_.width * channels_; }
  [[nodiscard]] ImageView view() const noexcept {
    return {data_.get(), size_, channels_, stride()};
  }
  [[nodiscard]] MutableImageView mutable_view() noexcept {
    return {data_.get(), size_, channels_, stride()};
  }

 private:
  Size size_;
  std::size_t channels_ = 3;
  std::unique_ptr<std::uint8_t[]> data_;
};

}  // namespace eyespot
