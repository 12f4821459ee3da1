#include "weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace eyespot::detail {
namespace {

double triangle(double x) {
  return std::max(0.0, 1.0 - std::abs(x));
}

// Keys 1981 with a = -0.5.
double catmull_rom(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

int rounded(double x) {
  return static_cast<int>(std::floor(x + 0.5));
}

// Rounds to 1 / `one` so that the sum is exactly 1: flat areas stay flat. The remainder goes to the
// largest weight, where it matters least.
void quantise(const double* exact, std::size_t count, double factor, int one, std::int16_t* out) {
  constexpr int kMost = 32767;
  int rest = one;
  std::size_t largest = 0;
  for (std::size_t k = 0; k < count; ++k) {
    // Only a lone tap can be 2^15; what it lacks vanishes when products are rounded.
    out[k] = static_cast<std::int16_t>(std::min(rounded(exact[k] * factor), kMost));
    rest -= out[k];
    if (exact[k] > exact[largest]) largest = k;
  }
  out[largest] = static_cast<std::int16_t>(std::min(out[largest] + rest, kMost));
}

// Packs the windows, `stride` apart, to a common number of taps, moving those that would reach past
// the last sample to the left.
void even_out(AxisWeights& weights, std::size_t stride, std::size_t in_size) {
  std::size_t taps = 1;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    taps = std::max(taps, std::size_t{weights.last[i]} - weights.first[i] + 1);
  }
  std::vector<std::int16_t> values(weights.size() * taps, 0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::size_t first = std::min(std::size_t{weights.first[i]}, in_size - taps);
    const std::size_t count = std::size_t{weights.last[i]} - weights.first[i] + 1;
    std::copy_n(weights.values.data() + i * stride, count,
                values.data() + i * taps + (weights.first[i] - first));
    weights.first[i] = static_cast<std::uint32_t>(first);
  }
  weights.values = std::move(values);
  weights.taps = taps;
}

}  // namespace

double filter_support(double length, std::uint32_t out_size, Resample resample) noexcept {
  const double stretch = std::max(1.0, length / out_size);
  return (resample == Resample::bilinear ? 1.0 : 2.0) * stretch;
}

AxisWeights compute_weights(const AxisSpec& spec) {
  const double scale = spec.length / spec.out_size;
  const double squeeze = 1 / std::max(1.0, scale);
  const double support = filter_support(spec.length, spec.out_size, spec.resample);
  const double in_size = spec.in_size;
  const int one = 1 << spec.bits;

  const auto stride = static_cast<std::size_t>(std::min(std::ceil(support) * 2 + 1, in_size));
  AxisWeights out;
  out.first.resize(spec.out_size);
  out.last.resize(spec.out_size);
  out.values.assign(stride * spec.out_size, 0);
  std::vector<double> exact(stride);

  for (std::uint32_t i = 0; i < spec.out_size; ++i) {
    // The window of Pillow's resize: samples whose centres lie within the support, give or take
    // one.
    const double center = spec.begin + (i + 0.5) * scale;
    const double low = std::clamp(std::floor(center - support + 0.5), 0.0, in_size - 1);
    const double high = std::clamp(std::floor(center + support + 0.5), low + 1, in_size);
    auto first = static_cast<std::uint32_t>(low);
    auto count = std::min(static_cast<std::size_t>(high - low), stride);
    double sum = 0;
    for (std::size_t k = 0; k < count; ++k) {
      const double distance = (low + static_cast<double>(k) + 0.5 - center) * squeeze;
      exact[k] = spec.resample == Resample::bilinear ? triangle(distance) : catmull_rom(distance);
      sum += exact[k];
    }
    if (sum <= 0) {  // the target's centre lies beyond the samples there are: repeat the nearest
      exact[0] = sum = 1;
      count = 1;
    }
    std::int16_t* values = out.values.data() + i * stride;
    quantise(exact.data(), count, one / sum, one, values);
    if (spec.resample == Resample::bilinear) {
      // Zeros at the ends are wasted work. (A cubic has zeros inside, and cutting those off some
      // windows and not off others would make them move backwards.)
      while (count > 1 && values[count - 1] == 0) --count;
      std::size_t zeros = 0;
      while (zeros + 1 < count && values[zeros] == 0) ++zeros;
      std::copy(values + zeros, values + count, values);
      first += static_cast<std::uint32_t>(zeros);
      count -= zeros;
    }
    out.first[i] = first;
    out.last[i] = first + static_cast<std::uint32_t>(count) - 1;
  }
  even_out(out, stride, spec.in_size);
  return out;
}

std::shared_ptr<const AxisWeights> WeightCache::get(const AxisSpec& spec) {
  for (const Entry& entry : entries_) {
    if (entry.weights != nullptr && entry.spec == spec) return entry.weights;
  }
  Entry& oldest = entries_[next_];
  oldest = {.spec = spec, .weights = std::make_shared<const AxisWeights>(compute_weights(spec))};
  next_ = (next_ + 1) % entries_.size();
  return oldest.weights;
}

}  // namespace eyespot::detail
