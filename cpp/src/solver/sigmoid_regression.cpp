#include "eyespot/sigmoid_regression.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "eyespot/types.hpp"
#include "sigmoid_kernels.hpp"

namespace eyespot {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{4} << 20;
constexpr std::size_t kMinBlockRows = 96;
constexpr std::size_t kMaxGroups = 16;
constexpr std::size_t kGroupBytes = std::size_t{128} << 20;
// Where every class is nearly certain from the start the metric must not become flat.
constexpr double kLeastCurvature = 0.01;

std::size_t padded_cols(const PanelMatrix& m) {
  return m.n_panels() == 0 ? 0 : (m.n_panels() - 1) * m.panel_width() + m.width(m.n_panels() - 1);
}

std::vector<float> padded(const float* values, float otherwise, std::size_t n, std::size_t cols) {
  std::vector<float> out(cols, 0.0F);
  for (std::size_t c = 0; c < n; ++c) out[c] = values != nullptr ? values[c] : otherwise;
  return out;
}

// Weight of the rows that bear each label, and that do not, each row's weight being 1 on average.
struct LabelWeight {
  std::vector<double> yes;
  std::vector<double> no;
};

// One weight a row, 1 on average; empty when there are none.
std::vector<float> row_weights(const MultiLabelRows& data) {
  if (data.weights == nullptr) return {};
  std::vector<float> weights(data.n_rows);
  double total = 0;
  for (std::size_t i = 0; i < data.n_rows; ++i) {
    const std::size_t source = data.features.rows != nullptr ? data.features.rows[i] : i;
    const float weight = data.weights[source];
    if (!(weight >= 0) || !std::isfinite(weight)) {
      throw Error(ErrorCode::invalid_argument, "weights[" + std::to_string(source) + "]",
                  std::to_string(weight) + " given; a weight is finite and not negative");
    }
    weights[i] = weight;
    total += static_cast<double>(weight);
  }
  if (!(total > 0)) throw Error(ErrorCode::invalid_argument, "weights", "sum to 0");
  const double scale = static_cast<double>(data.n_rows) / total;
  for (float& weight : weights) weight = static_cast<float>(scale * static_cast<double>(weight));
  return weights;
}

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

// What one group of row blocks adds up to.
struct Partial {
  std::vector<double> gradient;  // n_classes x n_features, in panels
  std::vector<double> column;    // sum of the residuals, padded
  double loss = 0;
  std::size_t n_correct = 0;
};

struct Scratch {
  PanelMatrix rows;
  PanelMatrix scores;
  std::vector<float> column;
};

}  // namespace

struct SigmoidObjective::Impl {
  MultiLabelRows data;
  std::size_t n_rows = 0;
  std::size_t n_features = 0;
  std::size_t n_classes = 0;
  std::vector<float> weights;  // empty, or scaled to a mean of 1
  LabelWeight label_sums;
  std::vector<float> mean;
  std::shared_ptr<const Preconditioner> preconditioner;
  double l2 = 0;
  double bias_scale = 1;     // bias = bias_scale * its variable
  double feature_scale = 1;  // root-mean-square standard deviation
  ThreadPool* pool = nullptr;

  std::size_t rows_per_block = 0;
  std::size_t n_blocks = 0;
  std::size_t n_groups = 0;
  std::vector<Partial> partials;
  std::vector<Scratch> scratch;
  PanelMatrix class_rows;       // n_classes x n_features, in panels
  PanelMatrix right;            // the weights as the right factor, n_features x n_classes
  std::vector<float> positive;  // per padded class
  std::vector<float> negative;
  std::vector<float> current;  // the weights, row-major
  std::vector<double> gradient;
  std::size_t n_correct = 0;

  void weights_of(std::span<const double> v);
  void run_group(std::size_t group, Scratch& own, const std::vector<float>& bias, const auto& go);
  void join_class(std::size_t c);
};

