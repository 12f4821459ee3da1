#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/lbfgs.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"

namespace eyespot {

/// Training rows of which each bears any number of labels, not owned.
struct MultiLabelRows {
  RowsView features;  ///< n x d; with a row list, labels and weights are looked up through it too
  std::size_t n_rows = 0;
  std::size_t n_classes = 0;
  const std::uint8_t* labels = nullptr;  ///< row-major, n x n_classes; 0 is no, all else is yes
  const float* weights = nullptr;        ///< one a row, or null
  const float* positive = nullptr;       ///< one a class: weight of the rows that bear it, or null
  const float* negative = nullptr;       ///< one a class: weight of the rows that do not, or null
};

/// One-vs-rest logistic regression: for every class the weighted mean over the rows of its
/// log-loss, summed over the classes, plus l2 / 2 * |W|^2; biases are free of penalty: F(W, b) =
/// sum_c [ sum_i u_i s_ic log(1 + exp(-y_ic (w_c x_i + b_c))) / sum_i u_i
///           + l2 / 2 * |w_c|^2 ],
/// y_ic = 1 or -1, s_ic = positive[c] or negative[c]. The classes do not share a variable, so each
/// solution is the one that the class would have alone, with the same l2; they share the passes
/// over the rows. Blocks and order of sums follow from the shape, never from the number of threads.
/// An object serves one thread at a time; the data and the preconditioner may be shared.
class SigmoidObjective {
 public:
  /// The gradient norm is SoftmaxObjective's. Throws Error(invalid_argument) for a weight that is
  /// negative or not finite, or weights that sum to 0.
  SigmoidObjective(const MultiLabelRows& data, const FeatureMoments& moments,
                   std::shared_ptr<const Preconditioner> preconditioner, double l2,
                   ThreadPool* pool);
  ~SigmoidObjective();
  SigmoidObjective(const SigmoidObjective&) = delete;
  SigmoidObjective& operator=(const SigmoidObjective&) = delete;

  /// Number of variables: n_classes * (n_features + 1).
  [[nodiscard]] std::size_t size() const noexcept;
  /// Value, and the gradient with respect to the preconditioned variables. Throws Error(cancelled)
  /// or what `poll` throws, at most 50 ms after the request.
  Evaluation evaluate(std::span<const double> v, std::span<double> gradient, const Poll& poll);
  /// Rows of which every label was told rightly at the point of the last evaluation.
  [[nodiscard]] std::size_t n_correct() const noexcept;
  /// Gradient of the last evaluation in the original units: n_classes x n_features, then biases.
  [[nodiscard]] std::span<const double> raw_gradient() const noexcept;

  /// Variables of weights 0 and of biases that give the (smoothed) frequencies of the labels.
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

/// The curvature that suits a Preconditioner for these rows: half of what the log-loss has at the
/// start, averaged over the classes.
[[nodiscard]] double sigmoid_curvature(const MultiLabelRows& data);

/// As cross_validate for LabelledRows; the held-out loss is the objective's without the penalty.
[[nodiscard]] std::vector<PathPoint> cross_validate(const MultiLabelRows& data,
                                                    const FeatureMoments& moments,
                                                    std::span<const std::int32_t> fold,
                                                    std::span<const double> path,
                                                    const CrossValidationOptions& options,
                                                    ThreadPool* pool, const Poll& poll);

}  // namespace eyespot
