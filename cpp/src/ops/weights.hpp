#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "eyespot/ops.hpp"

namespace eyespot::detail {

/// One pass's filter: target sample i is the sum over k < taps of
/// values[i * taps + k] / 2^bits * source[first[i] + k]. All targets have the same number of taps,
/// so that the loop over them is predictable; short windows are filled up with zeros.
struct AxisWeights {
  std::vector<std::uint32_t> first;
  std::vector<std::uint32_t> last;   ///< the last sample of weight other than 0
  std::vector<std::int16_t> values;  ///< each target's sum to 2^bits, or to 2^15 - 1
  std::size_t taps = 0;              ///< first[i] + taps <= in_size

  [[nodiscard]] std::size_t size() const noexcept { return first.size(); }
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

/// The windows move monotonically.
[[nodiscard]] AxisWeights compute_weights(const AxisSpec& spec);

/// The weights used last: the planes of a photo, and photos of a kind, share their geometry.
class WeightCache {
 public:
  [[nodiscard]] std::shared_ptr<const AxisWeights> get(const AxisSpec& spec);

 private:
  struct Entry {
    AxisSpec spec;
    std::shared_ptr<const AxisWeights> weights;
  };
  std::array<Entry, 16> entries_;
  std::size_t next_ = 0;
};

}  // namespace eyespot::detail
