#include "eyespot/feature_moments.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "active_rows.hpp"
#include "blocks.hpp"
#include "evaluation_cost.hpp"
#include "eyespot/error.hpp"
#include "eyespot/types.hpp"
#include "gram_rows.hpp"

namespace eyespot {

namespace {

// Blocks of rows that are held at a time while their Gram matrix is formed: few, so that they stay
// in the cache.
constexpr std::size_t kGramBlocks = 2;
// The part of all curvature that may be left out of a Gram matrix: where the classes are told apart
// with ease, that of half of the rows or more.
constexpr double kNegligible = 0.02;
// Evaluations that the Gram matrix of such rows may cost.
constexpr double kCurvedCost = 2;
// The part of all curvature that active rows must have, and that the others have at the least.
constexpr double kLeastActive = 0.5;
constexpr double kLeastRest = 1e-3;
constexpr std::size_t kMaxGroups = 16;

std::uint32_t source_row(const RowsView& features, std::size_t i) {
  return features.rows != nullptr ? features.rows[i] : static_cast<std::uint32_t>(i);
}

double weight_of(const float* weights, std::uint32_t row) {
  return weights != nullptr ? static_cast<double>(weights[row]) : 1.0;
}

// Every how many of `n_kept` rows one is used where they count so differently that few carry most:
// as many as for other Gram matrices, and more if they are to be had for kCurvedCost.
std::size_t curved_step(std::size_t n_kept, std::size_t n_rows, std::size_t n_features,
                        std::size_t n_scores) {
  const auto d = static_cast<double>(n_features);
  const double evaluation =
      solver::evaluation_cost(static_cast<double>(n_rows), d, static_cast<double>(n_scores));
  const double most = std::max(static_cast<double>(solver::kGramRowsPerFeature) * d,
                               kCurvedCost * evaluation / solver::products_cost(1, d));
  return std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(n_kept) / most));
}

// Rows of the data, and what each counts.
struct CountedRows {
  std::vector<std::uint32_t> rows;
  std::vector<float> counts;
};

