#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/lbfgs.hpp"
#include "eyespot/linalg.hpp"
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

/// Index of the first row with a NaN or an infinity, or n_rows when there is none.
[[nodiscard]] std::size_t first_non_finite_row(const RowsView& features, std::size_t n_rows,
                                               ThreadPool* pool, const Poll& poll);

/// Weighted mean of the rows, and the mean of the outer products of the centred rows: exact up to
/// 16 * d rows, from evenly spaced rows beyond that, which is all that a preconditioner needs.
struct FeatureMoments {
  std::vector<float> mean;   ///< d
  std::vector<double> gram;  ///< d x d, lower triangle valid
  double variance = 0;       ///< mean over the features of their variance
};
/// Without a Gram matrix, for a Preconditioner of one scale, `gram` stays empty.
[[nodiscard]] FeatureMoments feature_moments(const LabelledRows& data, ThreadPool* pool,
                                             const Poll& poll, bool with_gram = true);

/// Moments in which a row counts by the curvature that its loss has at one point.
struct CurvedMoments {
  FeatureMoments moments;
  double curvature = 0;  ///< weighted mean over rows and classes of p * (1 - p)
};

/// The moments that suit the way on from the given weights (n_classes x n_features) and biases:
/// where the classes are told apart with ease, the loss is flat. `plain` are those of the same
/// data.
[[nodiscard]] CurvedMoments curved_moments(const LabelledRows& data, const FeatureMoments& plain,
                                           std::span<const float> weights,
                                           std::span<const double> bias, ThreadPool* pool,
                                           const Poll& poll);

/// Whether the evaluations that a Preconditioner of a Gram matrix saves are worth its making, for
/// n_rows rows an evaluation, of which moments are taken from n_gram_rows. A matter of the shape
/// only: few rows or classes beside many features say no.
[[nodiscard]] bool gram_pays(std::size_t n_rows, std::size_t n_gram_rows, std::size_t n_features,
                             std::size_t n_classes);

/// The change of variables that makes the objective nearly round: with
/// A = curvature * gram + l2 * I = L * transpose(L), a row w of the weights becomes v = w * L. In v
/// the Hessian is close to the identity whatever the scales and correlations of the features.
class Preconditioner {
 public:
  /// Same bits for any number of threads. Factors in float32, since only the way to a solution
  /// depends on it; takes a larger l2 where that one would be lost in the rounding.
  Preconditioner(const FeatureMoments& moments, double curvature, double l2, ThreadPool* pool,
                 const Poll& poll);
  /// One scale for all features, for problems too small to be worth more: A = (curvature * variance
  /// + l2) * I.
  Preconditioner(std::size_t n_features, double variance, double curvature, double l2);

  [[nodiscard]] std::size_t n_features() const noexcept { return n_features_; }
  [[nodiscard]] double curvature() const noexcept { return curvature_; }
  /// rows := rows * L^-1 (v to w).
  void to_weights(PanelMatrix& rows, ThreadPool* pool) const;
  /// rows := rows * transpose(L)^-1 (gradient in w to gradient in v).
  void to_gradient(PanelMatrix& rows, ThreadPool* pool) const;
  /// One row of weights to v.
  void from_weights(std::span<const float> weights, std::span<double> v) const;

 private:
  bool factorise(std::span<const double> gram, double shift, ThreadPool* pool, const Poll& poll);
  bool factorise_diagonal(std::span<const double> gram, double shift, std::size_t q);

  std::size_t n_features_ = 0;
  double curvature_ = 1;
  double scale_ = 0;              // L is this times I, unless it is 0
  PanelMatrix lower_;             // -L below the blocks on the diagonal, and those blocks' inverses
  PanelMatrix upper_;             // the transpose of lower_
  std::vector<double> diagonal_;  // the blocks of L on the diagonal
};

/// Weighted mean log-loss plus l2 / 2 * |W|^2, W in the units of the features, bias free of
/// penalty: F(W, b) = sum_i u_i * -log softmax(W x_i + b)[y_i] / sum_i u_i + l2 / 2 * sum W^2. One
/// pass over the rows an evaluation, in blocks that stay in cache; float32 products, float64 sums;
/// blocks and order of sums follow from the shape, never from the number of threads. An object
/// serves one thread at a time; the data and the preconditioner may be shared.
class SoftmaxObjective {
 public:
  /// The gradient norm is the max-norm over weights (per root-mean-square standard deviation of the
  /// features, so that it does not change when all features are scaled) and biases.
  /// Throws Error(invalid_argument) for a target outside [0, n_classes), a negative weight, or
  /// weights that sum to 0.
  SoftmaxObjective(const LabelledRows& data, const FeatureMoments& moments,
                   std::shared_ptr<const Preconditioner> preconditioner, double l2,
                   ThreadPool* pool);
  ~SoftmaxObjective();
  SoftmaxObjective(const SoftmaxObjective&) = delete;
  SoftmaxObjective& operator=(const SoftmaxObjective&) = delete;

  /// Takes other variables for the same objective; points and gradients of before mean nothing in
  /// them.
  void set_preconditioner(std::shared_ptr<const Preconditioner> preconditioner);
  /// Number of variables: n_classes * (n_features + 1).
  [[nodiscard]] std::size_t size() const noexcept;
  /// Value, and the gradient with respect to the preconditioned variables. Throws Error(cancelled)
  /// or what `poll` throws, at most 50 ms after the request.
  Evaluation evaluate(std::span<const double> v, std::span<double> gradient, const Poll& poll);
  /// Rows classified rightly at the point of the last evaluation.
  [[nodiscard]] std::size_t n_correct() const noexcept;
  /// Gradient of the last evaluation in the original units: n_classes x n_features, then biases.
  [[nodiscard]] std::span<const double> raw_gradient() const noexcept;

  /// Variables of weights 0 and of biases that give the (smoothed) class frequencies.
  [[nodiscard]] std::vector<double> start() const;
  /// Variables of given weights (n_classes x n_features) and biases.
  [[nodiscard]] std::vector<double> variables(std::span<const float> weights,
                                              std::span<const double> bias) const;
  /// Weights and biases of given variables.
  void solution(std::span<const double> v, std::span<float> weights, std::span<double> bias) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

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

/// The curvature that suits a Preconditioner for n_classes classes: half of what softmax has where
/// all classes are equally likely, since it falls as the fit improves.
[[nodiscard]] double softmax_curvature(std::size_t n_classes);

/// probabilities(i, c) = softmax(weights x_i + bias)[c], row-major n x n_classes. Same bits for any
/// number of threads.
void softmax_probabilities(const RowsView& features, std::size_t n_rows,
                           std::span<const float> weights, std::span<const double> bias,
                           std::span<float> probabilities, ThreadPool* pool, const Poll& poll);

}  // namespace eyespot
