#pragma once

#include <cstddef>
#include <memory>

#include "eyespot/linalg.hpp"
#include "tiles.hpp"

namespace eyespot::solver {

/// A block of rows in the form in which CPUs with AMX multiply matrices, many times as fast as in
/// float32: in bfloat16, which keeps eight bits of a number. Their sums are the Gram matrix of the
/// rounded rows, so without negative eigenvalues as that of the rows is. They differ as if each
/// feature had a millionth of its variance as noise: enough for a metric, and for nothing else.
class GramTiles {
 public:
  /// Room for up to kAccumulateRows rows of n numbers.
  explicit GramTiles(std::size_t n);

  /// Takes rows as pack_rows does, in place of those before.
  void pack(const RowsView& source, std::size_t first, std::size_t count, const float* offset,
            const float* scale);
  /// What accumulate_gram does, with these rows: float32 within the block, float64 beyond.
  void accumulate(std::size_t q, double* panel) const;

 private:
  PanelMatrix strip_;        // some of the rows in float32, on their way
  std::size_t n_steps_ = 0;  // tiles that the rows fill
  // NOLINTBEGIN(modernize-avoid-c-arrays): a vector would clear them
  std::unique_ptr<Tile[]> left_;   // a line a column: the left factors
  std::unique_ptr<Tile[]> right_;  // a line two rows: the right ones
  // NOLINTEND(modernize-avoid-c-arrays)
};

}  // namespace eyespot::solver
