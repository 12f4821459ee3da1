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

// Views of arrays that their owner keeps.
inline RowsView rows_view(const FloatArray& embeddings) {
  check_shape(embeddings.ndim() == 2 && embeddings.shape(0) > 0 && embeddings.shape(1) > 0,
              "embeddings", shape_text(embeddings), "(n > 0, d > 0)");
  const auto d = static_cast<std::size_t>(embeddings.shape(1));
  return {.data = embeddings.data(), .cols = d, .stride = d, .rows = nullptr};
}

inline const float* row_weights(const std::optional<FloatArray>& weights, std::size_t n_rows) {
  if (!weights) return nullptr;
  check_shape(weights->ndim() == 1 && std::cmp_equal(weights->shape(0), n_rows), "weights",
              shape_text(*weights), "one weight a row of embeddings");
  return weights->data();
}

inline LabelledRows labelled_rows(const FloatArray& embeddings, const TargetArray& targets,
                                  std::size_t n_classes, const std::optional<FloatArray>& weights) {
  const RowsView features = rows_view(embeddings);
  check_shape(targets.ndim() == 1 && targets.shape(0) == embeddings.shape(0), "targets",
              shape_text(targets), "one target a row of embeddings");
  check_shape(n_classes >= 1, "n_classes", std::to_string(n_classes), "at least 1");
  const auto n_rows = static_cast<std::size_t>(embeddings.shape(0));
  return {.features = features,
          .n_rows = n_rows,
          .n_classes = n_classes,
          .targets = targets.data(),
          .weights = row_weights(weights, n_rows)};
}

inline void refuse_non_finite(const RowsView& features, std::size_t n_rows, ThreadPool* pool,
                              const Poll& poll) {
  const std::size_t bad = first_non_finite_row(features, n_rows, pool, poll);
  if (bad < n_rows) {
    throw Error(ErrorCode::non_finite, "embeddings[" + std::to_string(bad) + "]",
                "holds a NaN or an infinity");
  }
}

inline void check_strength(double l2) {
  check_shape(l2 >= 0 && std::isfinite(l2), "l2", std::to_string(l2), "finite and not negative");
}

// memory 0: the solver's choice, where it has one.
inline LbfgsOptions minimiser_options(double tolerance, std::size_t memory) {
  LbfgsOptions options;
  options.memory = memory;
  options.gradient_tolerance = tolerance;
  options.decrease_tolerance = tolerance;
  return options;
}

inline py::dict pairs_to_dict(const LbfgsState& from) {
  py::dict pairs;
  pairs["steps"] = to_array(from.steps);
  pairs["changes"] = to_array(from.changes);
  pairs["curvatures"] = to_array(from.curvatures);
  pairs["n_pairs"] = from.n_pairs;
  pairs["next_pair"] = from.next_pair;
  return pairs;
}

// A state with pairs only, for n variables; throws where the arrays are of other sizes.
inline LbfgsState pairs_from_dict(const py::dict& pairs, std::size_t n, std::size_t memory) {
  LbfgsState state;
  state.steps.resize(memory * n);
  state.changes.resize(memory * n);
  state.curvatures.resize(memory);
  read_array(pairs, "steps", state.steps);
  read_array(pairs, "changes", state.changes);
  read_array(pairs, "curvatures", state.curvatures);
  state.n_pairs = py::cast<std::uint64_t>(pairs["n_pairs"]);
  state.next_pair = py::cast<std::uint64_t>(pairs["next_pair"]);
  check_shape(state.n_pairs <= memory && state.next_pair < memory, "n_pairs",
              std::to_string(state.n_pairs), "at most the memory of the solver");
  return state;
}

inline py::dict state_to_dict(const LbfgsState& from) {
  py::dict state = pairs_to_dict(from);
  state["x"] = to_array(from.x);
  state["gradient"] = to_array(from.gradient);
  state["value"] = from.value;
  state["gradient_norm"] = from.gradient_norm;
  state["excess"] = from.excess;
  state["recent"] = to_array(from.recent);
  state["iteration"] = from.iteration;
  state["n_evaluations"] = from.n_evaluations;
  return state;
}

inline LbfgsState state_from_dict(const py::dict& state, std::size_t n, std::size_t memory) {
  LbfgsState next = pairs_from_dict(state, n, memory);
  next.x.resize(n);
  next.gradient.resize(n);
  read_array(state, "x", next.x);
  read_array(state, "gradient", next.gradient);
  next.value = py::cast<double>(state["value"]);
  next.gradient_norm = py::cast<double>(state["gradient_norm"]);
  next.excess = py::cast<double>(state["excess"]);
  const auto recent = py::cast<CArray<double>>(state["recent"]);
  next.recent.assign(recent.data(), recent.data() + recent.size());
  next.iteration = py::cast<std::uint64_t>(state["iteration"]);
  next.n_evaluations = py::cast<std::uint64_t>(state["n_evaluations"]);
  return next;
}

// What every solver has: steps, a state, and where it stands. Solver::state() is its minimiser's.
template <class Class>
void define_stepper(Class& solver) {
  using Solver = typename Class::type;
  const auto property = [&solver](const char* name, auto LbfgsState::* member) {
    solver.def_property_readonly(name,
                                 [member](const Solver& self) { return self.state().*member; });
  };
  solver.def("step", &Solver::step);
  solver.def("test", &Solver::test);
  solver.def("solution", &Solver::solution);
  solver.def("get_state", &Solver::get_state);
  solver.def("set_state", &Solver::set_state, py::arg("state"));
  property("iteration", &LbfgsState::iteration);
  property("n_evaluations", &LbfgsState::n_evaluations);
  property("loss", &LbfgsState::value);
  property("gradient_norm", &LbfgsState::gradient_norm);
  property("excess", &LbfgsState::excess);
  solver.def_property_readonly("n_correct", &Solver::n_correct);
}

}  // namespace eyespot::bindings
