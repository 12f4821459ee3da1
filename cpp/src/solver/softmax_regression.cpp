#include "eyespot/softmax_regression.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "eyespot/types.hpp"
#include "panel_kernels.hpp"

namespace eyespot {

namespace {

// A block of centred rows and its scores: measured best well beyond the second-level cache, since
// tall blocks add to the float64 sums less often.
constexpr std::size_t kBlockBytes = std::size_t{4} << 20;
constexpr std::size_t kMinBlockRows = 96;
// Partial gradients: enough for the threads of a big machine, few enough to join quickly.
constexpr std::size_t kMaxGroups = 16;
// Multiply-adds that make a group worth its join, and its thread.
constexpr std::size_t kGroupWork = std::size_t{1} << 20;
// Centred rows up to this many bytes are packed once and kept, not packed at every evaluation.
constexpr std::size_t kKeptBytes = std::size_t{32} << 20;
constexpr std::size_t kGroupBytes = std::size_t{128} << 20;
// Sums over fewer elements than this are not worth waking the workers for.
constexpr std::size_t kMinParallelSum = std::size_t{1} << 18;

std::size_t block_rows(std::size_t n_rows, std::size_t n_features, std::size_t n_classes) {
  const std::size_t fitting = kBlockBytes / (sizeof(float) * (n_features + n_classes));
  // Small data are cut small enough for every group to have a block.
  const std::size_t work = 2 * n_rows * n_features * n_classes;
  const std::size_t n_groups =
      std::clamp<std::size_t>(std::bit_floor(work / kGroupWork), 1, kMaxGroups);
  const std::size_t share = (n_rows + n_groups - 1) / n_groups;
  const std::size_t n_blocks =
      std::max<std::size_t>(1, (share + kAccumulateRows - 1) / kAccumulateRows);
  const std::size_t even = (share + n_blocks - 1) / n_blocks;
  const std::size_t sharing = std::max(kMinBlockRows, (even + 7) / 8 * 8);
  return std::clamp<std::size_t>(std::min(fitting / 8 * 8, sharing), 8, kAccumulateRows);
}

// Bias of the centred scores, for every column and with the padding out of the race.
std::vector<float> padded_bias(std::span<const double> bias, std::size_t padded) {
  std::vector<float> row(padded, solver::kPaddingScore);
  for (std::size_t c = 0; c < bias.size(); ++c) row[c] = static_cast<float>(bias[c]);
  return row;
}

std::size_t padded_cols(const PanelMatrix& m) {
  return m.n_panels() == 0 ? 0 : (m.n_panels() - 1) * m.panel_width() + m.width(m.n_panels() - 1);
}

// Row c of a panel matrix from, or to, contiguous values.
template <class T>
void put_row(PanelMatrix& m, std::size_t c, std::span<const T> values) {
  for (std::size_t q = 0; q < m.n_panels(); ++q) {
    float* to = m.panel(q) + c * m.width(q);
    const T* from = values.data() + q * m.panel_width();
    for (std::size_t j = 0; j < m.used(q); ++j) to[j] = static_cast<float>(from[j]);
  }
}

template <class T>
void take_row(const PanelMatrix& m, std::size_t c, std::span<T> values) {
  for (std::size_t q = 0; q < m.n_panels(); ++q) {
    const float* from = m.panel(q) + c * m.width(q);
    T* to = values.data() + q * m.panel_width();
    for (std::size_t j = 0; j < m.used(q); ++j) to[j] = static_cast<T>(from[j]);
  }
}

// What one group of row blocks adds up to.
struct Partial {
  std::vector<double> gradient;  // n_classes x n_features, in panels
  std::vector<double> column;    // sum of weight * p, padded
  double loss = 0;
  std::size_t n_correct = 0;
};

struct Scratch {
  PanelMatrix rows;
  PanelMatrix scores;
  std::vector<float> column;
};

}  // namespace

struct SoftmaxObjective::Impl {
  RowsView features;
  std::size_t n_rows = 0;
  std::size_t n_features = 0;
  std::size_t n_classes = 0;
  std::vector<std::int32_t> targets;
  std::vector<float> weights;         // empty, or scaled to a mean of 1
  std::vector<double> target_weight;  // per class
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
  std::vector<PanelMatrix> kept;  // the packed blocks, or empty
  PanelMatrix class_rows;         // n_classes x n_features, in panels
  PanelMatrix right;              // the weights as the right factor, n_features x n_classes
  std::vector<float> current;     // the weights, row-major
  std::vector<double> gradient;
  std::size_t n_correct = 0;

