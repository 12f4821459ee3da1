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
#include "linear_solver.hpp"
#include "minimisation.hpp"

namespace eyespot::bindings {

namespace {

py::list owners(const FloatArray& embeddings, const TargetArray& targets,
                const std::optional<FloatArray>& weights) {
  py::list list;
  list.append(embeddings);
  list.append(targets);
  if (weights) list.append(*weights);
  return list;
}

class SoftmaxSolver : public LinearSolver {
 public:
  SoftmaxSolver(const FloatArray& embeddings, const TargetArray& targets, std::size_t n_classes,
                double l2, double tolerance, const std::optional<FloatArray>& weights,
                std::size_t memory, std::shared_ptr<ThreadPool> pool,
                const std::optional<CancelToken>& cancel)
      : LinearSolver(owners(embeddings, targets, weights), l2, std::move(pool), cancel,
                     [&, data = labelled_rows(embeddings, targets, n_classes, weights)](
                         ThreadPool* workers, const Poll& poll) {
                       check_strength(l2);
                       refuse_non_finite(data.features, data.n_rows, workers, poll);
                       return softmax_fit(data, l2, minimiser_options(tolerance, memory), workers,
                                          poll);
                     }) {}
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
    refuse_non_finite(data.features, data.n_rows, pool.get(), poll);
    const FeatureMoments moments =
        feature_moments(data.features, data.n_rows, data.weights, pool.get(), poll, false);
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
  const auto [rows, start] = path_to_python(result, n_classes);
  if (!predict) return py::make_tuple(variance, rows, start, py::none());
  FloatArray held_out({embeddings.shape(0), static_cast<py::ssize_t>(n_classes)});
  std::ranges::copy(result.held_out, held_out.mutable_data());
  return py::make_tuple(variance, rows, start, std::move(held_out));
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
  py::class_<LinearSolver> linear(module, "LinearSolver",
                                  "Linear scores fitted one iteration at a time, with a plain "
                                  "state.");
  define_stepper(linear);
  linear
      .def("start", &LinearSolver::start, py::arg("weights").noconvert() = py::none(),
           py::arg("bias").noconvert() = py::none(), py::arg("pairs") = py::none())
      .def("evaluate", &LinearSolver::evaluate, py::arg("weights").noconvert(),
           py::arg("bias").noconvert());
  py::class_<SoftmaxSolver, LinearSolver>(module, "SoftmaxSolver", "Softmax regression.")
      .def(py::init<FloatArray, TargetArray, std::size_t, double, double, std::optional<FloatArray>,
                    std::size_t, std::shared_ptr<ThreadPool>, std::optional<CancelToken>>(),
           py::arg("embeddings").noconvert(), py::arg("targets").noconvert(), py::kw_only(),
           py::arg("n_classes"), py::arg("l2"), py::arg("tolerance"),
           py::arg("weights").noconvert() = py::none(), py::arg("memory") = 0,
           py::arg("pool") = nullptr, py::arg("cancel") = py::none());

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
