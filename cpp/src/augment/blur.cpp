#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "eyespot/types.hpp"
#include "stages.hpp"

namespace eyespot::detail {
namespace {

constexpr std::size_t kRgb = 3;
// What lies beyond is 0.1 % of a Gaussian: at most 0.3 grey levels.
constexpr double kCutOff = 3.25;

double gaussian(double distance, double sigma) {
  return std::exp(-0.5 * (distance / sigma) * (distance / sigma));
}

// Position `i` mirrored into [0, size) without repeating the border.
std::size_t mirrored(std::ptrdiff_t i, std::size_t size) {
  if (size == 1) return 0;
  const auto period = static_cast<std::ptrdiff_t>(2 * (size - 1));
  const auto folded = static_cast<std::size_t>(std::abs(i) % period);
  return folded < size ? folded : 2 * (size - 1) - folded;
}

// To 15 fraction bits, so that the sum is exactly 1: flat areas stay flat.
std::vector<std::int16_t> to_integers(const std::vector<double>& exact) {
  constexpr int kOne = 1 << 15;
  std::vector<std::int16_t> weights(exact.size());
  int rest = kOne;
  for (std::size_t k = 1; k < exact.size(); ++k) {
    weights[k] = static_cast<std::int16_t>(std::lround(exact[k] * kOne));
    rest -= 2 * weights[k];
  }
  if (rest == kOne) return {};  // too small a sigma to change anything
  weights[0] = static_cast<std::int16_t>(rest);
  return weights;
}

std::vector<float> to_floats(const std::vector<double>& exact) {
  return {exact.begin(), exact.end()};
}

}  // namespace

// Mirrored at both ends, samples repeat with the period 2 (size - 1). A filter that is longer than
// that is folded: its weights at equal phases are added, which leaves size - 1 steps to each side.
std::vector<double> gaussian_filter(double sigma_px, std::size_t size) {
  if (size <= 1 || sigma_px <= 0) return {1.0};
  const double reach = std::ceil(kCutOff * sigma_px);
  const std::size_t longest = size - 1;
  std::vector<double> weights;
  if (reach < static_cast<double>(longest)) {
    for (std::size_t k = 0; k <= static_cast<std::size_t>(reach); ++k) {
      weights.push_back(gaussian(static_cast<double>(k), sigma_px));
    }
  } else {
    const auto period = static_cast<double>(2 * longest);
    // A Gaussian as wide as the period is flat once it is folded, to 3e-9.
    const double sigma = std::min(sigma_px, period);
    const auto folds = static_cast<int>(std::ceil(kCutOff * sigma / period));
    for (std::size_t k = 0; k <= longest; ++k) {
      double sum = 0;
      for (int fold = -folds; fold <= folds; ++fold) {
        sum += gaussian(static_cast<double>(k) + fold * period, sigma);
      }
      weights.push_back(sum);
    }
    weights.back() /= 2;  // both ends of the filter are the same sample
  }
  double total = weights[0];
  for (std::size_t k = 1; k < weights.size(); ++k) total += 2 * weights[k];
  for (double& weight : weights) weight /= total;
  return weights;
}

void Blur::begin(ImageView in, double sigma_px) {
  kernels_ = &augment_kernels();
  in_ = in;
  const std::vector<double> down = gaussian_filter(sigma_px, in.size.height);
  const std::vector<double> along = gaussian_filter(sigma_px, in.size.width);
  wide_ = std::max(down.size(), along.size()) > kMaxIntegerRadius + 1;
  if (wide_) {
    float_down_ = to_floats(down);
    float_along_ = to_floats(along);
  } else {
    integer_down_ = to_integers(down);
    integer_along_ = to_integers(along);
  }
  rows_.resize(2 * down.size() - 1);
}

void Blur::row(std::size_t y, std::uint8_t* out) {
  if (wide_) {
    pass(y, float_down_, float_along_, floats_, out);
  } else {
    pass(y, integer_down_, integer_along_, integers_, out);
  }
}

template <typename Sample, typename Weight>
void Blur::pass(std::size_t y, const std::vector<Weight>& down, const std::vector<Weight>& along,
                AlignedBuffer<Sample>& buffer, std::uint8_t* out) {
  const std::size_t width = in_.size.width;
  const std::size_t n = width * kRgb;
  const std::size_t radius = along.empty() ? 0 : along.size() - 1;
  const std::size_t margin = padded(radius * kRgb);
  Sample* const center = buffer.reserve(2 * margin + padded(n)) + margin;

  if (down.empty()) {
    const std::uint8_t* row = in_.row(y);
    for (std::size_t i = 0; i < n; ++i) {
      center[i] = static_cast<Sample>(row[i] << (std::is_integral_v<Sample> ? kBlurBits : 0));
    }
  } else {
    const std::size_t reach = down.size() - 1;
    for (std::size_t k = 0; k < 2 * reach + 1; ++k) {
      const std::ptrdiff_t at =
          static_cast<std::ptrdiff_t>(y + k) - static_cast<std::ptrdiff_t>(reach);
      rows_[k] = in_.row(mirrored(at, in_.size.height));
    }
    const BlurFilter<Weight> filter{.weights = down.data(), .radius = reach};
    if constexpr (std::is_integral_v<Sample>) {
      kernels_->blur_rows(rows_.data(), filter, n, center);
    } else {
      kernels_->blur_rows_wide(rows_.data(), filter, n, center);
    }
  }

  if (along.empty()) {
    for (std::size_t i = 0; i < n; ++i) {
      const int half = std::is_integral_v<Sample> ? 1 << (kBlurBits - 1) : 0;
      const int level = (static_cast<int>(center[i]) + half) >> kBlurBits;
      out[i] = static_cast<std::uint8_t>(std::clamp(level, 0, 255));
    }
    return;
  }
  for (std::size_t k = 1; k <= radius; ++k) {
    const auto step = static_cast<std::ptrdiff_t>(k);
    const std::size_t before = mirrored(-step, width) * kRgb;
    const std::size_t after = mirrored(static_cast<std::ptrdiff_t>(width) - 1 + step, width) * kRgb;
    std::memcpy(center - k * kRgb, center + before, kRgb * sizeof(Sample));
    std::memcpy(center + n + (k - 1) * kRgb, center + after, kRgb * sizeof(Sample));
  }
  const BlurFilter<Weight> filter{.weights = along.data(), .radius = radius};
  if constexpr (std::is_integral_v<Sample>) {
    kernels_->blur_columns(center, filter, n, out);
  } else {
    kernels_->blur_columns_wide(center, filter, n, out);
  }
}

}  // namespace eyespot::detail
