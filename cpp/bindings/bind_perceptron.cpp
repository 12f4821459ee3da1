#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "eyespot/multilayer_perceptron.hpp"
#include "minimisation.hpp"

namespace eyespot::bindings {

namespace {

using Layers = std::vector<std::pair<FloatArray, FloatArray>>;

std::vector<DenseView> dense_views(const Layers& layers, py::ssize_t n_in) {
  std::vector<DenseView> views;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& [weights, bias] = layers[i];
    const std::string name = "layers[" + std::to_string(i) + "]";
    check_shape(weights.ndim() == 2 && weights.shape(1) == n_in, name.c_str(), shape_text(weights),
                "(n_out, n_in) with the n_out of the layer before as n_in");
    check_shape(bias.ndim() == 1 && bias.shape(0) == weights.shape(0), name.c_str(),
                shape_text(bias), "(n_out,)");
    views.push_back({.weights = {weights.data(), static_cast<std::size_t>(weights.size())},
                     .bias = {bias.data(), static_cast<std::size_t>(bias.size())}});
    n_in = bias.shape(0);
  }
  return views;
}

// One network with its state: the data stay referenced, the core sees plain views of them.
class PerceptronSolver {
 public:
  PerceptronSolver(FloatArray embeddings, TargetArray targets, std::size_t n_classes,
                   const std::vector<std::size_t>& layer_sizes, double l2, double tolerance,
                   std::optional<FloatArray> weights, std::size_t memory,
                   std::shared_ptr<ThreadPool> pool, std::optional<CancelToken> cancel)
      : embeddings_(std::move(embeddings)),
        targets_(std::move(targets)),
        row_weights_(std::move(weights)),
        pool_(std::move(pool)),
        cancel_(std::move(cancel)),
        options_(minimiser_options(tolerance, memory)) {
    check_strength(l2);
    data_ = labelled_rows(embeddings_, targets_, n_classes, row_weights_);
    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel_);
    refuse_non_finite(data_.features, data_.n_rows, pool_.get(), poll);
    objective_ = std::make_unique<PerceptronObjective>(
        data_, feature_scaling(data_, pool_.get(), poll), layer_sizes, l2, pool_.get());
  }

  void start(std::uint64_t seed) { begin(objective_->start(seed)); }

  void start_at(const Layers& layers) {
    begin(objective_->variables(dense_views(layers, embeddings_.shape(1))));
  }

  std::string step() {
    const py::gil_scoped_release release;
    if (state_.x.empty()) throw Error(ErrorCode::invalid_argument, "step", "called before a start");
    const std::uint64_t before = state_.iteration;
    const StopReason reason = lbfgs_step(state_, options_, objective());
    if (state_.iteration != before) n_correct_ = objective_->n_correct();
    return std::string(stop_reason_name(reason));
  }

  bool test() {
    const py::gil_scoped_release release;
    return lbfgs_converged(state_, options_);
  }

  [[nodiscard]] py::list solution() const {
    py::list layers;
    for (const Dense& layer : objective_->solution(state_.x)) {
      const auto n_out = static_cast<py::ssize_t>(layer.bias.size());
      const auto n_in = static_cast<py::ssize_t>(layer.weights.size()) / n_out;
      FloatArray weights({n_out, n_in});
      std::ranges::copy(layer.weights, weights.mutable_data());
      layers.append(py::make_tuple(std::move(weights), to_array(layer.bias)));
    }
    return layers;
  }

  // Value and gradient at given variables: for tests and for the curious.
  py::tuple evaluate(const CArray<double>& variables) {
    check_shape(
        variables.ndim() == 1 && static_cast<std::size_t>(variables.size()) == objective_->size(),
        "variables", shape_text(variables), "one number a variable");
    py::array_t<double> gradient(variables.size());
    const std::span<double> out(gradient.mutable_data(), objective_->size());
    const std::span<const double> at(variables.data(), objective_->size());
    double value = 0;
    {
      const py::gil_scoped_release release;
      value = objective_->evaluate(at, out, solver_poll(cancel_)).value;
    }
    return py::make_tuple(value, std::move(gradient));
  }

  [[nodiscard]] py::dict get_state() const {
    py::dict state = state_to_dict(state_);
    state["n_correct"] = n_correct_;
    return state;
  }

  void set_state(const py::dict& state) {
    state_ = state_from_dict(state, objective_->size(), options_.memory);
    n_correct_ = py::cast<std::size_t>(state["n_correct"]);
  }

  [[nodiscard]] const LbfgsState& state() const { return state_; }
  [[nodiscard]] std::size_t n_correct() const { return n_correct_; }

 private:
  void begin(std::vector<double> x) {
    const py::gil_scoped_release release;
    state_ = lbfgs_start(std::move(x), options_, objective());
    n_correct_ = objective_->n_correct();
  }

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
  std::unique_ptr<PerceptronObjective> objective_;
};

FloatArray layers_of(const FloatArray& embeddings, const Layers& layers, bool softmax,
                     const std::shared_ptr<ThreadPool>& pool) {
  check_shape(embeddings.ndim() == 2, "embeddings", shape_text(embeddings), "(n, d)");
  check_shape(!layers.empty(), "layers", "none given", "at least one");
  const std::vector<DenseView> views = dense_views(layers, embeddings.shape(1));
  FloatArray out({embeddings.shape(0), layers.back().second.shape(0)});
  const auto d = static_cast<std::size_t>(embeddings.shape(1));
  const RowsView view{.data = embeddings.data(), .cols = d, .stride = d, .rows = nullptr};
  const auto n = static_cast<std::size_t>(embeddings.shape(0));
  const std::span<float> to(out.mutable_data(), static_cast<std::size_t>(out.size()));
  const py::gil_scoped_release release;
  dense_layers(view, n, views, softmax ? DenseOutput::softmax : DenseOutput::linear, to, pool.get(),
               signal_poll());
  return out;
}

}  // namespace

void bind_perceptron(py::module_& module) {
  py::class_<PerceptronSolver> solver(
      module, "PerceptronSolver",
      "A multilayer perceptron, one iteration at a time, with a plain state.");
  define_stepper(solver);
  solver
      .def(py::init<FloatArray, TargetArray, std::size_t, std::vector<std::size_t>, double, double,
                    std::optional<FloatArray>, std::size_t, std::shared_ptr<ThreadPool>,
                    std::optional<CancelToken>>(),
           py::arg("embeddings").noconvert(), py::arg("targets").noconvert(), py::kw_only(),
           py::arg("n_classes"), py::arg("layer_sizes"), py::arg("l2"), py::arg("tolerance"),
           py::arg("weights").noconvert() = py::none(), py::arg("memory") = 10,
           py::arg("pool") = nullptr, py::arg("cancel") = py::none())
      .def("start", &PerceptronSolver::start, py::arg("seed"))
      .def("start_at", &PerceptronSolver::start_at, py::arg("layers").noconvert())
      .def("evaluate", &PerceptronSolver::evaluate, py::arg("variables").noconvert());

  module.def("dense_layers", &layers_of, py::arg("embeddings").noconvert(),
             py::arg("layers").noconvert(), py::kw_only(), py::arg("softmax"),
             py::arg("pool") = nullptr,
             "What fully connected layers with ReLU between them make of each row.");
}

}  // namespace eyespot::bindings
