#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/lbfgs.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/linear_objective.hpp"
#include "eyespot/preconditioner.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {

/// Training rows, not owned: features, one class index a row, and (or null) one weight a row.
struct LabelledRows {
  RowsView features;  ///< n x d; with a row list, targets and weights are looked up through it too
  std::size_t n_rows = 0;
  std::size_t n_classes = 0;
  const std::int32_t* targets = nullptr;
  const float* weights = nullptr;
};

/// Weighted mean log-loss plus l2 / 2 * |W|^2, W in the units of the features, bias free of
/// penalty: F(W, b) = sum_i u_i * -log softmax(W x_i + b)[y_i] / sum_i u_i + l2 / 2 * sum W^2. Two
/// classes are one score (ScoreForm::opposite): half the work, and the same minimum.
class SoftmaxObjective final : public LinearObjective {
 public:
  /// Throws Error(invalid_argument) for a target outside [0, n_classes), a negative weight, or
  /// weights that sum to 0.
  SoftmaxObjective(const LabelledRows& data, const FeatureMoments& moments, double l2,
                   ThreadPool* pool);

  /// Follows the curvature of the rows at x.
  [[nodiscard]] std::shared_ptr<const Preconditioner> metric(std::span<const double> x,
                                                             const MetricKind& kind,
                                                             const Poll& poll) override;
  [[nodiscard]] std::vector<double> start() const override;
  /// A constant added to every bias changes nothing: they come centred.
  void solution(std::span<const double> x, std::span<float> weights,
                std::span<double> bias) const override;

 private:
  RowLosses residuals(PanelMatrix& scores, std::size_t first, std::size_t count,
                      float* column) const override;
  // The Hessians at x of rows that are asked for.
  [[nodiscard]] ScoreCurvatures single_rows(std::span<const double> x, const Poll& poll) const;

  const float* row_weights_;  // as given
  std::vector<std::int32_t> targets_;
  std::vector<float> weights_;         // empty, or scaled to a mean of 1
  std::vector<double> target_weight_;  // a class
};

/// The fit of a SoftmaxObjective.
[[nodiscard]] LinearFit softmax_fit(const LabelledRows& data, double l2,
                                    const LbfgsOptions& options, ThreadPool* pool,
                                    const Poll& poll);

/// What held-out rows say of one strength of the penalty.
struct PathPoint {
  double l2 = 0;
  double log_loss = 0;        ///< weighted mean over all rows, each predicted by a model without it
  double standard_error = 0;  ///< of log_loss, from the spread between the folds
  std::uint64_t n_evaluations = 0;  ///< summed over the folds
};

struct PathResult {
  std::vector<PathPoint> points;
  /// Where a fit to all rows starts best: the mean of the folds' solutions at the strength with the
  /// least held-out loss, n_classes x n_features; empty where no strength was tried.
  std::vector<float> weights;
  std::vector<double> bias;  ///< n_classes
  LbfgsState pairs;          ///< nothing but the pairs of one fold's minimiser there, for a fit to
                             ///< all rows, in the variables of its minimiser
  double pairs_l2 = 0;       ///< the strength they belong to
  /// n_rows x n_classes, empty unless asked for: the probabilities of each row by the model that
  /// was fitted without it, at the strength with the least held-out loss; NaN for rows never held
  /// out.
  std::vector<float> held_out;
};

struct CrossValidationOptions {
  std::size_t n_folds = 5;
  std::size_t max_iterations = 100;  ///< per fold and strength
  double tolerance = 1e-3;           ///< looser than a final fit's: only the held-out loss counts
  std::size_t patience = 2;          ///< stop after so many strengths in a row that did worse
  bool predict = false;              ///< whether to fill PathResult::held_out
};

/// Fits every strength of `path` (descending) on the rows outside each fold, each from the solution
/// of the one before, and scores the rows inside. fold[i] in [0, n_folds) names row i's fold; -1 is
/// never held out; -2 - f, for a copy of a row of fold f, is left out there and not scored. Ends
/// early when the held-out loss has been rising. The folds run side by side, each on one thread;
/// the result does not depend on how many there are.
[[nodiscard]] PathResult cross_validate(const LabelledRows& data, const FeatureMoments& moments,
                                        std::span<const std::int32_t> fold,
                                        std::span<const double> path,
                                        const CrossValidationOptions& options, ThreadPool* pool,
                                        const Poll& poll);

/// Scores a row that n_classes classes need: their difference is enough for two.
[[nodiscard]] std::size_t softmax_scores(std::size_t n_classes);

/// The curvature that suits a Preconditioner for n_classes classes: half of what softmax has where
/// all classes are equally likely, since it falls as the fit improves.
[[nodiscard]] double softmax_curvature(std::size_t n_classes);

/// probabilities(i, c) = softmax(weights x_i + bias)[c], row-major n x n_classes. Same bits for any
/// number of threads.
void softmax_probabilities(const RowsView& features, std::size_t n_rows,
                           std::span<const float> weights, std::span<const double> bias,
                           std::span<float> probabilities, ThreadPool* pool, const Poll& poll);

}  // namespace eyespot
