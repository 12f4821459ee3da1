#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "convert.hpp"
#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

namespace {

using FloatArray = CArray<float>;
using TargetArray = CArray<std::int32_t>;

// Python's signals, and the caller's token when there is one.
Poll solver_poll(const std::optional<CancelToken>& cancel) {
  return [signals = signal_poll(), cancel] {
    if (cancel) cancel->throw_if_cancelled();
    signals();
  };
}

void check_shape(bool right, const char* name, const std::string& found, const char* allowed) {
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

LabelledRows labelled_rows(const FloatArray& embeddings, const TargetArray& targets,
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

void refuse_non_finite(const LabelledRows& data, ThreadPool* pool, const Poll& poll) {
  const std::size_t bad = first_non_finite_row(data.features, data.n_rows, pool, poll);
  if (bad < data.n_rows) {
    throw Error(ErrorCode::non_finite, "embeddings[" + std::to_string(bad) + "]",
                "holds a NaN or an infinity");
  }
}

// One problem with its state: the data stay referenced, the core sees plain views of them.
class SoftmaxSolver {
 public:
  SoftmaxSolver(FloatArray embeddings, TargetArray targets, std::size_t n_classes, double l2,
                double tolerance, std::optional<FloatArray> weights, std::size_t memory,
                double curvature, std::shared_ptr<ThreadPool> pool,
                std::optional<CancelToken> cancel)
      : embeddings_(std::move(embeddings)),
        targets_(std::move(targets)),
        row_weights_(std::move(weights)),
        pool_(std::move(pool)),
        cancel_(std::move(cancel)) {
    check_shape(l2 >= 0 && std::isfinite(l2), "l2", std::to_string(l2), "finite and not negative");
    data_ = labelled_rows(embeddings_, targets_, n_classes, row_weights_);
    options_.memory = memory;
    options_.gradient_tolerance = tolerance;
    options_.decrease_tolerance = 0.1 * tolerance;

    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel_);
    refuse_non_finite(data_, pool_.get(), poll);
    const FeatureMoments moments = feature_moments(data_, pool_.get(), poll);
    variance_ = moments.variance;
    const auto preconditioner = std::make_shared<const Preconditioner>(
        moments, curvature > 0 ? curvature : softmax_curvature(n_classes), l2, pool_.get(), poll);
    objective_ =
        std::make_unique<SoftmaxObjective>(data_, moments, preconditioner, l2, pool_.get());
  }

  void start(const std::optional<FloatArray>& weights, const std::optional<CArray<double>>& bias) {
    std::vector<double> x;
    if (weights && bias) {
      check_shape(weights->ndim() == 2 && weights->shape(0) == n_classes() &&
                      weights->shape(1) == n_features(),
                  "weights", shape_text(*weights), "(n_classes, n_features)");
      check_shape(bias->ndim() == 1 && bias->shape(0) == n_classes(), "bias", shape_text(*bias),
                  "(n_classes,)");
      x = objective_->variables({weights->data(), static_cast<std::size_t>(weights->size())},
                                {bias->data(), static_cast<std::size_t>(bias->size())});
    } else {
      x = objective_->start();
    }
    const py::gil_scoped_release release;
    state_ = lbfgs_start(std::move(x), options_, objective());
    n_correct_ = objective_->n_correct();
  }

  std::string step() {
    const py::gil_scoped_release release;
    if (state_.x.empty()) {
      throw Error(ErrorCode::invalid_argument, "step", "called before start() or set_state()");
    }
    const std::uint64_t before = state_.iteration;
    const StopReason reason = lbfgs_step(state_, options_, objective());
    if (state_.iteration != before) n_correct_ = objective_->n_correct();
    return std::string(stop_reason_name(reason));
  }

  bool test() {
    const py::gil_scoped_release release;
    return lbfgs_converged(state_, options_);
  }

  [[nodiscard]] py::tuple solution() const {
    py::array_t<float> weights({n_classes(), n_features()});
    py::array_t<double> bias(n_classes());
    objective_->solution(state_.x,
                         {weights.mutable_data(), static_cast<std::size_t>(weights.size())},
                         {bias.mutable_data(), static_cast<std::size_t>(bias.size())});
    return py::make_tuple(std::move(weights), std::move(bias));
  }

  // Value and gradient at given weights, in the original units: for tests and for the curious.
  py::tuple evaluate(const FloatArray& weights, const CArray<double>& bias) {
    const std::vector<double> x =
        objective_->variables({weights.data(), static_cast<std::size_t>(weights.size())},
                              {bias.data(), static_cast<std::size_t>(bias.size())});
    std::vector<double> gradient(x.size());
    double value = 0;
    {
      const py::gil_scoped_release release;
      value = objective_->evaluate(x, gradient, solver_poll(cancel_)).value;
    }
    return py::make_tuple(value, py::array_t<double>(static_cast<py::ssize_t>(x.size()),
                                                     objective_->raw_gradient().data()));
  }

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
    state["n_correct"] = n_correct_;
    return state;
  }

  void set_state(const py::dict& state) {
    LbfgsState next;
    const std::size_t n = objective_->size();
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
    n_correct_ = py::cast<std::size_t>(state["n_correct"]);
    state_ = std::move(next);
  }

  [[nodiscard]] const LbfgsState& state() const { return state_; }
  [[nodiscard]] std::size_t n_correct() const { return n_correct_; }
  [[nodiscard]] double variance() const { return variance_; }

 private:
  [[nodiscard]] py::ssize_t n_classes() const { return static_cast<py::ssize_t>(data_.n_classes); }
  [[nodiscard]] py::ssize_t n_features() const { return embeddings_.shape(1); }
  Objective objective() {
    return
        [this, poll = solver_poll(cancel_)](std::span<const double> x, std::span<double> gradient) {
          return objective_->evaluate(x, gradient, poll);
        };
  }

  FloatArray embeddings_;
  TargetArray targets_;
  std::optional<FloatArray> row_weights_;
  std::shared_ptr<ThreadPool> pool_;
  std::optional<CancelToken> cancel_;
  LabelledRows data_;
  LbfgsOptions options_;
  LbfgsState state_;
  std::size_t n_correct_ = 0;
  double variance_ = 0;
  std::unique_ptr<SoftmaxObjective> objective_;
};

// Feature variance, the held-out loss of each strength that was tried, and, when asked for, the
// probabilities of the rows by models that were fitted without them.
py::tuple softmax_path(const FloatArray& embeddings, const TargetArray& targets,
                       std::size_t n_classes, const TargetArray& fold, std::size_t n_folds,
                       const CArray<double>& path, bool relative, bool predict, double tolerance,
                       const std::optional<FloatArray>& weights,
                       const std::shared_ptr<ThreadPool>& pool,
                       const std::optional<CancelToken>& cancel) {
  const LabelledRows data = labelled_rows(embeddings, targets, n_classes, weights);
  check_shape(fold.ndim() == 1 && fold.shape(0) == embeddings.shape(0), "fold", shape_text(fold),
              "one fold a row of embeddings");
  std::vector<double> strengths(path.data(), path.data() + path.size());
  PathResult result;
  double variance = 0;
  {
    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel);
    refuse_non_finite(data, pool.get(), poll);
    const FeatureMoments moments = feature_moments(data, pool.get(), poll);
    variance = moments.variance;
    if (relative) {
      for (double& value : strengths) value *= variance;
    }
    CrossValidationOptions options;
    options.n_folds = n_folds;
    options.tolerance = tolerance;
    options.predict = predict;
    result = cross_validate(data, moments, {fold.data(), static_cast<std::size_t>(fold.size())},
                            strengths, options, pool.get(), poll);
  }
  py::list rows;
  for (const PathPoint& point : result.points) {
    rows.append(
        py::make_tuple(point.l2, point.log_loss, point.standard_error, point.n_evaluations));
  }
  if (!predict) return py::make_tuple(variance, rows, py::none());
  const std::array<py::ssize_t, 2> shape{embeddings.shape(0), static_cast<py::ssize_t>(n_classes)};
  return py::make_tuple(variance, rows, FloatArray(shape, result.held_out.data()));
}

