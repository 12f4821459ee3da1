#include "eyespot/lbfgs.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "eyespot/error.hpp"
#include "eyespot/linalg.hpp"

namespace eyespot {

namespace {

constexpr double kSufficientDecrease = 1e-4;
constexpr double kCurvature = 0.9;
// Relative growth of the value that is none: epsilon of CG_DESCENT (Hager and Zhang, 2005). Float32
// scores of a few hundred rows scatter by as much.
constexpr double kLevel = 1e-6;

// One point of the line search: x + step * direction.
struct Trial {
  double step = 0;
  double value = 0;
  double slope = 0;
  double gradient_norm = 0;
};

// Minimiser of the cubic through the values and slopes at a and b, kept inside the middle 80 % of
// the interval; its centre where the cubic has none. Nocedal and Wright, equation 3.59.
double cubic_minimiser(const Trial& a, const Trial& b) {
  const double low = std::min(a.step, b.step);
  const double high = std::max(a.step, b.step);
  const double margin = 0.1 * (high - low);
  double step = 0.5 * (low + high);
  if (std::isfinite(a.value) && std::isfinite(b.value)) {
    const double d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step);
    const double discriminant = d1 * d1 - a.slope * b.slope;
    if (discriminant >= 0) {
      const double d2 = std::copysign(std::sqrt(discriminant), b.step - a.step);
      const double candidate =
          b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2);
      if (std::isfinite(candidate)) step = candidate;
    }
  } else {
    step = std::isfinite(a.value) ? a.step + 0.1 * (b.step - a.step) : step;
    return step;
  }
  return std::clamp(step, low + margin, high - margin);
}

std::span<const float> row(const std::vector<float>& ring, std::size_t index, std::size_t n) {
  return std::span<const float>(ring).subspan(index * n, n);
}

// -H * gradient by the two-loop recursion over the newest `n_pairs` pairs. In float32, as the pairs
// are: it is only where to look.
std::vector<double> direction(const LbfgsState& state, std::size_t memory, std::size_t n_pairs,
                              const Metric& metric) {
  const std::size_t n = state.x.size();
  const double largest = largest_magnitude(state.gradient);
  if (!(largest > 0)) return std::vector<double>(n, 0.0);
  // Near 1, so that no product is lost below the range of float32.
  std::vector<float> q(n);
  std::ranges::transform(state.gradient, q.begin(), [inverse = 1 / largest](double g) {
    return static_cast<float>(g * inverse);
  });
  std::vector<double> alpha(n_pairs);
  const auto index = [&](std::size_t age) {  // age 0 is the newest pair
    return (state.next_pair + memory - 1 - age) % memory;
  };
  const auto step = [&](std::size_t age) { return row(state.steps, index(age), n); };
  const auto change = [&](std::size_t age) { return row(state.changes, index(age), n); };
  // Each sum goes with the product that comes next.
  double product = n_pairs > 0 ? dot_in_float(step(0), q) : 0.0;
  for (std::size_t age = 0; age < n_pairs; ++age) {
    alpha[age] = product / state.curvatures[index(age)];
    const auto factor = static_cast<float>(-alpha[age]);
    if (age + 1 < n_pairs) {
      product = add_scaled_and_dot(factor, change(age), q, step(age + 1));
    } else {
      add_scaled(factor, change(age), std::span(q));
    }
  }
  // The newest pair tells the scale of the Hessian, beside the metric.
  double scale = 1;
  if (state.n_pairs == 0) {
    if (metric) metric(q, {});
  } else {
    const auto newest = change(0);
    scale = state.curvatures[index(0)] / (metric ? metric(q, newest) : dot(newest, newest));
  }
  for (float& value : q) value *= static_cast<float>(scale);
  if (n_pairs > 0) product = dot_in_float(change(n_pairs - 1), q);
  for (std::size_t age = n_pairs; age-- > 0;) {
    const double beta = product / state.curvatures[index(age)];
    const auto factor = static_cast<float>(alpha[age] - beta);
    if (age > 0) {
      product = add_scaled_and_dot(factor, step(age), q, change(age - 1));
    } else {
      add_scaled(factor, step(age), std::span(q));
    }
  }
  std::vector<double> d(n);
  std::ranges::transform(q, d.begin(),
                         [largest](float value) { return -largest * static_cast<double>(value); });
  return d;
}

