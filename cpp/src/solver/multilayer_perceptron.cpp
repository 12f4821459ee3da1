#include "eyespot/multilayer_perceptron.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "eyespot/types.hpp"
#include "loss_kernels.hpp"

namespace eyespot {

namespace {

// The values of a block of rows in all layers stay in the second- or third-level cache.
constexpr std::size_t kBlockBytes = std::size_t{4} << 20;
constexpr std::size_t kMinBlockRows = 48;
constexpr std::size_t kMaxGroups = 16;
constexpr std::size_t kGroupBytes = std::size_t{128} << 20;
// A spread below this part of the mean is rounding of float32, not a feature.
constexpr double kLeastSpread = 1e-6;

std::size_t padded_cols(const PanelMatrix& m) {
  return m.n_panels() == 0 ? 0 : (m.n_panels() - 1) * m.panel_width() + m.width(m.n_panels() - 1);
}

std::size_t rows_per_block(std::size_t n_rows, std::size_t row_width) {
  const std::size_t fitting = kBlockBytes / (sizeof(float) * row_width);
  const std::size_t sharing = std::max(kMinBlockRows, (n_rows / kMaxGroups + 7) / 8 * 8);
  return std::clamp<std::size_t>(std::min(fitting / 8 * 8, sharing), 8, kAccumulateRows);
}

MultiplyRange whole(std::size_t count, const PanelMatrix& a, const PanelMatrix& b) {
  return {.row_begin = 0,
          .row_end = count,
          .panel_begin = 0,
          .panel_end = b.n_panels(),
          .inner_begin = 0,
          .inner_end = a.n_panels()};
}

void rectify(PanelMatrix& values, std::size_t count) {
  for (std::size_t q = 0; q < values.n_panels(); ++q) {
    float* panel = values.panel(q);
    const std::size_t n = count * values.width(q);
    for (std::size_t i = 0; i < n; ++i) panel[i] = std::max(panel[i], 0.0F);
  }
}

// delta := 0 where the unit was silent.
void mask_silent(const PanelMatrix& values, std::size_t count, PanelMatrix& delta) {
  for (std::size_t q = 0; q < values.n_panels(); ++q) {
    const float* value = values.panel(q);
    float* panel = delta.panel(q);
    const std::size_t n = count * values.width(q);
    for (std::size_t i = 0; i < n; ++i) panel[i] = value[i] > 0.0F ? panel[i] : 0.0F;
  }
}

void add_columns(const PanelMatrix& m, std::size_t count, std::span<double> sums) {
  std::vector<float> part(m.panel_width());
  for (std::size_t q = 0; q < m.n_panels(); ++q) {
    const std::size_t width = m.width(q);
    std::ranges::fill(part, 0.0F);
    const float* row = m.panel(q);
    for (std::size_t i = 0; i < count; ++i, row += width) {
      for (std::size_t j = 0; j < width; ++j) part[j] += row[j];
    }
    double* to = sums.data() + q * m.panel_width();
    for (std::size_t j = 0; j < m.used(q); ++j) to[j] += static_cast<double>(part[j]);
  }
}

// The output function of SplitMix64.
std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

// Uniform in (-1, 1), keyed.
double uniform(std::uint64_t seed, std::uint64_t layer, std::uint64_t index) noexcept {
  const std::uint64_t bits = mix(mix(mix(seed) ^ layer) ^ index);
  return (static_cast<double>(bits >> 11U) + 0.5) * 0x1p-52 - 1.0;
}

struct Shape {
  std::size_t n_in = 0;
  std::size_t n_out = 0;
  std::size_t weights = 0;  // where they begin among the variables
  std::size_t bias = 0;
};

// What one group of row blocks adds up to.
struct Partial {
  std::vector<std::vector<double>> gradient;  // a layer: n_out x n_in, in panels
  std::vector<std::vector<double>> column;    // a layer: n_out, padded
  double loss = 0;
  std::size_t n_correct = 0;
};

struct Scratch {
  PanelMatrix rows;
  std::vector<PanelMatrix> values;  // of each layer; the last one's are scores, then residuals
  std::vector<PanelMatrix> deltas;  // of each hidden layer
  std::vector<float> column;
};

}  // namespace

FeatureScaling feature_scaling(const LabelledRows& data, ThreadPool* pool, const Poll& poll) {
  const std::size_t d = data.features.cols;
  const std::size_t n = data.n_rows;
  const std::size_t n_groups = std::clamp<std::size_t>(n / 64, 1, kMaxGroups);
  const auto weight = [&](std::size_t i) {
    if (data.weights == nullptr) return 1.0;
    const std::size_t source = data.features.rows != nullptr ? data.features.rows[i] : i;
    return static_cast<double>(data.weights[source]);
  };
  FeatureScaling scaling;
  std::vector<double> mean(d, 0.0);
  std::vector<double> square(d);
  // First the sums, then those of the squared distances to the mean.
  for (const bool spread : {false, true}) {
    std::vector<double> sums(n_groups * (d + 1), 0.0);
    solver::run_blocks(pool, n_groups, poll, [&](std::size_t group, std::size_t, const auto& go) {
      double* sum = sums.data() + group * (d + 1);
      const std::size_t end = n * (group + 1) / n_groups;
      for (std::size_t i = n * group / n_groups; i < end; ++i) {
        if (i % 64 == 0 && !go()) return;
        const double w = weight(i);
        const float* row = data.features.row(i);
        for (std::size_t j = 0; j < d; ++j) {
          const double value = static_cast<double>(row[j]) - mean[j];
          sum[j] += w * (spread ? value * value : value);
        }
        sum[d] += w;
      }
    });
    for (std::size_t group = 1; group < n_groups; ++group) {
      for (std::size_t j = 0; j <= d; ++j) sums[j] += sums[group * (d + 1) + j];
    }
    std::vector<double>& to = spread ? square : mean;
    for (std::size_t j = 0; j < d; ++j) to[j] = sums[j] / sums[d];
  }
  scaling.mean.resize(d);
  scaling.inverse.resize(d);
  for (std::size_t j = 0; j < d; ++j) {
    const double deviation = std::sqrt(square[j]);
    scaling.mean[j] = static_cast<float>(mean[j]);
    const bool varies = deviation > kLeastSpread * std::abs(mean[j]);
    const auto inverse = static_cast<float>(1 / deviation);
    scaling.inverse[j] = varies && std::isfinite(inverse) ? inverse : 0.0F;
  }
  return scaling;
}

struct PerceptronObjective::Impl {
  RowsView features;
  std::size_t n_rows = 0;
  std::size_t n_classes = 0;
  std::vector<Shape> shapes;
  std::size_t n_variables = 0;
  std::vector<std::int32_t> targets;
  std::vector<float> weights;         // empty, or scaled to a mean of 1
  std::vector<double> target_weight;  // per class
  FeatureScaling scaling;
  double l2 = 0;
  ThreadPool* pool = nullptr;

