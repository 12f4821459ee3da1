#include "cross_validation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "eyespot/types.hpp"
#include "row_space.hpp"

namespace eyespot {

namespace solver {

namespace {

std::vector<Fold> split(const PathProblem& problem, std::span<const std::int32_t> fold,
                        std::size_t n_folds) {
  std::vector<Fold> folds(n_folds);
  for (std::size_t i = 0; i < problem.n_rows; ++i) {
    // Of a copy, the fold of its original: neither fitted nor scored there.
    const std::int64_t left_out = -2 - std::int64_t{fold[i]};
    if (std::cmp_greater_equal(left_out, n_folds) || std::cmp_greater_equal(fold[i], n_folds)) {
      throw Error(ErrorCode::invalid_argument, "fold[" + std::to_string(i) + "]",
                  std::to_string(fold[i]) + " given; allowed are " +
                      std::to_string(-1 - static_cast<std::int64_t>(n_folds)) + " to " +
                      std::to_string(static_cast<std::int64_t>(n_folds) - 1));
    }
    for (std::size_t f = 0; f < n_folds; ++f) {
      if (std::cmp_equal(f, left_out)) continue;
      auto& rows = std::cmp_equal(f, fold[i]) ? folds[f].held_out : folds[f].train;
      rows.push_back(static_cast<std::uint32_t>(i));
    }
  }
  for (Fold& one : folds) {
    if (one.train.empty() || one.held_out.empty()) {
      throw Error(ErrorCode::invalid_argument, "fold",
                  "a fold without rows, or with all of them; every fold needs some of both");
    }
    for (const std::uint32_t row : one.held_out) {
      one.weight += problem.weights != nullptr ? static_cast<double>(problem.weights[row]) : 1.0;
    }
  }
  return folds;
}

// Where the solution of the next strength should be: on the line, in log(l2), through the last two.
std::vector<double> ahead(const Fold& fold, double l2) {
  std::vector<double> x = fold.state.x;
  if (fold.before.empty()) return x;
  const double stretch = std::log(l2 / fold.l2) / std::log(fold.l2 / fold.l2_before);
  if (!std::isfinite(stretch)) return x;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += stretch * (fold.state.x[i] - fold.before[i]);
  return x;
}

void fit(const PathProblem& problem, const Preconditioner& preconditioner, double l2,
         const CrossValidationOptions& options, Fold& fold, const Poll& poll) {
  const std::unique_ptr<LinearObjective> objective = problem.objective(fold.train, l2);
  const Objective evaluate = [&](std::span<const double> x, std::span<double> gradient) {
    return objective->evaluate(x, gradient, poll);
  };
  const Metric metric = [&](std::span<float> direction, std::span<const float> change) {
    return preconditioner.apply(direction, change, objective->n_scores(), nullptr);
  };
  LbfgsOptions minimiser;
  minimiser.memory = lbfgs_memory(objective->size());
  minimiser.gradient_tolerance = options.tolerance;
  minimiser.decrease_tolerance = 0.1 * options.tolerance;
  minimiser.window = 0;  // the start is near, and only the held-out loss counts
  LbfgsState& state = fold.state;
  const std::uint64_t evaluations = state.n_evaluations;
  if (state.x.empty()) {
    state = lbfgs_start(objective->start(), minimiser, evaluate);
  } else {
    // The penalty's part of the curvature is known, so what the pairs say of the rest stays true.
    objective->add_penalty(state, l2 - fold.l2);
    std::vector<double> x = ahead(fold, l2);
    fold.before = state.x;
    fold.l2_before = fold.l2;
    lbfgs_move(state, std::move(x), evaluate);
  }
  fold.l2 = l2;
  const std::uint64_t last = state.iteration + options.max_iterations;
  while (state.iteration < last &&
         lbfgs_step(state, minimiser, evaluate, metric) == StopReason::running) {
  }
  fold.weights.resize(objective->n_classes() * objective->n_features());
  fold.bias.resize(objective->n_classes());
  objective->solution(state.x, fold.weights, fold.bias);
  fold.n_evaluations = state.n_evaluations - evaluations;
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

bool path_metric_pays(std::size_t n_rows, std::size_t n_features, std::size_t n_classes,
                      std::size_t n_folds) {
  // Two evaluations of every fold at a strength.
  return gram_cost(n_rows, n_features, n_classes) <= 2.0 * static_cast<double>(n_folds - 1);
}

PathResult run_path(const PathProblem& problem, std::span<const std::int32_t> fold,
                    std::span<const double> path, const CrossValidationOptions& options,
                    ThreadPool* pool, const Poll& poll) {
  std::vector<Fold> folds = split(problem, fold, options.n_folds);
  PathResult result;
  if (options.predict) {
    result.held_out.assign(checked_mul(problem.n_rows, problem.n_classes, "held_out"),
                           std::numeric_limits<float>::quiet_NaN());
  }
  double best = std::numeric_limits<double>::infinity();
  std::size_t worse = 0;
  for (const double l2 : path) {
    // One metric for all folds: it shapes the way to a solution, not the solution.
    const PathResult before = result.points.empty() ? PathResult{} : mean_of(folds);
    const std::shared_ptr<const Preconditioner> metric =
        problem.metric(l2, before.weights, before.bias);
    run_blocks(pool, folds.size(), poll, [&](std::size_t f, std::size_t, const auto& go) {
      const Poll inner = [&go] {
        if (!go()) throw Error(ErrorCode::cancelled, "", "stopped");
      };
      fit(problem, *metric, l2, options, folds[f], inner);
      folds[f].loss = problem.loss(folds[f], inner);
    });
    result.points.push_back(summarise(folds, l2));
    const double loss = result.points.back().log_loss;
    worse = loss > best ? worse + 1 : 0;
    if (loss < best) {
      if (options.predict) gather(folds, problem.n_classes, result.held_out);
      PathResult now = mean_of(folds);
      result.weights = std::move(now.weights);
      result.bias = std::move(now.bias);
      const LbfgsState& state = folds.front().state;
      result.pairs.steps = state.steps;
      result.pairs.changes = state.changes;
      result.pairs.curvatures = state.curvatures;
      result.pairs.n_pairs = state.n_pairs;
      result.pairs.next_pair = state.next_pair;
      result.pairs_l2 = l2;
    }
    best = std::min(best, loss);
    if (worse >= options.patience) break;
  }
  return result;
}

}  // namespace solver

namespace {

double held_out_loss(const LabelledRows& data, solver::Fold& fold, const Poll& poll) {
  RowsView view = data.features;
  view.rows = fold.held_out.data();
  fold.probabilities.resize(fold.held_out.size() * data.n_classes);
  softmax_probabilities(view, fold.held_out.size(), fold.weights, fold.bias, fold.probabilities,
                        nullptr, poll);
  double loss = 0;
  for (std::size_t i = 0; i < fold.held_out.size(); ++i) {
    const std::size_t row = fold.held_out[i];
    const double w = data.weights != nullptr ? static_cast<double>(data.weights[row]) : 1.0;
    const auto target = static_cast<std::size_t>(data.targets[row]);
    const float p = std::max(fold.probabilities[i * data.n_classes + target],
                             std::numeric_limits<float>::min());
    loss -= w * std::log(static_cast<double>(p));
  }
  return loss;
}

}  // namespace

PathResult cross_validate(const LabelledRows& given, const FeatureMoments& given_moments,
                          std::span<const std::int32_t> fold, std::span<const double> path,
                          const CrossValidationOptions& options, ThreadPool* pool,
                          const Poll& poll) {
  // One space for all folds, and for the fit to all rows that takes on their pairs: a fold's
  // solution stays in the part of it that the fold's own rows span.
  const solver::SeenFeatures seen(given.features, given.n_rows, given.weights, given_moments, pool,
                                  poll);
  LabelledRows data = given;
  data.features = seen.features;
  const FeatureMoments& moments = seen.moments;
  // Without active rows, which cost more than they save on the short way from strength to strength.
  const MetricKind kind{.with_gram = solver::path_metric_pays(data.n_rows, data.features.cols,
                                                              softmax_scores(data.n_classes),
                                                              options.n_folds)};
  const solver::PathProblem problem{
      .n_rows = data.n_rows,
      .n_classes = data.n_classes,
      .weights = data.weights,
      .objective =
          [&](std::span<const std::uint32_t> rows, double l2) {
            LabelledRows part = data;
            part.features.rows = rows.data();
            part.n_rows = rows.size();
            return std::make_unique<SoftmaxObjective>(part, moments, l2, nullptr);
          },
      .metric =
          [&](double l2, std::span<const float> weights, std::span<const double> bias) {
            SoftmaxObjective all(data, moments, l2, pool);
            std::vector<double> x;
            if (kind.with_gram && !weights.empty()) x = all.variables(weights, bias);
            return all.metric(x, kind, poll);
          },
      .loss = [&](solver::Fold& one, const Poll& go) { return held_out_loss(data, one, go); }};
  PathResult result = solver::run_path(problem, fold, path, options, pool, poll);
  if (seen.space) seen.space->to_features(result, pool);
  return result;
}

}  // namespace eyespot
