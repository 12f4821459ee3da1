#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "blocks.hpp"
#include "eyespot/error.hpp"
#include "eyespot/softmax_regression.hpp"
#include "eyespot/types.hpp"

namespace eyespot {

namespace {

// Rows of the Gram matrix per feature: more would not make a better preconditioner.
constexpr std::size_t kGramRowsPerFeature = 16;
// Partial sums, in bytes, that one Gram matrix may take.
constexpr std::size_t kGramBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxGroups = 16;

}  // namespace

std::size_t first_non_finite_row(const RowsView& features, std::size_t n_rows, ThreadPool* pool,
                                 const Poll& poll) {
  constexpr std::size_t kRows = 256;
  const std::size_t n_blocks = (n_rows + kRows - 1) / kRows;
  std::vector<std::size_t> first(n_blocks, n_rows);
  solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t, const auto&) {
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

FeatureMoments feature_moments(const LabelledRows& data, ThreadPool* pool, const Poll& poll) {
  const std::size_t d = data.features.cols;
  const std::size_t n = data.n_rows;
  FeatureMoments moments;
  const auto weight = [&](std::size_t i) {
    if (data.weights == nullptr) return 1.0;
    return static_cast<double>(
        data.weights[data.features.rows != nullptr ? data.features.rows[i] : i]);
  };

  // Mean: sums of fixed groups of rows, joined in order.
  const std::size_t n_groups = std::clamp<std::size_t>(n / 64, 1, kMaxGroups);
  std::vector<double> sums(n_groups * (d + 1), 0.0);
  solver::run_blocks(pool, n_groups, poll, [&](std::size_t group, std::size_t, const auto& go) {
    double* sum = sums.data() + group * (d + 1);
    const std::size_t end = n * (group + 1) / n_groups;
    for (std::size_t i = n * group / n_groups; i < end; ++i) {
      if (i % 64 == 0 && !go()) return;
      const double w = weight(i);
      const float* row = data.features.row(i);
      for (std::size_t j = 0; j < d; ++j) sum[j] += w * static_cast<double>(row[j]);
      sum[d] += w;
    }
  });
  for (std::size_t group = 1; group < n_groups; ++group) {
    for (std::size_t j = 0; j <= d; ++j) sums[j] += sums[group * (d + 1) + j];
  }
  moments.mean.resize(d);
  for (std::size_t j = 0; j < d; ++j) moments.mean[j] = static_cast<float>(sums[j] / sums[d]);

  // Gram matrix of evenly spaced rows, scaled by the roots of their weights.
  const std::size_t step = std::max<std::size_t>(1, n / (kGramRowsPerFeature * d));
  const std::size_t n_used = (n + step - 1) / step;
  std::vector<std::uint32_t> rows(n_used);
  std::vector<float> scale(n_used);
  double total = 0;
  for (std::size_t i = 0; i < n_used; ++i) {
    const std::size_t source = i * step;
    rows[i] = data.features.rows != nullptr ? data.features.rows[source]
                                            : static_cast<std::uint32_t>(source);
    const double w = weight(source);
    scale[i] = static_cast<float>(std::sqrt(w));
    total += w;
  }
  RowsView used = data.features;
  used.rows = rows.data();
  const std::size_t n_blocks = (n_used + kAccumulateRows - 1) / kAccumulateRows;
  const PanelMatrix shape(1, d);
  const std::size_t gram_size = panel_sums(d, shape);
  const std::size_t fitting = std::max<std::size_t>(2, kGramBytes / (gram_size * sizeof(double)));
  const std::size_t n_parts = std::min({n_blocks, kMaxGroups, fitting});
  std::vector<std::vector<double>> parts(n_parts);
  std::vector<PanelMatrix> scratch(solver::worker_count(pool));
  solver::run_blocks(
      pool, n_parts, poll, [&](std::size_t part, std::size_t worker, const auto& go) {
        PanelMatrix& x = scratch[worker];
        if (x.rows() == 0) x = PanelMatrix(kAccumulateRows, d);
        parts[part].assign(gram_size, 0.0);
        const std::size_t end = n_blocks * (part + 1) / n_parts;
        for (std::size_t block = n_blocks * part / n_parts; block < end; ++block) {
          if (!go()) return;
          const std::size_t first = block * kAccumulateRows;
          const std::size_t count = std::min(kAccumulateRows, n_used - first);
          pack_rows(used, first, count, moments.mean.data(), scale.data() + first, x);
          accumulate_gram(x, count, parts[part].data());
        }
      });
  moments.gram.resize(checked_mul(d, d, "features"));
  solver::run_blocks(d >= 256 ? pool : nullptr, d, poll,
                     [&](std::size_t i, std::size_t, const auto&) {
                       for (std::size_t q = 0; q * shape.panel_width() <= i; ++q) {
                         const std::size_t first = q * shape.panel_width();
                         const std::size_t offset = first * d + i * shape.width(q);
                         const std::size_t end = std::min(i + 1, first + shape.used(q));
                         for (std::size_t j = first; j < end; ++j) {
                           double sum = 0;
                           for (const auto& part : parts) sum += part[offset + j - first];
                           moments.gram[i * d + j] = sum / total;
                         }
                       }
                     });
  double trace = 0;
  for (std::size_t j = 0; j < d; ++j) trace += moments.gram[j * d + j];
  moments.variance = trace / static_cast<double>(d);
  return moments;
}

Preconditioner::Preconditioner(const FeatureMoments& moments, double curvature, double l2,
                               ThreadPool* pool, const Poll& poll)
    : n_features_(moments.mean.size()), curvature_(curvature) {
  const std::size_t d = n_features_;
  // The Gram matrix is known to float32: a smaller shift than this would only follow its rounding.
  double shift = std::max(l2, 1e-7 * curvature * moments.variance);
  if (!(shift > 0)) shift = 1;  // constant features: any metric will do
  do {
    factor_.assign(moments.gram.begin(), moments.gram.end());
    for (double& value : factor_) value *= curvature;
    for (std::size_t j = 0; j < d; ++j) factor_[j * d + j] += shift;
    shift *= 100;
  } while (!cholesky(factor_, d, pool, poll));

  lower_ = PanelMatrix(d, d);
  upper_ = PanelMatrix(d, d);
  const std::size_t width = lower_.panel_width();
  const auto put = [width](PanelMatrix& m, std::size_t i, std::size_t j, double value) {
    const std::size_t q = j / width;
    m.panel(q)[i * m.width(q) + j - q * width] = static_cast<float>(value);
  };
  std::vector<double> inverse(width * width);
  for (std::size_t q = 0; q < lower_.n_panels(); ++q) {
    const std::size_t first = q * width;
    const std::size_t used = lower_.used(q);
    // Inverse of the diagonal block, column by column.
    for (std::size_t j = 0; j < used; ++j) {
      for (std::size_t i = j; i < used; ++i) {
        double sum = i == j ? 1.0 : 0.0;
        for (std::size_t p = j; p < i; ++p) {
          sum -= factor_[(first + i) * d + first + p] * inverse[p * width + j];
        }
        inverse[i * width + j] = sum / factor_[(first + i) * d + first + i];
        put(lower_, first + i, first + j, inverse[i * width + j]);
        put(upper_, first + j, first + i, inverse[i * width + j]);
      }
    }
    for (std::size_t i = first + used; i < d; ++i) {
      for (std::size_t j = first; j < first + used; ++j) {
        put(lower_, i, j, -factor_[i * d + j]);
        put(upper_, j, i, -factor_[i * d + j]);
      }
    }
  }
}

namespace {

// Substitution by panels, from the last to the first when `backward`: each panel of the unknown is
// its right-hand side plus the known panels times `m`, times the inverse on the diagonal.
void substitute(PanelMatrix& rows, const PanelMatrix& m, bool backward, ThreadPool* pool) {
  constexpr std::size_t kRowsPerTask = 24;
  const std::size_t n = m.n_panels();
  PanelMatrix copy(rows.rows(), m.cols());
  const std::size_t n_tasks = (rows.rows() + kRowsPerTask - 1) / kRowsPerTask;
  solver::run_blocks(pool, n_tasks, Poll{}, [&](std::size_t task, std::size_t, const auto&) {
    MultiplyRange range{.row_begin = task * kRowsPerTask,
                        .row_end = std::min((task + 1) * kRowsPerTask, rows.rows())};
    for (std::size_t turn = 0; turn < n; ++turn) {
      const std::size_t q = backward ? n - 1 - turn : turn;
      range.panel_begin = q;
      range.panel_end = q + 1;
      range.inner_begin = backward ? q + 1 : 0;
      range.inner_end = backward ? n : q;
      if (range.inner_begin < range.inner_end) {
        multiply(rows, m, MultiplyInit::existing, nullptr, range, rows);
      }
      const std::size_t width = rows.width(q);
      std::copy(rows.panel(q) + range.row_begin * width, rows.panel(q) + range.row_end * width,
                copy.panel(q) + range.row_begin * width);
      range.inner_begin = q;
      range.inner_end = q + 1;
      multiply(copy, m, MultiplyInit::zero, nullptr, range, rows);
    }
  });
}

}  // namespace

void Preconditioner::to_weights(PanelMatrix& rows, ThreadPool* pool) const {
  substitute(rows, lower_, true, pool);
}

void Preconditioner::to_gradient(PanelMatrix& rows, ThreadPool* pool) const {
  substitute(rows, upper_, false, pool);
}

void Preconditioner::from_weights(std::span<const float> weights, std::span<double> v) const {
  const std::size_t d = n_features_;
  std::fill(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(d), 0.0);
  for (std::size_t p = 0; p < d; ++p) {
    const auto w = static_cast<double>(weights[p]);
    const double* row = factor_.data() + p * d;
    for (std::size_t j = 0; j <= p; ++j) v[j] += w * row[j];
  }
}

}  // namespace eyespot