  std::size_t block_rows = 0;
  std::size_t n_blocks = 0;
  std::size_t n_groups = 0;
  std::vector<Partial> partials;
  std::vector<Scratch> scratch;
  std::vector<PanelMatrix> right;        // of each layer: n_in x n_out, to go forward
  std::vector<PanelMatrix> left;         // of each layer but the first: n_out x n_in, to go back
  std::vector<std::vector<float>> bias;  // of each layer, padded
  std::size_t n_correct = 0;

  void read_targets(const LabelledRows& data);
  void prepare(std::span<const double> v);
  [[nodiscard]] Scratch make_scratch() const;
  void run_group(std::size_t group, Scratch& own, const auto& go);
  void back(std::size_t count, Scratch& own, Partial& partial) const;
  [[nodiscard]] double join(std::size_t layer, std::span<const double> v,
                            std::span<double> gradient) const;
};

void PerceptronObjective::Impl::read_targets(const LabelledRows& data) {
  targets.resize(n_rows);
  target_weight.assign(n_classes, 0.0);
  weights.resize(data.weights != nullptr ? n_rows : 0);
  double total = 0;
  for (std::size_t i = 0; i < n_rows; ++i) {
    const std::size_t source = features.rows != nullptr ? features.rows[i] : i;
    targets[i] = data.targets[source];
    if (targets[i] < 0 || std::cmp_greater_equal(targets[i], n_classes)) {
      throw Error(
          ErrorCode::invalid_argument, "targets[" + std::to_string(source) + "]",
          std::to_string(targets[i]) + " given; allowed are 0 to " + std::to_string(n_classes - 1));
    }
    if (weights.empty()) continue;
    weights[i] = data.weights[source];
    if (!(weights[i] >= 0) || !std::isfinite(weights[i])) {
      throw Error(ErrorCode::invalid_argument, "weights[" + std::to_string(source) + "]",
                  std::to_string(weights[i]) + " given; a weight is finite and not negative");
    }
    total += static_cast<double>(weights[i]);
  }
  if (!weights.empty()) {
    if (!(total > 0)) throw Error(ErrorCode::invalid_argument, "weights", "sum to 0");
    const double scale = static_cast<double>(n_rows) / total;
    for (float& weight : weights) weight = static_cast<float>(scale * static_cast<double>(weight));
  }
  for (std::size_t i = 0; i < n_rows; ++i) {
    target_weight[static_cast<std::size_t>(targets[i])] +=
        weights.empty() ? 1.0 : static_cast<double>(weights[i]);
  }
}

PerceptronObjective::PerceptronObjective(const LabelledRows& data, FeatureScaling scaling,
                                         std::span<const std::size_t> hidden, double l2,
                                         ThreadPool* pool)
    : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  if (hidden.empty() || std::ranges::count(hidden, std::size_t{0}) > 0) {
    throw Error(ErrorCode::invalid_argument, "layer_sizes",
                "every hidden layer needs at least one unit, and there must be one");
  }
  m.features = data.features;
  m.n_rows = data.n_rows;
  m.n_classes = data.n_classes;
  m.read_targets(data);
  m.scaling = std::move(scaling);
  m.l2 = l2;
  m.pool = pool;

