#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::solver {

/// What a pivot must keep of its diagonal element: less would be rounding.
inline constexpr double kLeastPivot = 1e-6;

/// Which pivots a factorisation goes on with, as parts of their diagonal elements.
struct PivotRule {
  double least = kLeastPivot;  ///< above this, all is well
  /// Up to this, the row depends on those before it: its column of the factor stays 0. What lies
  /// between the two ends the factorisation.
  double lost = -std::numeric_limits<double>::infinity();
};

/// The Cholesky factor L of a symmetric n x n matrix, by panels in float32, its blocks on the
/// diagonal in float64. Same bits for any number of threads.
class Cholesky {
 public:
  Cholesky() = default;
  explicit Cholesky(std::size_t n);

  /// Factorises scale * matrix + shift * I. False when a pivot is neither good nor lost.
  [[nodiscard]] bool factorise(const LowerTriangle& matrix, double scale, double shift,
                               const PivotRule& rule, ThreadPool* pool, const Poll& poll);
  /// The same with a shift that is made ten times as large until all pivots are good: returns it.
  /// Throws Error(non_finite) where none will do.
  double factorise_shifted(const LowerTriangle& matrix, double scale, double shift,
                           ThreadPool* pool, const Poll& poll);
  /// Row i of L, n numbers.
  void get_row(std::size_t i, std::span<float> row) const;
  /// rows = rows * inverse(transpose(L)): rows has n columns. Lost columns become 0.
  void divide_by_transpose(PanelMatrix& rows, ThreadPool* pool) const;
  /// rows = rows * inverse(L).
  void divide(PanelMatrix& rows, ThreadPool* pool) const;

 private:
  bool factorise_diagonal(const LowerTriangle& matrix, double scale, double shift,
                          const PivotRule& rule, std::size_t q);

  PanelMatrix lower_;          // -L below the blocks on the diagonal, and those blocks' inverses
  PanelMatrix upper_;          // the transpose of lower_
  std::vector<float> blocks_;  // n x panel width: the blocks on the diagonal
};

}  // namespace eyespot::solver
