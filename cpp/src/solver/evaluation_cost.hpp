#pragma once

#include <algorithm>
#include <cstddef>

// What the parts of a fit take, in flops of a product: those of a factorisation are slow ones, and
// so are exponentials. Measured.
namespace eyespot::solver {

/// Of one evaluation of a linear objective.
inline double evaluation_cost(double n_rows, double n_features, double n_scores) {
  return 4 * n_rows * n_features * n_scores + 4000 * n_rows;
}

/// Of all products of n vectors of so many numbers with one another.
inline double products_cost(double length, double n) {
  return 0.9 * length * n * n;
}

/// Of a Cholesky factor, n x n.
inline double factor_cost(double n) {
  return 2.2 * n * n * n;
}

/// Rows of a Gram matrix per feature: more that count alike would not make a better metric.
inline constexpr std::size_t kGramRowsPerFeature = 16;

/// Every how many rows one is used for that.
inline std::size_t gram_step(std::size_t n_rows, std::size_t n_features) {
  return std::max<std::size_t>(1, n_rows / (kGramRowsPerFeature * n_features));
}

}  // namespace eyespot::solver
