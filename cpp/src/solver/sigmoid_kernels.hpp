#pragma once

#include <cstddef>
#include <cstdint>

#include "eyespot/linalg.hpp"
#include "eyespot/linear_objective.hpp"

// The SIMD kernel behind sigmoid_regression.hpp, dispatched at run time.
namespace eyespot::solver {

/// The labels of a block of rows and what their losses weigh.
struct LabelBlock {
  const std::uint8_t* labels = nullptr;  ///< row-major, n_classes a row; 0 is no, all else is yes
  const std::uint32_t* rows = nullptr;   ///< which row of `labels` is whose; null: row by row
  std::size_t first = 0;                 ///< the first row of the block
  std::size_t n_classes = 0;
  const float* weights = nullptr;   ///< of row first + i at [first + i], or null (1)
  const float* positive = nullptr;  ///< per padded column; 0 in the padding
  const float* negative = nullptr;  ///< per padded column; 0 in the padding

  [[nodiscard]] const std::uint8_t* row(std::size_t i) const noexcept {
    return labels + (rows != nullptr ? rows[first + i] : first + i) * n_classes;
  }
};

/// The score of padding columns: no loss, no residual, never a label.
inline constexpr float kNeverScore = -1e30F;

/// Turns rows of scores z into weight * (sigmoid(z) - label), in place, and adds their sums to
/// column_sum[c], one float per padded column. A row is told rightly when its scores are from 0 up
/// for just the labels it bears.
RowLosses sigmoid_residuals(PanelMatrix& scores, std::size_t n_rows, const LabelBlock& block,
                            float* column_sum);

}  // namespace eyespot::solver