// Every step-th row, with its weight.
CountedRows spaced_rows(const RowsView& features, std::size_t n, const float* weights,
                        std::size_t step) {
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

// Keeps every step-th.
void thin(CountedRows& used, std::size_t step) {
  const std::size_t kept = (used.rows.size() + step - 1) / step;
  for (std::size_t i = 0; i < kept; ++i) {
    used.rows[i] = used.rows[i * step];
    used.counts[i] = used.counts[i * step];
  }
  used.rows.resize(kept);
  used.counts.resize(kept);
}

// Gram matrix of some rows about `mean`, divided by the sum of what the rows count.
LowerTriangle gram_about(const RowsView& features, const CountedRows& used,
                         std::span<const float> mean, ThreadPool* pool, const Poll& poll) {
  const std::size_t d = features.cols;
  const std::size_t n_used = used.rows.size();
  LowerTriangle gram(d);
  std::vector<solver::GramRows> chunk;
  std::vector<float> scale;
  double total = 0;
  for (std::size_t begin = 0; begin < n_used; begin += kGramBlocks * kAccumulateRows) {
    const std::size_t n_rows = std::min(kGramBlocks * kAccumulateRows, n_used - begin);
    scale.resize(n_rows);
    for (std::size_t i = 0; i < n_rows; ++i) {
      total += static_cast<double>(used.counts[begin + i]);
      scale[i] = std::sqrt(used.counts[begin + i]);
    }
    RowsView view = features;
    view.rows = used.rows.data() + begin;
    const std::size_t n_blocks = (n_rows + kAccumulateRows - 1) / kAccumulateRows;
    while (chunk.size() < n_blocks) chunk.emplace_back(d);
    solver::run_blocks(pool, n_blocks, poll, [&](std::size_t block, std::size_t, const auto&) {
      const std::size_t first = block * kAccumulateRows;
      const std::size_t count = std::min(kAccumulateRows, n_rows - first);
      chunk[block].pack(view, first, count, mean.data(), scale.data() + first);
    });
    // A panel of the sums a task.
    solver::run_blocks(pool, gram.n_panels(), poll,
                       [&](std::size_t q, std::size_t, const auto& go) {
                         for (std::size_t block = 0; block < n_blocks && go(); ++block) {
                           chunk[block].accumulate(q, gram.panel(q));
                         }
                       });
  }
  const double factor = total > 0 ? 1 / total : 1;
  for (double& sum : gram.values()) sum *= factor;
  return gram;
}

double mean_variance(const LowerTriangle& gram) {
  double trace = 0;
  for (std::size_t j = 0; j < gram.size(); ++j) trace += gram(j, j);
  return trace / static_cast<double>(gram.size());
}

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
  if (n == 0 || d == 0) {
    throw Error(ErrorCode::invalid_argument, "features",
                std::to_string(n) + " rows of " + std::to_string(d) + " given; at least 1 of 1");
  }
  FeatureMoments moments;

  // Mean: sums of fixed groups of rows, joined in order.
  const std::size_t n_groups = std::clamp<std::size_t>(n / 64, 1, kMaxGroups);
  std::vector<double> sums(n_groups * (d + 1), 0.0);
  ThreadPool* const workers = solver::pool_for(pool, n * d, solver::kWorthReading);
  solver::run_blocks(workers, n_groups, poll, [&](std::size_t group, std::size_t, const auto& go) {
    const auto sum = std::span(sums).subspan(group * (d + 1), d + 1);
    const std::size_t end = n * (group + 1) / n_groups;
    for (std::size_t i = n * group / n_groups; i < end; ++i) {
      if (i % 64 == 0 && !go()) return;
      const double w = weight_of(weights, source_row(features, i));
      add_scaled(w, std::span(features.row(i), d), sum.first(d));
      sum[d] += w;
    }
  });
  for (std::size_t group = 1; group < n_groups; ++group) {
    for (std::size_t j = 0; j <= d; ++j) sums[j] += sums[group * (d + 1) + j];
  }
  moments.mean.resize(d);
  for (std::size_t j = 0; j < d; ++j) moments.mean[j] = static_cast<float>(sums[j] / sums[d]);

  if (with_gram) {
    add_gram(moments, features, n, weights, pool, poll);
  } else {
    moments.variance = variance_about(features, n, weights, moments.mean, pool, poll);
  }
  return moments;
}

void add_gram(FeatureMoments& moments, const RowsView& features, std::size_t n_rows,
              const float* weights, ThreadPool* pool, const Poll& poll) {
  const std::size_t step = solver::gram_step(n_rows, features.cols);
  const CountedRows used = spaced_rows(features, n_rows, weights, step);
  moments.gram = gram_about(features, used, moments.mean, pool, poll);
  moments.variance = mean_variance(moments.gram);
}

namespace {

// All rows, each counting for as much as its loss bends at a point.
struct RowsByCurvature {
  std::span<const float> weights;  // of the view, or empty
  std::vector<float> counts;       // weight times curvature
  double weight = 0;               // of all
  double mass = 0;                 // what they count together

