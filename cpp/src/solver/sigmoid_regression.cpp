#include "eyespot/sigmoid_regression.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "cross_validation.hpp"
#include "eyespot/error.hpp"
#include "row_space.hpp"
#include "sigmoid_kernels.hpp"

namespace eyespot {

namespace {

// Where every class is nearly certain from the start the metric must not become flat.
constexpr double kLeastCurvature = 0.01;

// Weight of the rows that bear each label, and that do not, each row's weight being 1 on average.
struct LabelWeight {
  std::vector<double> yes;
  std::vector<double> no;
};

LabelWeight label_weight(const MultiLabelRows& data, const std::vector<float>& weights) {
  LabelWeight sums{.yes = std::vector<double>(data.n_classes),
                   .no = std::vector<double>(data.n_classes)};
  for (std::size_t i = 0; i < data.n_rows; ++i) {
    const std::size_t source = data.features.rows != nullptr ? data.features.rows[i] : i;
    const std::uint8_t* labels = data.labels + source * data.n_classes;
    const double weight = weights.empty() ? 1.0 : static_cast<double>(weights[i]);
    for (std::size_t c = 0; c < data.n_classes; ++c) {
      (labels[c] != 0 ? sums.yes : sums.no)[c] += weight;
    }
  }
  for (std::size_t c = 0; c < data.n_classes; ++c) {
    if (data.positive != nullptr) sums.yes[c] *= static_cast<double>(data.positive[c]);
    if (data.negative != nullptr) sums.no[c] *= static_cast<double>(data.negative[c]);
  }
  return sums;
}

void check_class_weights(const float* values, const char* name, std::size_t n) {
  for (std::size_t c = 0; values != nullptr && c < n; ++c) {
    if (!(values[c] >= 0) || !std::isfinite(values[c])) {
      throw Error(ErrorCode::invalid_argument, std::string(name) + "[" + std::to_string(c) + "]",
                  std::to_string(values[c]) + " given; a weight is finite and not negative");
    }
  }
}

// One factor a class, 1 for null, and 0 for the padding of the scores.
std::vector<float> padded(const float* values, std::size_t n) {
  const PanelMatrix shape(1, n);
  const std::size_t last = shape.n_panels() - 1;
  std::vector<float> out(last * shape.panel_width() + shape.width(last), 0.0F);
  for (std::size_t c = 0; c < n; ++c) out[c] = values != nullptr ? values[c] : 1.0F;
  return out;
}

}  // namespace

SigmoidObjective::SigmoidObjective(const MultiLabelRows& data, const FeatureMoments& moments,
                                   double l2, ThreadPool* pool)
    : LinearObjective(data.features, data.n_rows,
                      {.n_classes = data.n_classes, .padding = solver::kNeverScore}, moments, l2,
                      pool),
      data_(data),
      weights_(mean_one_weights(data.features, data.n_rows, data.weights)) {
  check_class_weights(data.positive, "positive", data.n_classes);
  check_class_weights(data.negative, "negative", data.n_classes);
  positive_ = padded(data.positive, data.n_classes);
  negative_ = padded(data.negative, data.n_classes);
}

RowLosses SigmoidObjective::residuals(PanelMatrix& scores, std::size_t first, std::size_t count,
                                      float* column) const {
  return solver::sigmoid_residuals(scores, count,
                                   {.labels = data_.labels,
                                    .rows = data_.features.rows,
                                    .first = first,
                                    .n_classes = data_.n_classes,
                                    .weights = weights_.empty() ? nullptr : weights_.data(),
                                    .positive = positive_.data(),
                                    .negative = negative_.data()},
                                   column);
}

std::vector<double> SigmoidObjective::start() const {
  const LabelWeight sums = label_weight(data_, weights_);
  std::vector<double> x(size(), 0.0);
  const auto bias = std::span(x).last(n_classes());
  for (std::size_t c = 0; c < bias.size(); ++c) {
    // Half a row for a label that all or none bear keeps the logarithm finite.
    bias[c] = std::log(std::max(sums.yes[c], 0.5) / std::max(sums.no[c], 0.5));
  }
  return x;
}

std::shared_ptr<const Preconditioner> SigmoidObjective::metric(std::span<const double> /*x*/,
                                                               const MetricKind& kind,
                                                               const Poll& poll) {
  return bound_metric(features(), n_rows(), data_.weights, moments(), sigmoid_curvature(data_),
                      penalty(), kind.with_gram, pool(), poll);
}

double sigmoid_curvature(const MultiLabelRows& data) {
  const LabelWeight sums =
      label_weight(data, mean_one_weights(data.features, data.n_rows, data.weights));
  const auto n = static_cast<double>(data.n_rows);
  double mean = 0;
  for (std::size_t c = 0; c < data.n_classes; ++c) {
    const double total = sums.yes[c] + sums.no[c];
    if (total > 0)
      mean += sums.yes[c] / total * sums.no[c] / n / static_cast<double>(data.n_classes);
  }
  return std::max(0.5 * mean, kLeastCurvature);
}

LinearFit sigmoid_fit(const MultiLabelRows& data, double l2, const LbfgsOptions& options,
                      ThreadPool* pool, const Poll& poll) {
  const FeatureMoments moments =
      feature_moments(data.features, data.n_rows, data.weights, pool, poll, false);
  const solver::SeenFeatures seen(data.features, data.n_rows, data.weights, moments, pool, poll);
  LinearFit::Problem problem;
  problem.objective = std::make_unique<SigmoidObjective>(data, moments, l2, pool);
  problem.space = seen.space;
  if (seen.space) {
    MultiLabelRows inner = data;
    inner.features = seen.features;
    problem.in_space = std::make_unique<SigmoidObjective>(inner, seen.moments, l2, pool);
  }
  // The first one only: it is the same at every point.
  problem.plan.first.with_gram =
      metric_plan(data.n_rows, seen.features.cols, data.n_classes).first.with_gram;
  return {std::move(problem), options, pool};
}

PathResult cross_validate(const MultiLabelRows& given, const FeatureMoments& given_moments,
                          std::span<const std::int32_t> fold, std::span<const double> path,
                          const CrossValidationOptions& options, ThreadPool* pool,
                          const Poll& poll) {
  const solver::SeenFeatures seen(given.features, given.n_rows, given.weights, given_moments, pool,
                                  poll);
  MultiLabelRows data = given;
  data.features = seen.features;
  const FeatureMoments& moments = seen.moments;
  const MetricKind kind{.with_gram = solver::path_metric_pays(data.n_rows, data.features.cols,
                                                              data.n_classes, options.n_folds)};
  const auto rows_of = [&](std::span<const std::uint32_t> rows) {
    MultiLabelRows part = data;
    part.features.rows = rows.data();
    part.n_rows = rows.size();
    return part;
  };
  const solver::PathProblem problem{
      .n_rows = data.n_rows,
      .n_classes = data.n_classes,
      .weights = data.weights,
      .objective =
          [&](std::span<const std::uint32_t> rows, double l2) {
            return std::make_unique<SigmoidObjective>(rows_of(rows), moments, l2, nullptr);
          },
      .metric =
          [&](double l2, std::span<const float>, std::span<const double>) {
            return SigmoidObjective(data, moments, l2, pool).metric({}, kind, poll);
          },
      .loss =
          [&](solver::Fold& one, const Poll& go) {
            if (!(one.weight > 0)) return 0.0;
            SigmoidObjective held_out(rows_of(one.held_out), moments, 0, nullptr);
            const std::vector<double> x = held_out.variables(one.weights, one.bias);
            std::vector<double> gradient(x.size());
            return one.weight * held_out.evaluate(x, gradient, go).value;
          }};
  PathResult result = solver::run_path(problem, fold, path, options, pool, poll);
  if (seen.space) seen.space->to_features(result, pool);
  return result;
}

}  // namespace eyespot