  std::size_t n_in = data.features.cols;
  std::size_t row_width = n_in;
  for (std::size_t layer = 0; layer <= hidden.size(); ++layer) {
    const std::size_t n_out = layer < hidden.size() ? hidden[layer] : m.n_classes;
    Shape shape{.n_in = n_in, .n_out = n_out, .weights = m.n_variables};
    shape.bias = shape.weights + checked_mul(n_in, n_out, "layer_sizes");
    m.n_variables = shape.bias + n_out;
    m.shapes.push_back(shape);
    m.right.emplace_back(n_in, n_out);
    m.left.push_back(layer > 0 ? PanelMatrix(n_out, n_in) : PanelMatrix());
    m.bias.emplace_back(padded_cols(m.right.back()),
                        layer < hidden.size() ? 0.0F : solver::kPaddingScore);
    row_width += 2 * n_out;
    n_in = n_out;
  }
  m.block_rows = rows_per_block(m.n_rows, row_width);
  m.n_blocks = (m.n_rows + m.block_rows - 1) / m.block_rows;
  const std::size_t fitting =
      std::max<std::size_t>(2, kGroupBytes / (m.n_variables * sizeof(double)));
  m.n_groups = std::min({m.n_blocks, kMaxGroups, fitting});
  m.scratch.resize(solver::worker_count(pool));
  m.partials.resize(m.n_groups);
  for (Partial& partial : m.partials) {
    for (const Shape& shape : m.shapes) {
      partial.gradient.emplace_back(panel_sums(shape.n_out, PanelMatrix(1, shape.n_in)));
      partial.column.emplace_back(padded_cols(PanelMatrix(1, shape.n_out)));
    }
  }
}

PerceptronObjective::~PerceptronObjective() = default;

std::size_t PerceptronObjective::size() const noexcept {
  return impl_->n_variables;
}

std::size_t PerceptronObjective::n_correct() const noexcept {
  return impl_->n_correct;
}

