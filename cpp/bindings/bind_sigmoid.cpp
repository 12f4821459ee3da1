#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/sigmoid_regression.hpp"
#include "minimisation.hpp"

namespace eyespot::bindings {

namespace {

using LabelArray = CArray<std::uint8_t>;

// What the arrays of one problem must be; they stay referenced, the core sees plain views of them.
struct Problem {
  FloatArray embeddings;
  LabelArray labels;
  std::optional<FloatArray> weights;
  std::optional<FloatArray> positive;
  std::optional<FloatArray> negative;

  [[nodiscard]] MultiLabelRows rows() const {
    check_shape(embeddings.ndim() == 2 && embeddings.shape(0) > 0 && embeddings.shape(1) > 0,
                "embeddings", shape_text(embeddings), "(n > 0, d > 0)");
    check_shape(labels.ndim() == 2 && labels.shape(0) == embeddings.shape(0) && labels.shape(1) > 0,
                "labels", shape_text(labels), "(n, n_classes > 0) with the n of embeddings");
    if (weights) {
      check_shape(weights->ndim() == 1 && weights->shape(0) == embeddings.shape(0), "weights",
                  shape_text(*weights), "one weight a row of embeddings");
    }
    for (const auto* one : {&positive, &negative}) {
      if (!*one) continue;
      check_shape((*one)->ndim() == 1 && (*one)->shape(0) == labels.shape(1),
                  one == &positive ? "positive" : "negative", shape_text(**one),
                  "one weight a class");
    }
    const auto d = static_cast<std::size_t>(embeddings.shape(1));
    return {.features = {.data = embeddings.data(), .cols = d, .stride = d, .rows = nullptr},
            .n_rows = static_cast<std::size_t>(embeddings.shape(0)),
            .n_classes = static_cast<std::size_t>(labels.shape(1)),
            .labels = labels.data(),
            .weights = weights ? weights->data() : nullptr,
            .positive = positive ? positive->data() : nullptr,
            .negative = negative ? negative->data() : nullptr};
  }
};

// Mean and Gram matrix of the features, once they are known to be numbers.
FeatureMoments checked_moments(const MultiLabelRows& data, ThreadPool* pool, const Poll& poll) {
  LabelledRows features;
  features.features = data.features;
  features.n_rows = data.n_rows;
  features.weights = data.weights;
  refuse_non_finite(features, pool, poll);
  return feature_moments(features, pool, poll);
}

class SigmoidSolver {
 public:
  SigmoidSolver(FloatArray embeddings, LabelArray labels, double l2, double tolerance,
                std::optional<FloatArray> weights, std::optional<FloatArray> positive,
                std::optional<FloatArray> negative, std::size_t memory, double curvature,
                std::shared_ptr<ThreadPool> pool, std::optional<CancelToken> cancel)
      : problem_{.embeddings = std::move(embeddings),
                 .labels = std::move(labels),
                 .weights = std::move(weights),
                 .positive = std::move(positive),
                 .negative = std::move(negative)},
        pool_(std::move(pool)),
        cancel_(std::move(cancel)),
        minimisation_(tolerance, memory) {
    check_shape(l2 >= 0 && std::isfinite(l2), "l2", std::to_string(l2), "finite and not negative");
    const MultiLabelRows data = problem_.rows();
    n_classes_ = static_cast<py::ssize_t>(data.n_classes);
    n_features_ = static_cast<py::ssize_t>(data.features.cols);

    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel_);
    const FeatureMoments moments = checked_moments(data, pool_.get(), poll);
    const auto preconditioner = std::make_shared<const Preconditioner>(
        moments, curvature > 0 ? curvature : sigmoid_curvature(data), l2, pool_.get(), poll);
    objective_ = std::make_unique<SigmoidObjective>(data, moments, preconditioner, l2, pool_.get());
  }

  void start(const std::optional<FloatArray>& weights, const std::optional<CArray<double>>& bias) {
    std::vector<double> x = weights && bias ? variables(*weights, *bias) : objective_->start();
    const py::gil_scoped_release release;
    minimisation_.start(std::move(x), objective());
    n_correct_ = objective_->n_correct();
  }

  std::string step() {
    const py::gil_scoped_release release;
    const auto [reason, moved] = minimisation_.step(objective());
    if (moved) n_correct_ = objective_->n_correct();
    return reason;
  }

  bool test() {
    const py::gil_scoped_release release;
    return minimisation_.test();
  }

  [[nodiscard]] py::tuple solution() const {
    py::array_t<float> weights({n_classes_, n_features_});
    py::array_t<double> bias(n_classes_);
    objective_->solution(state().x,
                         {weights.mutable_data(), static_cast<std::size_t>(weights.size())},
                         {bias.mutable_data(), static_cast<std::size_t>(bias.size())});
    return py::make_tuple(std::move(weights), std::move(bias));
  }

  // Value and gradient at given weights, in the original units: for tests and for the curious.
  py::tuple evaluate(const FloatArray& weights, const CArray<double>& bias) {
    const std::vector<double> x = variables(weights, bias);
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
    py::dict state = minimisation_.get_state();
    state["n_correct"] = n_correct_;
    return state;
  }

  void set_state(const py::dict& state) {
    minimisation_.set_state(state, objective_->size());
    n_correct_ = py::cast<std::size_t>(state["n_correct"]);
  }

  [[nodiscard]] const LbfgsState& state() const { return minimisation_.state(); }
  [[nodiscard]] std::size_t n_correct() const { return n_correct_; }

