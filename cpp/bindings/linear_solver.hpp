#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "eyespot/linear_objective.hpp"
#include "minimisation.hpp"

// What the solvers of linear objectives share.
namespace eyespot::bindings {

// A fit of the core with what it reads: the data stay referenced, the core sees plain views.
class LinearSolver {
 public:
  // make(pool, poll) is called without the GIL.
  template <class Make>
  LinearSolver(py::list owners, double l2, std::shared_ptr<ThreadPool> pool,
               const std::optional<CancelToken>& cancel, const Make& make)
      : owners_(std::move(owners)), l2_(l2), pool_(std::move(pool)), poll_(solver_poll(cancel)) {
    const py::gil_scoped_release release;
    fit_ = std::make_unique<LinearFit>(make(pool_.get(), poll_));
  }

  // pairs: as softmax_path gives them.
  void start(const std::optional<FloatArray>& weights, const std::optional<CArray<double>>& bias,
             const std::optional<py::dict>& pairs) {
    std::vector<double> x;
    if (weights && bias) x = variables(*weights, *bias);
    std::optional<LbfgsState> like;
    double added_l2 = 0;
    if (pairs) {
      like = pairs_from_dict(*pairs, fit_->size(), fit_->options().memory);
      added_l2 = l2_ - py::cast<double>((*pairs)["l2"]);
    }
    const py::gil_scoped_release release;
    fit_->start(std::move(x), poll_, like ? &*like : nullptr, added_l2);
  }

  std::string step() {
    const py::gil_scoped_release release;
    return std::string(stop_reason_name(fit_->step(poll_)));
  }

  bool test() {
    const py::gil_scoped_release release;
    return fit_->converged();
  }

  [[nodiscard]] py::tuple solution() const {
    py::array_t<float> weights({n_classes(), n_features()});
    py::array_t<double> bias(n_classes());
    fit_->solution({weights.mutable_data(), size(weights)}, {bias.mutable_data(), size(bias)});
    return py::make_tuple(std::move(weights), std::move(bias));
  }

  // Value and gradient at given weights: for tests and for the curious.
  py::tuple evaluate(const FloatArray& weights, const CArray<double>& bias) {
    const std::vector<double> x = variables(weights, bias);
    std::vector<double> gradient(x.size());
    double value = 0;
    {
      const py::gil_scoped_release release;
      value = fit_->objective().evaluate(x, gradient, poll_).value;
    }
    return py::make_tuple(value, to_array(gradient));
  }

  [[nodiscard]] py::dict get_state() const {
    const LinearFit::Progress& progress = fit_->progress();
    py::dict dict = state_to_dict(progress.minimiser);
    dict["n_correct"] = progress.n_correct;
    dict["metric_x"] = to_array(progress.metric_x);
    dict["metric_value"] = progress.metric_value;
    dict["metric_evaluations"] = progress.metric_evaluations;
    return dict;
  }

  void set_state(const py::dict& dict) {
    LinearFit::Progress progress;
    progress.minimiser = state_from_dict(dict, fit_->size(), fit_->options().memory);
    progress.n_correct = py::cast<std::size_t>(dict["n_correct"]);
    progress.metric_value = py::cast<double>(dict["metric_value"]);
    progress.metric_evaluations = py::cast<std::uint64_t>(dict["metric_evaluations"]);
    const bool taken = py::cast<CArray<double>>(dict["metric_x"]).size() > 0;
    progress.metric_x.resize(taken ? fit_->size() : 0);
    read_array(dict, "metric_x", progress.metric_x);
    const py::gil_scoped_release release;
    fit_->resume(std::move(progress), poll_);
  }

  [[nodiscard]] const LbfgsState& state() const { return fit_->progress().minimiser; }
  [[nodiscard]] std::size_t n_correct() const { return fit_->progress().n_correct; }

 private:
  [[nodiscard]] py::ssize_t n_classes() const {
    return static_cast<py::ssize_t>(fit_->objective().n_classes());
  }
  [[nodiscard]] py::ssize_t n_features() const {
    return static_cast<py::ssize_t>(fit_->objective().n_features());
  }
  template <class Array>
  [[nodiscard]] static std::size_t size(const Array& array) {
    return static_cast<std::size_t>(array.size());
  }
  [[nodiscard]] std::vector<double> variables(const FloatArray& weights,
                                              const CArray<double>& bias) const {
    check_shape(
        weights.ndim() == 2 && weights.shape(0) == n_classes() && weights.shape(1) == n_features(),
        "weights", shape_text(weights), "(n_classes, n_features)");
    check_shape(bias.ndim() == 1 && bias.shape(0) == n_classes(), "bias", shape_text(bias),
                "(n_classes,)");
    return fit_->objective().variables({weights.data(), size(weights)}, {bias.data(), size(bias)});
  }

  py::list owners_;
  double l2_ = 0;
  std::shared_ptr<ThreadPool> pool_;
  Poll poll_;
  std::unique_ptr<LinearFit> fit_;
};

// Strengths with their held-out loss; the mean of the folds' solutions and the pairs of one, or
// None.
inline std::pair<py::list, py::object> path_to_python(const PathResult& result,
                                                      std::size_t n_classes) {
  py::list rows;
  for (const PathPoint& point : result.points) {
    rows.append(
        py::make_tuple(point.l2, point.log_loss, point.standard_error, point.n_evaluations));
  }
  if (result.weights.empty()) return {rows, py::none()};
  const auto k = static_cast<py::ssize_t>(n_classes);
  FloatArray weights({k, static_cast<py::ssize_t>(result.weights.size()) / k});
  std::ranges::copy(result.weights, weights.mutable_data());
  const py::dict pairs = pairs_to_dict(result.pairs);
  pairs["l2"] = result.pairs_l2;
  return {rows, py::make_tuple(std::move(weights), to_array(result.bias), pairs)};
}

}  // namespace eyespot::bindings