// The factors of the products forward and back, for these variables.
void PerceptronObjective::Impl::prepare(std::span<const double> v) {
  std::vector<float> values;
  for (std::size_t layer = 0; layer < shapes.size(); ++layer) {
    const Shape& shape = shapes[layer];
    values.resize(shape.n_in * shape.n_out);
    for (std::size_t c = 0; c < shape.n_out; ++c) {
      const double* from = v.data() + shape.weights + c * shape.n_in;
      float* to = values.data() + c * shape.n_in;
      for (std::size_t j = 0; j < shape.n_in; ++j) {
        const double factor = layer == 0 ? static_cast<double>(scaling.inverse[j]) : 1.0;
        to[j] = static_cast<float>(factor * from[j]);
      }
      bias[layer][c] = static_cast<float>(v[shape.bias + c]);
    }
    pack_transposed(values, shape.n_out, shape.n_in, right[layer]);
    if (layer > 0) {
      const RowsView view{
          .data = values.data(), .cols = shape.n_in, .stride = shape.n_in, .rows = nullptr};
      pack_rows(view, 0, shape.n_out, nullptr, nullptr, left[layer]);
    }
  }
}

Scratch PerceptronObjective::Impl::make_scratch() const {
  Scratch own;
  own.rows = PanelMatrix::for_overwrite(block_rows, features.cols);
  for (const Shape& shape : shapes) own.values.emplace_back(block_rows, shape.n_out);
  for (std::size_t layer = 0; layer + 1 < shapes.size(); ++layer) {
    own.deltas.emplace_back(block_rows, shapes[layer].n_out);
  }
  own.column.resize(padded_cols(right.back()));
  return own;
}

// From the residuals of the last layer to the gradient of every layer.
void PerceptronObjective::Impl::back(std::size_t count, Scratch& own, Partial& partial) const {
  for (std::size_t layer = shapes.size(); layer-- > 0;) {
    const bool last = layer + 1 == shapes.size();
    const PanelMatrix& delta = last ? own.values.back() : own.deltas[layer];
    const PanelMatrix& input = layer == 0 ? own.rows : own.values[layer - 1];
    accumulate_transposed(delta, input, count, partial.gradient[layer].data());
    if (!last) add_columns(delta, count, partial.column[layer]);
    if (layer == 0) break;
    multiply(delta, left[layer], MultiplyInit::zero, nullptr, whole(count, delta, left[layer]),
             own.deltas[layer - 1]);
    mask_silent(input, count, own.deltas[layer - 1]);
  }
}

void PerceptronObjective::Impl::run_group(std::size_t group, Scratch& own, const auto& go) {
  Partial& partial = partials[group];
  for (auto& sums : partial.gradient) std::ranges::fill(sums, 0.0);
  for (auto& sums : partial.column) std::ranges::fill(sums, 0.0);
  partial.loss = 0;
  partial.n_correct = 0;
  if (own.rows.rows() == 0) own = make_scratch();
  const std::size_t end = n_blocks * (group + 1) / n_groups;
  for (std::size_t block = n_blocks * group / n_groups; block < end; ++block) {
    if (!go()) return;
    const std::size_t first = block * block_rows;
    const std::size_t count = std::min(block_rows, n_rows - first);
    pack_rows(features, first, count, scaling.mean.data(), nullptr, own.rows);
    const PanelMatrix* input = &own.rows;
    for (std::size_t layer = 0; layer < shapes.size(); ++layer) {
      multiply(*input, right[layer], MultiplyInit::row, bias[layer].data(),
               whole(count, *input, right[layer]), own.values[layer]);
      if (layer + 1 < shapes.size()) rectify(own.values[layer], count);
      input = &own.values[layer];
    }
    std::ranges::fill(own.column, 0.0F);
    const RowLosses losses = solver::softmax_residuals(
        own.values.back(), count, targets.data() + first,
        weights.empty() ? nullptr : weights.data() + first, own.column.data());
    partial.loss += losses.loss;
    partial.n_correct += losses.n_correct;
    std::vector<double>& column = partial.column.back();
    for (std::size_t c = 0; c < own.column.size(); ++c) {
      column[c] += static_cast<double>(own.column[c]);
    }
    back(count, own, partial);
  }
}

