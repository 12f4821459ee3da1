#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/feature_moments.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {

namespace solver {
class ActiveRows;
class Cholesky;
}  // namespace solver

class Preconditioner;

/// The metric for a loss of which nothing is known but a bound on its curvature: of the Gram matrix
/// of the rows, or, without it, of the variance of `moments` alone. Arguments as in
/// feature_moments.
[[nodiscard]] std::shared_ptr<const Preconditioner> bound_metric(
    const RowsView& features, std::size_t n_rows, const float* weights,
    const FeatureMoments& moments, double curvature, double l2, bool with_gram, ThreadPool* pool,
    const Poll& poll);

/// What a Preconditioner of a Gram matrix costs to make, in evaluations of a linear objective:
/// infinity where its use at every iteration would cost more than it saves. A matter of the shape
/// only.
[[nodiscard]] double gram_cost(std::size_t n_rows, std::size_t n_features, std::size_t n_scores);

/// One kind of metric.
struct MetricKind {
  bool with_gram = false;     ///< whether it is of a Gram matrix
  std::size_t n_vectors = 0;  ///< that active rows may have
};

/// The metrics that a fit can afford. A matter of its shape only.
struct MetricPlan {
  MetricKind first;  ///< to begin with
  MetricKind later;  ///< for a long way
  /// Evaluations after which the way is a long one; infinity for never.
  double long_way = std::numeric_limits<double>::infinity();
  /// Evaluations after which a metric may be taken again, of either kind.
  double every_first = std::numeric_limits<double>::infinity();
  double every_later = std::numeric_limits<double>::infinity();

  [[nodiscard]] bool is_long(std::uint64_t n_evaluations) const noexcept {
    return static_cast<double>(n_evaluations) >= long_way;
  }
};
[[nodiscard]] MetricPlan metric_plan(std::size_t n_rows, std::size_t n_features,
                                     std::size_t n_scores);

/// What a linear objective's Hessian is taken for: the same block for every class,
/// A = curvature * gram + l2 * I for its weights, `curvature` for its bias. Where the features are
/// correlated or of different scales, that makes the problem nearly round. With many classes the
/// rows that bend the loss in one score lie in a place of their own, far from the mean of all, and
/// weights and bias pull at one another; for a bias that is the score at that place they do not, so
/// there it is that a block has this form. Few rows, near the borders between classes, may bend the
/// loss most: where they are known, their own curvature, with what it says of several classes at
/// once, is added to that of the blocks.
class Preconditioner {
 public:
  /// Same bits for any number of threads. Factors in float32, since only the way to a solution
  /// depends on it; takes a larger l2 where that one would be lost in the rounding.
  Preconditioner(const FeatureMoments& moments, double curvature, double l2, ThreadPool* pool,
                 const Poll& poll);
  /// At a point where the curvatures of the rows of `features` are known.
  Preconditioner(const RowsView& features, const CurvedMoments& curved, double l2, ThreadPool* pool,
                 const Poll& poll);
  /// One scale for all features, for problems too small to be worth more: A = (curvature * variance
  /// + l2) * I.
  Preconditioner(std::size_t n_features, double variance, double curvature, double l2);

  /// A Metric for variables that are n_classes rows of weights, then n_classes biases.
  double apply(std::span<float> direction, std::span<const float> change, std::size_t n_classes,
               ThreadPool* pool) const;

 private:
  std::size_t n_features_ = 0;
  double curvature_ = 1;
  double scale_ = 0;            // A is this times I, unless it is 0
  std::vector<float> centres_;  // where a class's bias is the score, or empty: at the mean
  std::shared_ptr<const solver::Cholesky> factor_;
  std::shared_ptr<const solver::ActiveRows> active_;
};

}  // namespace eyespot