// Keeps the newest pair unless it would make the model indefinite.
void remember(LbfgsState& state, std::size_t memory, std::span<const double> x,
              std::span<const double> gradient) {
  const std::size_t n = state.x.size();
  float* step = state.steps.data() + state.next_pair * n;
  float* change = state.changes.data() + state.next_pair * n;
  for (std::size_t i = 0; i < n; ++i) {
    step[i] = static_cast<float>(x[i] - state.x[i]);
    change[i] = static_cast<float>(gradient[i] - state.gradient[i]);
  }
  const auto s = row(state.steps, state.next_pair, n);
  const auto y = row(state.changes, state.next_pair, n);
  const double curvature = dot(s, y);
  if (!(curvature > 1e-10 * std::sqrt(dot(s, s) * dot(y, y)))) return;
  state.curvatures[state.next_pair] = curvature;
  state.next_pair = (state.next_pair + 1) % memory;
  state.n_pairs = std::min<std::uint64_t>(state.n_pairs + 1, memory);
}

// Searches along `d` from the state's point. On success `x` and `gradient` hold the accepted point.
class LineSearch {
 public:
  LineSearch(const LbfgsState& state, const LbfgsOptions& options, const Objective& objective,
             std::span<const double> d)
      : state_(state), options_(options), objective_(objective), d_(d) {
    x.resize(state.x.size());
    gradient.resize(state.x.size());
  }

  std::vector<double> x;
  std::vector<double> gradient;
  Trial accepted;
  std::uint64_t n_evaluations = 0;

  bool run() {
    const Trial start{.step = 0,
                      .value = state_.value,
                      .slope = dot(std::span<const double>(state_.gradient), d_),
                      .gradient_norm = state_.gradient_norm};
    if (!(start.slope < 0)) return false;
    // As long as the gradient is to shrink, the slopes have the word where the value is level. With
    // a tolerance of 0 nothing is said of it, and the value alone counts.
    const bool by_slopes =
        options_.gradient_tolerance > 0 && start.gradient_norm > options_.gradient_tolerance;
    const double noise =
        (by_slopes ? std::max(kLevel, options_.noise) : options_.noise) * std::abs(start.value);
    Trial low = start;  // the best point so far; the minimum lies between it and `high`
    Trial high;
    bool bracketed = false;
    double step = 1;
    while (n_evaluations < options_.max_trials) {
      const Trial trial = evaluate(step);
      const bool enough = trial.value <= start.value + kSufficientDecrease * step * start.slope;
      const bool level = trial.value <= start.value + noise &&
                         trial.slope <= (2 * kSufficientDecrease - 1) * start.slope;
      if ((enough && std::abs(trial.slope) <= -kCurvature * start.slope) ||
          (level && trial.slope >= kCurvature * start.slope)) {
        accepted = trial;
        return true;
      }
      if (!enough || trial.value >= low.value) {
        high = trial;
        bracketed = true;
      } else {
        if (trial.slope * (bracketed ? high.step - low.step : 1.0) >= 0) {
          high = low;
          bracketed = true;
        }
        low = trial;
        best_x_ = x;
        best_gradient_ = gradient;
      }
      step = bracketed ? cubic_minimiser(low, high) : 2.5 * step;
      if (bracketed && std::abs(high.step - low.step) < 1e-12 * std::max(1.0, low.step)) break;
    }
    if (low.step == 0) return false;
    accepted = low;  // a decrease, though the slope is not yet small
    x = std::move(best_x_);
    gradient = std::move(best_gradient_);
    return true;
  }

 private:
  Trial evaluate(double step) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = state_.x[i] + step * d_[i];
    const Evaluation at = objective_(x, gradient);
    ++n_evaluations;
    Trial trial{.step = step,
                .value = at.value,
                .slope = dot(std::span<const double>(gradient), d_),
                .gradient_norm = at.gradient_norm};
    if (!std::isfinite(trial.value) || !std::isfinite(trial.slope)) {
      trial.value = std::numeric_limits<double>::infinity();
    }
    return trial;
  }

  const LbfgsState& state_;
  const LbfgsOptions& options_;
  const Objective& objective_;
  std::span<const double> d_;
  std::vector<double> best_x_;
  std::vector<double> best_gradient_;
};

}  // namespace

std::string_view stop_reason_name(StopReason reason) noexcept {
  switch (reason) {
    case StopReason::running: return "running";
    case StopReason::converged: return "converged";
    case StopReason::max_iterations: return "max_iterations";
    case StopReason::no_progress: return "no_progress";
  }
  return "unknown";
}

LbfgsState lbfgs_start(std::vector<double> x, const LbfgsOptions& options,
                       const Objective& objective) {
  if (options.memory == 0) {
    throw Error(ErrorCode::invalid_argument, "memory", "0 pairs; at least 1 is needed");
  }
  LbfgsState state;
  const std::size_t n = x.size();
  state.x = std::move(x);
  state.gradient.resize(n);
  state.steps.resize(options.memory * n);
  state.changes.resize(options.memory * n);
  state.curvatures.resize(options.memory);
  const Evaluation at = objective(state.x, state.gradient);
  if (!std::isfinite(at.value) || !std::isfinite(at.gradient_norm)) {
    throw Error(ErrorCode::non_finite, "objective", "not finite at the starting point");
  }
  state.value = at.value;
  state.gradient_norm = at.gradient_norm;
  state.n_evaluations = 1;
  return state;
}

