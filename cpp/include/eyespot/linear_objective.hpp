#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/lbfgs.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/preconditioner.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {

/// What one block of rows contributes besides its gradient.
struct RowLosses {
  double loss = 0;            ///< sum of weight * loss
  std::size_t n_correct = 0;  ///< rows that are told rightly
};

/// The scores of a row.
struct ScoreForm {
  std::size_t n_classes = 0;
  /// Two classes of which only the difference of their scores matters: it is the one score there
  /// is, and the weights and biases of the classes are opposite halves of its own.
  bool opposite = false;
  float padding = 0;  ///< scores of padding columns
};

/// The mean loss of linear scores W x_i + b plus l2 / 2 * |W|^2. The variables are the weights,
/// n_scores x n_features in the units of the features, then the biases for centred features. One
/// pass over the rows an evaluation, in blocks that stay in cache; float32 products, float64 sums;
/// blocks and order of sums follow from the shape, never from the number of threads. An object
/// serves one thread at a time; the data may be shared.
class LinearObjective {
 public:
  virtual ~LinearObjective();
  LinearObjective(const LinearObjective&) = delete;
  LinearObjective& operator=(const LinearObjective&) = delete;

  [[nodiscard]] std::size_t n_features() const noexcept;
  [[nodiscard]] std::size_t n_classes() const noexcept;
  /// Scores a row: one a class, or one for two classes of opposite weights.
  [[nodiscard]] std::size_t n_scores() const noexcept;
  /// Number of variables: n_scores * (n_features + 1).
  [[nodiscard]] std::size_t size() const noexcept;
  /// Value and gradient. The gradient norm is the max-norm over weights (per root-mean-square
  /// standard deviation of the features, so that it does not change when all features are scaled)
  /// and biases. Throws Error(cancelled) or what `poll` throws, at most 50 ms after the request.
  Evaluation evaluate(std::span<const double> x, std::span<double> gradient, const Poll& poll);
  /// Rows told rightly at the point of the last evaluation.
  [[nodiscard]] std::size_t n_correct() const noexcept;
  /// The metric that suits the way on from x, or null where it is not known to be better than the
  /// one that suits any way: that of an empty x.
  [[nodiscard]] virtual std::shared_ptr<const Preconditioner> metric(std::span<const double> x,
                                                                     const MetricKind& kind,
                                                                     const Poll& poll) = 0;

  /// Variables of weights 0 and of biases that give the (smoothed) frequencies of the classes.
  [[nodiscard]] virtual std::vector<double> start() const = 0;
  /// Variables of given weights and biases; of opposite classes only the difference counts.
  [[nodiscard]] std::vector<double> variables(std::span<const float> weights,
                                              std::span<const double> bias) const;
  /// Weights and biases, for features as given, of given variables.
  virtual void solution(std::span<const double> x, std::span<float> weights,
                        std::span<double> bias) const;
  /// What the penalty adds to the second derivative of a variable that is a weight, over l2:
  /// opposite halves have half the square of the whole.
  [[nodiscard]] double penalty_share() const noexcept;
  /// lbfgs_add_penalty for an l2 that grows by `added_l2`.
  void add_penalty(LbfgsState& state, double added_l2) const;

 protected:
  LinearObjective(const RowsView& features, std::size_t n_rows, const ScoreForm& form,
                  const FeatureMoments& moments, double l2, ThreadPool* pool);
  /// `totals`, one a score, is taken off the sums that residuals() adds to `column`.
  void set_totals(std::vector<double> totals);
  /// Where there is one score: what residuals() and the products before and after it do to rows
  /// [first, first + count), which are the first `count` of `rows`, centred. Scores them by
  /// `weights`, 1 x n_features, and `bias`, adds the rows times their residuals to `sums`, in the
  /// layout of panel_sums(1, rows), and the residuals to `column`, as residuals() does. `part`, 1 x
  /// n_features, is scratch. Called from several threads.
  using ResidualSums = std::function<RowLosses(
      const PanelMatrix& rows, std::size_t first, std::size_t count, const PanelMatrix& weights,
      float bias, float* column, PanelMatrix& part, std::span<double> sums)>;
  /// Has evaluations call this in place of residuals().
  void set_residual_sums(ResidualSums residual_sums);