FloatArray probabilities(const FloatArray& embeddings, const FloatArray& weights,
                         const CArray<double>& bias, const std::shared_ptr<ThreadPool>& pool) {
  check_shape(embeddings.ndim() == 2, "embeddings", shape_text(embeddings), "(n, d)");
  check_shape(weights.ndim() == 2 && weights.shape(1) == embeddings.shape(1), "weights",
              shape_text(weights), "(n_classes, d) with the d of embeddings");
  check_shape(bias.ndim() == 1 && bias.shape(0) == weights.shape(0) && bias.size() > 0, "bias",
              shape_text(bias), "(n_classes,)");
  FloatArray out({embeddings.shape(0), weights.shape(0)});
  const auto d = static_cast<std::size_t>(embeddings.shape(1));
  const RowsView view{.data = embeddings.data(), .cols = d, .stride = d, .rows = nullptr};
  const auto n = static_cast<std::size_t>(embeddings.shape(0));
  const std::span<float> to(out.mutable_data(), static_cast<std::size_t>(out.size()));
  const py::gil_scoped_release release;
  softmax_probabilities(view, n, {weights.data(), static_cast<std::size_t>(weights.size())},
                        {bias.data(), static_cast<std::size_t>(bias.size())}, to, pool.get(),
                        signal_poll());
  return out;
}

}  // namespace