SigmoidObjective::SigmoidObjective(const MultiLabelRows& data, const FeatureMoments& moments,
                                   std::shared_ptr<const Preconditioner> preconditioner, double l2,
                                   ThreadPool* pool)
    : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.data = data;
  m.n_rows = data.n_rows;
  m.n_features = data.features.cols;
  m.n_classes = data.n_classes;
  check_class_weights(data.positive, "positive", m.n_classes);
  check_class_weights(data.negative, "negative", m.n_classes);
  m.weights = row_weights(data);
  m.label_sums = label_weight(data, m.weights);
  m.mean = moments.mean;
  m.preconditioner = std::move(preconditioner);
  m.l2 = l2;
  m.bias_scale = 1 / std::sqrt(m.preconditioner->curvature());
  m.feature_scale = moments.variance > 0 ? std::sqrt(moments.variance) : 1;
  m.pool = pool;

  const std::size_t n_weights = checked_mul(m.n_classes, m.n_features, "weights");
  const std::size_t fitting = kBlockBytes / (sizeof(float) * (m.n_features + m.n_classes));
  // Small data are cut small enough for every group to have a block.
  const std::size_t sharing = std::max(kMinBlockRows, (m.n_rows / kMaxGroups + 7) / 8 * 8);
  m.rows_per_block =
      std::clamp<std::size_t>(std::min(fitting / 8 * 8, sharing), 8, kAccumulateRows);
  m.n_blocks = (m.n_rows + m.rows_per_block - 1) / m.rows_per_block;
  const std::size_t groups = std::max<std::size_t>(2, kGroupBytes / (n_weights * sizeof(double)));
  m.n_groups = std::min({m.n_blocks, kMaxGroups, groups});
  m.class_rows = PanelMatrix(m.n_classes, m.n_features);
  m.right = PanelMatrix(m.n_features, m.n_classes);
  m.positive = padded(data.positive, 1.0F, m.n_classes, padded_cols(m.right));
  m.negative = padded(data.negative, 1.0F, m.n_classes, padded_cols(m.right));
  m.current.resize(n_weights);
  m.gradient.resize(n_weights + m.n_classes);
  m.partials.resize(m.n_groups);
  for (Partial& partial : m.partials) {
    partial.gradient.resize(panel_sums(m.n_classes, m.class_rows));
    partial.column.resize(padded_cols(m.right));
  }
  m.scratch.resize(solver::worker_count(pool));
}

SigmoidObjective::~SigmoidObjective() = default;

std::size_t SigmoidObjective::size() const noexcept {
  return impl_->n_classes * (impl_->n_features + 1);
}

std::size_t SigmoidObjective::n_correct() const noexcept {
  return impl_->n_correct;
}

std::span<const double> SigmoidObjective::raw_gradient() const noexcept {
  return impl_->gradient;
}

void SigmoidObjective::Impl::weights_of(std::span<const double> v) {
  for (std::size_t c = 0; c < n_classes; ++c) {
    class_rows.set_row(c, v.subspan(c * n_features, n_features));
  }
  preconditioner->to_weights(class_rows, pool);
  for (std::size_t c = 0; c < n_classes; ++c) {
    class_rows.get_row(c, std::span(current).subspan(c * n_features, n_features));
  }
}

