#pragma once

#include <cstddef>
#include <cstdint>

#include "eyespot/linalg.hpp"
#include "eyespot/linear_objective.hpp"

// The SIMD kernels behind linalg.hpp and softmax_regression.hpp, dispatched at run time.
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
