#include "eyespot/preconditioner.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "active_rows.hpp"
#include "cholesky.hpp"
#include "evaluation_cost.hpp"

namespace eyespot {

namespace {

// Evaluations that a metric may cost where the way may be short, and those that its active rows
// may.
constexpr double kCheapMetric = 16;
constexpr double kActiveCost = 3;
// A metric is taken once about as much was spent on evaluations. Without a Gram matrix the first
// ones lead less far, and what is seen after a few does not hold for long.
constexpr double kSpent = 0.75;
constexpr double kLeastEvaluations = 8;
constexpr double kLeastWithoutGram = 12;

}  // namespace

double gram_cost(std::size_t n_rows, std::size_t n_features, std::size_t n_scores) {
  const auto n = static_cast<double>(n_rows);
  const auto d = static_cast<double>(n_features);
  // Its use is three substitutions an iteration, each as long as d / n of an evaluation or so.
  if (d > 0.5 * n) return std::numeric_limits<double>::infinity();
  const std::size_t n_used = n_rows / solver::gram_step(n_rows, n_features);
  const auto used = static_cast<double>(n_used);
  return (solver::products_cost(used, d) + solver::factor_cost(d)) /
         solver::evaluation_cost(n, d, static_cast<double>(n_scores));
}

MetricPlan metric_plan(std::size_t n_rows, std::size_t n_features, std::size_t n_scores) {
  const double gram = gram_cost(n_rows, n_features, n_scores);
  const auto vectors = [&](bool with_gram) {
    return solver::most_vectors(n_rows, n_features, n_scores, with_gram, kActiveCost);
  };
  MetricPlan plan;
  plan.first.with_gram = gram <= kCheapMetric;
  if (plan.first.with_gram) {
    if (gram + kActiveCost <= kCheapMetric) plan.first.n_vectors = vectors(true);
    const double active = plan.first.n_vectors > 0 ? kActiveCost : 0.0;
    plan.every_first = std::max(kSpent * (gram + active), kLeastEvaluations);
    return plan;
  }
  plan.first.n_vectors = vectors(false);
  if (plan.first.n_vectors > 0) plan.every_first = kLeastWithoutGram;
  plan.later = {.with_gram = true, .n_vectors = vectors(true)};
  plan.long_way = plan.every_later = kSpent * gram;
  return plan;
}

std::shared_ptr<const Preconditioner> bound_metric(const RowsView& features, std::size_t n_rows,
                                                   const float* weights,
                                                   const FeatureMoments& moments, double curvature,
                                                   double l2, bool with_gram, ThreadPool* pool,
                                                   const Poll& poll) {
  if (!with_gram) {
    return std::make_shared<const Preconditioner>(features.cols, moments.variance, curvature, l2);
  }
  FeatureMoments all = moments;
  add_gram(all, features, n_rows, weights, pool, poll);
  return std::make_shared<const Preconditioner>(all, curvature, l2, pool, poll);
}

namespace {

// The factor of curvature * gram + l2 * I.
std::shared_ptr<const solver::Cholesky> factor_of(const FeatureMoments& moments, double curvature,
                                                  double l2, ThreadPool* pool, const Poll& poll) {
  // The Gram matrix is known to float32, or less: a smaller shift than this would only follow its
  // rounding.
  double shift = std::max(l2, 1e-7 * curvature * moments.variance);
  if (!(shift > 0)) shift = 1;  // constant features: any metric will do
  auto factor = std::make_shared<solver::Cholesky>(moments.mean.size());
  factor->factorise_shifted(moments.gram, curvature, shift, pool, poll);
  return factor;
}

}  // namespace

Preconditioner::Preconditioner(const FeatureMoments& moments, double curvature, double l2,
                               ThreadPool* pool, const Poll& poll)
    : n_features_(moments.mean.size()),
      curvature_(curvature),
      factor_(factor_of(moments, curvature, l2, pool, poll)) {}

Preconditioner::Preconditioner(const RowsView& features, const CurvedMoments& curved, double l2,
                               ThreadPool* pool, const Poll& poll)
    : Preconditioner(curved.moments.mean.size(), curved.moments.variance, curved.rest, l2) {
  curvature_ = curved.curvature;
  centres_ = curved.centres;
  if (!curved.moments.gram.empty()) {
    factor_ = factor_of(curved.moments, curved.rest, l2, pool, poll);
    scale_ = 0;
  }
  if (curved.active.rows.empty()) return;
  active_ = std::make_shared<const solver::ActiveRows>(
      features, curved.moments.mean, curved.active, scale_, factor_.get(), curvature_, pool, poll);
}

Preconditioner::Preconditioner(std::size_t n_features, double variance, double curvature, double l2)
    : n_features_(n_features), curvature_(curvature), scale_(curvature * variance + l2) {
  if (!(scale_ > 0)) scale_ = 1;
}

namespace {

void scale_by(std::span<float> values, double factor) {
  for (float& value : values) value *= static_cast<float>(factor);
}

void scale_by(PanelMatrix& values, double factor) {
  for (std::size_t q = 0; q < values.n_panels(); ++q) {
    scale_by({values.panel(q), values.rows() * values.width(q)}, factor);
  }
}

}  // namespace

double Preconditioner::apply(std::span<float> direction, std::span<const float> change,
                             std::size_t n_classes, ThreadPool* pool) const {
  const std::size_t d = n_features_;
  const std::size_t n_weights = n_classes * d;
  const bool with_change = !change.empty();
  const std::span<float> slopes = direction.subspan(n_weights);
  std::vector<float> changes(
      change.begin() + static_cast<std::ptrdiff_t>(with_change ? n_weights : 0), change.end());
  double square =
      dot(std::span<const float>(changes), std::span<const float>(changes)) / curvature_;
  if (!factor_ && !active_) {
    scale_by(slopes, 1 / curvature_);
    scale_by(direction.first(n_weights), 1 / scale_);
    const auto weights = change.first(with_change ? n_weights : 0);
    return square + dot(weights, weights) / scale_;
  }
  std::vector<float> row(d);
  const auto centre = [&](std::size_t c) {
    return std::span<const float>(centres_).subspan(c * d, d);
  };
  // The gradient of a class's weights where its bias is the score at its centre.
  const auto moved = [&](std::span<const float> all, std::size_t c) -> std::span<const float> {
    if (centres_.empty()) return all.subspan(c * d, d);
    std::ranges::copy(all.subspan(c * d, d), row.begin());
    add_scaled(-all[n_weights + c], centre(c), std::span(row));
    return row;
  };
  // Both at once where both are due, for the factor is what takes time to read.
  PanelMatrix rows((with_change ? 2 : 1) * n_classes, d);
  for (std::size_t c = 0; c < n_classes; ++c) {
    rows.set_row(c, moved(direction, c));
    if (with_change) rows.set_row(n_classes + c, moved(change, c));
  }
  const double inverse_root = 1 / std::sqrt(scale_);
  factor_ ? factor_->divide_by_transpose(rows, pool) : scale_by(rows, inverse_root);
  for (std::size_t c = n_classes; c < rows.rows(); ++c) {
    rows.get_row(c, std::span(row));
    square += dot(std::span<const float>(row), std::span<const float>(row));
  }
  double stretch = 1;
  if (active_) {
    const double root = 1 / std::sqrt(curvature_);
    scale_by(slopes, root);
    scale_by(changes, root);
    square -= active_->correct(rows, slopes, changes, pool);
    scale_by(slopes, root);
    stretch = active_->stretch();
  } else {
    scale_by(slopes, 1 / curvature_);
  }
  PanelMatrix own(n_classes, d);
  for (std::size_t q = 0; q < own.n_panels(); ++q) {
    std::copy_n(rows.panel(q), n_classes * own.width(q), own.panel(q));
  }
  factor_ ? factor_->divide(own, pool) : scale_by(own, inverse_root);
  for (std::size_t c = 0; c < n_classes; ++c) {
    const std::span<float> weights = direction.subspan(c * d, d);
    own.get_row(c, weights);
    if (centres_.empty()) continue;
    slopes[c] -= static_cast<float>(dot(centre(c), std::span<const float>(weights)));
  }
  if (stretch > 1) scale_by(direction, 1 / stretch);
  return square / stretch;
}

}  // namespace eyespot