void SigmoidObjective::Impl::run_group(std::size_t group, Scratch& own,
                                       const std::vector<float>& bias, const auto& go) {
  Partial& partial = partials[group];
  std::ranges::fill(partial.gradient, 0.0);
  std::ranges::fill(partial.column, 0.0);
  partial.loss = 0;
  partial.n_correct = 0;
  if (own.rows.rows() == 0) {
    own.rows = PanelMatrix(rows_per_block, n_features);
    own.scores = PanelMatrix(rows_per_block, n_classes);
    own.column.resize(partial.column.size());
  }
  const std::size_t end = n_blocks * (group + 1) / n_groups;
  for (std::size_t block = n_blocks * group / n_groups; block < end; ++block) {
    if (!go()) return;
    const std::size_t first = block * rows_per_block;
    const std::size_t count = std::min(rows_per_block, n_rows - first);
    pack_rows(data.features, first, count, mean.data(), nullptr, own.rows);
    multiply(own.rows, right, MultiplyInit::row, bias.data(),
             {.row_begin = 0,
              .row_end = count,
              .panel_begin = 0,
              .panel_end = right.n_panels(),
              .inner_begin = 0,
              .inner_end = own.rows.n_panels()},
             own.scores);
    std::ranges::fill(own.column, 0.0F);
    const solver::LabelLosses losses =
        solver::sigmoid_residuals(own.scores, count,
                                  {.labels = data.labels,
                                   .rows = data.features.rows,
                                   .first = first,
                                   .n_classes = n_classes,
                                   .weights = weights.empty() ? nullptr : weights.data(),
                                   .positive = positive.data(),
                                   .negative = negative.data()},
                                  own.column.data());
    partial.loss += losses.loss;
    partial.n_correct += losses.n_correct;
    for (std::size_t c = 0; c < own.column.size(); ++c) {
      partial.column[c] += static_cast<double>(own.column[c]);
    }
    accumulate_transposed(own.scores, own.rows, count, partial.gradient.data());
  }
}

// The gradient of one class's weights, without the penalty: its groups, always in the same order.
void SigmoidObjective::Impl::join_class(std::size_t c) {
  double* out = gradient.data() + c * n_features;
  for (std::size_t q = 0; q < class_rows.n_panels(); ++q) {
    const std::size_t first = q * class_rows.panel_width();
    const std::size_t offset = first * n_classes + c * class_rows.width(q);
    std::fill_n(out + first, class_rows.used(q), 0.0);
    for (const Partial& partial : partials) {
      const double* part = partial.gradient.data() + offset;
      for (std::size_t j = 0; j < class_rows.used(q); ++j) out[first + j] += part[j];
    }
  }
}

Evaluation SigmoidObjective::evaluate(std::span<const double> v, std::span<double> gradient,
                                      const Poll& poll) {
  Impl& m = *impl_;
  const std::size_t n_weights = m.n_classes * m.n_features;
  m.weights_of(v);
  pack_transposed(m.current, m.n_classes, m.n_features, m.right);
  std::vector<float> bias(padded_cols(m.right), solver::kNeverScore);
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    bias[c] = static_cast<float>(m.bias_scale * v[n_weights + c]);
  }
  solver::run_blocks(m.pool, m.n_groups, poll,
                     [&](std::size_t group, std::size_t worker, const auto& go) {
                       m.run_group(group, m.scratch[worker], bias, go);
                     });

  const double inverse_n = 1.0 / static_cast<double>(m.n_rows);
  double loss = 0;
  double norm = 0;
  m.n_correct = 0;
  for (const Partial& partial : m.partials) {
    loss += partial.loss * inverse_n;
    m.n_correct += partial.n_correct;
  }
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    m.join_class(c);
    const auto own = std::span(m.gradient).subspan(c * m.n_features, m.n_features);
    for (std::size_t j = 0; j < m.n_features; ++j) {
      const auto weight = static_cast<double>(m.current[c * m.n_features + j]);
      own[j] = own[j] * inverse_n + m.l2 * weight;
      norm = std::max(norm, std::abs(own[j]) / m.feature_scale);
      loss += 0.5 * m.l2 * weight * weight;
    }
    m.class_rows.set_row(c, std::span<const double>(own));
    double slope = 0;
    for (const Partial& partial : m.partials) slope += partial.column[c];
    slope *= inverse_n;
    m.gradient[n_weights + c] = slope;
    gradient[n_weights + c] = slope * m.bias_scale;
    norm = std::max(norm, std::abs(slope));
  }
  m.preconditioner->to_gradient(m.class_rows, m.pool);
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    m.class_rows.get_row(c, gradient.subspan(c * m.n_features, m.n_features));
  }
  return {.value = loss, .gradient_norm = norm};
}

