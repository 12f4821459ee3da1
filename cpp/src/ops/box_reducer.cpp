#include "box_reducer.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "eyespot/types.hpp"

namespace eyespot::detail {

std::uint32_t BoxReducer::step(double length, std::uint32_t out_size) noexcept {
  // Weights have 14 bits: at a ratio of 128 the largest is 128, and what the rounding of products
  // adds to a flat area stays below a grey level.
  constexpr double kMostRatio = 128;
  constexpr double kLeftRatio = 64;
  const double ratio = length / out_size;
  return ratio > kMostRatio ? static_cast<std::uint32_t>(ratio / kLeftRatio) : 1;
}

std::size_t BoxReducer::plan(std::uint32_t width, std::size_t channels, std::uint32_t step_x,
                             std::uint32_t step_y) {
  width_ = width;
  channels_ = channels;
  step_x_ = step_x;
  step_y_ = step_y;
  if (!active()) return 0;
  cells_ = checked_mul((std::size_t{width} + step_x - 1) / step_x, channels, "resize");
  return checked_mul(cells_, sizeof(sums_[0]) + sizeof(means_[0]), "resize");
}

void BoxReducer::begin() {
  rows_ = 0;
  if (!active()) return;
  sums_.assign(cells_, 0);
  means_.resize(cells_);
}

void BoxReducer::add(const std::uint8_t* row) {
  ++rows_;
  std::uint64_t* sum = sums_.data();
  for (std::uint32_t x = 0; x < width_; sum += channels_) {
    const std::uint32_t end = std::min(width_, x + step_x_);
    for (; x < end; ++x, row += channels_) {
      for (std::size_t c = 0; c < channels_; ++c) sum[c] += row[c];
    }
  }
}

const std::uint8_t* BoxReducer::finish() {
  std::size_t i = 0;
  for (std::uint32_t x = 0; x < width_; x += step_x_) {
    const std::uint64_t count = std::uint64_t{std::min(step_x_, width_ - x)} * rows_;
    for (std::size_t c = 0; c < channels_; ++c, ++i) {
      means_[i] = static_cast<std::uint8_t>((sums_[i] + count / 2) / count);
      sums_[i] = 0;
    }
  }
  rows_ = 0;
  return means_.data();
}

}  // namespace eyespot::detail
