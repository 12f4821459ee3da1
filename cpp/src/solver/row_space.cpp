#include "row_space.hpp"

#include <algorithm>
#include <utility>

#include "blocks.hpp"
#include "linear_blocks.hpp"
#include "row_products.hpp"

namespace eyespot::solver {

namespace {

// Fewer rows than features by this factor: else the products of the rows cost more than they save.
constexpr std::size_t kFewer = 3;
// The products are known to float32. A row that keeps less than kLost of its square beside those
// before it may be one of them again; one that keeps less than kClear is not known well enough:
// what tells it from the others would be told from rounding by a few digits only.
constexpr double kLost = 4e-6;
constexpr double kClear = 1e-3;
// Rows that are packed at a time where weights become coordinates, or these weights.
constexpr std::size_t kBlock = 96;

}  // namespace

std::shared_ptr<const RowSpace> RowSpace::of(const RowsView& features, std::size_t n_rows,
                                             const float* weights, const FeatureMoments& moments,
                                             ThreadPool* pool, const Poll& poll) {
  // With a row list, labels are found through it, and L has no such list.
  if (kFewer * n_rows >= features.cols || features.rows != nullptr) return nullptr;
  const std::shared_ptr<RowSpace> space(new RowSpace(features, n_rows, moments));
  // A constant of the size of the rows.
  const double constant = moments.variance * static_cast<double>(features.cols);
  if (!space->factorise(constant, pool, poll)) return nullptr;
  space->moments_ = feature_moments(space->rows(), n_rows, weights, pool, poll, false);
  return space;
}

RowSpace::RowSpace(const RowsView& features, std::size_t n_rows, const FeatureMoments& moments)
    : features_(features), n_rows_(n_rows), mean_(moments.mean) {}

// The first row that equals row i: that row itself where there is none before it.
std::size_t RowSpace::first_equal(std::size_t i) const {
  const float* own = features_.row(i);
  std::size_t j = 0;
  while (j < i && !std::equal(own, own + features_.cols, features_.row(j))) ++j;
  return j;
}

bool RowSpace::factorise(double constant, ThreadPool* pool, const Poll& poll) {
  LowerTriangle gram = row_products(features_, n_rows_, mean_, pool, poll);
  for (double& product : gram.values()) product += constant;
  factor_ = Cholesky(n_rows_);  // in the memory that the products have left
  if (!factor_.factorise(gram, 1, 0, {.least = kClear, .lost = kLost}, pool, poll)) return false;
  const std::size_t n = n_rows_;
  lower_.resize(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    factor_.get_row(i, std::span(lower_).subspan(i * n, n));
    if (lower_[i * n + i] > 0) continue;
    // The same bits as those of its double, so that no weight tells the two apart by rounding.
    const std::size_t j = first_equal(i);
    if (j == i) return false;
    std::copy_n(lower_.data() + j * n, n, lower_.data() + i * n);
  }
  return true;
}

RowsView RowSpace::rows() const noexcept {
  const std::size_t n = n_rows_;
  return {.data = lower_.data(), .cols = n, .stride = n, .rows = nullptr};
}

std::vector<float> RowSpace::weights(std::span<const float> coordinates, ThreadPool* pool) const {
  const std::size_t n = n_rows_;
  const std::size_t d = features_.cols;
  const std::size_t k = coordinates.size() / n;
  PanelMatrix parts(k, n);  // of each row in the weights of each score
  for (std::size_t c = 0; c < k; ++c) parts.set_row(c, coordinates.subspan(c * n, n));
  factor_.divide(parts, pool);
  std::vector<float> part(n);
  PanelMatrix sums(k, d);
  PanelMatrix rows(std::min(kBlock, n), d);
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t count = std::min(kBlock, n - first);
    pack_rows(features_, first, count, mean_.data(), nullptr, rows);
    PanelMatrix some(k, count);
    for (std::size_t c = 0; c < k; ++c) {
      parts.get_row(c, std::span(part));
      some.set_row(c, std::span<const float>(part).subspan(first, count));
    }
    multiply(some, rows, MultiplyInit::existing, nullptr,
             {.row_begin = 0,
              .row_end = k,
              .panel_begin = 0,
              .panel_end = sums.n_panels(),
              .inner_begin = 0,
              .inner_end = some.n_panels()},
             sums);
  }
  std::vector<float> out(k * d);
  for (std::size_t c = 0; c < k; ++c) sums.get_row(c, std::span(out).subspan(c * d, d));
  return out;
}