  /// Turns the scores of rows [first, first + count) into weight * curvature of the loss in each,
  /// in place, adds the sum of these over the rows to `column`, one float a padded score, and
  /// writes their mean over the scores to `means`, one a row. Called from several threads.
  using Curvatures = std::function<void(PanelMatrix& scores, std::size_t first, std::size_t count,
                                        float* column, float* means)>;
  /// How the losses bend at x, in a pass like an evaluation, or half of one without the centres.
  [[nodiscard]] LossCurvature loss_curvature(std::span<const double> x, const Curvatures& of,
                                             bool with_centres, const Poll& poll);
  /// What the constructor was given; the moments without their Gram matrix.
  [[nodiscard]] const RowsView& features() const noexcept;
  [[nodiscard]] std::size_t n_rows() const noexcept;
  [[nodiscard]] const FeatureMoments& moments() const noexcept;
  [[nodiscard]] ThreadPool* pool() const noexcept;
  /// The penalty in the variables: l2 * penalty_share().
  [[nodiscard]] double penalty() const noexcept;

 private:
  /// Turns the scores of rows [first, first + count) into derivatives of their losses, in place,
  /// and adds the sum of these over the rows to `column`, one float a padded score. Called from
  /// several threads.
  virtual RowLosses residuals(PanelMatrix& scores, std::size_t first, std::size_t count,
                              float* column) const = 0;

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

namespace solver {
class RowSpace;
}

/// A minimisation of a linear objective, one iteration at a time, in metrics of a plan. The same
/// steps, bit for bit, with or without a pause. Where there are far fewer rows than features, the
/// steps are taken in the space that the rows span, whose coordinates are the variables of the
/// minimiser then: with orthonormal axes, so that the objective, its decrease and the length of its
/// gradient are those for the features. The gradient's norm is the largest component along these
/// axes, per root-mean-square standard deviation along one.
class LinearFit {
 public:
  /// What is fitted, and where the steps are taken.
  struct Problem {
    std::unique_ptr<LinearObjective> objective;     ///< of the features as given
    std::shared_ptr<const solver::RowSpace> space;  ///< of the rows, or null, and then
    std::unique_ptr<LinearObjective> in_space;      ///< the objective of the coordinates in it
    MetricPlan plan;
  };

  /// All that two pauses may differ in.
  struct Progress {
    LbfgsState minimiser;
    std::vector<double> metric_x;  ///< where the metric was taken; empty for the first one
    double metric_value = 0;       ///< the objective when it was
    std::uint64_t metric_evaluations = 0;
    std::size_t n_correct = 0;  ///< rows told rightly at the minimiser's point
  };

  /// options.memory 0 takes what suits the number of variables.
  LinearFit(Problem problem, const LbfgsOptions& options, ThreadPool* pool);

  /// Begins at the objective's own start, or at x: a solution for similar data, in the objective's
  /// variables, with, when known, the pairs of a minimiser for the same rows, of an objective whose
  /// l2 was smaller by `added_l2`.
  void start(std::vector<double> x, const Poll& poll, const LbfgsState* like = nullptr,
             double added_l2 = 0);
  StopReason step(const Poll& poll);
  /// Whether the point meets both tolerances; sets the minimiser's excess.
  bool converged();
  [[nodiscard]] const Progress& progress() const noexcept { return progress_; }
  /// Goes on from there. Throws Error(invalid_argument) where its sizes are not this fit's.
  void resume(Progress progress, const Poll& poll);

  /// Weights, n_classes x n_features, and biases at the minimiser's point.
  void solution(std::span<float> weights, std::span<double> bias) const;
  /// Number of variables of the minimiser.
  [[nodiscard]] std::size_t size() const noexcept { return inner().size(); }

  /// The objective of the features as given.
  [[nodiscard]] LinearObjective& objective() const noexcept { return *problem_.objective; }
  [[nodiscard]] const LbfgsOptions& options() const noexcept { return options_; }

 private:
  // False where there is none for this point: the one before stays.
  bool take_metric(std::span<const double> x, bool is_long, const Poll& poll);
  [[nodiscard]] Objective at(const Poll& poll) const;
  [[nodiscard]] Metric metric() const;
  // The objective that the minimiser sees.
  [[nodiscard]] LinearObjective& inner() const noexcept {
    return problem_.in_space ? *problem_.in_space : *problem_.objective;
  }

  Problem problem_;
  LbfgsOptions options_;
  ThreadPool* pool_ = nullptr;
  std::shared_ptr<const Preconditioner> metric_;
  Progress progress_;
};

/// Pairs of steps to keep for so many variables: more where they still fit in the caches.
[[nodiscard]] std::size_t lbfgs_memory(std::size_t n_variables);

}  // namespace eyespot
