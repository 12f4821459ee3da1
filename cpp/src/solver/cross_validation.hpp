#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/linear_objective.hpp"
#include "eyespot/softmax_regression.hpp"

// Cross-validation of a penalty, for any linear objective.
namespace eyespot::solver {

/// One fold: its two lists of rows, and where its fit stands.
struct Fold {
  std::vector<std::uint32_t> train;
  std::vector<std::uint32_t> held_out;
  double weight = 0;  // of the rows held out
  double loss = 0;    // their weighted sum
  std::uint64_t n_evaluations = 0;
  std::vector<float> weights;
  std::vector<double> bias;
  std::vector<float> probabilities;  // of the rows held out; empty where nothing is predicted

  LbfgsState state;
  double l2 = 0;               // of the state
  std::vector<double> before;  // the solution of the strength before that
  double l2_before = 0;
};

/// What is fitted.
struct PathProblem {
  std::size_t n_rows = 0;
  std::size_t n_classes = 0;
  const float* weights = nullptr;  ///< one a row, or null
  /// The objective of some rows.
  std::function<std::unique_ptr<LinearObjective>(std::span<const std::uint32_t> rows, double l2)>
      objective;
  /// The metric for all folds at the given weights and biases; the first time these are empty.
  std::function<std::shared_ptr<const Preconditioner>(double l2, std::span<const float> weights,
                                                      std::span<const double> bias)>
      metric;
  /// Weighted sum of the losses of a fold's held-out rows by its weights and biases.
  std::function<double(Fold& fold, const Poll& poll)> loss;
};

/// Whether a metric of a Gram matrix at each strength saves more evaluations of the folds than it
/// costs.
[[nodiscard]] bool path_metric_pays(std::size_t n_rows, std::size_t n_features,
                                    std::size_t n_classes, std::size_t n_folds);

/// cross_validate for a problem.
[[nodiscard]] PathResult run_path(const PathProblem& problem, std::span<const std::int32_t> fold,
                                  std::span<const double> path,
                                  const CrossValidationOptions& options, ThreadPool* pool,
                                  const Poll& poll);

}  // namespace eyespot::solver
