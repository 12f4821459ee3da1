#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace eyespot {

/// Why a minimisation ended; `running` while it has not.
enum class StopReason : std::uint8_t {
  running,
  converged,       ///< both tolerances of LbfgsOptions were met
  max_iterations,  ///< the caller's budget of iterations was spent first
  no_progress,     ///< no step lowers the objective any more: the limit of its arithmetic
};

/// The stable lower-case name of a reason ("max_iterations").
[[nodiscard]] std::string_view stop_reason_name(StopReason reason) noexcept;

/// An objective at one point. `gradient_norm` is whatever norm the objective wants its tolerance to
/// apply to; the minimiser only compares it.
struct Evaluation {
  double value = 0;
  double gradient_norm = 0;
};

/// Computes the value at x and writes the gradient. May throw; the state is then as before the
/// step.
using Objective = std::function<Evaluation(std::span<const double> x, std::span<double> gradient)>;

/// What the method takes for the Hessian before it has seen any: replaces `direction` by the
/// inverse of M times it, and returns change * inverse(M) * change, or 0 for an empty change.
/// Without a metric, M is the identity. It may be another one at every step.
using Metric = std::function<double(std::span<float> direction, std::span<const float> change)>;

struct LbfgsOptions {
  std::size_t memory = 10;           ///< pairs of steps kept
  double gradient_tolerance = 1e-4;  ///< converged needs gradient_norm <= this, and
  double decrease_tolerance = 1e-4;  ///< excess <= this * max(|value|, least_value)
  /// Iterations whose decrease the excess is at least. The quadratic model alone promises too
  /// little where the method is slow; 0 believes it.
  std::size_t window = 8;
  double least_value = 0.01;  ///< in nats for a log-loss: below it, nobody asks for more digits
  /// Relative rounding error to expect in the value: what it may grow by from one point to the next
  /// where the slopes tell of a descent. A millionth at the least as long as gradient_norm is above
  /// a positive gradient_tolerance.
  double noise = 1e-7;
  std::size_t max_trials = 20;  ///< evaluations in one line search
};

/// Everything the method knows between two iterations, as plain arrays and numbers: writing it out
/// and reading it back continues bit for bit. The pairs lie in a ring of `memory` rows.
struct LbfgsState {
  std::vector<double> x;
  std::vector<double> gradient;
  std::vector<float> steps;        ///< memory x n: differences of x
  std::vector<float> changes;      ///< memory x n: differences of the gradient
  std::vector<double> curvatures;  ///< memory: dot(step, change), all positive
  std::vector<double> recent;      ///< values before the last iterations, oldest first
  double value = 0;
  double gradient_norm = 0;
  double excess = 0;  ///< estimates value - minimum: what the quadratic model promises, or, when
                      ///< more, the decrease over the last iterations
  std::uint64_t iteration = 0;
  std::uint64_t n_evaluations = 0;
  std::uint64_t n_pairs = 0;    ///< valid rows, at most `memory`
  std::uint64_t next_pair = 0;  ///< row that the next pair overwrites
  StopReason stop = StopReason::running;
};

/// Evaluates the objective at x and returns the state before the first iteration.
[[nodiscard]] LbfgsState lbfgs_start(std::vector<double> x, const LbfgsOptions& options,
                                     const Objective& objective);

/// Begins at x with the pairs of another state, of as many variables and the same memory.
[[nodiscard]] LbfgsState lbfgs_start_like(const LbfgsState& other, std::vector<double> x,
                                          const LbfgsOptions& options, const Objective& objective);

/// Goes on from another point, keeping the pairs: those of an objective that bends alike.
void lbfgs_move(LbfgsState& state, std::vector<double> x, const Objective& objective);

/// Forgets the pairs: what they tell of the curvature behind misleads where a new metric knows it.
void lbfgs_forget(LbfgsState& state) noexcept;

/// Turns the pairs into those of the objective plus added / 2 * |x|^2 over the first n_penalised
/// variables; forgets them where rounding would make one useless. The rest of the state still is
/// that of the old objective: lbfgs_move is due.
void lbfgs_add_penalty(LbfgsState& state, double added, std::size_t n_penalised);

/// Whether the state meets both tolerances; sets its excess.
bool lbfgs_converged(LbfgsState& state, const LbfgsOptions& options, const Metric& metric = {});

/// Tests for convergence and, when there is none, takes one step that satisfies the strong Wolfe
/// conditions (or, where rounding hides the decrease, the approximate ones of Hager and Zhang).
/// Returns state.stop. Nothing happens when that is not `running`. Deterministic as far as the
/// objective is. If the objective throws, `state` is unchanged.
/// Nocedal and Wright, Numerical Optimization, 2nd ed., algorithms 3.5, 3.6, 7.4 and 7.5; Hager and
/// Zhang, SIAM J. Optim. 16 (2005) 170, equation 4.1.
StopReason lbfgs_step(LbfgsState& state, const LbfgsOptions& options, const Objective& objective,
                      const Metric& metric = {});

}  // namespace eyespot
