#include "eyespot/linear_objective.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
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
// Bytes of a block's scores that are multiplied with all features before the next ones are: they
// stay in the second-level cache.
constexpr std::size_t kLeftBytes = std::size_t{288} << 10;

// What one group of row blocks adds up to.
struct Partial {
  std::vector<double> gradient;  // n_scores x n_features, in panels
  std::vector<double> column;    // sum of the residuals, padded
  double loss = 0;
  std::size_t n_correct = 0;
};

// How many groups of so many bytes there may be. Of counts that few threads share evenly: with 13
// groups the last of two threads works alone for a fourteenth of the time.
std::size_t groups_for(std::size_t bytes) {
  for (const std::size_t n_groups : {kMaxGroups, std::size_t{12}, std::size_t{8}, std::size_t{6}}) {
    if (n_groups * bytes <= kGroupBytes) return n_groups;
  }
  return 4 * bytes <= kGroupBytes ? 4 : 2;
}

struct Scratch {
  PanelMatrix rows;
  solver::RowTiles tiles;  // in place of rows
  PanelMatrix scores;
  PanelMatrix part;  // in place of scores, where sums of residuals are formed at once
  std::vector<float> column;
};

}  // namespace

struct LinearObjective::Impl {
  RowsView features;
  std::size_t n_rows = 0;
  std::size_t n_features = 0;
  std::size_t n_scores = 0;
  bool opposite = false;
  FeatureMoments moments;  // without their Gram matrix
  std::vector<double> totals;
  double l2 = 0;
  double feature_scale = 1;  // root-mean-square standard deviation
  float padding = 0;
  ThreadPool* pool = nullptr;

  solver::RowGroups groups;
  std::vector<Partial> partials;
  std::vector<double> sum;   // of their gradients, where one thread forms them
  std::size_t n_joined = 0;  // groups whose gradients are to be joined, or 0 for the sum
  std::vector<Scratch> scratch;
  std::vector<PanelMatrix> kept;  // the packed blocks, or empty
  std::vector<float> weights;     // as the products have them
  solver::LinearScores scores;
  bool in_tiles = false;
  solver::WeightTiles weight_tiles;  // the weights again
  ResidualSums residual_sums;        // or empty
  std::vector<double> largest;       // of the gradient, a score
  std::vector<double> squares;       // of the weights, a score
  std::size_t n_correct = 0;

  // What is made of the scores of rows [first, first + count), in place, and added to `column`.
  using Turn = std::function<RowLosses(PanelMatrix& scores, std::size_t first, std::size_t count,
                                       float* column)>;

  // Scores all rows at x, turns their scores and, where with_sums, adds up the rows by what these
  // have become; what joined() and `partials` have then. Without a turn, `residual_sums` does it
  // all.
  void pass(std::span<const double> x, const Turn& turn, bool with_sums, const Poll& poll);
  PanelMatrix& pack_block(std::size_t block, Scratch& own);
  void score_block(std::size_t block, Scratch& own);
  // The block's rows by what is in place of their scores are added to `sums`, or put there where
  // these are `fresh`.
  void add_rows(std::size_t block, Scratch& own, bool fresh, std::span<double> sums);
  // From the rows of a block to their sums at once, by `residual_sums`.
  RowLosses add_residuals(std::size_t block, Scratch& own, bool fresh, std::span<double> sums);
  // The sums of score c, joined in the order of their groups: d numbers.
  void joined(std::size_t c, std::span<double> out) const;
  // The same of what was added to `column`.
  [[nodiscard]] double column(std::size_t c) const;
  // For each of the scores, `body` on the workers that its sums are worth.
  void for_each_score(const Poll& poll, const std::function<void(std::size_t c)>& body) const;
  [[nodiscard]] PanelMatrix& packed(std::size_t block, Scratch& own) {
    return kept.empty() ? own.rows : kept[block];
  }
};

