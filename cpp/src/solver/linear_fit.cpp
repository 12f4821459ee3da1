#include <algorithm>
#include <cmath>
#include <utility>

#include "eyespot/error.hpp"
#include "eyespot/linear_objective.hpp"
#include "row_space.hpp"

namespace eyespot {

namespace {

// Evaluations after which a metric may be taken again, at the least, and the part of the objective
// that may be left by then: the curvature of a log-loss falls about as the loss does, and a metric
// that is off by less than a factor of two is not worth another one.
constexpr double kLeastEvaluations = 8;
constexpr double kFarBelow = 0.5;

}  // namespace

std::size_t lbfgs_memory(std::size_t n_variables) {
  return n_variables <= (std::size_t{1} << 15) ? 40 : 10;
}

LinearFit::LinearFit(Problem problem, const LbfgsOptions& options, ThreadPool* pool)
    : problem_(std::move(problem)), options_(options), pool_(pool) {
  if (options_.memory == 0) options_.memory = lbfgs_memory(size());
}

Objective LinearFit::at(const Poll& poll) const {
  return [this, &poll](std::span<const double> x, std::span<double> gradient) {
    return inner().evaluate(x, gradient, poll);
  };
}

Metric LinearFit::metric() const {
  return [this](std::span<float> direction, std::span<const float> change) {
    return metric_->apply(direction, change, inner().n_scores(), pool_);
  };
}

void LinearFit::take_metric(std::span<const double> x, const Poll& poll) {
  progress_.metric_x.assign(x.begin(), x.end());
  std::vector<float> weights;
  std::vector<double> bias;
  if (!x.empty()) {
    weights.resize(inner().n_classes() * inner().n_features());
    bias.resize(inner().n_classes());
    inner().solution(x, weights, bias);
  }
  metric_ = problem_.metric_at(weights, bias, poll);
}

void LinearFit::start(std::vector<double> x, const Poll& poll, const LbfgsState* like,
                      double added_l2) {
  progress_ = Progress{};
  if (problem_.space && !x.empty()) x = problem_.space->to_rows(x, inner().n_scores(), pool_);
  const bool here = !x.empty() && problem_.metric_cost <= kCheapMetric;
  take_metric(here ? std::span<const double>(x) : std::span<const double>(), poll);
  if (x.empty()) x = inner().start();
  LbfgsState& state = progress_.minimiser;
  if (like != nullptr) {
    state = lbfgs_start_like(*like, std::move(x), options_, at(poll));
    inner().add_penalty(state, added_l2);
  } else {
    state = lbfgs_start(std::move(x), options_, at(poll));
  }
  progress_.n_correct = inner().n_correct();
  progress_.metric_value = state.value;
  progress_.metric_evaluations = state.n_evaluations;
}

StopReason LinearFit::step(const Poll& poll) {
  LbfgsState& state = progress_.minimiser;
  if (state.x.empty()) {
    throw Error(ErrorCode::invalid_argument, "step", "called before a start");
  }
  // Once as much was spent on evaluations as a metric costs here, where only the rows that are not
  // told apart with ease count, one pays if the loss bends otherwise.
  const auto spent = static_cast<double>(state.n_evaluations - progress_.metric_evaluations);
  if (spent >= std::max(0.5 * problem_.metric_cost, kLeastEvaluations) &&
      state.value < kFarBelow * progress_.metric_value) {
    take_metric(state.x, poll);
    lbfgs_forget(state);
    progress_.metric_value = state.value;
    progress_.metric_evaluations = state.n_evaluations;
  }
  const std::uint64_t before = state.iteration;
  const StopReason reason = lbfgs_step(state, options_, at(poll), metric());
  if (state.iteration != before) progress_.n_correct = inner().n_correct();
  return reason;
}

bool LinearFit::converged() {
  return lbfgs_converged(progress_.minimiser, options_, metric());
}

void LinearFit::solution(std::span<float> weights, std::span<double> bias) const {
  const std::vector<double>& x = progress_.minimiser.x;
  if (!problem_.space) {
    objective().solution(x, weights, bias);
    return;
  }
  objective().solution(problem_.space->to_features(x, inner().n_scores(), pool_), weights, bias);
}

void LinearFit::resume(Progress progress, const Poll& poll) {
  const LbfgsState& state = progress.minimiser;
  const std::size_t n = size();
  const std::size_t pairs = options_.memory;
  const bool fits = state.x.size() == n && state.gradient.size() == n &&
                    state.steps.size() == pairs * n && state.changes.size() == pairs * n &&
                    state.curvatures.size() == pairs && state.n_pairs <= pairs &&
                    state.next_pair < pairs &&
                    (progress.metric_x.empty() || progress.metric_x.size() == n);
  if (!fits) {
    throw Error(ErrorCode::invalid_argument, "state", "of another number of variables or pairs");
  }
  const std::vector<double> x = std::move(progress.metric_x);
  progress_ = std::move(progress);
  take_metric(x, poll);
}

}  // namespace eyespot
