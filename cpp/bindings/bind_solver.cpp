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
#include "minimisation.hpp"

namespace eyespot::bindings {

namespace {

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
        cancel_(std::move(cancel)),
        minimisation_(tolerance, memory) {
    check_shape(l2 >= 0 && std::isfinite(l2), "l2", std::to_string(l2), "finite and not negative");
    data_ = labelled_rows(embeddings_, targets_, n_classes, row_weights_);
    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel_);
    refuse_non_finite(data_, pool_.get(), poll);
    l2_ = l2;
    with_gram_ = gram_pays(data_.n_rows, data_.n_rows, data_.features.cols, n_classes);
    moments_ = feature_moments(data_, pool_.get(), poll, with_gram_);
    const double first = curvature > 0 ? curvature : softmax_curvature(n_classes);
    const auto preconditioner =
        with_gram_ ? std::make_shared<const Preconditioner>(moments_, first, l2, pool_.get(), poll)
                   : std::make_shared<const Preconditioner>(data_.features.cols, moments_.variance,
                                                            first, l2);
    objective_ =
        std::make_unique<SoftmaxObjective>(data_, moments_, preconditioner, l2, pool_.get());
  }

  void start(const std::optional<FloatArray>& weights, const std::optional<CArray<double>>& bias) {
    std::vector<double> x;
    if (weights && bias) {
      check_shape(weights->ndim() == 2 && weights->shape(0) == n_classes() &&
                      weights->shape(1) == n_features(),
                  "weights", shape_text(*weights), "(n_classes, n_features)");
      check_shape(bias->ndim() == 1 && bias->shape(0) == n_classes(), "bias", shape_text(*bias),
                  "(n_classes,)");
      metric_weights_.assign(weights->data(), weights->data() + weights->size());
      metric_bias_.assign(bias->data(), bias->data() + bias->size());
    }
    const py::gil_scoped_release release;
    if (metric_weights_.empty()) {
      x = objective_->start();
    } else {
      take_metric();
      x = objective_->variables(metric_weights_, metric_bias_);
    }
    minimisation_.start(std::move(x), objective());
    n_correct_ = objective_->n_correct();
    metric_value_ = state().value;
  }

  std::string step() {
    const py::gil_scoped_release release;
    // A start that proved far off does not say how the loss bends where it is least.
    if (with_gram_ && state().iteration == kMetricIteration &&
        state().value < kFarBelow * metric_value_) {
      metric_weights_.resize(data_.n_classes * data_.features.cols);
      metric_bias_.resize(data_.n_classes);
      objective_->solution(state().x, metric_weights_, metric_bias_);
      take_metric();
      minimisation_.restart(objective_->variables(metric_weights_, metric_bias_), objective());
      metric_value_ = state().value;
    }
    const auto [reason, moved] = minimisation_.step(objective());
    if (moved) n_correct_ = objective_->n_correct();
    return reason;
  }

  bool test() {
    const py::gil_scoped_release release;
    return minimisation_.test();
  }

  [[nodiscard]] py::tuple solution() const {
    py::array_t<float> weights({n_classes(), n_features()});
    py::array_t<double> bias(n_classes());
    objective_->solution(state().x,
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
    py::dict state = minimisation_.get_state();
    state["n_correct"] = n_correct_;
    state["metric_value"] = metric_value_;
    state["metric_weights"] = to_array(metric_weights_);
    state["metric_bias"] = to_array(metric_bias_);
    return state;
  }

  void set_state(const py::dict& state) {
    minimisation_.set_state(state, objective_->size());
    n_correct_ = py::cast<std::size_t>(state["n_correct"]);
    metric_value_ = py::cast<double>(state["metric_value"]);
    const bool own_metric = py::cast<CArray<double>>(state["metric_bias"]).size() > 0;
    metric_weights_.resize(own_metric ? data_.n_classes * data_.features.cols : 0);
    metric_bias_.resize(own_metric ? data_.n_classes : 0);
    read_array(state, "metric_weights", metric_weights_);
    read_array(state, "metric_bias", metric_bias_);
    if (own_metric) {
      const py::gil_scoped_release release;
      take_metric();
    }
  }

  [[nodiscard]] const LbfgsState& state() const { return minimisation_.state(); }
  [[nodiscard]] std::size_t n_correct() const { return n_correct_; }
  [[nodiscard]] double variance() const { return moments_.variance; }

 private:
  // By when the first metric, which knows nothing of the loss, has shown where the rows lie.
  static constexpr std::uint64_t kMetricIteration = 8;
  static constexpr double kFarBelow = 0.9;

  // The variables that suit the way on from metric_weights_ and metric_bias_.
  void take_metric() {
    if (!with_gram_) return;
    const Poll poll = solver_poll(cancel_);
    const CurvedMoments curved =
        curved_moments(data_, moments_, metric_weights_, metric_bias_, pool_.get(), poll);
    objective_->set_preconditioner(std::make_shared<const Preconditioner>(
        curved.moments, curved.curvature, l2_, pool_.get(), poll));
  }

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
  Minimisation minimisation_;
  std::size_t n_correct_ = 0;
  double l2_ = 0;
  FeatureMoments moments_;
  bool with_gram_ = false;
  std::vector<float> metric_weights_;  // where the metric was taken; empty before that
  std::vector<double> metric_bias_;
  double metric_value_ = 0;  // the objective there, or at the start
  std::unique_ptr<SoftmaxObjective> objective_;
};

// Feature variance, the held-out loss of each strength that was tried, a start for the fit to all
// rows, and, when asked for, the probabilities of the rows by models that were fitted without them.
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
  const auto k = static_cast<py::ssize_t>(n_classes);
  py::object start = py::none();
  if (!result.weights.empty()) {
    const std::array<py::ssize_t, 2> shape{k, embeddings.shape(1)};
    start = py::make_tuple(FloatArray(shape, result.weights.data()), to_array(result.bias));
  }
  if (!predict) return py::make_tuple(variance, rows, start, py::none());
  const std::array<py::ssize_t, 2> shape{embeddings.shape(0), k};
  return py::make_tuple(variance, rows, start, FloatArray(shape, result.held_out.data()));
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