LbfgsState lbfgs_start_like(const LbfgsState& other, std::vector<double> x,
                            const LbfgsOptions& options, const Objective& objective) {
  LbfgsState state = lbfgs_start(std::move(x), options, objective);
  if (other.steps.size() != state.steps.size() || other.changes.size() != state.changes.size() ||
      other.curvatures.size() != state.curvatures.size() || other.n_pairs > options.memory ||
      other.next_pair >= options.memory) {
    throw Error(ErrorCode::invalid_argument, "pairs", "of another number of variables or pairs");
  }
  state.steps = other.steps;
  state.changes = other.changes;
  state.curvatures = other.curvatures;
  state.n_pairs = other.n_pairs;
  state.next_pair = other.next_pair;
  return state;
}

void lbfgs_move(LbfgsState& state, std::vector<double> x, const Objective& objective) {
  std::vector<double> gradient(x.size());
  const Evaluation at = objective(x, gradient);
  state.x = std::move(x);
  state.gradient = std::move(gradient);
  state.value = at.value;
  state.gradient_norm = at.gradient_norm;
  state.recent.clear();
  state.stop = StopReason::running;
  ++state.n_evaluations;
}

void lbfgs_forget(LbfgsState& state) noexcept {
  state.n_pairs = 0;
  state.next_pair = 0;
}

void lbfgs_add_penalty(LbfgsState& state, double added, std::size_t n_penalised) {
  const std::size_t n = state.x.size();
  const auto factor = static_cast<float>(added);
  for (std::size_t i = 0; i < state.n_pairs; ++i) {
    const auto step = row(state.steps, i, n);
    const std::span change(state.changes.data() + i * n, n);
    for (std::size_t j = 0; j < n_penalised; ++j) change[j] += factor * step[j];
    const auto y = row(state.changes, i, n);
    state.curvatures[i] = dot(step, y);
    if (!(state.curvatures[i] > 1e-10 * std::sqrt(dot(step, step) * dot(y, y)))) {
      lbfgs_forget(state);
      return;
    }
  }
}

namespace {

// Sets the excess, with what is promised along `d`, and compares.
bool within_tolerance(LbfgsState& state, const LbfgsOptions& options, std::span<const double> d) {
  state.excess = -0.5 * dot(std::span<const double>(state.gradient), d);
  if (!state.recent.empty()) {
    state.excess = std::max(state.excess, state.recent.front() - state.value);
  }
  return state.gradient_norm <= options.gradient_tolerance &&
         state.excess <=
             options.decrease_tolerance * std::max(std::abs(state.value), options.least_value);
}

}  // namespace

bool lbfgs_converged(LbfgsState& state, const LbfgsOptions& options, const Metric& metric) {
  return within_tolerance(state, options, direction(state, options.memory, state.n_pairs, metric));
}

StopReason lbfgs_step(LbfgsState& state, const LbfgsOptions& options, const Objective& objective,
                      const Metric& metric) {
  if (state.stop != StopReason::running) return state.stop;
  std::vector<double> d = direction(state, options.memory, state.n_pairs, metric);
  if (within_tolerance(state, options, d)) {
    state.stop = StopReason::converged;
    return state.stop;
  }
  std::uint64_t wasted = 0;
  bool forget = false;
  while (true) {
    LineSearch search(state, options, objective, d);
    if (search.run()) {
      if (forget) lbfgs_forget(state);
      remember(state, options.memory, search.x, search.gradient);
      if (options.window > 0) {
        if (state.recent.size() >= options.window) state.recent.erase(state.recent.begin());
        state.recent.push_back(state.value);
      }
      state.x = std::move(search.x);
      state.gradient = std::move(search.gradient);
      state.value = search.accepted.value;
      state.gradient_norm = search.accepted.gradient_norm;
      state.n_evaluations += wasted + search.n_evaluations;
      ++state.iteration;
      return state.stop;
    }
    wasted += search.n_evaluations;
    // What went before does not go on: the model alone has the word.
    std::vector<double> recent = std::exchange(state.recent, {});
    const bool done = within_tolerance(state, options, d);
    if (done || forget || state.n_pairs == 0) {
      state.stop = done ? StopReason::converged : StopReason::no_progress;
      break;
    }
    state.recent = std::move(recent);
    // The model misleads: try once without it, along the plain gradient.
    forget = true;
    d = direction(state, options.memory, 0, metric);
  }
  // Then excess is what lbfgs_converged finds again.
  if (forget) lbfgs_forget(state);
  state.n_evaluations += wasted;
  return state.stop;
}

}  // namespace eyespot
