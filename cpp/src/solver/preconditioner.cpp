#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "blocks.hpp"
#include "cholesky.hpp"
#include "eyespot/error.hpp"
#include "eyespot/preconditioner.hpp"
#include "eyespot/types.hpp"

namespace eyespot {

namespace {

// Rows of the Gram matrix per feature: more would not make a better preconditioner.
constexpr std::size_t kGramRowsPerFeature = 16;
// Blocks of rows that are held at a time while their Gram matrix is formed: few, so that they stay
// in the cache.
constexpr std::size_t kGramBlocks = 2;
// Rows whose curvatures are found at a time, and the part of their sum that may be left out of a
// Gram matrix: where the classes are told apart with ease, half of the rows or more.
constexpr std::size_t kCurvatureRows = 4 * kAccumulateRows;
constexpr double kNegligible = 0.02;
constexpr std::size_t kMaxGroups = 16;

// Gram matrix of evenly spaced rows about `mean`, divided by the sum of what the rows count.
struct Gram {
  std::vector<double> mean;  // lower triangle, row-major
  double total = 0;
};

std::uint32_t source_row(const RowsView& features, std::size_t i) {
  return features.rows != nullptr ? features.rows[i] : static_cast<std::uint32_t>(i);
}

double weight_of(const float* weights, std::uint32_t row) {
  return weights != nullptr ? static_cast<double>(weights[row]) : 1.0;
}

// Every how many rows one is used.
std::size_t gram_step(std::size_t n_rows, std::size_t n_features) {
  return std::max<std::size_t>(1, n_rows / (kGramRowsPerFeature * n_features));
}

// Rows of the data, and what each counts.
struct CountedRows {
  std::vector<std::uint32_t> rows;
  std::vector<float> counts;
};

// Evenly spaced rows, as many as a Gram matrix needs, with their weights.
CountedRows spaced_rows(const RowsView& features, std::size_t n, const float* weights) {
  const std::size_t step = gram_step(n, features.cols);
  CountedRows used;
  for (std::size_t i = 0; i < n; i += step) {
    used.rows.push_back(source_row(features, i));
    used.counts.push_back(static_cast<float>(weight_of(weights, used.rows.back())));
  }
  return used;
}

// Drops the rows that count least and kNegligible together.
void keep_most(CountedRows& used, double mass) {
  std::vector<float> descending = used.counts;
  std::ranges::sort(descending, std::greater<>());
  double sum = 0;
  float least = 0;
  for (const float count : descending) {
    least = count;
    sum += static_cast<double>(count);
    if (sum >= (1 - kNegligible) * mass) break;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < used.rows.size(); ++i) {
    if (used.counts[i] < least) continue;
    used.rows[kept] = used.rows[i];
    used.counts[kept++] = used.counts[i];
  }
  used.rows.resize(kept);
  used.counts.resize(kept);
}

Gram gram_about(const RowsView& features, const CountedRows& used, std::span<const float> mean,
                ThreadPool* pool, const Poll& poll) {
  const std::size_t d = features.cols;
  const std::size_t n_used = used.rows.size();
  const PanelMatrix shape(1, d);
  std::vector<double> sum(panel_sums(d, shape));
  std::vector<PanelMatrix> chunk(kGramBlocks);
  std::vector<float> scale;
  Gram gram;
  for (std::size_t begin = 0; begin < n_used; begin += kGramBlocks * kAccumulateRows) {
    const std::size_t n_rows = std::min(kGramBlocks * kAccumulateRows, n_used - begin);
    scale.resize(n_rows);
    for (std::size_t i = 0; i < n_rows; ++i) {
      gram.total += static_cast<double>(used.counts[begin + i]);
      scale[i] = std::sqrt(used.counts[begin + i]);
    }
    RowsView view = features;
    view.rows = used.rows.data() + begin;
    const std::size_t n_blocks = (n_rows + kAccumulateRows - 1) / kAccumulateRows;
    const auto height = [&](std::size_t block) {
      return std::min(kAccumulateRows, n_rows - block * kAccumulateRows);
    };
    solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t, const auto&) {
      PanelMatrix& x = chunk[block];
      if (x.rows() == 0) x = PanelMatrix(height(block), d);  // the first chunk's are the tallest
      const std::size_t first = block * kAccumulateRows;
      pack_rows(view, first, height(block), mean.data(), scale.data() + first, x);
    });
    // A panel of the sum a task: each sum has one order whoever forms it.
    solver::run_blocks(pool, shape.n_panels(), poll,
                       [&](std::size_t q, std::size_t, const auto& go) {
                         for (std::size_t block = 0; block < n_blocks && go(); ++block) {
                           accumulate_gram(chunk[block], height(block), q, sum.data());
                         }
                       });
  }
  gram.mean.resize(checked_mul(d, d, "features"));
  if (!(gram.total > 0)) return gram;
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t q = 0; q * shape.panel_width() <= i; ++q) {
      const std::size_t first = q * shape.panel_width();
      const double* from = sum.data() + first * d + i * shape.width(q);
      const std::size_t end = std::min(i + 1, first + shape.used(q));
      for (std::size_t j = first; j < end; ++j) gram.mean[i * d + j] = from[j - first] / gram.total;
    }
  }
  return gram;
}