// The rows of a block, packed.
PanelMatrix& LinearObjective::Impl::pack_block(std::size_t block, Scratch& own) {
  PanelMatrix& rows = packed(block, own);
  if (!kept.empty() && rows.rows() > 0) return rows;
  const std::size_t height = groups.height(block);
  if (rows.rows() == 0) {
    rows = PanelMatrix::for_overwrite(kept.empty() ? groups.block_rows() : height, n_features);
  }
  pack_rows(features, groups.first(block), height, moments.mean.data(), nullptr, rows);
  return rows;
}

// The scores of a block's rows.
void LinearObjective::Impl::score_block(std::size_t block, Scratch& own) {
  const std::size_t height = groups.height(block);
  if (own.scores.rows() == 0) {
    const std::size_t most = groups.block_rows();
    const std::size_t n = in_tiles ? solver::RowTiles::padded(most) : most;
    own.scores = PanelMatrix(n, n_scores);
    if (in_tiles) own.tiles = solver::RowTiles(most, n_features, n_scores);
  }
  if (in_tiles) {
    own.tiles.set(features, groups.first(block), height, moments.mean.data());
    own.tiles.scores(weight_tiles, scores.bias(), own.scores);
    return;
  }
  scores.of(pack_block(block, own), height, own.scores);
}

RowLosses LinearObjective::Impl::add_residuals(std::size_t block, Scratch& own, bool fresh,
                                               std::span<double> sums) {
  if (own.part.rows() == 0) own.part = PanelMatrix(1, n_features);
  if (fresh) std::ranges::fill(sums, 0.0);
  return residual_sums(pack_block(block, own), groups.first(block), groups.height(block),
                       scores.weights(), scores.bias().front(), own.column.data(), own.part, sums);
}

void LinearObjective::Impl::add_rows(std::size_t block, Scratch& own, bool fresh,
                                     std::span<double> sums) {
  if (in_tiles) {
    own.tiles.accumulate(own.scores, fresh, sums);
    return;
  }
  const PanelMatrix& rows = packed(block, own);
  const std::size_t height = groups.height(block);
  const std::size_t panel_bytes = sizeof(float) * height * own.scores.panel_width();
  const std::size_t n_left = std::max<std::size_t>(1, kLeftBytes / panel_bytes);
  for (std::size_t left = 0; left < own.scores.n_panels(); left += n_left) {
    const std::size_t end = std::min(left + n_left, own.scores.n_panels());
    const std::size_t first = left * own.scores.panel_width();
    const std::size_t count =
        (end - left - 1) * own.scores.panel_width() + own.scores.used(end - 1);
    for (std::size_t q = 0; q < rows.n_panels(); ++q) {
      double* to = sums.data() + q * rows.panel_width() * n_scores + first * rows.width(q);
      // Cleared where it is in the cache the next moment.
      if (fresh) std::fill_n(to, count * rows.width(q), 0.0);
      accumulate_panels(own.scores, left, end, rows, height, q, to);
    }
  }
}