void bind_solver(py::module_& module) {
  py::class_<SoftmaxSolver>(module, "SoftmaxSolver",
                            "Softmax regression, one iteration at a time, with a plain state.")
      .def(py::init<FloatArray, TargetArray, std::size_t, double, double, std::optional<FloatArray>,
                    std::size_t, double, std::shared_ptr<ThreadPool>, std::optional<CancelToken>>(),
           py::arg("embeddings").noconvert(), py::arg("targets").noconvert(), py::kw_only(),
           py::arg("n_classes"), py::arg("l2"), py::arg("tolerance"),
           py::arg("weights").noconvert() = py::none(), py::arg("memory") = 10,
           py::arg("curvature") = 0.0, py::arg("pool") = nullptr, py::arg("cancel") = py::none())
      .def("start", &SoftmaxSolver::start, py::arg("weights").noconvert() = py::none(),
           py::arg("bias").noconvert() = py::none())
      .def("step", &SoftmaxSolver::step)
      .def("test", &SoftmaxSolver::test)
      .def("solution", &SoftmaxSolver::solution)
      .def("evaluate", &SoftmaxSolver::evaluate, py::arg("weights").noconvert(),
           py::arg("bias").noconvert())
      .def("get_state", &SoftmaxSolver::get_state)
      .def("set_state", &SoftmaxSolver::set_state, py::arg("state"))
      .def_property_readonly("iteration",
                             [](const SoftmaxSolver& self) { return self.state().iteration; })
      .def_property_readonly("n_evaluations",
                             [](const SoftmaxSolver& self) { return self.state().n_evaluations; })
      .def_property_readonly("loss", [](const SoftmaxSolver& self) { return self.state().value; })
      .def_property_readonly("gradient_norm",
                             [](const SoftmaxSolver& self) { return self.state().gradient_norm; })
      .def_property_readonly(
          "predicted_decrease",
          [](const SoftmaxSolver& self) { return self.state().predicted_decrease; })
      .def_property_readonly("n_correct", &SoftmaxSolver::n_correct)
      .def_property_readonly("feature_variance", &SoftmaxSolver::variance);

  module.def(
      "softmax_path", &softmax_path, py::arg("embeddings").noconvert(),
      py::arg("targets").noconvert(), py::kw_only(), py::arg("n_classes"),
      py::arg("fold").noconvert(), py::arg("n_folds"), py::arg("path").noconvert(),
      py::arg("relative") = true, py::arg("predict") = false, py::arg("tolerance"),
      py::arg("weights").noconvert() = py::none(), py::arg("pool") = nullptr,
      py::arg("cancel") = py::none(),
      "Held-out log-loss of each strength of the penalty, relative ones per unit of variance.");
  module.def("softmax_probabilities", &probabilities, py::arg("embeddings").noconvert(),
             py::arg("weights").noconvert(), py::arg("bias").noconvert(), py::arg("pool") = nullptr,
             "Probabilities of each class for each row.");
}

}  // namespace eyespot::bindings