double mean_variance(std::span<const double> gram, std::size_t d) {
  double trace = 0;
  for (std::size_t j = 0; j < d; ++j) trace += gram[j * d + j];
  return trace / static_cast<double>(d);
}

// What the centres of the scores are the quotients of.
class CentreSums {
 public:
  CentreSums(std::size_t n_scores, std::size_t n_features)
      : shape_(1, n_features), masses_(n_scores), sums_(panel_sums(n_scores, shape_)) {}

  // Adds rows about `mean`; each counts for a score by its factor, row-major.
  void add(const RowsView& features, std::span<const std::uint32_t> rows,
           std::span<const float> mean, std::span<const float> factors, ThreadPool* pool,
           const Poll& poll) {
    const std::size_t k = masses_.size();
    const std::size_t n_blocks = (rows.size() + kAccumulateRows - 1) / kAccumulateRows;
    std::vector<PanelMatrix> x(n_blocks);
    std::vector<PanelMatrix> by(n_blocks);
    RowsView view = features;
    view.rows = rows.data();
    solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t, const auto&) {
      const std::size_t first = block * kAccumulateRows;
      const std::size_t count = std::min(kAccumulateRows, rows.size() - first);
      x[block] = PanelMatrix(count, features.cols);
      pack_rows(view, first, count, mean.data(), nullptr, x[block]);
      by[block] = PanelMatrix(count, k);
      for (std::size_t i = 0; i < count; ++i) {
        by[block].set_row(i, factors.subspan((first + i) * k, k));
      }
    });
    // A panel of the sums a task: each sum has one order whoever forms it.
    solver::run_blocks(pool, shape_.n_panels(), poll,
                       [&](std::size_t q, std::size_t, const auto& go) {
                         for (std::size_t block = 0; block < n_blocks && go(); ++block) {
                           accumulate_panel(by[block], x[block], by[block].rows(), q, sums_.data());
                         }
                       });
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::size_t c = 0; c < k; ++c) masses_[c] += static_cast<double>(factors[i * k + c]);
    }
  }

  // n_scores x n_features; 0 for a score in which no row bends the loss.
  [[nodiscard]] std::vector<float> means() const {
    const std::size_t d = shape_.cols();
    const std::size_t k = masses_.size();
    std::vector<float> out(k * d);
    for (std::size_t c = 0; c < k; ++c) {
      if (!(masses_[c] > 0)) continue;
      for (std::size_t q = 0; q < shape_.n_panels(); ++q) {
        const std::size_t first = q * shape_.panel_width();
        const double* from = sums_.data() + first * k + c * shape_.width(q);
        float* to = out.data() + c * d + first;
        for (std::size_t j = 0; j < shape_.used(q); ++j) {
          to[j] = static_cast<float>(from[j] / masses_[c]);
        }
      }
    }
    return out;
  }

 private:
  PanelMatrix shape_;
  std::vector<double> masses_;
  std::vector<double> sums_;  // in panels
};

