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