  [[nodiscard]] float weight_at(std::size_t i) const { return weights.empty() ? 1.0F : weights[i]; }
};

// Positions of the n largest values, ascending; of equal ones, the first.
std::vector<std::uint32_t> largest(std::span<const float> values, std::size_t n) {
  std::vector<std::uint32_t> at(values.size());
  std::iota(at.begin(), at.end(), 0U);
  if (n < at.size()) {
    std::ranges::nth_element(at, at.begin() + static_cast<std::ptrdiff_t>(n),
                             [&](std::uint32_t a, std::uint32_t b) {
                               return values[a] > values[b] || (values[a] == values[b] && a < b);
                             });
    at.resize(n);
    std::ranges::sort(at);
  }
  return at;
}

// Takes the largest vectors of the rows that count most, which count the less for it; none where
// these are not most of all curvature.
ActiveCurvature take_active(RowsByCurvature& all, const RowsView& features,
                            const ScoreCurvatures& single, const CurvedForm& form) {
  constexpr std::size_t kMost = solver::RowFactor::kMost;
  const std::size_t k = form.n_scores;
  const double enough = kLeastActive * all.mass;
  ActiveCurvature none;
  if (form.n_vectors == 0) return none;
  // A row has several vectors, but those of rows that count less are not among the largest.
  const std::vector<std::uint32_t> places = largest(all.counts, form.n_vectors);
  double mass = 0;
  for (const std::uint32_t place : places) mass += static_cast<double>(all.counts[place]);
  if (!(mass > enough)) return none;

  std::vector<std::uint32_t> rows;
  rows.reserve(places.size());
  for (const std::uint32_t place : places) rows.push_back(source_row(features, place));
  std::vector<float> values(rows.size() * k);
  single.of(rows, values);
  solver::RowFactor factor(k, single.coupled);
  std::vector<float> squares(rows.size() * kMost);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    factor.set(std::span<const float>(values).subspan(i * k, k));
    for (std::size_t j = 0; j < factor.size(); ++j) {
      squares[i * kMost + j] = all.weight_at(places[i]) * factor.square(j);
    }
  }
  const std::vector<std::uint32_t> chosen = largest(squares, form.n_vectors);
  mass = 0;
  for (const std::uint32_t at : chosen) mass += static_cast<double>(squares[at]);
  if (!(mass > enough * static_cast<double>(k))) return none;

  ActiveCurvature active;
  for (const std::uint32_t at : chosen) {
    if (!(squares[at] > 0)) continue;
    const std::size_t i = at / kMost;
    if (active.rows.empty() || active.rows.back() != rows[i]) {
      factor.set(std::span<const float>(values).subspan(i * k, k));
      active.rows.push_back(rows[i]);
    }
    const auto weight = static_cast<double>(all.weight_at(places[i]));
    const auto scale = static_cast<float>(std::sqrt(weight / all.weight));
    active.row_of.push_back(static_cast<std::uint32_t>(active.rows.size() - 1));
    for (const float entry : factor.vector(at % kMost)) active.vectors.push_back(scale * entry);
    float& count = all.counts[places[i]];
    const float part = std::min(squares[at] / static_cast<float>(k), count);
    count -= part;
    all.mass -= static_cast<double>(part);
  }
  return active;
}

}  // namespace

CurvedMoments curved_moments(const RowsView& features, std::size_t n_rows,
                             std::span<const float> weights, const FeatureMoments& plain,
                             LossCurvature curvature, const ScoreCurvatures& single,
                             const CurvedForm& form, ThreadPool* pool, const Poll& poll) {
  RowsByCurvature all{.weights = weights, .counts = std::move(curvature.rows)};
  for (std::size_t i = 0; i < n_rows; ++i) {
    all.weight += static_cast<double>(all.weight_at(i));
    all.mass += static_cast<double>(all.counts[i]);
  }
  CurvedMoments curved;
  curved.moments.mean = plain.mean;
  curved.moments.variance = plain.variance;
  curved.curvature = std::max(all.weight > 0 ? all.mass / all.weight : 0.0, form.least);
  curved.active = take_active(all, features, single, form);
  curved.rest = curved.curvature;
  if (!curved.active.rows.empty()) {
    // Never quite 0, lest a direction that no active row looks along be taken for flat.
    curved.rest = std::max(all.mass / all.weight, kLeastRest * curved.curvature);
  }
  if (!form.with_gram) return curved;
  if (curved.active.rows.empty()) curved.centres = std::move(curvature.centres);
  // There may be few that bend the loss: none is passed over.
  CountedRows used{.rows = std::vector<std::uint32_t>(n_rows), .counts = std::move(all.counts)};
  for (std::size_t i = 0; i < n_rows; ++i) used.rows[i] = source_row(features, i);
  keep_most(used, all.mass);
  thin(used, curved_step(used.rows.size(), n_rows, features.cols, form.n_scores));
  curved.moments.gram = gram_about(features, used, plain.mean, pool, poll);
  curved.moments.variance = mean_variance(curved.moments.gram);
  return curved;
}

}  // namespace eyespot
