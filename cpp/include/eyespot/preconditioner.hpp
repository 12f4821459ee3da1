#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {

namespace solver {
class Cholesky;
}

/// Index of the first row with a NaN or an infinity, or n_rows when there is none.
[[nodiscard]] std::size_t first_non_finite_row(const RowsView& features, std::size_t n_rows,
                                               ThreadPool* pool, const Poll& poll);

/// One weight a row of the view, 1 on average; empty for null. Throws Error(invalid_argument) for a
/// weight that is negative or not finite, or weights that sum to 0.
[[nodiscard]] std::vector<float> mean_one_weights(const RowsView& features, std::size_t n_rows,
                                                  const float* weights);

/// Weighted mean of the rows, and the mean of the outer products of the centred rows: exact up to
/// 16 * d rows, from evenly spaced rows beyond that, which is all that a preconditioner needs.
struct FeatureMoments {
  std::vector<float> mean;   ///< d
  std::vector<double> gram;  ///< d x d, lower triangle valid
  double variance = 0;       ///< mean over the features of their variance
};
/// `weights`, one a row of the data behind the view, may be null. Without a Gram matrix, for a
/// Preconditioner of one scale, `gram` stays empty.
[[nodiscard]] FeatureMoments feature_moments(const RowsView& features, std::size_t n_rows,
                                             const float* weights, ThreadPool* pool,
                                             const Poll& poll, bool with_gram = true);

/// Moments in which a row counts by the curvature that its loss has at one point, averaged over the
/// scores.
struct CurvedMoments {
  FeatureMoments moments;
  double curvature = 0;  ///< weighted mean of the curvatures
  /// n_scores x d: of each score, the mean of the centred rows by their curvature in it.
  std::vector<float> centres;
};

/// Writes, row-major, the curvature in each score of the loss of each of the given rows of the data
/// behind the view.
using RowCurvatures =
    std::function<void(std::span<const std::uint32_t> rows, std::span<float> curvatures)>;

/// The moments that suit the way on from one point: where the classes are told apart with ease, the
/// loss is flat, and the rows that bend it least, by 2 % of all curvature, are left out. `plain`
/// are those of the same data, `least` the curvature to assume where all rows are told apart with
/// certainty.
[[nodiscard]] CurvedMoments curved_moments(const RowsView& features, std::size_t n_rows,
                                           const float* weights, const FeatureMoments& plain,
                                           std::size_t n_scores, const RowCurvatures& curvatures,
                                           double least, ThreadPool* pool, const Poll& poll);

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
[[nodiscard]] double gram_cost(std::size_t n_rows, std::size_t n_features, std::size_t n_classes);

/// Evaluations that a metric may cost where the way is not known yet.
inline constexpr double kCheapMetric = 16;

/// What a linear objective's Hessian is taken for: the same block for every class,
/// A = curvature * gram + l2 * I for its weights, `curvature` for its bias. Where the features are
/// correlated or of different scales, that makes the problem nearly round. With many classes the
/// rows that bend the loss in one score lie in a place of their own, far from the mean of all, and
/// weights and bias pull at one another; for a bias that is the score at that place they do not, so
/// there it is that a block has this form.
class Preconditioner {
 public:
  /// Same bits for any number of threads. Factors in float32, since only the way to a solution
  /// depends on it; takes a larger l2 where that one would be lost in the rounding.
  Preconditioner(const FeatureMoments& moments, double curvature, double l2, ThreadPool* pool,
                 const Poll& poll);
  /// At a point where the curvatures of the rows are known.
  Preconditioner(const CurvedMoments& curved, double l2, ThreadPool* pool, const Poll& poll);
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
};

}  // namespace eyespot
