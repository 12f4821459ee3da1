#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "eyespot/softmax_regression.hpp"
#include "eyespot/types.hpp"

namespace eyespot {

namespace {

// One fold: its two lists of rows, and the solution of the strength before.
struct Fold {
  std::vector<std::uint32_t> train;
  std::vector<std::uint32_t> held_out;
  std::vector<float> probabilities;  // of the rows held out
  std::vector<float> weights;
  std::vector<double> bias;
  double loss = 0;
  double weight = 0;
  std::uint64_t n_evaluations = 0;
};

void score(const LabelledRows& data, Fold& fold, const Poll& poll) {
  RowsView view = data.features;
  view.rows = fold.held_out.data();
  fold.probabilities.resize(fold.held_out.size() * data.n_classes);
  softmax_probabilities(view, fold.held_out.size(), fold.weights, fold.bias, fold.probabilities,
                        nullptr, poll);
  fold.loss = 0;
  fold.weight = 0;
  for (std::size_t i = 0; i < fold.held_out.size(); ++i) {
    const std::size_t row = fold.held_out[i];
    const double w = data.weights != nullptr ? static_cast<double>(data.weights[row]) : 1.0;
    const auto target = static_cast<std::size_t>(data.targets[row]);
    const float p = std::max(fold.probabilities[i * data.n_classes + target],
                             std::numeric_limits<float>::min());
    fold.loss -= w * std::log(static_cast<double>(p));
    fold.weight += w;
  }
}

void fit(const LabelledRows& data, const FeatureMoments& moments,
         const std::shared_ptr<const Preconditioner>& preconditioner, double l2,
         const CrossValidationOptions& options, Fold& fold, const Poll& poll) {
  LabelledRows rows = data;
  rows.features.rows = fold.train.data();
  rows.n_rows = fold.train.size();
  SoftmaxObjective objective(rows, moments, preconditioner, l2, nullptr);
  const Objective evaluate = [&](std::span<const double> x, std::span<double> gradient) {
    return objective.evaluate(x, gradient, poll);
  };
  LbfgsOptions minimiser;
  minimiser.gradient_tolerance = options.tolerance;
  minimiser.decrease_tolerance = 0.1 * options.tolerance;
  const bool warm = !fold.weights.empty();
  LbfgsState state = lbfgs_start(
      warm ? objective.variables(fold.weights, fold.bias) : objective.start(), minimiser, evaluate);
  while (state.iteration < options.max_iterations &&
         lbfgs_step(state, minimiser, evaluate) == StopReason::running) {
  }
  fold.weights.resize(data.n_classes * data.features.cols);
  fold.bias.resize(data.n_classes);
  objective.solution(state.x, fold.weights, fold.bias);
  fold.n_evaluations = state.n_evaluations;
}

void gather(const std::vector<Fold>& folds, std::size_t n_classes, std::span<float> held_out) {
  for (const Fold& fold : folds) {
    const float* from = fold.probabilities.data();
    for (const std::uint32_t row : fold.held_out) {
      std::copy_n(from, n_classes, held_out.data() + row * n_classes);
      from += n_classes;
    }
  }
}

PathPoint summarise(const std::vector<Fold>& folds, double l2) {
  PathPoint point{.l2 = l2};
  double weight = 0;
  for (const Fold& fold : folds) {
    point.log_loss += fold.loss;
    point.n_evaluations += fold.n_evaluations;
    weight += fold.weight;
  }
  point.log_loss /= weight;
  double square = 0;
  double n = 0;
  for (const Fold& fold : folds) {
    if (!(fold.weight > 0)) continue;
    const double difference = fold.loss / fold.weight - point.log_loss;
    square += difference * difference;
    ++n;
  }
  if (n > 1) point.standard_error = std::sqrt(square / (n * (n - 1)));
  return point;
}

// A result with the mean of the folds' solutions and no points.
PathResult mean_of(const std::vector<Fold>& folds) {
  PathResult result;
  std::vector<double> sum(folds.front().weights.size(), 0.0);
  result.weights.resize(sum.size());
  result.bias.assign(folds.front().bias.size(), 0.0);
  const double share = 1.0 / static_cast<double>(folds.size());
  for (const Fold& fold : folds) {
    add_scaled(share, std::span<const float>(fold.weights), sum);
    add_scaled(share, std::span<const double>(fold.bias), result.bias);
  }
  std::ranges::transform(sum, result.weights.begin(),
                         [](double w) { return static_cast<float>(w); });
  return result;
}

}  // namespace

PathResult cross_validate(const LabelledRows& data, const FeatureMoments& moments,
                          std::span<const std::int32_t> fold, std::span<const double> path,
                          const CrossValidationOptions& options, ThreadPool* pool,
                          const Poll& poll) {
  std::vector<Fold> folds(options.n_folds);
  for (std::size_t i = 0; i < data.n_rows; ++i) {
    // Of a copy, the fold of its original: neither fitted nor scored there.
    const std::int64_t left_out = -2 - std::int64_t{fold[i]};
    if (std::cmp_greater_equal(left_out, options.n_folds) ||
        std::cmp_greater_equal(fold[i], options.n_folds)) {
      throw Error(ErrorCode::invalid_argument, "fold[" + std::to_string(i) + "]",
                  std::to_string(fold[i]) + " given; allowed are " +
                      std::to_string(-1 - static_cast<std::int64_t>(options.n_folds)) + " to " +
                      std::to_string(static_cast<std::int64_t>(options.n_folds) - 1));
    }
    for (std::size_t f = 0; f < options.n_folds; ++f) {
      if (std::cmp_equal(f, left_out)) continue;
      auto& rows = std::cmp_equal(f, fold[i]) ? folds[f].held_out : folds[f].train;
      rows.push_back(static_cast<std::uint32_t>(i));
    }
  }
  for (const Fold& one : folds) {
    if (one.train.empty() || one.held_out.empty()) {
      throw Error(ErrorCode::invalid_argument, "fold",
                  "a fold without rows, or with all of them; every fold needs some of both");
    }
  }
  PathResult result;
  if (options.predict) {
    result.held_out.assign(checked_mul(data.n_rows, data.n_classes, "held_out"),
                           std::numeric_limits<float>::quiet_NaN());
  }
  double best = std::numeric_limits<double>::infinity();
  std::size_t worse = 0;
  const std::size_t rows_per_evaluation = data.n_rows * (options.n_folds - 1);
  const bool with_gram =
      gram_pays(rows_per_evaluation, data.n_rows, data.features.cols, data.n_classes);
  for (const double l2 : path) {
    // One metric for all folds: it shapes the way to a solution, not the solution.
    std::shared_ptr<const Preconditioner> preconditioner;
    if (!with_gram) {
      preconditioner = std::make_shared<const Preconditioner>(
          data.features.cols, moments.variance, softmax_curvature(data.n_classes), l2);
    } else if (result.points.empty()) {
      preconditioner = std::make_shared<const Preconditioner>(
          moments, softmax_curvature(data.n_classes), l2, pool, poll);
    } else {
      const PathResult now = mean_of(folds);
      const CurvedMoments curved = curved_moments(data, moments, now.weights, now.bias, pool, poll);
      preconditioner =
          std::make_shared<const Preconditioner>(curved.moments, curved.curvature, l2, pool, poll);
    }
    solver::run_blocks(pool, folds.size(), poll, [&](std::size_t f, std::size_t, const auto& go) {
      const Poll inner = [&go] {
        if (!go()) throw Error(ErrorCode::cancelled, "", "stopped");
      };
      fit(data, moments, preconditioner, l2, options, folds[f], inner);
      score(data, folds[f], inner);
    });
    result.points.push_back(summarise(folds, l2));
    const double loss = result.points.back().log_loss;
    if (loss < best && options.predict) gather(folds, data.n_classes, result.held_out);
    worse = loss > best ? worse + 1 : 0;
    if (loss < best) {
      PathResult now = mean_of(folds);
      result.weights = std::move(now.weights);
      result.bias = std::move(now.bias);
    }
    best = std::min(best, loss);
    if (worse >= options.patience) break;
  }
  return result;
}

}  // namespace eyespot
