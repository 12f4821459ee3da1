#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cholesky.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/preconditioner.hpp"
#include "eyespot/runtime.hpp"
#include "linear_blocks.hpp"

namespace eyespot::solver {

/// The Hessian of one row's loss in its scores as a sum of squares of vectors, the largest first:
/// its pivoted Cholesky factor (Harbrecht, Peters and Schneider, Applied Numerical Mathematics 62
/// (2012) 428), of which two classes between which a row is undecided need but one.
class RowFactor {
 public:
  /// Vectors that are looked at: the rest of the Hessian stays what it is.
  static constexpr std::size_t kMost = 4;

  RowFactor(std::size_t n_scores, bool coupled);
  /// From the numbers that ScoreCurvatures has for the row.
  void set(std::span<const float> values);
  /// How many vectors there are: kMost or less.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const float> vector(std::size_t j) const noexcept {
    return std::span<const float>(vectors_).subspan(j * rest_.size(), rest_.size());
  }
  /// The square of vector j: its part of the trace.
  [[nodiscard]] float square(std::size_t j) const noexcept { return squares_[j]; }

 private:
  bool coupled_;
  std::size_t size_ = 0;
  std::vector<float> rest_;     // diagonal of what is left of the Hessian
  std::vector<float> vectors_;  // kMost x n_scores
  float squares_[kMost] = {};
};

/// How many vectors active rows may have if they are to cost so many evaluations at the most: a
/// matter of the shape only. 0 where that would not be worth it.
[[nodiscard]] std::size_t most_vectors(std::size_t n_rows, std::size_t n_features,
                                       std::size_t n_scores, bool with_gram, double cost);

/// The exact curvature of single rows, beside a metric for the others. That is B; then the whole is
/// B + U U^T, a column of U being the features of a row, and a 1 for the bias, times a vector of
/// its factor, and its inverse is B^-1 - B^-1 U (I + U^T B^-1 U)^-1 U^T B^-1 (Woodbury). All is in
/// variables in which B is the unit matrix.
class ActiveRows {
 public:
  /// Where B is `scale` times I for weights, or, with `factor`, the product of that and its
  /// transpose; `curvature` for biases.
  ActiveRows(const RowsView& features, std::span<const float> mean, const ActiveCurvature& active,
             double scale, const Cholesky* factor, double curvature, ThreadPool* pool,
             const Poll& poll);

  /// Takes what the rows account for off a gradient: the first n_scores rows of `weights`, d
  /// numbers each, and `biases`, n_scores. Then `weights` may have as many rows more, of another
  /// gradient with `other_biases` (else empty), from which nothing is taken: the result is what
  /// would be taken from its square, or 0. B counts as `stretch()` times what it is.
  double correct(PanelMatrix& weights, std::span<float> biases, std::span<const float> other_biases,
                 ThreadPool* pool) const;
  /// More than 1 where single rows bend the loss so much more than all others that float32 would
  /// not tell what is left of a gradient.
  [[nodiscard]] double stretch() const noexcept { return stretch_; }

 private:
  [[nodiscard]] std::vector<PanelMatrix> scores_of(const PanelMatrix& weights,
                                                   std::span<const float> biases,
                                                   std::span<const float> other_biases,
                                                   ThreadPool* pool) const;
  // Calls visit(vector, r, block, i) for each vector r, whose row is row i of that block.
  template <class Visit>
  void for_each(const Visit& visit) const;

  std::vector<PanelMatrix> blocks_;    // the rows' features, up to kBlock rows x d each
  std::vector<std::uint32_t> row_of_;  // as in ActiveCurvature
  std::vector<float> vectors_;
  std::size_t n_scores_ = 0;
  float constant_ = 1;  // the feature that belongs to the bias
  double stretch_ = 1;
  Cholesky inner_;  // of I + U^T U
};

}  // namespace eyespot::solver
