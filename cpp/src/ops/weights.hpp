#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "eyespot/ops.hpp"

namespace eyespot::detail {

/// One pass's filter: target sample i is the sum over k < count[i] of
/// values[i * stride + k] / 2^bits * source[first[i] + k].
struct AxisWeights {
  std::vector<std::uint32_t> first;
  std::vector<std::uint32_t> count;  ///< at least 1
  std::vector<std::int16_t> values;  ///< each target's sum to 2^bits, or to 2^15 - 1
  std::size_t stride = 0;

  [[nodiscard]] std::size_t size() const noexcept { return first.size(); }
  [[nodiscard]] std::uint32_t last(std::size_t i) const noexcept { return first[i] + count[i] - 1; }
};

/// What determines an AxisWeights.
struct AxisSpec {
  std::uint32_t in_size = 0;   ///< samples that exist; the filter is cut off at both ends
  double begin = 0;            ///< the source interval that the target covers
  double length = 0;           ///< > 0
  std::uint32_t out_size = 0;  ///< > 0
  Resample resample = Resample::bilinear;
  /// Fraction bits of the weights. 15 for bilinear only: a cubic cut off at the border has weights
  /// up to 1.125, which take 14.
  int bits = 14;

  friend bool operator==(const AxisSpec&, const AxisSpec&) = default;
};

/// Half the width of the kernel in source samples, for `length` of them shrunk to `out_size`.
[[nodiscard]] double filter_support(double length, std::uint32_t out_size,
                                    Resample resample) noexcept;

/// Fills `out`, reusing its memory. The windows move monotonically.
void compute_weights(const AxisSpec& spec, AxisWeights& out);

}  // namespace eyespot::detail