  void read_targets(const LabelledRows& data);
  void weights_of(std::span<const double> v);
  [[nodiscard]] std::vector<double> bias_of(std::span<const double> v) const;
  void run_group(std::size_t group, Scratch& own, const std::vector<float>& bias, const auto& go);
};

void SoftmaxObjective::Impl::read_targets(const LabelledRows& data) {
  targets.resize(n_rows);
  target_weight.assign(n_classes, 0.0);
  if (data.weights != nullptr) weights.resize(n_rows);
  double total = 0;
  for (std::size_t i = 0; i < n_rows; ++i) {
    const std::size_t source = features.rows != nullptr ? features.rows[i] : i;
    const std::int32_t target = data.targets[source];
    if (target < 0 || std::cmp_greater_equal(target, n_classes)) {
      throw Error(
          ErrorCode::invalid_argument, "targets[" + std::to_string(source) + "]",
          std::to_string(target) + " given; allowed are 0 to " + std::to_string(n_classes - 1));
    }
    targets[i] = target;
    if (data.weights == nullptr) continue;
    const float weight = data.weights[source];
    if (!(weight >= 0) || !std::isfinite(weight)) {
      throw Error(ErrorCode::invalid_argument, "weights[" + std::to_string(source) + "]",
                  std::to_string(weight) + " given; a weight is finite and not negative");
    }
    weights[i] = weight;
    total += static_cast<double>(weight);
  }
  if (data.weights != nullptr) {
    if (!(total > 0)) throw Error(ErrorCode::invalid_argument, "weights", "sum to 0");
    const double scale = static_cast<double>(n_rows) / total;
    for (float& weight : weights) weight = static_cast<float>(scale * static_cast<double>(weight));
  }
  for (std::size_t i = 0; i < n_rows; ++i) {
    target_weight[static_cast<std::size_t>(targets[i])] +=
        weights.empty() ? 1.0 : static_cast<double>(weights[i]);
  }
}

SoftmaxObjective::SoftmaxObjective(const LabelledRows& data, const FeatureMoments& moments,
                                   std::shared_ptr<const Preconditioner> preconditioner, double l2,
                                   ThreadPool* pool)
    : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.features = data.features;
  m.n_rows = data.n_rows;
  m.n_features = data.features.cols;
  m.n_classes = data.n_classes;
  m.read_targets(data);
  m.mean = moments.mean;
  set_preconditioner(std::move(preconditioner));
  m.l2 = l2;
  m.feature_scale = moments.variance > 0 ? std::sqrt(moments.variance) : 1;
  m.pool = pool;

  const std::size_t n_weights = checked_mul(m.n_classes, m.n_features, "weights");
  m.rows_per_block = block_rows(m.n_rows, m.n_features, m.n_classes);
  m.n_blocks = (m.n_rows + m.rows_per_block - 1) / m.rows_per_block;
  const std::size_t fitting = std::max<std::size_t>(2, kGroupBytes / (n_weights * sizeof(double)));
  m.n_groups = std::min({m.n_blocks, kMaxGroups, fitting});
  if (m.n_rows * m.n_features <= kKeptBytes / sizeof(float)) m.kept.resize(m.n_blocks);
  m.class_rows = PanelMatrix(m.n_classes, m.n_features);
  m.right = PanelMatrix(m.n_features, m.n_classes);
  m.current.resize(n_weights);
  m.gradient.resize(n_weights + m.n_classes);
  m.partials.resize(m.n_groups);
  for (Partial& partial : m.partials) {
    partial.gradient.resize(panel_sums(m.n_classes, m.class_rows));
    partial.column.resize(padded_cols(m.right));
  }
  m.scratch.resize(solver::worker_count(pool));
}

SoftmaxObjective::~SoftmaxObjective() = default;

void SoftmaxObjective::set_preconditioner(std::shared_ptr<const Preconditioner> preconditioner) {
  impl_->preconditioner = std::move(preconditioner);
  impl_->bias_scale = 1 / std::sqrt(impl_->preconditioner->curvature());
}

std::size_t SoftmaxObjective::size() const noexcept {
  return impl_->n_classes * (impl_->n_features + 1);
}

std::size_t SoftmaxObjective::n_correct() const noexcept {
  return impl_->n_correct;
}

std::span<const double> SoftmaxObjective::raw_gradient() const noexcept {
  return impl_->gradient;
}

void SoftmaxObjective::Impl::weights_of(std::span<const double> v) {
  for (std::size_t c = 0; c < n_classes; ++c) {
    put_row(class_rows, c, v.subspan(c * n_features, n_features));
  }
  preconditioner->to_weights(class_rows, pool);
  for (std::size_t c = 0; c < n_classes; ++c) {
    take_row(class_rows, c, std::span<float>(current).subspan(c * n_features, n_features));
  }
}

