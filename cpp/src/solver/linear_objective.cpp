#include "eyespot/linear_objective.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "blocks.hpp"
#include "eyespot/types.hpp"
#include "linear_blocks.hpp"
#include "linear_tiles.hpp"

namespace eyespot {

namespace {

// Partial gradients: enough for the threads of a big machine, few enough to join quickly.
constexpr std::size_t kMaxGroups = 16;
// Centred rows up to this many bytes are packed once and kept, not packed at every evaluation.
constexpr std::size_t kKeptBytes = std::size_t{32} << 20;
constexpr std::size_t kGroupBytes = std::size_t{128} << 20;

// What one group of row blocks adds up to.
struct Partial {
  std::vector<double> gradient;  // n_scores x n_features, in panels
  std::vector<double> column;    // sum of the residuals, padded
  double loss = 0;
  std::size_t n_correct = 0;
};

struct Scratch {
  PanelMatrix rows;
  solver::RowTiles tiles;  // in place of rows
  PanelMatrix scores;
  std::vector<float> column;
};

}  // namespace

struct LinearObjective::Impl {
  RowsView features;
  std::size_t n_rows = 0;
  std::size_t n_features = 0;
  std::size_t n_scores = 0;
  bool opposite = false;
  std::vector<float> mean;
  std::vector<double> totals;
  double l2 = 0;
  double feature_scale = 1;  // root-mean-square standard deviation
  float padding = 0;
  ThreadPool* pool = nullptr;

  std::size_t rows_per_block = 0;
  std::size_t n_blocks = 0;
  std::size_t n_groups = 0;
  std::vector<Partial> partials;
  std::vector<double> sum;  // of their gradients
  std::vector<Scratch> scratch;
  std::vector<PanelMatrix> kept;  // the packed blocks, or empty
  std::vector<float> weights;     // as the products have them
  solver::LinearScores scores;
  bool in_tiles = false;
  solver::WeightTiles weight_tiles;  // the weights again
  std::vector<double> largest;       // of the gradient, a score
  std::vector<double> squares;       // of the weights, a score
  std::size_t n_correct = 0;

  void score_block(std::size_t block, Scratch& own);
  void add_gradient(std::size_t block, Scratch& own, bool fresh, std::span<double> sums);
  [[nodiscard]] std::size_t height(std::size_t block) const {
    return std::min(rows_per_block, n_rows - block * rows_per_block);
  }
  [[nodiscard]] PanelMatrix& packed(std::size_t block, Scratch& own) {
    return kept.empty() ? own.rows : kept[block];
  }
};

// The scores of a block's rows.
void LinearObjective::Impl::score_block(std::size_t block, Scratch& own) {
  const std::size_t first = block * rows_per_block;
  if (own.scores.rows() == 0) {
    const std::size_t n = in_tiles ? solver::RowTiles::padded(rows_per_block) : rows_per_block;
    own.scores = PanelMatrix(n, n_scores);
    if (in_tiles) own.tiles = solver::RowTiles(rows_per_block, n_features, n_scores);
  }
  if (in_tiles) {
    own.tiles.set(features, first, height(block), mean.data());
    own.tiles.scores(weight_tiles, scores.bias(), own.scores);
    return;
  }
  PanelMatrix& rows = packed(block, own);
  const bool known = !kept.empty() && rows.rows() > 0;
  if (!known) {
    if (rows.rows() == 0) {
      rows = PanelMatrix(kept.empty() ? rows_per_block : height(block), n_features);
    }
    pack_rows(features, first, height(block), mean.data(), nullptr, rows);
  }
  scores.of(rows, height(block), own.scores);
}

// Adds up what the residuals, now in place of the scores, make of the block's rows.
void LinearObjective::Impl::add_gradient(std::size_t block, Scratch& own, bool fresh,
                                         std::span<double> sums) {
  if (in_tiles) {
    own.tiles.accumulate(own.scores, fresh, sums);
    return;
  }
  const PanelMatrix& rows = packed(block, own);
  for (std::size_t q = 0; q < rows.n_panels(); ++q) {
    if (fresh) {  // cleared where it is in the cache the next moment
      std::fill_n(sums.data() + q * rows.panel_width() * n_scores, n_scores * rows.width(q), 0.0);
    }
    accumulate_panel(own.scores, rows, height(block), q, sums.data());
  }
}

LinearObjective::LinearObjective(const RowsView& features, std::size_t n_rows,
                                 const ScoreForm& form, const FeatureMoments& moments, double l2,
                                 ThreadPool* pool)
    : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.features = features;
  m.n_rows = n_rows;
  m.n_features = features.cols;
  m.n_scores = form.opposite ? 1 : form.n_classes;
  m.opposite = form.opposite;
  m.mean = moments.mean;
  m.totals.assign(m.n_scores, 0.0);
  m.l2 = l2 * penalty_share();
  m.feature_scale = moments.variance > 0 ? std::sqrt(moments.variance) : 1;
  m.padding = form.padding;
  m.pool = pool;

