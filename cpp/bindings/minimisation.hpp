#pragma once

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "convert.hpp"
#include "eyespot/error.hpp"
#include "eyespot/lbfgs.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"

// What the bindings of the solvers share: rows from arrays, and a minimiser's state to Python and
// back.
namespace eyespot::bindings {

namespace py = pybind11;

using FloatArray = CArray<float>;
using TargetArray = CArray<std::int32_t>;

// Python's signals, and the caller's token when there is one.
inline Poll solver_poll(const std::optional<CancelToken>& cancel) {
  return [signals = signal_poll(), cancel] {
    if (cancel) cancel->throw_if_cancelled();
    signals();
  };
}

inline void check_shape(bool right, const char* name, const std::string& found,
                        const char* allowed) {
  if (!right) throw Error(ErrorCode::invalid_argument, name, found + "; allowed: " + allowed);
}

template <class Array>
std::string shape_text(const Array& array) {
  std::string text = "shape (";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(array.shape(i));
  }
  return text + ")";
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <class T>
void read_array(const py::dict& state, const char* name, std::vector<T>& out) {
  const auto array = py::cast<CArray<T>>(state[name]);
  check_shape(array.ndim() == 1 && static_cast<std::size_t>(array.size()) == out.size(), name,
              shape_text(array), ("(" + std::to_string(out.size()) + ",)").c_str());
  std::copy(array.data(), array.data() + array.size(), out.begin());
}

inline LabelledRows labelled_rows(const FloatArray& embeddings, const TargetArray& targets,
                                  std::size_t n_classes, const std::optional<FloatArray>& weights) {
  check_shape(embeddings.ndim() == 2 && embeddings.shape(0) > 0 && embeddings.shape(1) > 0,
              "embeddings", shape_text(embeddings), "(n > 0, d > 0)");
  check_shape(targets.ndim() == 1 && targets.shape(0) == embeddings.shape(0), "targets",
              shape_text(targets), "one target a row of embeddings");
  check_shape(n_classes >= 1, "n_classes", std::to_string(n_classes), "at least 1");
  if (weights) {
    check_shape(weights->ndim() == 1 && weights->shape(0) == embeddings.shape(0), "weights",
                shape_text(*weights), "one weight a row of embeddings");
  }
  const auto d = static_cast<std::size_t>(embeddings.shape(1));
  return {.features = {.data = embeddings.data(), .cols = d, .stride = d, .rows = nullptr},
          .n_rows = static_cast<std::size_t>(embeddings.shape(0)),
          .n_classes = n_classes,
          .targets = targets.data(),
          .weights = weights ? weights->data() : nullptr};
}

inline void refuse_non_finite(const LabelledRows& data, ThreadPool* pool, const Poll& poll) {
  const std::size_t bad = first_non_finite_row(data.features, data.n_rows, pool, poll);
  if (bad < data.n_rows) {
    throw Error(ErrorCode::non_finite, "embeddings[" + std::to_string(bad) + "]",
                "holds a NaN or an infinity");
  }
}

// One minimisation, an iteration at a time; the objective's owner says what it minimises.
class Minimisation {
 public:
  Minimisation(double tolerance, std::size_t memory) {
    options_.memory = memory;
    options_.gradient_tolerance = tolerance;
    options_.decrease_tolerance = 0.1 * tolerance;
  }

  void start(std::vector<double> x, const Objective& objective) {
    state_ = lbfgs_start(std::move(x), options_, objective);
  }

  // Goes on from x in other variables.
  void restart(std::vector<double> x, const Objective& objective) {
    lbfgs_restart(state_, std::move(x), options_, objective);
  }

  // The name of the reason to stop, and whether a step was taken.
  std::pair<std::string, bool> step(const Objective& objective) {
    if (state_.x.empty()) {
      throw Error(ErrorCode::invalid_argument, "step", "called before start() or set_state()");
    }
    const std::uint64_t before = state_.iteration;
    const StopReason reason = lbfgs_step(state_, options_, objective);
    return {std::string(stop_reason_name(reason)), state_.iteration != before};
  }

  bool test() { return lbfgs_converged(state_, options_); }

  [[nodiscard]] py::dict get_state() const {
    py::dict state;
    state["x"] = to_array(state_.x);
    state["gradient"] = to_array(state_.gradient);
    state["steps"] = to_array(state_.steps);
    state["changes"] = to_array(state_.changes);
    state["curvatures"] = to_array(state_.curvatures);
    state["value"] = state_.value;
    state["gradient_norm"] = state_.gradient_norm;
    state["predicted_decrease"] = state_.predicted_decrease;
    state["scale"] = state_.scale;
    state["iteration"] = state_.iteration;
    state["n_evaluations"] = state_.n_evaluations;
    state["n_pairs"] = state_.n_pairs;
    state["next_pair"] = state_.next_pair;
    return state;
  }

  void set_state(const py::dict& state, std::size_t n) {
    LbfgsState next;
    next.x.resize(n);
    next.gradient.resize(n);
    next.steps.resize(options_.memory * n);
    next.changes.resize(options_.memory * n);
    next.curvatures.resize(options_.memory);
    read_array(state, "x", next.x);
    read_array(state, "gradient", next.gradient);
    read_array(state, "steps", next.steps);
    read_array(state, "changes", next.changes);
    read_array(state, "curvatures", next.curvatures);
    next.value = py::cast<double>(state["value"]);
    next.gradient_norm = py::cast<double>(state["gradient_norm"]);
    next.predicted_decrease = py::cast<double>(state["predicted_decrease"]);
    next.scale = py::cast<double>(state["scale"]);
    next.iteration = py::cast<std::uint64_t>(state["iteration"]);
    next.n_evaluations = py::cast<std::uint64_t>(state["n_evaluations"]);
    next.n_pairs = py::cast<std::uint64_t>(state["n_pairs"]);
    next.next_pair = py::cast<std::uint64_t>(state["next_pair"]);
    check_shape(next.n_pairs <= options_.memory && next.next_pair < options_.memory, "n_pairs",
                std::to_string(next.n_pairs), "at most the memory of the solver");
    state_ = std::move(next);
  }

  [[nodiscard]] const LbfgsState& state() const { return state_; }

 private:
  LbfgsOptions options_;
  LbfgsState state_;
};

}  // namespace eyespot::bindings
