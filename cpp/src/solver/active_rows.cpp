#include "active_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "blocks.hpp"
#include "evaluation_cost.hpp"
#include "row_products.hpp"

namespace eyespot::solver {

namespace {

// Vectors: at the most so many for each row of the data, which bounds what a metric adds to an
// iteration, and so many in all, which bounds its memory; fewer than kFewest are not worth it.
constexpr double kShareOfRows = 0.3;
constexpr std::size_t kMostVectors = 1024;
constexpr std::size_t kFewest = 16;
// Evaluations that are shorter take no longer than what surrounds the products here.
constexpr double kWorth = 4e6;
// Rows that are held together.
constexpr std::size_t kBlock = 48;
// Of this and I the inverse is known to two digits or more.
constexpr double kMostSquare = 1e4;

// Of as many numbers as there are scores: mostly so few that a kernel would not pay.
float short_dot(std::span<const float> a, const float* b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  }
  return static_cast<float>(sum);
}

}  // namespace

RowFactor::RowFactor(std::size_t n_scores, bool coupled)
    : coupled_(coupled), rest_(n_scores), vectors_(kMost * n_scores) {}

void RowFactor::set(std::span<const float> values) {
  const std::size_t k = rest_.size();
  for (std::size_t c = 0; c < k; ++c) {
    rest_[c] = coupled_ ? values[c] * (1 - values[c]) : values[c];
  }
  // What is added to all scores does not matter, so that diag(p) - p p^T has one vector less.
  const std::size_t most = std::min(kMost, coupled_ ? k - 1 : k);
  for (size_ = 0; size_ < most; ++size_) {
    const auto pivot = static_cast<std::size_t>(std::ranges::max_element(rest_) - rest_.begin());
    if (!(rest_[pivot] > std::numeric_limits<float>::min())) return;
    const float inverse = 1 / std::sqrt(rest_[pivot]);
    float* own = vectors_.data() + size_ * k;
    for (std::size_t c = 0; c < k; ++c) {
      float entry = coupled_ ? -values[c] * values[pivot] : 0.0F;
      if (c == pivot) entry += values[c];
      for (std::size_t j = 0; j < size_; ++j) entry -= vector(j)[c] * vector(j)[pivot];
      own[c] = entry * inverse;
    }
    float square = 0;
    for (std::size_t c = 0; c < k; ++c) {
      square += own[c] * own[c];
      rest_[c] = std::max(rest_[c] - own[c] * own[c], 0.0F);
    }
    rest_[pivot] = 0;
    squares_[size_] = square;
  }
}

std::size_t most_vectors(std::size_t n_rows, std::size_t n_features, std::size_t n_scores,
                         bool with_gram, double cost) {
  const auto n = static_cast<double>(n_rows);
  const auto d = static_cast<double>(n_features);
  const double evaluation = evaluation_cost(n, d, static_cast<double>(n_scores));
  if (evaluation < kWorth) return 0;
  const auto fits = [&](std::size_t count) {
    const auto r = static_cast<double>(count);
    const double base = with_gram ? 2 * r * d * d : 0.0;
    return r <= kShareOfRows * n &&
           base + products_cost(d, r) + factor_cost(r) <= cost * evaluation;
  };
  std::size_t low = 0;
  std::size_t high = kMostVectors + 1;
  while (high - low > 1) {
    const std::size_t middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low < kFewest ? 0 : low;
}

ActiveRows::ActiveRows(const RowsView& features, std::span<const float> mean,
                       const ActiveCurvature& active, double scale, const Cholesky* factor,
                       double curvature, ThreadPool* pool, const Poll& poll)
    : row_of_(active.row_of),
      vectors_(active.vectors),
      n_scores_(active.vectors.size() / active.row_of.size()),
      constant_(static_cast<float>(1 / std::sqrt(curvature))),
      inner_(active.row_of.size()) {
  const std::size_t d = features.cols;
  const std::size_t n = active.rows.size();
  const std::size_t n_vectors = row_of_.size();
  const std::vector<float> scales(
      kBlock, factor != nullptr ? 1.0F : static_cast<float>(1 / std::sqrt(scale)));
  std::vector<float> rows(n * d);
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t count = std::min(kBlock, n - first);
    PanelMatrix& block = blocks_.emplace_back(PanelMatrix::for_overwrite(count, d));
    RowsView view = features;
    view.rows = active.rows.data() + first;
    pack_rows(view, 0, count, mean.data(), scales.data(), block);
    if (factor != nullptr) factor->divide_by_transpose(block, pool);
    for (std::size_t i = 0; i < count; ++i) {
      block.get_row(i, std::span(rows).subspan((first + i) * d, d));
    }
  }
  const RowsView own{.data = rows.data(), .cols = d, .stride = d, .rows = nullptr};
  const LowerTriangle products = row_products(own, n, std::vector<float>(d, 0.0F), pool, poll);
  const double constant = static_cast<double>(constant_) * static_cast<double>(constant_);
  const auto vector = [&](std::size_t r) {
    return std::span<const float>(vectors_).subspan(r * n_scores_, n_scores_);
  };
  LowerTriangle matrix(n_vectors);
  ThreadPool* const workers = pool_for(pool, n_vectors * n_vectors * n_scores_, kWorthReading);
  run_blocks(workers, n_vectors, poll, [&](std::size_t r, std::size_t, const auto&) {
    std::vector<double> of_row(row_of_[r] + 1);
    products.get_row(row_of_[r], of_row);
    std::vector<double> row(r + 1);
    for (std::size_t s = 0; s <= r; ++s) {
      row[s] = (of_row[row_of_[s]] + constant) * dot(vector(r), vector(s));
    }
    matrix.set_row(r, row);
  });
  for (std::size_t r = 0; r < n_vectors; ++r) {
    stretch_ = std::max(stretch_, matrix(r, r) / kMostSquare);
  }
  stretch_ = inner_.factorise_shifted(matrix, 1, stretch_, pool, poll);
}