void LinearObjective::Impl::pass(std::span<const double> x, const Turn& turn, bool with_sums,
                                 const Poll& poll) {
  const std::size_t n_weights = n_scores * n_features;
  std::ranges::transform(x.first(n_weights), weights.begin(),
                         [](double w) { return static_cast<float>(w); });
  scores.set(weights, x.subspan(n_weights), padding);
  if (in_tiles) weight_tiles.set(weights);

  ThreadPool* const workers = solver::pool_for(pool, n_weights * n_rows, solver::kWorthMultiplying);
  // One thread adds up group after group: what it has of them stays in the cache.
  const bool in_order = solver::worker_count(workers) == 1 || groups.n_groups() == 1;
  const std::size_t n_sums = panel_sums(n_scores, scores.weights());
  if (in_order && with_sums) sum.assign(n_sums, 0.0);
  n_joined = in_order ? 0 : groups.n_groups();
  const auto run_group = [&](std::size_t group, std::size_t worker, const auto& go) {
    Partial& partial = partials[group];
    Scratch& own = scratch[worker];
    const std::size_t begin = group * groups.blocks_per_group();
    const std::size_t end = begin + groups.blocks_per_group();
    // Sums of one chunk are float32's, so that it does not matter what they are added to.
    const bool directly = in_order && end - begin == 1;
    std::vector<double>& sums = directly ? sum : partials[in_order ? 0 : group].gradient;
    // Here and not before: an objective that is never evaluated still tells weights from variables.
    if (with_sums) sums.resize(n_sums);
    std::ranges::fill(partial.column, 0.0);
    partial.loss = 0;
    partial.n_correct = 0;
    own.column.resize(partial.column.size());
    for (std::size_t block = begin; block < end; ++block) {
      if (!go()) return;
      if (groups.height(block) == 0) break;
      const bool fresh = block == begin && !directly;
      std::ranges::fill(own.column, 0.0F);
      RowLosses losses;
      if (!turn) {
        losses = add_residuals(block, own, fresh, sums);
      } else {
        score_block(block, own);
        losses = turn(own.scores, groups.first(block), groups.height(block), own.column.data());
        if (with_sums) add_rows(block, own, fresh, sums);
      }
      partial.loss += losses.loss;
      partial.n_correct += losses.n_correct;
      for (std::size_t c = 0; c < own.column.size(); ++c) {
        partial.column[c] += static_cast<double>(own.column[c]);
      }
    }
    if (with_sums && in_order && !directly) {
      add_scaled(1.0, std::span<const double>(sums), std::span(sum));
    }
  };
  solver::run_blocks(workers, groups.n_groups(), poll, run_group);
}

void LinearObjective::Impl::joined(std::size_t c, std::span<double> out) const {
  const PanelMatrix& shape = scores.weights();
  for (std::size_t q = 0; q < shape.n_panels(); ++q) {
    const std::size_t first = q * shape.panel_width();
    const std::size_t offset = first * n_scores + c * shape.width(q);
    const std::size_t used = shape.used(q);
    std::copy_n((n_joined == 0 ? sum : partials[0].gradient).data() + offset, used,
                out.data() + first);
    for (std::size_t group = 1; group < n_joined; ++group) {
      const double* part = partials[group].gradient.data() + offset;
      for (std::size_t j = 0; j < used; ++j) out[first + j] += part[j];
    }
  }
}

double LinearObjective::Impl::column(std::size_t c) const {
  double total = 0;
  for (const Partial& partial : partials) total += partial.column[c];
  return total;
}