 private:
  [[nodiscard]] std::vector<double> variables(const FloatArray& weights,
                                              const CArray<double>& bias) const {
    check_shape(
        weights.ndim() == 2 && weights.shape(0) == n_classes_ && weights.shape(1) == n_features_,
        "weights", shape_text(weights), "(n_classes, n_features)");
    check_shape(bias.ndim() == 1 && bias.shape(0) == n_classes_, "bias", shape_text(bias),
                "(n_classes,)");
    return objective_->variables({weights.data(), static_cast<std::size_t>(weights.size())},
                                 {bias.data(), static_cast<std::size_t>(bias.size())});
  }
  Objective objective() {
    return
        [this, poll = solver_poll(cancel_)](std::span<const double> x, std::span<double> gradient) {
          return objective_->evaluate(x, gradient, poll);
        };
  }

  Problem problem_;
  std::shared_ptr<ThreadPool> pool_;
  std::optional<CancelToken> cancel_;
  py::ssize_t n_classes_ = 0;
  py::ssize_t n_features_ = 0;
  Minimisation minimisation_;
  std::size_t n_correct_ = 0;
  std::unique_ptr<SigmoidObjective> objective_;
};

// Feature variance, and the held-out loss of each strength that was tried.
py::tuple sigmoid_path(FloatArray embeddings, LabelArray labels, const CArray<std::int32_t>& fold,
                       std::size_t n_folds, const CArray<double>& relative_path, double tolerance,
                       std::optional<FloatArray> weights, std::optional<FloatArray> positive,
                       std::optional<FloatArray> negative, const std::shared_ptr<ThreadPool>& pool,
                       const std::optional<CancelToken>& cancel) {
  const Problem problem{.embeddings = std::move(embeddings),
                        .labels = std::move(labels),
                        .weights = std::move(weights),
                        .positive = std::move(positive),
                        .negative = std::move(negative)};
  const MultiLabelRows data = problem.rows();
  check_shape(fold.ndim() == 1 && fold.shape(0) == problem.embeddings.shape(0), "fold",
              shape_text(fold), "one fold a row of embeddings");
  std::vector<double> path(relative_path.data(), relative_path.data() + relative_path.size());
  std::vector<PathPoint> points;
  double variance = 0;
  {
    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel);
    const FeatureMoments moments = checked_moments(data, pool.get(), poll);
    variance = moments.variance;
    for (double& value : path) value *= variance;
    CrossValidationOptions options;
    options.n_folds = n_folds;
    options.tolerance = tolerance;
    if (!path.empty()) {
      points = cross_validate(data, moments, {fold.data(), static_cast<std::size_t>(fold.size())},
                              path, options, pool.get(), poll);
    }
  }
  py::list rows;
  for (const PathPoint& point : points) {
    rows.append(
        py::make_tuple(point.l2, point.log_loss, point.standard_error, point.n_evaluations));
  }
  return py::make_tuple(variance, rows);
}

}  // namespace

void bind_sigmoid(py::module_& module) {
  py::class_<SigmoidSolver>(module, "SigmoidSolver",
                            "One-vs-rest regression, one iteration at a time, with a plain state.")
      .def(py::init<FloatArray, LabelArray, double, double, std::optional<FloatArray>,
                    std::optional<FloatArray>, std::optional<FloatArray>, std::size_t, double,
                    std::shared_ptr<ThreadPool>, std::optional<CancelToken>>(),
           py::arg("embeddings").noconvert(), py::arg("labels").noconvert(), py::kw_only(),
           py::arg("l2"), py::arg("tolerance"), py::arg("weights").noconvert() = py::none(),
           py::arg("positive").noconvert() = py::none(),
           py::arg("negative").noconvert() = py::none(), py::arg("memory") = 10,
           py::arg("curvature") = 0.0, py::arg("pool") = nullptr, py::arg("cancel") = py::none())
      .def("start", &SigmoidSolver::start, py::arg("weights").noconvert() = py::none(),
           py::arg("bias").noconvert() = py::none())
      .def("step", &SigmoidSolver::step)
      .def("test", &SigmoidSolver::test)
      .def("solution", &SigmoidSolver::solution)
      .def("evaluate", &SigmoidSolver::evaluate, py::arg("weights").noconvert(),
           py::arg("bias").noconvert())
      .def("get_state", &SigmoidSolver::get_state)
      .def("set_state", &SigmoidSolver::set_state, py::arg("state"))
      .def_property_readonly("iteration",
                             [](const SigmoidSolver& self) { return self.state().iteration; })
      .def_property_readonly("n_evaluations",
                             [](const SigmoidSolver& self) { return self.state().n_evaluations; })
      .def_property_readonly("loss", [](const SigmoidSolver& self) { return self.state().value; })
      .def_property_readonly("gradient_norm",
                             [](const SigmoidSolver& self) { return self.state().gradient_norm; })
      .def_property_readonly(
          "predicted_decrease",
          [](const SigmoidSolver& self) { return self.state().predicted_decrease; })
      .def_property_readonly("n_correct", &SigmoidSolver::n_correct);

  module.def("sigmoid_path", &sigmoid_path, py::arg("embeddings").noconvert(),
             py::arg("labels").noconvert(), py::kw_only(), py::arg("fold").noconvert(),
             py::arg("n_folds"), py::arg("relative_path").noconvert(), py::arg("tolerance"),
             py::arg("weights").noconvert() = py::none(),
             py::arg("positive").noconvert() = py::none(),
             py::arg("negative").noconvert() = py::none(), py::arg("pool") = nullptr,
             py::arg("cancel") = py::none(),
             "Held-out loss of each strength of the penalty, given per unit of variance.");
}

}  // namespace eyespot::bindings