std::vector<double> SoftmaxObjective::Impl::bias_of(std::span<const double> v) const {
  std::vector<double> bias(n_classes);
  for (std::size_t c = 0; c < n_classes; ++c) bias[c] = bias_scale * v[n_classes * n_features + c];
  return bias;
}

void SoftmaxObjective::Impl::run_group(std::size_t group, Scratch& own,
                                       const std::vector<float>& bias, const auto& go) {
  Partial& partial = partials[group];
  std::ranges::fill(partial.gradient, 0.0);
  std::ranges::fill(partial.column, 0.0);
  partial.loss = 0;
  partial.n_correct = 0;
  if (own.scores.rows() == 0) {
    if (kept.empty()) own.rows = PanelMatrix(rows_per_block, n_features);
    own.scores = PanelMatrix(rows_per_block, n_classes);
    own.column.resize(partial.column.size());
  }
  const std::size_t end = n_blocks * (group + 1) / n_groups;
  for (std::size_t block = n_blocks * group / n_groups; block < end; ++block) {
    if (!go()) return;
    const std::size_t first = block * rows_per_block;
    const std::size_t count = std::min(rows_per_block, n_rows - first);
    PanelMatrix& rows = kept.empty() ? own.rows : kept[block];
    const bool packed = !kept.empty() && rows.rows() > 0;
    if (!packed) {
      if (rows.rows() == 0) rows = PanelMatrix(count, n_features);
      pack_rows(features, first, count, mean.data(), nullptr, rows);
    }
    multiply(rows, right, MultiplyInit::row, bias.data(),
             {.row_begin = 0,
              .row_end = count,
              .panel_begin = 0,
              .panel_end = right.n_panels(),
              .inner_begin = 0,
              .inner_end = rows.n_panels()},
             own.scores);
    std::ranges::fill(own.column, 0.0F);
    const solver::RowLosses losses = solver::softmax_residuals(
        own.scores, count, targets.data() + first,
        weights.empty() ? nullptr : weights.data() + first, own.column.data());
    partial.loss += losses.loss;
    partial.n_correct += losses.n_correct;
    for (std::size_t c = 0; c < own.column.size(); ++c) {
      partial.column[c] += static_cast<double>(own.column[c]);
    }
    accumulate_transposed(own.scores, rows, count, partial.gradient.data());
  }
}

Evaluation SoftmaxObjective::evaluate(std::span<const double> v, std::span<double> gradient,
                                      const Poll& poll) {
  Impl& m = *impl_;
  const std::size_t n_weights = m.n_classes * m.n_features;
  m.weights_of(v);
  pack_transposed(m.current, m.n_classes, m.n_features, m.right);
  const std::vector<double> bias = m.bias_of(v);
  const std::vector<float> bias_row = padded_bias(bias, padded_cols(m.right));
  solver::run_blocks(m.pool, m.n_groups, poll,
                     [&](std::size_t group, std::size_t worker, const auto& go) {
                       m.run_group(group, m.scratch[worker], bias_row, go);
                     });

  // Join the groups, always in the same order, class by class.
  const double inverse_n = 1.0 / static_cast<double>(m.n_rows);
  std::vector<double> largest(m.n_classes);
  std::vector<double> squares(m.n_classes);
  solver::run_blocks(n_weights * m.n_groups >= kMinParallelSum ? m.pool : nullptr, m.n_classes,
                     poll, [&](std::size_t c, std::size_t, const auto&) {
                       double* out = m.gradient.data() + c * m.n_features;
                       const float* w = m.current.data() + c * m.n_features;
                       for (std::size_t q = 0; q < m.class_rows.n_panels(); ++q) {
                         const std::size_t first = q * m.class_rows.panel_width();
                         const std::size_t offset = first * m.n_classes + c * m.class_rows.width(q);
                         const std::size_t used = m.class_rows.used(q);
                         std::copy_n(m.partials[0].gradient.data() + offset, used, out + first);
                         for (std::size_t group = 1; group < m.n_groups; ++group) {
                           const double* part = m.partials[group].gradient.data() + offset;
                           for (std::size_t j = 0; j < used; ++j) out[first + j] += part[j];
                         }
                       }
                       for (std::size_t j = 0; j < m.n_features; ++j) {
                         const auto weight = static_cast<double>(w[j]);
                         out[j] = out[j] * inverse_n + m.l2 * weight;
                         largest[c] = std::max(largest[c], std::abs(out[j]));
                         squares[c] += weight * weight;
                       }
                       put_row(m.class_rows, c, std::span<const double>(out, m.n_features));
                     });
  double loss = 0;
  double norm = 0;
  double square = 0;
  m.n_correct = 0;
  for (const Partial& partial : m.partials) {
    loss += partial.loss;
    m.n_correct += partial.n_correct;
  }
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    norm = std::max(norm, largest[c] / m.feature_scale);
    square += squares[c];
    double sum = 0;
    for (const Partial& partial : m.partials) sum += partial.column[c];
    const double slope = (sum - m.target_weight[c]) * inverse_n;
    m.gradient[n_weights + c] = slope;
    gradient[n_weights + c] = slope * m.bias_scale;
    norm = std::max(norm, std::abs(slope));
  }
  m.preconditioner->to_gradient(m.class_rows, m.pool);
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    take_row(m.class_rows, c, gradient.subspan(c * m.n_features, m.n_features));
  }
  return {.value = loss * inverse_n + 0.5 * m.l2 * square, .gradient_norm = norm};
}