  const std::size_t n_weights = checked_mul(m.n_scores, m.n_features, "weights");
  m.in_tiles = solver::tiles_pay(m.n_scores);
  m.rows_per_block = solver::block_rows(n_rows, m.n_features, m.n_scores, kMaxGroups);
  // Tiles are so fast that the float64 sums, which are read and written a block, would hold them
  // up.
  if (m.in_tiles) m.rows_per_block *= 2;
  m.n_blocks = (n_rows + m.rows_per_block - 1) / m.rows_per_block;
  const std::size_t fitting = std::max<std::size_t>(2, kGroupBytes / (n_weights * sizeof(double)));
  m.n_groups = std::min({m.n_blocks, kMaxGroups, fitting});
  if (m.in_tiles) {
    m.weight_tiles = solver::WeightTiles(m.n_scores, m.n_features);
  } else if (n_rows * m.n_features <= kKeptBytes / sizeof(float)) {
    m.kept.resize(m.n_blocks);
  }
  m.scores = solver::LinearScores(m.n_scores, m.n_features);
  m.partials.resize(m.n_groups);
  for (Partial& partial : m.partials) {
    partial.column.resize(m.scores.bias().size());
  }
  m.weights.resize(n_weights);
  m.largest.resize(m.n_scores);
  m.squares.resize(m.n_scores);
  m.scratch.resize(solver::worker_count(pool));
}

LinearObjective::~LinearObjective() = default;

void LinearObjective::set_totals(std::vector<double> totals) {
  impl_->totals = std::move(totals);
}

std::size_t LinearObjective::n_features() const noexcept {
  return impl_->n_features;
}

std::size_t LinearObjective::n_classes() const noexcept {
  return impl_->opposite ? 2 : impl_->n_scores;
}

std::size_t LinearObjective::n_scores() const noexcept {
  return impl_->n_scores;
}

std::size_t LinearObjective::size() const noexcept {
  return impl_->n_scores * (impl_->n_features + 1);
}

double LinearObjective::penalty_share() const noexcept {
  return impl_->opposite ? 0.5 : 1.0;
}

void LinearObjective::add_penalty(LbfgsState& state, double added_l2) const {
  lbfgs_add_penalty(state, penalty_share() * added_l2, impl_->n_scores * impl_->n_features);
}

std::size_t LinearObjective::n_correct() const noexcept {
  return impl_->n_correct;
}

