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
#include "linear_solver.hpp"
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
    const RowsView features = rows_view(embeddings);
    check_shape(labels.ndim() == 2 && labels.shape(0) == embeddings.shape(0) && labels.shape(1) > 0,
                "labels", shape_text(labels), "(n, n_classes > 0) with the n of embeddings");
    for (const auto* one : {&positive, &negative}) {
      if (!*one) continue;
      check_shape((*one)->ndim() == 1 && (*one)->shape(0) == labels.shape(1),
                  one == &positive ? "positive" : "negative", shape_text(**one),
                  "one weight a class");
    }
    const auto n_rows = static_cast<std::size_t>(embeddings.shape(0));
    return {.features = features,
            .n_rows = n_rows,
            .n_classes = static_cast<std::size_t>(labels.shape(1)),
            .labels = labels.data(),
            .weights = row_weights(weights, n_rows),
            .positive = positive ? positive->data() : nullptr,
            .negative = negative ? negative->data() : nullptr};
  }

  [[nodiscard]] py::list owners() const {
    py::list list;
    list.append(embeddings);
    list.append(labels);
    for (const auto* one : {&weights, &positive, &negative}) {
      if (*one) list.append(**one);
    }
    return list;
  }
};

class SigmoidSolver : public LinearSolver {
 public:
  SigmoidSolver(const Problem& problem, double l2, double tolerance, std::size_t memory,
                std::shared_ptr<ThreadPool> pool, const std::optional<CancelToken>& cancel)
      : LinearSolver(problem.owners(), l2, std::move(pool), cancel,
                     [&, data = problem.rows()](ThreadPool* workers, const Poll& poll) {
                       check_strength(l2);
                       refuse_non_finite(data.features, data.n_rows, workers, poll);
                       return sigmoid_fit(data, l2, minimiser_options(tolerance, memory), workers,
                                          poll);
                     }) {}
};

// Feature variance, the held-out loss of each strength that was tried, and a start for the fit to
// all rows.
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
  PathResult result;
  double variance = 0;
  {
    const py::gil_scoped_release release;
    const Poll poll = solver_poll(cancel);
    refuse_non_finite(data.features, data.n_rows, pool.get(), poll);
    const FeatureMoments moments =
        feature_moments(data.features, data.n_rows, data.weights, pool.get(), poll, false);
    variance = moments.variance;
    for (double& value : path) value *= variance;
    CrossValidationOptions options;
    options.n_folds = n_folds;
    options.tolerance = tolerance;
    if (!path.empty()) {
      result = cross_validate(data, moments, {fold.data(), static_cast<std::size_t>(fold.size())},
                              path, options, pool.get(), poll);
    }
  }
  const auto [rows, start] = path_to_python(result, data.n_classes);
  return py::make_tuple(variance, rows, start);
}

}  // namespace

void bind_sigmoid(py::module_& module) {
  py::class_<SigmoidSolver, LinearSolver>(module, "SigmoidSolver", "One-vs-rest regression.")
      .def(py::init([](FloatArray embeddings, LabelArray labels, double l2, double tolerance,
                       std::optional<FloatArray> weights, std::optional<FloatArray> positive,
                       std::optional<FloatArray> negative, std::size_t memory,
                       std::shared_ptr<ThreadPool> pool, const std::optional<CancelToken>& cancel) {
             const Problem problem{.embeddings = std::move(embeddings),
                                   .labels = std::move(labels),
                                   .weights = std::move(weights),
                                   .positive = std::move(positive),
                                   .negative = std::move(negative)};
             return std::make_unique<SigmoidSolver>(problem, l2, tolerance, memory, std::move(pool),
                                                    cancel);
           }),
           py::arg("embeddings").noconvert(), py::arg("labels").noconvert(), py::kw_only(),
           py::arg("l2"), py::arg("tolerance"), py::arg("weights").noconvert() = py::none(),
           py::arg("positive").noconvert() = py::none(),
           py::arg("negative").noconvert() = py::none(), py::arg("memory") = 0,
           py::arg("pool") = nullptr, py::arg("cancel") = py::none());

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