// Adds the groups up, always in the same order; returns the layer's largest component.
double PerceptronObjective::Impl::join(std::size_t layer, std::span<const double> v,
                                       std::span<double> gradient) const {
  const Shape& shape = shapes[layer];
  const bool last = layer + 1 == shapes.size();
  const PanelMatrix panels(1, shape.n_in);
  const double inverse_n = 1.0 / static_cast<double>(n_rows);
  double largest = 0;
  for (std::size_t c = 0; c < shape.n_out; ++c) {
    double* out = gradient.data() + shape.weights + c * shape.n_in;
    const double* w = v.data() + shape.weights + c * shape.n_in;
    for (std::size_t q = 0; q < panels.n_panels(); ++q) {
      const std::size_t begin = q * panels.panel_width();
      const std::size_t offset = begin * shape.n_out + c * panels.width(q);
      for (std::size_t j = 0; j < panels.used(q); ++j) {
        double sum = 0;
        for (const Partial& partial : partials) sum += partial.gradient[layer][offset + j];
        if (layer == 0) sum *= static_cast<double>(scaling.inverse[begin + j]);
        out[begin + j] = sum * inverse_n + l2 * w[begin + j];
        largest = std::max(largest, std::abs(out[begin + j]));
      }
    }
    double sum = last ? -target_weight[c] : 0.0;
    for (const Partial& partial : partials) sum += partial.column[layer][c];
    gradient[shape.bias + c] = sum * inverse_n;
    largest = std::max(largest, std::abs(gradient[shape.bias + c]));
  }
  return largest;
}

Evaluation PerceptronObjective::evaluate(std::span<const double> v, std::span<double> gradient,
                                         const Poll& poll) {
  Impl& m = *impl_;
  m.prepare(v);
  solver::run_blocks(m.pool, m.n_groups, poll,
                     [&](std::size_t group, std::size_t worker, const auto& go) {
                       m.run_group(group, m.scratch[worker], go);
                     });
  double loss = 0;
  double norm = 0;
  double square = 0;
  m.n_correct = 0;
  for (const Partial& partial : m.partials) {
    loss += partial.loss;
    m.n_correct += partial.n_correct;
  }
  for (std::size_t layer = 0; layer < m.shapes.size(); ++layer) {
    const Shape& shape = m.shapes[layer];
    norm = std::max(norm, m.join(layer, v, gradient));
    const auto w = v.subspan(shape.weights, shape.n_in * shape.n_out);
    square += dot(w, w);
  }
  return {.value = loss / static_cast<double>(m.n_rows) + 0.5 * m.l2 * square,
          .gradient_norm = norm};
}

std::vector<double> PerceptronObjective::start(std::uint64_t seed) const {
  const Impl& m = *impl_;
  std::vector<double> v(m.n_variables, 0.0);
  for (std::size_t layer = 0; layer + 1 < m.shapes.size(); ++layer) {
    const Shape& shape = m.shapes[layer];
    const double bound = std::sqrt(6.0 / static_cast<double>(shape.n_in));
    for (std::size_t i = 0; i < shape.n_in * shape.n_out; ++i) {
      v[shape.weights + i] = bound * uniform(seed, layer, i);
    }
  }
  double mean = 0;
  double* bias = v.data() + m.shapes.back().bias;
  for (std::size_t c = 0; c < m.n_classes; ++c) {
    // Half a row for a class without any keeps the logarithm finite.
    bias[c] = std::log(std::max(m.target_weight[c], 0.5) / static_cast<double>(m.n_rows));
    mean += bias[c] / static_cast<double>(m.n_classes);
  }
  for (std::size_t c = 0; c < m.n_classes; ++c) bias[c] -= mean;
  return v;
}

std::vector<double> PerceptronObjective::variables(std::span<const DenseView> layers) const {
  const Impl& m = *impl_;
  std::vector<double> v(m.n_variables);
  bool fits = layers.size() == m.shapes.size();
  for (std::size_t layer = 0; fits && layer < layers.size(); ++layer) {
    const Shape& shape = m.shapes[layer];
    fits = layers[layer].weights.size() == shape.n_in * shape.n_out &&
           layers[layer].bias.size() == shape.n_out;
  }
  if (!fits) {
    throw Error(ErrorCode::invalid_argument, "layers", "of other shapes than the network's");
  }
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const Shape& shape = m.shapes[layer];
    for (std::size_t c = 0; c < shape.n_out; ++c) {
      auto shift = static_cast<double>(layers[layer].bias[c]);
      for (std::size_t j = 0; j < shape.n_in; ++j) {
        auto weight = static_cast<double>(layers[layer].weights[c * shape.n_in + j]);
        if (layer == 0) {
          shift += weight * static_cast<double>(m.scaling.mean[j]);
          const auto inverse = static_cast<double>(m.scaling.inverse[j]);
          weight = inverse > 0 ? weight / inverse : 0.0;
        }
        v[shape.weights + c * shape.n_in + j] = weight;
      }
      v[shape.bias + c] = shift;
    }
  }
  return v;
}