Evaluation LinearObjective::evaluate(std::span<const double> x, std::span<double> gradient,
                                     const Poll& poll) {
  Impl& m = *impl_;
  const std::size_t d = m.n_features;
  const std::size_t n_weights = m.n_scores * d;
  std::ranges::transform(x.first(n_weights), m.weights.begin(),
                         [](double w) { return static_cast<float>(w); });
  m.scores.set(m.weights, x.subspan(n_weights), m.padding);
  if (m.in_tiles) m.weight_tiles.set(m.weights);

  ThreadPool* const workers =
      solver::pool_for(m.pool, n_weights * m.n_rows, solver::kWorthMultiplying);
  // One thread adds up group after group: what it has of them stays in the cache.
  const bool in_order = solver::worker_count(workers) == 1 || m.n_groups == 1;
  const std::size_t n_sums = panel_sums(m.n_scores, m.scores.weights());
  if (in_order) m.sum.assign(n_sums, 0.0);
  const auto run_group = [&](std::size_t group, std::size_t worker, const auto& go) {
    Partial& partial = m.partials[group];
    Scratch& own = m.scratch[worker];
    const std::size_t begin = m.n_blocks * group / m.n_groups;
    const std::size_t end = m.n_blocks * (group + 1) / m.n_groups;
    // Sums of one chunk are float32's, so that it does not matter what they are added to.
    const bool directly = in_order && end - begin == 1;
    std::vector<double>& sum = directly ? m.sum : m.partials[in_order ? 0 : group].gradient;
    // Here and not before: an objective that is never evaluated still tells weights from variables.
    sum.resize(n_sums);
    std::ranges::fill(partial.column, 0.0);
    partial.loss = 0;
    partial.n_correct = 0;
    own.column.resize(partial.column.size());
    for (std::size_t block = begin; block < end; ++block) {
      if (!go()) return;
      m.score_block(block, own);
      std::ranges::fill(own.column, 0.0F);
      const RowLosses losses =
          residuals(own.scores, block * m.rows_per_block, m.height(block), own.column.data());
      partial.loss += losses.loss;
      partial.n_correct += losses.n_correct;
      for (std::size_t c = 0; c < own.column.size(); ++c) {
        partial.column[c] += static_cast<double>(own.column[c]);
      }
      m.add_gradient(block, own, block == begin && !directly, sum);
    }
    if (in_order && !directly) add_scaled(1.0, std::span<const double>(sum), std::span(m.sum));
  };
  solver::run_blocks(workers, m.n_groups, poll, run_group);

  // Join the groups, always in the same order, class by class.
  const double inverse_n = 1.0 / static_cast<double>(m.n_rows);
  const PanelMatrix& weights = m.scores.weights();
  const std::size_t n_joined = in_order ? 1 : m.n_groups;
  const auto join = [&](std::size_t c, std::size_t, const auto&) {
    const auto out = gradient.subspan(c * d, d);
    for (std::size_t q = 0; q < weights.n_panels(); ++q) {
      const std::size_t first = q * weights.panel_width();
      const std::size_t offset = first * m.n_scores + c * weights.width(q);
      const std::size_t used = weights.used(q);
      std::copy_n((in_order ? m.sum : m.partials[0].gradient).data() + offset, used,
                  out.data() + first);
      for (std::size_t group = 1; group < n_joined; ++group) {
        const double* part = m.partials[group].gradient.data() + offset;
        for (std::size_t j = 0; j < used; ++j) out[first + j] += part[j];
      }
    }
    // The weights that the products have had, so that value and gradient belong together.
    const auto w = std::span<const float>(m.weights).subspan(c * d, d);
    for (std::size_t j = 0; j < d; ++j) {
      out[j] = out[j] * inverse_n + m.l2 * static_cast<double>(w[j]);
    }
    m.largest[c] = largest_magnitude(out);
    m.squares[c] = dot(w, w);
  };
  solver::run_blocks(solver::pool_for(m.pool, n_weights * m.n_groups, solver::kWorthReading),
                     m.n_scores, poll, join);
  double loss = 0;
  double norm = 0;
  double square = 0;
  m.n_correct = 0;
  for (const Partial& partial : m.partials) {
    loss += partial.loss;
    m.n_correct += partial.n_correct;
  }
  for (std::size_t c = 0; c < m.n_scores; ++c) {
    double sum = -m.totals[c];
    for (const Partial& partial : m.partials) sum += partial.column[c];
    gradient[n_weights + c] = sum * inverse_n;
    norm = std::max({norm, m.largest[c] / m.feature_scale, std::abs(gradient[n_weights + c])});
    square += m.squares[c];
  }
  return {.value = loss * inverse_n + 0.5 * m.l2 * square, .gradient_norm = norm};
}

std::vector<double> LinearObjective::variables(std::span<const float> weights,
                                               std::span<const double> bias) const {
  const Impl& m = *impl_;
  const std::size_t d = m.n_features;
  std::vector<float> own(weights.begin(), weights.end());
  std::vector<double> shift(bias.begin(), bias.end());
  if (m.opposite) {
    for (std::size_t j = 0; j < d; ++j) own[j] = weights[d + j] - weights[j];
    own.resize(d);
    shift = {bias[1] - bias[0]};
  }
  std::vector<double> x(own.begin(), own.end());
  for (std::size_t c = 0; c < m.n_scores; ++c) {
    const auto row = std::span<const float>(own).subspan(c * d, d);
    x.push_back(shift[c] + dot(row, std::span<const float>(m.mean)));
  }
  return x;
}

void LinearObjective::solution(std::span<const double> x, std::span<float> weights,
                               std::span<double> bias) const {
  const Impl& m = *impl_;
  const std::size_t d = m.n_features;
  std::ranges::transform(x.first(m.n_scores * d), weights.begin(),
                         [](double w) { return static_cast<float>(w); });
  for (std::size_t c = 0; c < m.n_scores; ++c) {
    const auto row = std::span<const float>(weights).subspan(c * d, d);
    bias[c] = x[m.n_scores * d + c] - dot(row, std::span<const float>(m.mean));
  }
  if (!m.opposite) return;
  for (std::size_t j = 0; j < d; ++j) {
    weights[d + j] = 0.5F * weights[j];
    weights[j] = -weights[d + j];
  }
  bias[1] = 0.5 * bias[0];
  bias[0] = -bias[1];
}

}  // namespace eyespot
