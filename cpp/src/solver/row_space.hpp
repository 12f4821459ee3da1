#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "cholesky.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/preconditioner.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"

namespace eyespot::solver {

/// The space that few rows of many features span. The weights that minimise a penalised loss of
/// linear scores are sums of the centred rows X (n x d), so n coordinates a score say all about
/// them: with X X^T = L L^T, the rows of Q = L^-1 X are orthonormal, and weights V Q have the
/// scores V L^T and the squares of V. A fit to the rows of L is the same problem with n features
/// (Hastie and Tibshirani, Biostatistics 5 (2004) 329).
/// Centred rows sum to 0, which would leave a pivot of L to rounding. So they have one more feature
/// here, a constant: it makes them independent, and the centring of the rows of L, which an
/// objective does, takes it out again; nothing but the penalty sees its weight, which stays 0.
/// The rows of the features stay referenced.
class RowSpace {
 public:
  /// Null where it would not pay, or where rows that are not equal are so nearly dependent that
  /// float32 does not tell their directions. A matter of the shape and the rows only.
  [[nodiscard]] static std::shared_ptr<const RowSpace> of(const RowsView& features,
                                                          std::size_t n_rows, const float* weights,
                                                          const FeatureMoments& moments,
                                                          ThreadPool* pool, const Poll& poll);

  /// L, as features: n x n.
  [[nodiscard]] RowsView rows() const noexcept;
  /// Mean and variance of these features.
  [[nodiscard]] const FeatureMoments& moments() const noexcept { return moments_; }

  /// Weights for the features: `coordinates` is n_scores x n, the result n_scores x d.
  [[nodiscard]] std::vector<float> weights(std::span<const float> coordinates,
                                           ThreadPool* pool) const;
  /// Coordinates of the part of weights that lies in the space: the inverse of weights() there.
  [[nodiscard]] std::vector<float> coordinates(std::span<const float> weights,
                                               ThreadPool* pool) const;
  /// The same for variables of objectives, whose biases are those for centred features in both.
  [[nodiscard]] std::vector<double> to_features(std::span<const double> x, std::size_t n_scores,
                                                ThreadPool* pool) const;
  [[nodiscard]] std::vector<double> to_rows(std::span<const double> x, std::size_t n_scores,
                                            ThreadPool* pool) const;
  /// Turns the solution that a path hands on into one for the features.
  void to_features(PathResult& result, ThreadPool* pool) const;

 private:
  RowSpace(const RowsView& features, std::size_t n_rows, const FeatureMoments& moments);
  using Map = std::vector<float> (RowSpace::*)(std::span<const float>, ThreadPool*) const;
  [[nodiscard]] std::vector<double> mapped(std::span<const double> x, std::size_t n_scores, Map map,
                                           ThreadPool* pool) const;
  [[nodiscard]] std::size_t first_equal(std::size_t i) const;
  [[nodiscard]] bool factorise(double constant, ThreadPool* pool, const Poll& poll);

  RowsView features_;
  std::size_t n_rows_ = 0;
  std::vector<float> mean_;   // d
  Cholesky factor_;           // L
  std::vector<float> lower_;  // L, row-major
  FeatureMoments moments_;
};

/// The features of rows as a fit sees them: as they are, or the coordinates in the space of the
/// rows where there is one.
struct SeenFeatures {
  std::shared_ptr<const RowSpace> space;  ///< or null
  RowsView features;
  FeatureMoments moments;

  SeenFeatures(const RowsView& given, std::size_t n_rows, const float* weights,
               const FeatureMoments& of_given, ThreadPool* pool, const Poll& poll);
};

}  // namespace eyespot::solver
