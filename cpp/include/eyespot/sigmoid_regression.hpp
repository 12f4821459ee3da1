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
/// over the rows. A row is told rightly when every label of it is.
class SigmoidObjective final : public LinearObjective {
 public:
  /// Throws Error(invalid_argument) for a weight that is negative or not finite, or weights that
  /// sum to 0.
  SigmoidObjective(const MultiLabelRows& data, const FeatureMoments& moments, double l2,
                   ThreadPool* pool);

  /// The same at every point.
  [[nodiscard]] std::shared_ptr<const Preconditioner> metric(std::span<const double> x,
                                                             const MetricKind& kind,
                                                             const Poll& poll) override;
  [[nodiscard]] std::vector<double> start() const override;

 private:
  RowLosses residuals(PanelMatrix& scores, std::size_t first, std::size_t count,
                      float* column) const override;

  MultiLabelRows data_;
  std::vector<float> weights_;   // empty, or scaled to a mean of 1
  std::vector<float> positive_;  // per padded class
  std::vector<float> negative_;
};

/// The fit of a SigmoidObjective.
[[nodiscard]] LinearFit sigmoid_fit(const MultiLabelRows& data, double l2,
                                    const LbfgsOptions& options, ThreadPool* pool,
                                    const Poll& poll);

/// The curvature that suits a Preconditioner for these rows: half of what the log-loss has at the
/// start, averaged over the classes.
[[nodiscard]] double sigmoid_curvature(const MultiLabelRows& data);

/// As cross_validate for LabelledRows; the held-out loss is the objective's without the penalty,
/// and nothing is predicted.
[[nodiscard]] PathResult cross_validate(const MultiLabelRows& data, const FeatureMoments& moments,
                                        std::span<const std::int32_t> fold,
                                        std::span<const double> path,
                                        const CrossValidationOptions& options, ThreadPool* pool,
                                        const Poll& poll);

}  // namespace eyespot