std::vector<Dense> PerceptronObjective::solution(std::span<const double> v) const {
  const Impl& m = *impl_;
  std::vector<Dense> layers(m.shapes.size());
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const Shape& shape = m.shapes[layer];
    layers[layer].weights.resize(shape.n_in * shape.n_out);
    layers[layer].bias.resize(shape.n_out);
    for (std::size_t c = 0; c < shape.n_out; ++c) {
      double shift = v[shape.bias + c];
      for (std::size_t j = 0; j < shape.n_in; ++j) {
        double weight = v[shape.weights + c * shape.n_in + j];
        if (layer == 0) {
          weight *= static_cast<double>(m.scaling.inverse[j]);
          shift -= weight * static_cast<double>(m.scaling.mean[j]);
        }
        layers[layer].weights[c * shape.n_in + j] = static_cast<float>(weight);
      }
      layers[layer].bias[c] = static_cast<float>(shift);
    }
  }
  return layers;
}

void dense_layers(const RowsView& features, std::size_t n_rows, std::span<const DenseView> layers,
                  DenseOutput output, std::span<float> out, ThreadPool* pool, const Poll& poll) {
  std::vector<PanelMatrix> right;
  std::vector<std::vector<float>> bias;
  std::size_t n_in = features.cols;
  std::size_t row_width = n_in;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    const std::size_t n_out = layers[layer].bias.size();
    if (n_out == 0 || layers[layer].weights.size() != n_in * n_out) {
      throw Error(ErrorCode::invalid_argument, "layers[" + std::to_string(layer) + "]",
                  "has " + std::to_string(layers[layer].weights.size()) + " weights for " +
                      std::to_string(n_in) + " inputs and " + std::to_string(n_out) + " outputs");
    }
    right.emplace_back(n_in, n_out);
    pack_transposed(layers[layer].weights, n_out, n_in, right.back());
    bias.emplace_back(padded_cols(right.back()),
                      layer + 1 < layers.size() ? 0.0F : solver::kPaddingScore);
    std::ranges::copy(layers[layer].bias, bias.back().begin());
    row_width += n_out;
    n_in = n_out;
  }
  if (layers.empty() || out.size() != n_rows * n_in) {
    throw Error(ErrorCode::invalid_argument, "layers", "none, or not of the output's width");
  }
  const std::size_t block_rows = rows_per_block(n_rows, row_width);
  const std::size_t n_blocks = (n_rows + block_rows - 1) / block_rows;
  std::vector<std::vector<PanelMatrix>> scratch(solver::worker_count(pool));
  solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t worker, const auto&) {
    std::vector<PanelMatrix>& own = scratch[worker];
    if (own.empty()) {
      own.emplace_back(block_rows, features.cols);
      for (const DenseView& layer : layers) own.emplace_back(block_rows, layer.bias.size());
    }
    const std::size_t first = block * block_rows;
    const std::size_t count = std::min(block_rows, n_rows - first);
    pack_rows(features, first, count, nullptr, nullptr, own[0]);
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      multiply(own[layer], right[layer], MultiplyInit::row, bias[layer].data(),
               whole(count, own[layer], right[layer]), own[layer + 1]);
      if (layer + 1 < layers.size()) rectify(own[layer + 1], count);
    }
    PanelMatrix& last = own.back();
    if (output == DenseOutput::softmax) solver::softmax_rows(last, count);
    for (std::size_t q = 0; q < last.n_panels(); ++q) {
      const float* from = last.panel(q);
      for (std::size_t i = 0; i < count; ++i, from += last.width(q)) {
        std::copy_n(from, last.used(q), out.data() + (first + i) * n_in + q * last.panel_width());
      }
    }
  });
}

}  // namespace eyespot
