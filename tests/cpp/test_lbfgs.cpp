#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/lbfgs.hpp"

using namespace eyespot;

namespace {

double max_norm(std::span<const double> g) {
  double largest = 0;
  for (const double value : g) largest = std::max(largest, std::abs(value));
  return largest;
}

// Rosenbrock's valley in n dimensions: minimum 0 at (1, ..., 1).
Evaluation valley(std::span<const double> x, std::span<double> g) {
  double f = 0;
  std::ranges::fill(g, 0.0);
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    const double a = x[i + 1] - x[i] * x[i];
    const double b = 1 - x[i];
    f += 100 * a * a + b * b;
    g[i] += -400 * a * x[i] - 2 * b;
    g[i + 1] += 200 * a;
  }
  return {.value = f, .gradient_norm = max_norm(g)};
}

const LbfgsOptions kExact{.memory = 8,
                          .gradient_tolerance = 1e-6,
                          .decrease_tolerance = std::numeric_limits<double>::infinity(),
                          .noise = 1e-15,
                          .max_trials = 30};

constexpr std::size_t kBowl = 12;

double bend(std::size_t i) {
  return std::pow(4.0, static_cast<double>(i % 6));
}

// A bowl of very different slopes, and l2 / 2 * |x|^2 over its first half.
Objective bowl(double l2) {
  return [l2](std::span<const double> x, std::span<double> g) {
    double f = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double a = bend(i) + (i < x.size() / 2 ? l2 : 0.0);
      f += 0.5 * a * (x[i] - 1) * (x[i] - 1);
      g[i] = a * (x[i] - 1);
    }
    return Evaluation{.value = f, .gradient_norm = max_norm(g)};
  };
}

}  // namespace

TEST_CASE("finds the end of a curved valley, downhill all the way") {
  LbfgsState state = lbfgs_start(std::vector<double>(10, -1.2), kExact, valley);
  double last = state.value;
  while (state.iteration < 500 && lbfgs_step(state, kExact, valley) == StopReason::running) {
    CHECK(state.value <= last);
    last = state.value;
  }
  CHECK(state.stop == StopReason::converged);
  for (const double value : state.x) CHECK(value == doctest::Approx(1.0).epsilon(1e-5));
  CHECK(state.n_evaluations < 2 * state.iteration + 10);
  const std::uint64_t before = state.n_evaluations;
  CHECK(lbfgs_step(state, kExact, valley) == StopReason::converged);
  CHECK(state.n_evaluations == before);
}

TEST_CASE("a copied state continues with the same bits") {
  LbfgsState state = lbfgs_start(std::vector<double>(6, 0.3), kExact, valley);
  for (int i = 0; i < 12; ++i) (void)lbfgs_step(state, kExact, valley);
  LbfgsState copy = state;
  for (int i = 0; i < 12; ++i) {
    (void)lbfgs_step(state, kExact, valley);
    (void)lbfgs_step(copy, kExact, valley);
  }
  CHECK(state.x == copy.x);
  CHECK(state.value == copy.value);
}

TEST_CASE("walls of infinity are stepped back from") {
  const Objective log_barrier = [](std::span<const double> x, std::span<double> g) {
    g[0] = 1 - 0.001 / x[0];
    const double f =
        x[0] > 0 ? x[0] - 0.001 * std::log(x[0]) : std::numeric_limits<double>::infinity();
    return Evaluation{.value = f, .gradient_norm = std::abs(g[0])};
  };
  LbfgsState state = lbfgs_start({3.0}, kExact, log_barrier);
  while (state.iteration < 200 && lbfgs_step(state, kExact, log_barrier) == StopReason::running) {
  }
  CHECK(state.stop == StopReason::converged);
  CHECK(state.x[0] == doctest::Approx(0.001).epsilon(1e-3));
}

TEST_CASE("an objective that cannot go down further ends without progress") {
  const Objective liar = [](std::span<const double> x, std::span<double> g) {
    g[0] = 1;  // says it slopes, but does not
    return Evaluation{.value = 5 + 0 * x[0], .gradient_norm = 1};
  };
  LbfgsState state = lbfgs_start({0.0}, kExact, liar);
  CHECK(lbfgs_step(state, kExact, liar) == StopReason::no_progress);
  CHECK(stop_reason_name(state.stop) == "no_progress");
}

TEST_CASE("a step that fails at the bottom ends the fit at once, for good and with what is left") {
  // A bowl whose floor rises by more than steps there are worth once one has arrived on it.
  std::vector<double> first;
  const Objective rough = [&first](std::span<const double> x, std::span<double> g) {
    double f = 1;
    for (std::size_t j = 0; j < 2; ++j) {
      const double scale = j == 0 ? 1.0 : 5.0;
      f += 0.5 * scale * x[j] * x[j];
      g[j] = scale * x[j];
    }
    if (max_norm(g) < 1e-2) {
      if (first.empty()) first.assign(x.begin(), x.end());
      if (!std::ranges::equal(first, x)) f += 1e-3;
    }
    return Evaluation{.value = f, .gradient_norm = max_norm(g)};
  };
  LbfgsOptions options = kExact;
  options.gradient_tolerance = 1e-2;
  options.decrease_tolerance = 1e-4;
  options.window = 5;
  LbfgsState state = lbfgs_start({1.0, -0.7}, options, rough);
  while (state.iteration < 50 && lbfgs_step(state, options, rough) == StopReason::running) {
  }
  REQUIRE(state.stop == StopReason::converged);
  CHECK(state.recent.empty());  // a step that failed, not a window of small ones
  CHECK(state.excess <= 1e-4);
  // What is left is the same when it is asked for again, as after a pause.
  LbfgsState again = state;
  CHECK(lbfgs_converged(again, options, {}));
  CHECK(again.excess == state.excess);
  CHECK(lbfgs_step(again, options, rough) == StopReason::converged);
  CHECK(again.n_evaluations == state.n_evaluations);
}