std::vector<double> SoftmaxObjective::start() const {
  const Impl& m = *impl_;
  std::vector<double> v(size(), 0.0);
  double mean = 0;
  double* bias = v.data() + m.n_classes * m.n_features;
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    // Half a row for a class without any keeps the logarithm finite.
    bias[c] = std::log(std::max(m.target_weight[c], 0.5) / static_cast<double>(m.n_rows));
    mean += bias[c] / static_cast<double>(m.n_classes);
  }
  for (std::size_t c = 0; c < m.n_classes; ++c) bias[c] = (bias[c] - mean) / m.bias_scale;
  return v;
}

std::vector<double> SoftmaxObjective::variables(std::span<const float> weights,
                                                std::span<const double> bias) const {
  const Impl& m = *impl_;
  std::vector<double> v(size());
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    const auto row = weights.subspan(c * m.n_features, m.n_features);
    m.preconditioner->from_weights(row, std::span(v).subspan(c * m.n_features, m.n_features));
    const double centred = bias[c] + dot(row, std::span<const float>(m.mean));
    v[m.n_classes * m.n_features + c] = centred / m.bias_scale;
  }
  return v;
}

void SoftmaxObjective::solution(std::span<const double> v, std::span<float> weights,
                                std::span<double> bias) const {
  Impl& m = *impl_;
  m.weights_of(v);
  std::ranges::copy(m.current, weights.begin());
  const std::vector<double> centred = m.bias_of(v);
  double mean = 0;
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    const auto row = std::span<const float>(m.current).subspan(c * m.n_features, m.n_features);
    bias[c] = centred[c] - dot(row, std::span<const float>(m.mean));
    mean += bias[c] / static_cast<double>(m.n_classes);
  }
  // A constant added to every bias changes nothing: keep them centred.
  for (double& value : bias) value -= mean;
}

double softmax_curvature(std::size_t n_classes) {
  return 0.5 / static_cast<double>(std::max<std::size_t>(n_classes, 2));
}

void softmax_probabilities(const RowsView& features, std::size_t n_rows,
                           std::span<const float> weights, std::span<const double> bias,
                           std::span<float> probabilities, ThreadPool* pool, const Poll& poll) {
  const std::size_t n_classes = bias.size();
  PanelMatrix right(features.cols, n_classes);
  pack_transposed(weights, n_classes, features.cols, right);
  const std::vector<float> bias_row = padded_bias(bias, padded_cols(right));
  const std::size_t rows_per_block = block_rows(n_rows, features.cols, n_classes);
  const std::size_t n_blocks = (n_rows + rows_per_block - 1) / rows_per_block;
  std::vector<Scratch> scratch(solver::worker_count(pool));
  solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t worker, const auto&) {
    Scratch& own = scratch[worker];
    if (own.rows.rows() == 0) {
      own.rows = PanelMatrix(rows_per_block, features.cols);
      own.scores = PanelMatrix(rows_per_block, n_classes);
    }
    const std::size_t first = block * rows_per_block;
    const std::size_t count = std::min(rows_per_block, n_rows - first);
    pack_rows(features, first, count, nullptr, nullptr, own.rows);
    multiply(own.rows, right, MultiplyInit::row, bias_row.data(),
             {.row_begin = 0,
              .row_end = count,
              .panel_begin = 0,
              .panel_end = right.n_panels(),
              .inner_begin = 0,
              .inner_end = own.rows.n_panels()},
             own.scores);
    solver::softmax_rows(own.scores, count);
    for (std::size_t i = 0; i < count; ++i) {
      take_row(own.scores, i, probabilities.subspan((first + i) * n_classes, n_classes));
    }
  });
}

}  // namespace eyespot
