#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "eyespot/linalg.hpp"

namespace eyespot::solver {

/// A block of rows rounded to bfloat16, as in GramTiles, for CPUs that multiply no tiles but
/// vectors of pairs (AVX-512's bfloat16), twice as fast as in float32. The sums are of the same
/// rounded rows.
class GramPairs {
 public:
  /// Room for up to kAccumulateRows rows of n numbers.
  explicit GramPairs(std::size_t n);

  /// Takes rows as pack_rows does, in place of those before.
  void pack(const RowsView& source, std::size_t first, std::size_t count, const float* offset,
            const float* scale);
  /// What accumulate_gram does, with these rows: float32 within the block, float64 beyond.
  void accumulate(std::size_t q, double* panel) const;

 private:
  // Where panel q begins: a line two rows, as wide as in a PanelMatrix.
  [[nodiscard]] std::size_t begin(std::size_t q) const noexcept;

  PanelMatrix strip_;        // some of the rows in float32, on their way
  std::size_t n_pairs_ = 0;  // lines that the rows fill
  // NOLINTNEXTLINE(modernize-avoid-c-arrays): a vector would clear them
  std::unique_ptr<std::uint32_t[]> pairs_;
};

}  // namespace eyespot::solver