TEST_CASE("an exception of the objective leaves the state as it was") {
  int calls = 0;
  const Objective fails = [&calls](std::span<const double> x, std::span<double> g) {
    if (++calls == 9) throw std::runtime_error("power cut");
    return valley(x, g);
  };
  LbfgsState state = lbfgs_start(std::vector<double>(4, -1.0), kExact, fails);
  LbfgsState before = state;
  try {
    while (true) {
      before = state;
      (void)lbfgs_step(state, kExact, fails);
    }
  } catch (const std::runtime_error&) {
    CHECK(state.x == before.x);
    CHECK(state.steps == before.steps);
    CHECK(state.iteration == before.iteration);
    CHECK(state.n_pairs == before.n_pairs);
  }
  CHECK(calls == 9);
}

TEST_CASE("bad starts are refused") {
  CHECK_THROWS_AS((void)lbfgs_start({1.0, 1.0}, {.memory = 0}, valley), Error);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS((void)lbfgs_start({nan, 1.0}, kExact, valley), Error);
}

TEST_CASE("a metric makes a bowl round") {
  const Metric exact = [](std::span<float> direction, std::span<const float> change) {
    double square = 0;
    for (std::size_t i = 0; i < direction.size(); ++i) {
      direction[i] /= static_cast<float>(bend(i));
      if (!change.empty()) square += static_cast<double>(change[i] * change[i]) / bend(i);
    }
    return square;
  };
  const auto iterations = [](const Metric& metric) {
    LbfgsState state = lbfgs_start(std::vector<double>(kBowl, -3.0), kExact, bowl(0));
    while (state.iteration < 500 &&
           lbfgs_step(state, kExact, bowl(0), metric) == StopReason::running) {
    }
    CHECK(state.stop == StopReason::converged);
    return state.iteration;
  };
  CHECK(iterations(exact) <= 3);
  CHECK(iterations({}) > 10);
}

TEST_CASE("pairs follow a penalty, and serve a start elsewhere") {
  LbfgsState state = lbfgs_start(std::vector<double>(kBowl, -3.0), kExact, bowl(0));
  for (int i = 0; i < 6; ++i) (void)lbfgs_step(state, kExact, bowl(0));
  REQUIRE(state.n_pairs == 6);
  lbfgs_add_penalty(state, 50, kBowl / 2);
  for (std::size_t pair = 0; pair < state.n_pairs; ++pair) {
    double curvature = 0;
    for (std::size_t i = 0; i < kBowl; ++i) {
      const auto step = static_cast<double>(state.steps[pair * kBowl + i]);
      curvature += (bend(i) + (i < kBowl / 2 ? 50.0 : 0.0)) * step * step;
    }
    CHECK(state.curvatures[pair] == doctest::Approx(curvature).epsilon(1e-3));
  }
  const auto finish = [](LbfgsState from) {
    while (from.iteration < 500 && lbfgs_step(from, kExact, bowl(50)) == StopReason::running) {
    }
    CHECK(from.stop == StopReason::converged);
    return from.n_evaluations;
  };
  const std::vector<double> near(kBowl, 1.5);
  const LbfgsState like = lbfgs_start_like(state, near, kExact, bowl(50));
  CHECK(like.n_pairs == 6);
  CHECK(like.iteration == 0);
  CHECK(finish(like) < finish(lbfgs_start(near, kExact, bowl(50))));
  lbfgs_move(state, near, bowl(50));
  CHECK(state.value == like.value);
  CHECK(state.n_pairs == 6);
  // A penalty taken away beyond what there is leaves no pair that could be believed.
  lbfgs_add_penalty(state, -1e7, kBowl);
  CHECK(state.n_pairs == 0);
  CHECK_THROWS_AS((void)lbfgs_start_like(state, std::vector<double>(3, 0.0), kExact, bowl(0)),
                  Error);
}

TEST_CASE("what is left is no less than the decrease over the last iterations") {
  LbfgsOptions options = kExact;
  options.gradient_tolerance = std::numeric_limits<double>::infinity();
  options.decrease_tolerance = 1e-3;
  options.least_value = 1;
  options.window = 4;
  LbfgsState state = lbfgs_start(std::vector<double>(10, -1.2), options, valley);
  std::vector<double> values{state.value};
  while (state.iteration < 500 && lbfgs_step(state, options, valley) == StopReason::running) {
    values.push_back(state.value);
  }
  CHECK(state.stop == StopReason::converged);
  const std::size_t n = values.size();
  REQUIRE(n > 5);
  CHECK(state.excess >= values[n - 5] - values[n - 1]);
  CHECK(values[n - 5] - values[n - 1] <= 1e-3);
}
