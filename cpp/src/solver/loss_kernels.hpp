#pragma once

#include <cstddef>
#include <cstdint>

#include "eyespot/linalg.hpp"
#include "eyespot/linear_objective.hpp"

// The SIMD kernels behind softmax_regression.hpp, dispatched at run time.
namespace eyespot::solver {

/// Turns rows of scores z into weight * (p - onehot(target)), p = softmax(z), in place. Padding
/// columns must hold kPaddingScore. column_sum[c], one float per padded column, gains the sum of
/// weight * p over the rows; targets are not subtracted there. `weights` may be null (1).
RowLosses softmax_residuals(PanelMatrix& scores, std::size_t n_rows, const std::int32_t* targets,
                            const float* weights, float* column_sum);

/// The same for two classes and one score, the second's less the first's: turns it into weight *
/// (sigmoid(z) - target), in place, and adds the sum of these to column_sum[0].
RowLosses logistic_residuals(PanelMatrix& scores, std::size_t n_rows, const std::int32_t* targets,
                             const float* weights, float* column_sum);

/// What multiply_transposed with one row of weights and a bias, logistic_residuals and
/// accumulate_transposed do to n_rows rows, in one pass: adds the rows times their residuals to
/// `sum`, panel_sums(1, rows) numbers. score_weights is 1 x rows.cols(), `weights`, which may be
/// null (1), one a row. `part`, the panels of a 1 x rows.cols() PanelMatrix, is scratch.
RowLosses logistic_sums(const PanelMatrix& rows, std::size_t n_rows,
                        const PanelMatrix& score_weights, float bias, const std::int32_t* targets,
                        const float* weights, float* column_sum, float* part, double* sum);
/// Whether that is faster: where a few rows fit in the first-level cache.
inline bool logistic_sums_pay(std::size_t n_features) {
  return n_features <= 768;
}

/// Turns rows of scores into weight * p * (1 - p), p = softmax(z), in place: the diagonals of the
/// Hessians of their losses. Padding, column_sum and `weights` are as for softmax_residuals; means,
/// one float a row, become the means over the classes.
void softmax_curvatures(PanelMatrix& scores, std::size_t n_rows, const float* weights,
                        float* column_sum, float* means);

/// The same for two classes and one score.
void logistic_curvatures(PanelMatrix& scores, std::size_t n_rows, const float* weights,
                         float* column_sum, float* means);

/// Turns rows of scores into probabilities, in place.
void softmax_rows(PanelMatrix& scores, std::size_t n_rows);

/// Residuals and derivatives that would be smaller than e to the power of this come out as 0.
inline constexpr float kLeastExponent = -64;

/// A score so low that its exponential is 0 beside any real one.
inline constexpr float kPaddingScore = -1e30F;

}  // namespace eyespot::solver
