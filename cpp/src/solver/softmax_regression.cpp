#include "eyespot/softmax_regression.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "linear_blocks.hpp"
#include "loss_kernels.hpp"
#include "row_space.hpp"

namespace eyespot {

namespace {

// Least mean curvature to assume, times the number of classes.
constexpr double kLeastCurvature = 1e-3;
// Blocks of rows that prediction is cut into at least, where there is enough to do.
constexpr std::size_t kMaxGroups = 16;

}  // namespace

SoftmaxObjective::SoftmaxObjective(const LabelledRows& data, const FeatureMoments& moments,
                                   double l2, ThreadPool* pool)
    : LinearObjective(data.features, data.n_rows,
                      {.n_classes = data.n_classes,
                       .opposite = softmax_scores(data.n_classes) < data.n_classes,
                       .padding = solver::kPaddingScore},
                      moments, l2, pool),
      row_weights_(data.weights) {
  const std::size_t n = data.n_rows;
  weights_ = mean_one_weights(data.features, n, data.weights);
  targets_.resize(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t source = data.features.rows != nullptr ? data.features.rows[i] : i;
    const std::int32_t target = data.targets[source];
    if (target < 0 || std::cmp_greater_equal(target, data.n_classes)) {
      throw Error(ErrorCode::invalid_argument, "targets[" + std::to_string(source) + "]",
                  std::to_string(target) + " given; allowed are 0 to " +
                      std::to_string(data.n_classes - 1));
    }
    targets_[i] = target;
  }
  target_weight_.resize(data.n_classes);
  for (std::size_t i = 0; i < n; ++i) {
    target_weight_[static_cast<std::size_t>(targets_[i])] +=
        weights_.empty() ? 1.0 : static_cast<double>(weights_[i]);
  }
  if (n_scores() == n_classes()) {
    set_totals(target_weight_);
  } else if (solver::logistic_sums_pay(n_features())) {
    set_residual_sums([this](const PanelMatrix& rows, std::size_t first, std::size_t count,
                             const PanelMatrix& weights, float bias, float* column,
                             PanelMatrix& part, std::span<double> sums) {
      return solver::logistic_sums(rows, count, weights, bias, targets_.data() + first,
                                   weights_.empty() ? nullptr : weights_.data() + first, column,
                                   part.panel(0), sums.data());
    });
  }
}

RowLosses SoftmaxObjective::residuals(PanelMatrix& scores, std::size_t first, std::size_t count,
                                      float* column) const {
  const auto of = n_scores() < n_classes() ? solver::logistic_residuals : solver::softmax_residuals;
  return of(scores, count, targets_.data() + first,
            weights_.empty() ? nullptr : weights_.data() + first, column);
}

std::vector<double> SoftmaxObjective::start() const {
  std::vector<double> bias(n_classes());
  double mean = 0;
  for (std::size_t c = 0; c < bias.size(); ++c) {
    // Half a row for a class without any keeps the logarithm finite.
    bias[c] = std::log(std::max(target_weight_[c], 0.5) / static_cast<double>(targets_.size()));
    mean += bias[c] / static_cast<double>(bias.size());
  }
  for (double& value : bias) value -= mean;
  const std::vector<float> weights(n_classes() * n_features(), 0.0F);
  return variables(weights, bias);
}

void SoftmaxObjective::solution(std::span<const double> x, std::span<float> weights,
                                std::span<double> bias) const {
  LinearObjective::solution(x, weights, bias);
  double mean = 0;
  for (const double value : bias) mean += value / static_cast<double>(bias.size());
  for (double& value : bias) value -= mean;
}

std::shared_ptr<const Preconditioner> SoftmaxObjective::metric(std::span<const double> x,
                                                               const MetricKind& kind,
                                                               const Poll& poll) {
  if (x.empty()) {
    return bound_metric(features(), n_rows(), row_weights_, moments(),
                        penalty_share() * softmax_curvature(n_classes()), penalty(), kind.with_gram,
                        pool(), poll);
  }
  const CurvedForm form{.n_scores = n_scores(),
                        .least = kLeastCurvature / static_cast<double>(n_classes()),
                        .with_gram = kind.with_gram,
                        .n_vectors = kind.n_vectors};
  const auto of =
      n_scores() < n_classes() ? solver::logistic_curvatures : solver::softmax_curvatures;
  const Curvatures curvatures = [&](PanelMatrix& scores, std::size_t first, std::size_t count,
                                    float* column, float* means) {
    of(scores, count, weights_.empty() ? nullptr : weights_.data() + first, column, means);
  };
  const CurvedMoments curved = curved_moments(features(), n_rows(), weights_, moments(),
                                              loss_curvature(x, curvatures, kind.with_gram, poll),
                                              single_rows(x, poll), form, pool(), poll);
  if (!kind.with_gram && curved.active.rows.empty()) return nullptr;
  return std::make_shared<const Preconditioner>(features(), curved, penalty(), pool(), poll);
}

ScoreCurvatures SoftmaxObjective::single_rows(std::span<const double> x, const Poll& poll) const {
  const bool coupled = n_scores() == n_classes();
  const auto of = [this, x, coupled, &poll](std::span<const std::uint32_t> rows,
                                            std::span<float> out) {
    const std::size_t k = n_classes();
    std::vector<float> weights(k * n_features());
    std::vector<double> bias(k);
    solution(x, weights, bias);
    RowsView view = features();
    view.rows = rows.data();
    std::vector<float> probabilities(rows.size() * k);
    softmax_probabilities(view, rows.size(), weights, bias, probabilities, pool(), poll);
    if (coupled) {
      // Nor is a curvature, which is a factor too, left to be smaller than normal numbers.
      const float least = std::exp(solver::kLeastExponent);
      std::ranges::transform(probabilities, out.begin(),
                             [least](float p) { return p < least ? 0.0F : p; });
      return;
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      out[i] = probabilities[2 * i] * probabilities[2 * i + 1];
    }
  };
  return {.of = of, .coupled = coupled};
}

std::size_t softmax_scores(std::size_t n_classes) {
  return n_classes == 2 ? 1 : n_classes;
}

double softmax_curvature(std::size_t n_classes) {
  return 0.5 / static_cast<double>(std::max<std::size_t>(n_classes, 2));
}

LinearFit softmax_fit(const LabelledRows& data, double l2, const LbfgsOptions& options,
                      ThreadPool* pool, const Poll& poll) {
  const FeatureMoments moments =
      feature_moments(data.features, data.n_rows, data.weights, pool, poll, false);
  const solver::SeenFeatures seen(data.features, data.n_rows, data.weights, moments, pool, poll);
  LabelledRows inner = data;
  inner.features = seen.features;
  LinearFit::Problem problem;
  problem.objective = std::make_unique<SoftmaxObjective>(data, moments, l2, pool);
  problem.space = seen.space;
  if (seen.space) {
    problem.in_space = std::make_unique<SoftmaxObjective>(inner, seen.moments, l2, pool);
  }
  problem.plan = metric_plan(data.n_rows, seen.features.cols, softmax_scores(data.n_classes));
  return {std::move(problem), options, pool};
}

void softmax_probabilities(const RowsView& features, std::size_t n_rows,
                           std::span<const float> weights, std::span<const double> bias,
                           std::span<float> probabilities, ThreadPool* pool, const Poll& poll) {
  struct Scratch {
    PanelMatrix rows;
    PanelMatrix scores;
  };
  const std::size_t k = bias.size();
  solver::LinearScores scores(k, features.cols);
  scores.set(weights, bias, solver::kPaddingScore);
  const std::size_t rows_per_block = solver::block_rows(n_rows, features.cols, k, kMaxGroups);
  const std::size_t n_blocks = (n_rows + rows_per_block - 1) / rows_per_block;
  std::vector<Scratch> scratch(solver::worker_count(pool));
  solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t worker, const auto&) {
    Scratch& own = scratch[worker];
    if (own.rows.rows() == 0) {
      own.rows = PanelMatrix::for_overwrite(rows_per_block, features.cols);
      own.scores = PanelMatrix(rows_per_block, k);
    }
    const std::size_t first = block * rows_per_block;
    const std::size_t count = std::min(rows_per_block, n_rows - first);
    pack_rows(features, first, count, nullptr, nullptr, own.rows);
    scores.of(own.rows, count, own.scores);
    solver::softmax_rows(own.scores, count);
    for (std::size_t i = 0; i < count; ++i) {
      own.scores.get_row(i, probabilities.subspan((first + i) * k, k));
    }
  });
}

}  // namespace eyespot