std::vector<double> SigmoidObjective::start() const {
  const Impl& m = *impl_;
  std::vector<double> v(size(), 0.0);
  double* bias = v.data() + m.n_classes * m.n_features;
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    // Half a row for a label that all or none bear keeps the logarithm finite.
    bias[c] = std::log(std::max(m.label_sums.yes[c], 0.5) / std::max(m.label_sums.no[c], 0.5)) /
              m.bias_scale;
  }
  return v;
}

std::vector<double> SigmoidObjective::variables(std::span<const float> weights,
                                                std::span<const double> bias) const {
  const Impl& m = *impl_;
  std::vector<double> v(size());
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    const auto row = weights.subspan(c * m.n_features, m.n_features);
    m.preconditioner->from_weights(row, std::span(v).subspan(c * m.n_features, m.n_features));
    v[m.n_classes * m.n_features + c] =
        (bias[c] + dot(row, std::span<const float>(m.mean))) / m.bias_scale;
  }
  return v;
}

void SigmoidObjective::solution(std::span<const double> v, std::span<float> weights,
                                std::span<double> bias) const {
  Impl& m = *impl_;
  m.weights_of(v);
  std::ranges::copy(m.current, weights.begin());
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    const auto row = std::span<const float>(m.current).subspan(c * m.n_features, m.n_features);
    bias[c] =
        m.bias_scale * v[m.n_classes * m.n_features + c] - dot(row, std::span<const float>(m.mean));
  }
}

double sigmoid_curvature(const MultiLabelRows& data) {
  const LabelWeight sums = label_weight(data, row_weights(data));
  const auto n = static_cast<double>(data.n_rows);
  double mean = 0;
  for (std::size_t c = 0; c < data.n_classes; ++c) {
    const double total = sums.yes[c] + sums.no[c];
    if (total > 0)
      mean += sums.yes[c] / total * sums.no[c] / n / static_cast<double>(data.n_classes);
  }
  return std::max(0.5 * mean, kLeastCurvature);
}