// Mean over the features of their variance: sums of fixed groups of rows, joined in order.
double variance_about(const RowsView& features, std::size_t n, const float* weights,
                      std::span<const float> mean, ThreadPool* pool, const Poll& poll) {
  const std::size_t d = features.cols;
  const std::size_t n_groups = std::clamp<std::size_t>(n / 64, 1, kMaxGroups);
  std::vector<double> squares(n_groups, 0.0);
  std::vector<double> totals(n_groups, 0.0);
  ThreadPool* const workers = solver::pool_for(pool, n * d, solver::kWorthReading);
  solver::run_blocks(workers, n_groups, poll, [&](std::size_t group, std::size_t, const auto& go) {
    std::vector<float> centred(d);
    const std::size_t end = n * (group + 1) / n_groups;
    for (std::size_t i = n * group / n_groups; i < end; ++i) {
      if (i % 64 == 0 && !go()) return;
      const float* row = features.row(i);
      for (std::size_t j = 0; j < d; ++j) centred[j] = row[j] - mean[j];
      const double w = weight_of(weights, source_row(features, i));
      squares[group] += w * dot(std::span<const float>(centred), std::span<const float>(centred));
      totals[group] += w;
    }
  });
  double square = 0;
  double total = 0;
  for (std::size_t group = 0; group < n_groups; ++group) {
    square += squares[group];
    total += totals[group];
  }
  return total > 0 ? square / (total * static_cast<double>(d)) : 0.0;
}

}  // namespace

std::size_t first_non_finite_row(const RowsView& features, std::size_t n_rows, ThreadPool* pool,
                                 const Poll& poll) {
  constexpr std::size_t kRows = 256;
  const std::size_t n_blocks = (n_rows + kRows - 1) / kRows;
  std::vector<std::size_t> first(n_blocks, n_rows);
  ThreadPool* const workers = solver::pool_for(pool, n_rows * features.cols, solver::kWorthReading);
  solver::run_blocks(workers, n_blocks, poll, [&](std::size_t block, std::size_t, const auto&) {
    const std::size_t end = std::min(n_rows, (block + 1) * kRows);
    for (std::size_t i = block * kRows; i < end; ++i) {
      // An exponent of all ones is a NaN or an infinity.
      std::uint32_t bad = 0;
      const float* row = features.row(i);
      for (std::size_t j = 0; j < features.cols; ++j) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, row + j, sizeof(bits));
        bad |= static_cast<std::uint32_t>((bits & 0x7F800000U) == 0x7F800000U);
      }
      if (bad != 0) {
        first[block] = i;
        return;
      }
    }
  });
  std::size_t result = n_rows;
  for (const std::size_t i : first) result = std::min(result, i);
  return result;
}

std::vector<float> mean_one_weights(const RowsView& features, std::size_t n_rows,
                                    const float* weights) {
  if (weights == nullptr) return {};
  std::vector<float> own(n_rows);
  double total = 0;
  for (std::size_t i = 0; i < n_rows; ++i) {
    const std::uint32_t source = source_row(features, i);
    own[i] = weights[source];
    if (!(own[i] >= 0) || !std::isfinite(own[i])) {
      throw Error(ErrorCode::invalid_argument, "weights[" + std::to_string(source) + "]",
                  std::to_string(own[i]) + " given; a weight is finite and not negative");
    }
    total += static_cast<double>(own[i]);
  }
  if (!(total > 0)) throw Error(ErrorCode::invalid_argument, "weights", "sum to 0");
  const double scale = static_cast<double>(n_rows) / total;
  for (float& weight : own) weight = static_cast<float>(scale * static_cast<double>(weight));
  return own;
}