std::vector<float> RowSpace::coordinates(std::span<const float> weights, ThreadPool* pool) const {
  const std::size_t n = n_rows_;
  const std::size_t d = features_.cols;
  const std::size_t k = weights.size() / d;
  LinearScores scores(k, d);
  scores.set(weights, std::vector<double>(k, 0.0), 0.0F);
  std::vector<float> out(k * n);
  std::vector<float> score(k);
  PanelMatrix rows(std::min(kBlock, n), d);
  PanelMatrix of_rows(rows.rows(), k);
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t count = std::min(kBlock, n - first);
    pack_rows(features_, first, count, mean_.data(), nullptr, rows);
    scores.of(rows, count, of_rows);
    for (std::size_t i = 0; i < count; ++i) {
      of_rows.get_row(i, std::span(score));
      for (std::size_t c = 0; c < k; ++c) out[c * n + first + i] = score[c];
    }
  }
  PanelMatrix parts(k, n);
  for (std::size_t c = 0; c < k; ++c) {
    parts.set_row(c, std::span<const float>(out).subspan(c * n, n));
  }
  factor_.divide_by_transpose(parts, pool);
  for (std::size_t c = 0; c < k; ++c) parts.get_row(c, std::span(out).subspan(c * n, n));
  return out;
}

// Variables with the weights that `map` makes of theirs, and the same biases.
std::vector<double> RowSpace::mapped(std::span<const double> x, std::size_t n_scores, Map map,
                                     ThreadPool* pool) const {
  const std::span<const double> from = x.first(x.size() - n_scores);
  std::vector<float> own(from.size());
  std::ranges::transform(from, own.begin(), [](double w) { return static_cast<float>(w); });
  const std::vector<float> other = (this->*map)(own, pool);
  std::vector<double> out(other.begin(), other.end());
  const std::span<const double> bias = x.last(n_scores);
  out.insert(out.end(), bias.begin(), bias.end());
  return out;
}

std::vector<double> RowSpace::to_features(std::span<const double> x, std::size_t n_scores,
                                          ThreadPool* pool) const {
  return mapped(x, n_scores, &RowSpace::weights, pool);
}

std::vector<double> RowSpace::to_rows(std::span<const double> x, std::size_t n_scores,
                                      ThreadPool* pool) const {
  return mapped(x, n_scores, &RowSpace::coordinates, pool);
}

void RowSpace::to_features(PathResult& result, ThreadPool* pool) const {
  if (result.weights.empty()) return;
  const std::span<const float> own = result.weights;
  std::vector<float> others = weights(own, pool);
  const std::size_t d = mean_.size();
  for (std::size_t c = 0; c < result.bias.size(); ++c) {
    // The bias for centred rows is the same in both.
    const std::span<const float> own_mean = moments_.mean;
    const std::span<const float> mean = mean_;
    result.bias[c] += dot(own.subspan(c * n_rows_, n_rows_), own_mean) -
                      dot(std::span<const float>(others).subspan(c * d, d), mean);
  }
  result.weights = std::move(others);
}

SeenFeatures::SeenFeatures(const RowsView& given, std::size_t n_rows, const float* weights,
                           const FeatureMoments& of_given, ThreadPool* pool, const Poll& poll)
    : space(RowSpace::of(given, n_rows, weights, of_given, pool, poll)),
      features(space ? space->rows() : given),
      moments(space ? space->moments() : of_given) {}

}  // namespace eyespot::solver