namespace {

// One fold: its two lists of rows, and the solution of the strength before.
struct Fold {
  std::vector<std::uint32_t> train;
  std::vector<std::uint32_t> held_out;
  std::vector<float> weights;
  std::vector<double> bias;
  double loss = 0;
  double weight = 0;
  std::uint64_t n_evaluations = 0;
};

std::vector<Fold> split(const MultiLabelRows& data, std::span<const std::int32_t> fold,
                        std::size_t n_folds) {
  std::vector<Fold> folds(n_folds);
  for (std::size_t i = 0; i < data.n_rows; ++i) {
    // Of a copy, the fold of its original: neither fitted nor scored there.
    const std::int64_t left_out = -2 - std::int64_t{fold[i]};
    if (fold[i] == -1 || std::cmp_greater_equal(left_out, n_folds) ||
        std::cmp_greater_equal(fold[i], n_folds)) {
      throw Error(ErrorCode::invalid_argument, "fold[" + std::to_string(i) + "]",
                  std::to_string(fold[i]) + " given; allowed are 0 to " +
                      std::to_string(n_folds - 1) + ", or -2 minus one of these");
    }
    for (std::size_t f = 0; f < n_folds; ++f) {
      if (std::cmp_equal(f, left_out)) continue;
      auto& rows = std::cmp_equal(f, fold[i]) ? folds[f].held_out : folds[f].train;
      rows.push_back(static_cast<std::uint32_t>(i));
    }
  }
  for (Fold& one : folds) {
    if (one.train.empty() || one.held_out.empty()) {
      throw Error(ErrorCode::invalid_argument, "fold",
                  "a fold without rows, or with all of them; every fold needs some of both");
    }
    for (const std::uint32_t row : one.held_out) {
      one.weight += data.weights != nullptr ? static_cast<double>(data.weights[row]) : 1.0;
    }
  }
  return folds;
}

void fit_and_score(const MultiLabelRows& data, const FeatureMoments& moments,
                   const std::shared_ptr<const Preconditioner>& preconditioner, double l2,
                   const CrossValidationOptions& options, Fold& fold, const Poll& poll) {
  MultiLabelRows rows = data;
  rows.features.rows = fold.train.data();
  rows.n_rows = fold.train.size();
  SigmoidObjective objective(rows, moments, preconditioner, l2, nullptr);
  const Objective evaluate = [&](std::span<const double> x, std::span<double> gradient) {
    return objective.evaluate(x, gradient, poll);
  };
  LbfgsOptions minimiser;
  minimiser.gradient_tolerance = options.tolerance;
  minimiser.decrease_tolerance = 0.1 * options.tolerance;
  LbfgsState state = lbfgs_start(
      fold.weights.empty() ? objective.start() : objective.variables(fold.weights, fold.bias),
      minimiser, evaluate);
  while (state.iteration < options.max_iterations &&
         lbfgs_step(state, minimiser, evaluate) == StopReason::running) {
  }
  fold.weights.resize(data.n_classes * data.features.cols);
  fold.bias.resize(data.n_classes);
  objective.solution(state.x, fold.weights, fold.bias);
  fold.n_evaluations = state.n_evaluations;

  fold.loss = 0;
  if (!(fold.weight > 0)) return;
  rows.features.rows = fold.held_out.data();
  rows.n_rows = fold.held_out.size();
  SigmoidObjective held_out(rows, moments, preconditioner, 0, nullptr);
  const std::vector<double> x = held_out.variables(fold.weights, fold.bias);
  std::vector<double> gradient(x.size());
  fold.loss = fold.weight * held_out.evaluate(x, gradient, poll).value;
}

PathPoint summarise(const std::vector<Fold>& folds, double l2) {
  PathPoint point{.l2 = l2};
  double weight = 0;
  for (const Fold& fold : folds) {
    point.log_loss += fold.loss;
    point.n_evaluations += fold.n_evaluations;
    weight += fold.weight;
  }
  point.log_loss /= weight;
  double square = 0;
  double n = 0;
  for (const Fold& fold : folds) {
    if (!(fold.weight > 0)) continue;
    const double difference = fold.loss / fold.weight - point.log_loss;
    square += difference * difference;
    ++n;
  }
  if (n > 1) point.standard_error = std::sqrt(square / (n * (n - 1)));
  return point;
}

}  // namespace

std::vector<PathPoint> cross_validate(const MultiLabelRows& data, const FeatureMoments& moments,
                                      std::span<const std::int32_t> fold,
                                      std::span<const double> path,
                                      const CrossValidationOptions& options, ThreadPool* pool,
                                      const Poll& poll) {
  std::vector<Fold> folds = split(data, fold, options.n_folds);
  const double curvature = sigmoid_curvature(data);
  std::vector<PathPoint> points;
  double best = std::numeric_limits<double>::infinity();
  std::size_t worse = 0;
  for (const double l2 : path) {
    const auto preconditioner =
        std::make_shared<const Preconditioner>(moments, curvature, l2, pool, poll);
    solver::run_blocks(pool, folds.size(), poll, [&](std::size_t f, std::size_t, const auto& go) {
      const Poll inner = [&go] {
        if (!go()) throw Error(ErrorCode::cancelled, "", "stopped");
      };
      fit_and_score(data, moments, preconditioner, l2, options, folds[f], inner);
    });
    points.push_back(summarise(folds, l2));
    const double loss = points.back().log_loss;
    worse = loss > best ? worse + 1 : 0;
    best = std::min(best, loss);
    if (worse >= options.patience) break;
  }
  return points;
}

}  // namespace eyespot