void LinearObjective::Impl::for_each_score(const Poll& poll,
                                           const std::function<void(std::size_t c)>& body) const {
  const std::size_t work = n_scores * n_features * groups.n_groups();
  solver::run_blocks(solver::pool_for(pool, work, solver::kWorthReading), n_scores, poll,
                     [&](std::size_t c, std::size_t, const auto&) { body(c); });
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
  m.moments.mean = moments.mean;
  m.moments.variance = moments.variance;
  m.totals.assign(m.n_scores, 0.0);
  m.l2 = l2 * penalty_share();
  m.feature_scale = moments.variance > 0 ? std::sqrt(moments.variance) : 1;
  m.padding = form.padding;
  m.pool = pool;

  const std::size_t n_weights = checked_mul(m.n_scores, m.n_features, "weights");
  m.in_tiles = solver::tiles_pay(m.n_scores);
  const std::size_t rows = solver::block_rows(n_rows, m.n_features, m.n_scores, kMaxGroups);
  // Tiles are so fast that the float64 sums, which are read and written a block, would hold them
  // up.
  m.groups = solver::RowGroups(n_rows, m.in_tiles ? 2 * rows : rows,
                               groups_for(n_weights * sizeof(double)), m.in_tiles);
  if (m.in_tiles) {
    m.weight_tiles = solver::WeightTiles(m.n_scores, m.n_features);
  } else if (n_rows * m.n_features <= kKeptBytes / sizeof(float)) {
    m.kept.resize(m.groups.n_blocks());
  }
  m.scores = solver::LinearScores(m.n_scores, m.n_features);
  m.partials.resize(m.groups.n_groups());
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

void LinearObjective::set_residual_sums(ResidualSums residual_sums) {
  impl_->residual_sums = std::move(residual_sums);
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

const RowsView& LinearObjective::features() const noexcept {
  return impl_->features;
}

std::size_t LinearObjective::n_rows() const noexcept {
  return impl_->n_rows;
}

const FeatureMoments& LinearObjective::moments() const noexcept {
  return impl_->moments;
}

ThreadPool* LinearObjective::pool() const noexcept {
  return impl_->pool;
}

double LinearObjective::penalty() const noexcept {
  return impl_->l2;
}

Evaluation LinearObjective::evaluate(std::span<const double> x, std::span<double> gradient,
                                     const Poll& poll) {
  Impl& m = *impl_;
  const std::size_t d = m.n_features;
  const std::size_t n_weights = m.n_scores * d;
  Impl::Turn turn;
  if (!m.residual_sums) {
    turn = [this](PanelMatrix& scores, std::size_t first, std::size_t count, float* column) {
      return residuals(scores, first, count, column);
    };
  }
  m.pass(x, turn, true, poll);

  const double inverse_n = 1.0 / static_cast<double>(m.n_rows);
  m.for_each_score(poll, [&](std::size_t c) {
    const auto out = gradient.subspan(c * d, d);
    m.joined(c, out);
    // The weights that the products have had, so that value and gradient belong together.
    const auto w = std::span<const float>(m.weights).subspan(c * d, d);
    for (std::size_t j = 0; j < d; ++j) {
      out[j] = out[j] * inverse_n + m.l2 * static_cast<double>(w[j]);
    }
    m.largest[c] = largest_magnitude(out);
    m.squares[c] = dot(w, w);
  });
  double loss = 0;
  double norm = 0;
  double square = 0;
  m.n_correct = 0;
  for (const Partial& partial : m.partials) {
    loss += partial.loss;
    m.n_correct += partial.n_correct;
  }
  for (std::size_t c = 0; c < m.n_scores; ++c) {
    double& slope = gradient[n_weights + c];
    slope = (m.column(c) - m.totals[c]) * inverse_n;
    norm = std::max({norm, m.largest[c] / m.feature_scale, std::abs(slope)});
    square += m.squares[c];
  }
  return {.value = loss * inverse_n + 0.5 * m.l2 * square, .gradient_norm = norm};
}

LossCurvature LinearObjective::loss_curvature(std::span<const double> x, const Curvatures& of,
                                              bool with_centres, const Poll& poll) {
  Impl& m = *impl_;
  const std::size_t d = m.n_features;
  LossCurvature found{.rows = std::vector<float>(m.n_rows), .centres = {}};
  const Impl::Turn turn = [&](PanelMatrix& scores, std::size_t first, std::size_t count,
                              float* column) {
    of(scores, first, count, column, found.rows.data() + first);
    return RowLosses{};
  };
  m.pass(x, turn, with_centres, poll);
  if (!with_centres) return found;
  found.centres.resize(m.n_scores * d);
  m.for_each_score(poll, [&](std::size_t c) {
    const double mass = m.column(c);
    if (!(mass > 0)) return;
    std::vector<double> sums(d);
    m.joined(c, sums);
    std::ranges::transform(sums, found.centres.data() + c * d,
                           [mass](double sum) { return static_cast<float>(sum / mass); });
  });
  return found;
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
    x.push_back(shift[c] + dot(row, std::span<const float>(m.moments.mean)));
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
    bias[c] = x[m.n_scores * d + c] - dot(row, std::span<const float>(m.moments.mean));
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