template <class Visit>
void ActiveRows::for_each(const Visit& visit) const {
  for (std::size_t r = 0; r < row_of_.size(); ++r) {
    visit(std::span<const float>(vectors_).subspan(r * n_scores_, n_scores_), r,
          row_of_[r] / kBlock, row_of_[r] % kBlock);
  }
}

std::vector<PanelMatrix> ActiveRows::scores_of(const PanelMatrix& weights,
                                               std::span<const float> biases,
                                               std::span<const float> other_biases,
                                               ThreadPool* pool) const {
  const std::size_t d = weights.cols();
  const std::size_t k = weights.rows();
  std::vector<float> own(k * d);
  for (std::size_t c = 0; c < k; ++c) weights.get_row(c, std::span(own).subspan(c * d, d));
  std::vector<double> shift;
  for (const std::span<const float> part : {biases, other_biases}) {
    for (const float bias : part) shift.push_back(static_cast<double>(constant_ * bias));
  }
  LinearScores scores(k, d);
  scores.set(own, shift, 0.0F);
  std::vector<PanelMatrix> out(blocks_.size());
  run_blocks(pool, blocks_.size(), Poll{}, [&](std::size_t b, std::size_t, const auto&) {
    out[b] = PanelMatrix(blocks_[b].rows(), k);
    scores.of(blocks_[b], blocks_[b].rows(), out[b]);
  });
  return out;
}

double ActiveRows::correct(PanelMatrix& weights, std::span<float> biases,
                           std::span<const float> other_biases, ThreadPool* pool) const {
  const std::size_t k = n_scores_;
  const std::size_t d = weights.cols();
  const bool with_other = weights.rows() > k;
  ThreadPool* const workers =
      pool_for(pool, blocks_.size() * kBlock * d * weights.rows(), kWorthMultiplying);
  const std::vector<PanelMatrix> scores = scores_of(weights, biases, other_biases, workers);

  // U^T times both.
  const std::size_t n_vectors = row_of_.size();
  std::vector<float> score(weights.rows());
  std::vector<float> parts((with_other ? 2 : 1) * n_vectors);
  for_each([&](std::span<const float> vector, std::size_t r, std::size_t b, std::size_t i) {
    scores[b].get_row(i, std::span(score));
    parts[r] = short_dot(vector, score.data());
    if (with_other) parts[n_vectors + r] = short_dot(vector, score.data() + k);
  });
  PanelMatrix all(with_other ? 2 : 1, n_vectors);
  for (std::size_t row = 0; row < all.rows(); ++row) {
    all.set_row(row, std::span<const float>(parts).subspan(row * n_vectors, n_vectors));
  }
  inner_.divide_by_transpose(all, nullptr);
  double taken = 0;
  if (with_other) {
    const std::span<float> other = std::span(parts).last(n_vectors);
    all.get_row(1, other);
    taken = dot(std::span<const float>(other), std::span<const float>(other));
  }
  PanelMatrix one(1, n_vectors);
  const std::span<float> part = std::span(parts).first(n_vectors);
  all.get_row(0, part);
  one.set_row(0, std::span<const float>(part));
  inner_.divide(one, nullptr);
  one.get_row(0, part);

  // U times the result.
  std::vector<PanelMatrix> factors;
  factors.reserve(blocks_.size());
  for (const PanelMatrix& block : blocks_) factors.emplace_back(block.rows(), k);
  std::vector<double> constant(k, 0.0);
  std::vector<float> sum(k);
  for_each([&](std::span<const float> vector, std::size_t r, std::size_t b, std::size_t i) {
    factors[b].get_row(i, std::span(sum));
    for (std::size_t c = 0; c < k; ++c) {
      sum[c] += part[r] * vector[c];
      constant[c] += static_cast<double>(part[r]) * static_cast<double>(vector[c]);
    }
    factors[b].set_row(i, std::span<const float>(sum));
  });
  std::vector<double> sums(panel_sums(k, weights), 0.0);
  run_blocks(workers, weights.n_panels(), Poll{}, [&](std::size_t q, std::size_t, const auto&) {
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      accumulate_panel(factors[b], blocks_[b], blocks_[b].rows(), q, sums.data());
    }
    const double* from = sums.data() + q * weights.panel_width() * k;
    float* to = weights.panel(q);
    for (std::size_t j = 0; j < k * weights.width(q); ++j) to[j] -= static_cast<float>(from[j]);
  });
  for (std::size_t c = 0; c < k; ++c) biases[c] -= constant_ * static_cast<float>(constant[c]);
  return taken;
}

}  // namespace eyespot::solver
