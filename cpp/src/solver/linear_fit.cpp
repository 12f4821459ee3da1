#include <algorithm>
#include <cmath>
#include <utility>

#include "eyespot/error.hpp"
#include "eyespot/linear_objective.hpp"
#include "row_space.hpp"

namespace eyespot {

namespace {

// The part of the objective that may be left where a metric is taken again: the curvature of a
// log-loss falls about as the loss does.
constexpr double kFarBelow = 0.75;

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

bool LinearFit::take_metric(std::span<const double> x, bool is_long, const Poll& poll) {
  const MetricKind& kind = is_long ? problem_.plan.later : problem_.plan.first;
  std::shared_ptr<const Preconditioner> metric = inner().metric(x, kind, poll);
  if (!metric) return false;
  metric_ = std::move(metric);
  progress_.metric_x.assign(x.begin(), x.end());
  return true;
}

void LinearFit::start(std::vector<double> x, const Poll& poll, const LbfgsState* like,
                      double added_l2) {
  progress_ = Progress{};
  if (problem_.space && !x.empty()) x = problem_.space->to_rows(x, inner().n_scores(), pool_);
  const bool here = !x.empty() && std::isfinite(problem_.plan.every_first);
  if (!here || !take_metric(x, false, poll)) take_metric({}, false, poll);
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
  // Whether this is a long way by now follows from the evaluations alone, so that a state need not
  // tell of what kind its metric was.
  const auto spent = static_cast<double>(state.n_evaluations - progress_.metric_evaluations);
  const MetricPlan& plan = problem_.plan;
  const bool is_long = plan.is_long(state.n_evaluations);
  const bool is_new = is_long && !plan.is_long(progress_.metric_evaluations);
  if (is_new || (spent >= (is_long ? plan.every_later : plan.every_first) &&
                 state.value < kFarBelow * progress_.metric_value)) {
    if (take_metric(state.x, is_long, poll)) {
      lbfgs_forget(state);
      progress_.metric_value = state.value;
    }
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
  // What another version took here, this one may not take.
  if (!take_metric(x, problem_.plan.is_long(progress_.metric_evaluations), poll)) {
    take_metric({}, false, poll);
  }
}

}  // namespace eyespot