FeatureMoments feature_moments(const RowsView& features, std::size_t n_rows, const float* weights,
                               ThreadPool* pool, const Poll& poll, bool with_gram) {
  const std::size_t d = features.cols;
  const std::size_t n = n_rows;
  FeatureMoments moments;

  // Mean: sums of fixed groups of rows, joined in order.
  const std::size_t n_groups = std::clamp<std::size_t>(n / 64, 1, kMaxGroups);
  std::vector<double> sums(n_groups * (d + 1), 0.0);
  ThreadPool* const workers = solver::pool_for(pool, n * d, solver::kWorthReading);
  solver::run_blocks(workers, n_groups, poll, [&](std::size_t group, std::size_t, const auto& go) {
    double* sum = sums.data() + group * (d + 1);
    const std::size_t end = n * (group + 1) / n_groups;
    for (std::size_t i = n * group / n_groups; i < end; ++i) {
      if (i % 64 == 0 && !go()) return;
      const double w = weight_of(weights, source_row(features, i));
      const float* row = features.row(i);
      for (std::size_t j = 0; j < d; ++j) sum[j] += w * static_cast<double>(row[j]);
      sum[d] += w;
    }
  });
  for (std::size_t group = 1; group < n_groups; ++group) {
    for (std::size_t j = 0; j <= d; ++j) sums[j] += sums[group * (d + 1) + j];
  }
  moments.mean.resize(d);
  for (std::size_t j = 0; j < d; ++j) moments.mean[j] = static_cast<float>(sums[j] / sums[d]);

  if (!with_gram) {
    moments.variance = variance_about(features, n, weights, moments.mean, pool, poll);
    return moments;
  }
  Gram gram = gram_about(features, spaced_rows(features, n, weights), moments.mean, pool, poll);
  moments.gram = std::move(gram.mean);
  moments.variance = mean_variance(moments.gram, d);
  return moments;
}

CurvedMoments curved_moments(const RowsView& features, std::size_t n_rows, const float* weights,
                             const FeatureMoments& plain, std::size_t n_scores,
                             const RowCurvatures& curvatures, double least, ThreadPool* pool,
                             const Poll& poll) {
  CountedRows used = spaced_rows(features, n_rows, weights);
  CentreSums centres(n_scores, features.cols);
  std::vector<float> own;
  double mass = 0;
  double total = 0;
  for (std::size_t begin = 0; begin < used.rows.size(); begin += kCurvatureRows) {
    const auto rows = std::span<const std::uint32_t>(used.rows).subspan(
        begin, std::min(kCurvatureRows, used.rows.size() - begin));
    own.resize(rows.size() * n_scores);
    curvatures(rows, own);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      float& count = used.counts[begin + i];
      total += static_cast<double>(count);
      double sum = 0;
      for (float& curvature : std::span(own).subspan(i * n_scores, n_scores)) {
        curvature = std::max(curvature, 0.0F) * count;
        sum += static_cast<double>(curvature);
      }
      count = static_cast<float>(sum / static_cast<double>(n_scores));
      mass += static_cast<double>(count);
    }
    centres.add(features, rows, plain.mean, own, pool, poll);
  }
  keep_most(used, mass);
  Gram gram = gram_about(features, used, plain.mean, pool, poll);
  CurvedMoments curved;
  curved.curvature = std::max(total > 0 ? mass / total : 0.0, least);
  curved.moments.mean = plain.mean;
  curved.moments.gram = std::move(gram.mean);
  curved.moments.variance = mean_variance(curved.moments.gram, features.cols);
  curved.centres = centres.means();
  return curved;
}

double gram_cost(std::size_t n_rows, std::size_t n_features, std::size_t n_classes) {
  const auto n = static_cast<double>(n_rows);
  const auto d = static_cast<double>(n_features);
  const auto k = static_cast<double>(n_classes);
  // Its use is three substitutions an iteration, each as long as d / n of an evaluation or so.
  if (d > 0.5 * n) return std::numeric_limits<double>::infinity();
  // In flops of a product: those of the factorisation are slow ones, and so are the exponentials.
  const std::size_t n_used = n_rows / gram_step(n_rows, n_features);
  const auto used = static_cast<double>(n_used);
  return (0.9 * used * d * d + 2.2 * d * d * d) / (4 * n * d * k + 4000 * n);
}

std::shared_ptr<const Preconditioner> bound_metric(const RowsView& features, std::size_t n_rows,
                                                   const float* weights,
                                                   const FeatureMoments& moments, double curvature,
                                                   double l2, bool with_gram, ThreadPool* pool,
                                                   const Poll& poll) {
  if (!with_gram) {
    return std::make_shared<const Preconditioner>(features.cols, moments.variance, curvature, l2);
  }
  return std::make_shared<const Preconditioner>(
      feature_moments(features, n_rows, weights, pool, poll), curvature, l2, pool, poll);
}

Preconditioner::Preconditioner(const FeatureMoments& moments, double curvature, double l2,
                               ThreadPool* pool, const Poll& poll)
    : n_features_(moments.mean.size()), curvature_(curvature) {
  // The Gram matrix is known to float32: a smaller shift than this would only follow its rounding.
  double shift = std::max(l2, 1e-7 * curvature * moments.variance);
  if (!(shift > 0)) shift = 1;  // constant features: any metric will do
  auto factor = std::make_shared<solver::Cholesky>(n_features_);
  while (!factor->factorise(moments.gram, curvature, shift, {}, pool, poll)) {
    shift *= 10;
    if (!std::isfinite(shift)) {
      throw Error(ErrorCode::non_finite, "embeddings",
                  "so large that their squares overflow float32; divide them by their maximum");
    }
  }
  factor_ = std::move(factor);
}

Preconditioner::Preconditioner(const CurvedMoments& curved, double l2, ThreadPool* pool,
                               const Poll& poll)
    : Preconditioner(curved.moments, curved.curvature, l2, pool, poll) {
  centres_ = curved.centres;
}

Preconditioner::Preconditioner(std::size_t n_features, double variance, double curvature, double l2)
    : n_features_(n_features), curvature_(curvature), scale_(curvature * variance + l2) {
  if (!(scale_ > 0)) scale_ = 1;
}

namespace {

void scale_by(std::span<float> values, double factor) {
  for (float& value : values) value *= static_cast<float>(factor);
}

}  // namespace

double Preconditioner::apply(std::span<float> direction, std::span<const float> change,
                             std::size_t n_classes, ThreadPool* pool) const {
  const std::size_t d = n_features_;
  const std::size_t n_weights = n_classes * d;
  const bool with_change = !change.empty();
  double square = 0;
  const std::span<float> slopes = direction.subspan(n_weights);
  if (with_change) {
    const auto changes = change.subspan(n_weights);
    square = dot(changes, changes) / curvature_;
  }
  if (scale_ > 0) {
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
  factor_->divide_by_transpose(rows, pool);
  for (std::size_t c = n_classes; c < rows.rows(); ++c) {
    rows.get_row(c, std::span(row));
    square += dot(std::span<const float>(row), std::span<const float>(row));
  }
  PanelMatrix own(n_classes, d);
  for (std::size_t q = 0; q < own.n_panels(); ++q) {
    std::copy_n(rows.panel(q), n_classes * own.width(q), own.panel(q));
  }
  factor_->divide(own, pool);
  scale_by(slopes, 1 / curvature_);
  for (std::size_t c = 0; c < n_classes; ++c) {
    const std::span<float> weights = direction.subspan(c * d, d);
    own.get_row(c, weights);
    if (centres_.empty()) continue;
    slopes[c] -= static_cast<float>(dot(centre(c), std::span<const float>(weights)));
  }
  return square;
}

}  // namespace eyespot
