#include "linear_tiles.hpp"

#include <algorithm>

#if EYESPOT_HAS_BFLOAT16

namespace eyespot::solver {

using namespace tiles;

namespace {

// Tiles of features that are multiplied at a time: those of all rows stay in the second-level cache
// for it, even where the core's other thread has half of that.
constexpr std::size_t kStepsAtATime = 5;

constexpr std::size_t tiles_of(std::size_t n, std::size_t a_tile) {
  return (n + a_tile - 1) / a_tile;
}

struct Three {
  Words high;
  Words middle;
  Words low;
};

// The nearest number of bfloat16, in the upper half of the word. Which of two it is does not
// matter, for the next part takes up what is left.
EYESPOT_AVX512 Words nearest(Floats x) {
  return (reinterpret_cast<Words>(x) + 0x8000U) & 0xFFFF0000U;
}

// x is the sum of the three, of which the upper halves are numbers of bfloat16.
EYESPOT_AVX512 Three split(Floats x) {
  const Words high = nearest(x);
  const Floats rest = x - reinterpret_cast<Floats>(high);
  const Words middle = nearest(rest);
  return {high, middle, reinterpret_cast<Words>(rest - reinterpret_cast<Floats>(middle))};
}

EYESPOT_AVX512 void store_pairs(Floats even, Floats odd, std::size_t line, TileParts& to) {
  const Three a = split(even);
  const Three b = split(odd);
  store(paired(a.high, b.high), to.parts[0].pairs[line]);
  store(paired(a.middle, b.middle), to.parts[1].pairs[line]);
  store(paired(a.low, b.low), to.parts[2].pairs[line]);
}

// A line of a left factor: 32 numbers that follow one another.
EYESPOT_AVX512 void set_line(const float* from, std::size_t line, TileParts& to) {
  const auto a = load<Floats>(from);
  const auto b = load<Floats>(from + kLanes);
  store_pairs(
      __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
      __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31),
      line, to);
}

EYESPOT_AVX512 void turn(const TileParts& from, TileParts& to) {
  for (std::size_t p = 0; p < 3; ++p) transpose(from.parts[p], to.parts[p]);
}

// Where the 16 x 16 results of a product go, of two left and two right factors.
struct Corners {
  float* at[2][2];
  std::size_t stride[2];  // bytes, of the right factors
};

enum class Start : unsigned char { zero, existing, line };

// Adds up the products of one or two left factors with one or two right ones, each of n_steps tiles
// that follow one another. Registers 0 to 3 have the sums, 4 and 5 the left factors, 6 and 7 the
// right ones.
template <bool kTall, bool kWide>
EYESPOT_AMX void multiply(const TileParts* left, std::size_t next_left, const TileParts* right,
                          std::size_t next_right, std::size_t n_steps, Start start,
                          const float* line, const Corners& out) {
  if (start == Start::zero) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    // The same line 16 times is one that no stride leads away from.
    const bool lines = start == Start::line;
    const std::size_t s0 = lines ? 0 : out.stride[0];
    const std::size_t s1 = lines ? 0 : out.stride[1];
    _tile_loadd(0, lines ? line : out.at[0][0], s0);
    if constexpr (kWide) _tile_loadd(1, lines ? line + kLanes : out.at[0][1], s1);
    if constexpr (kTall) _tile_loadd(2, lines ? line : out.at[1][0], s0);
    if constexpr (kTall && kWide) _tile_loadd(3, lines ? line + kLanes : out.at[1][1], s1);
  }
  const auto load_left = [&](std::size_t part) EYESPOT_AMX __attribute__((always_inline)) {
    _tile_loadd(4, left->parts[part].pairs, kLineBytes);
    if constexpr (kTall) _tile_loadd(5, left[next_left].parts[part].pairs, kLineBytes);
  };
  const auto load_right = [&](std::size_t part) EYESPOT_AMX __attribute__((always_inline)) {
    _tile_loadd(6, right->parts[part].pairs, kLineBytes);
    if constexpr (kWide) _tile_loadd(7, right[next_right].parts[part].pairs, kLineBytes);
  };
  const auto add_products = [&]() EYESPOT_AMX __attribute__((always_inline)) {
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kWide) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTall) _tile_dpbf16ps(2, 5, 6);
    if constexpr (kTall && kWide) _tile_dpbf16ps(3, 5, 7);
  };
  for (const TileParts* end = left + n_steps; left < end; ++left, ++right) {
    // In an order in which each product but the first needs one new part. Left ones come from far
    // away where there are many classes: they are read from the first to the last.
    load_left(0);
    load_right(0);
    add_products();
    load_right(2);
    add_products();
    load_right(1);
    add_products();
    load_left(1);
    add_products();
    load_right(0);
    add_products();
    load_left(2);
    add_products();
  }
  _tile_stored(0, out.at[0][0], out.stride[0]);
  if constexpr (kWide) _tile_stored(1, out.at[0][1], out.stride[1]);
  if constexpr (kTall) _tile_stored(2, out.at[1][0], out.stride[0]);
  if constexpr (kTall && kWide) _tile_stored(3, out.at[1][1], out.stride[1]);
}

using Multiply = void (*)(const TileParts*, std::size_t, const TileParts*, std::size_t, std::size_t,
                          Start, const float*, const Corners&);

Multiply multiply_for(bool tall, bool wide) {
  if (tall) return wide ? multiply<true, true> : multiply<true, false>;
  return wide ? multiply<false, true> : multiply<false, false>;
}

// The 16 columns of tile `group` of a PanelMatrix, or of sums of so many rows in its layout.
struct Place {
  std::size_t offset;
  std::size_t width;
};

Place place_of(const PanelMatrix& shape, std::size_t n_rows, std::size_t group) {
  const std::size_t column = group * kLanes;
  const std::size_t q = column / shape.panel_width();
  const std::size_t first = q * shape.panel_width();
  return {.offset = first * n_rows + column - first, .width = shape.width(q)};
}

// Adds 16 columns of results to sums, or writes them there.
EYESPOT_AVX512 void put(const float* from, std::size_t from_stride, std::size_t n_rows, bool fresh,
                        double* to, std::size_t stride) {
  for (std::size_t i = 0; i < n_rows; ++i, from += from_stride, to += stride) {
    if (fresh) std::fill_n(to, kLanes, 0.0);
    add(from, kLanes, to);
  }
}

// n numbers less `mean`, and zeros up to `padded`.
EYESPOT_AVX512 void centre(const float* row, const float* mean, std::size_t n, std::size_t padded,
                           float* to) {
  std::size_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    store(load<Floats>(row + j) - load<Floats>(mean + j), to + j);
  }
  for (; j < n; ++j) to[j] = row[j] - mean[j];
  for (; j < padded; ++j) to[j] = 0.0F;
}

EYESPOT_AVX512 void set_weights(std::span<const float> weights, std::size_t n_scores,
                                std::size_t n_features, TileParts* to) {
  TileParts left;
  for (std::size_t c = 0; c < n_scores; c += kLanes) {
    for (std::size_t j = 0; j < n_features; j += kDepth, ++to) {
      const std::size_t count = std::min(kDepth, n_features - j);
      for (std::size_t i = 0; i < kLanes; ++i) {
        alignas(kLineBytes) float some[kDepth] = {};
        if (c + i < n_scores) std::copy_n(weights.data() + (c + i) * n_features + j, count, some);
        set_line(some, i, left);
      }
      turn(left, *to);
    }
  }
}

}  // namespace

bool tiles_pay(std::size_t n_scores) {
  constexpr std::size_t kFewest = 64;
  return n_scores >= kFewest && detail::simd_bfloat16() == detail::Bfloat16::tiles;
}

WeightTiles::WeightTiles(std::size_t n_scores, std::size_t n_features)
    : n_scores_(n_scores), n_features_(n_features) {
  const std::size_t n_tiles = tiles_of(n_scores, kLanes) * tiles_of(n_features, kDepth);
  right_ = std::make_unique_for_overwrite<TileParts[]>(n_tiles);  // NOLINT
}

void WeightTiles::set(std::span<const float> weights) {
  set_weights(weights, n_scores_, n_features_, right_.get());
}

RowTiles::RowTiles(std::size_t max_rows, std::size_t n_features, std::size_t n_scores)
    : n_scores_(n_scores), max_steps_(tiles_of(max_rows, kDepth)) {
  const std::size_t n_wide = std::min(kStepsAtATime, tiles_of(n_features, kDepth));
  // NOLINTBEGIN(modernize-avoid-c-arrays)
  rows_ = std::make_unique_for_overwrite<TileParts[]>(2 * max_steps_ * n_wide);
  scores_ = std::make_unique_for_overwrite<TileParts[]>(tiles_of(n_scores, kLanes) * max_steps_);
  // NOLINTEND(modernize-avoid-c-arrays)
}

std::size_t RowTiles::padded(std::size_t n_rows) {
  return tiles_of(n_rows, kDepth) * kDepth;
}

void RowTiles::set(const RowsView& source, std::size_t first, std::size_t count,
                   const float* mean) {
  source_ = source;
  first_ = first;
  n_rows_ = count;
  mean_ = mean;
}

EYESPOT_AVX512 void RowTiles::set_left(std::size_t step, std::size_t n_steps) {
  const std::size_t first = step * kDepth;
  const std::size_t count = std::min(n_steps * kDepth, source_.cols - first);
  alignas(kLineBytes) float row[kStepsAtATime * kDepth];
  for (std::size_t i = 0; i < padded(n_rows_); ++i) {
    if (i < n_rows_) {
      const float* ahead = source_.row(first_ + std::min(i + 2, n_rows_ - 1)) + first;
      for (std::size_t j = 0; j < count; j += kLanes) __builtin_prefetch(ahead + j);
      centre(source_.row(first_ + i) + first, mean_ + first, count, n_steps * kDepth, row);
    } else {
      std::fill_n(row, n_steps * kDepth, 0.0F);
    }
    TileParts* to = rows_.get() + i / kLanes * n_steps;
    for (std::size_t j = 0; j < n_steps; ++j) set_line(row + j * kDepth, i % kLanes, to[j]);
  }
}

EYESPOT_AVX512 void RowTiles::set_right(std::size_t step, std::size_t n_steps) {
  const std::size_t first = step * kDepth;
  const std::size_t count = std::min(n_steps * kDepth, source_.cols - first);
  alignas(kLineBytes) float pair[2][kStepsAtATime * kDepth];
  for (std::size_t i = 0; i < padded(n_rows_); i += 2) {
    for (std::size_t half = 0; half < 2; ++half) {
      if (i + half < n_rows_) {
        const float* row = source_.row(first_ + i + half) + first;
        centre(row, mean_ + first, count, n_steps * kDepth, pair[half]);
      } else {
        std::fill_n(pair[half], n_steps * kDepth, 0.0F);
      }
    }
    TileParts* to = rows_.get() + i / kDepth;
    for (std::size_t j = 0; j < n_steps * kDepth; j += kLanes, to += max_steps_) {
      store_pairs(load<Floats>(pair[0] + j), load<Floats>(pair[1] + j), i % kDepth / 2, *to);
    }
  }
}

EYESPOT_AVX512 void RowTiles::set_scores(const PanelMatrix& scores) {
  TileParts columns;
  for (std::size_t c = 0; c < tiles_of(n_scores_, kLanes); ++c) {
    const Place place = place_of(scores, scores.rows(), c);
    const float* rows = scores.panel(0) + place.offset;
    for (std::size_t step = 0; step < tiles_of(n_rows_, kDepth); ++step) {
      for (std::size_t i = 0; i < kLanes; ++i, rows += 2 * place.width) {
        store_pairs(load<Floats>(rows), load<Floats>(rows + place.width), i, columns);
      }
      turn(columns, scores_[c * max_steps_ + step]);
    }
  }
}

EYESPOT_AMX void RowTiles::scores(const WeightTiles& weights, std::span<const float> bias,
                                  PanelMatrix& scores) {
  _tile_loadconfig(&kConfig);
  const std::size_t n_wide = tiles_of(source_.cols, kDepth);
  const std::size_t n_left = padded(n_rows_) / kLanes;
  const std::size_t n_right = tiles_of(n_scores_, kLanes);
  float* out = scores.panel(0);
  for (std::size_t step = 0; step < n_wide; step += kStepsAtATime) {
    const std::size_t n_steps = std::min(kStepsAtATime, n_wide - step);
    set_left(step, n_steps);
    for (std::size_t c = 0; c < n_right; c += 2) {
      const bool wide = c + 1 < n_right;
      const Place one = place_of(scores, scores.rows(), c);
      const Place other = wide ? place_of(scores, scores.rows(), c + 1) : one;
      const Multiply multiply = multiply_for(true, wide);
      for (std::size_t i = 0; i < n_left; i += 2) {
        const std::size_t row = i * kLanes;
        const Corners corners{
            {{out + one.offset + row * one.width, out + other.offset + row * other.width},
             {out + one.offset + (row + kLanes) * one.width,
              out + other.offset + (row + kLanes) * other.width}},
            {one.width * sizeof(float), other.width * sizeof(float)}};
        multiply(rows_.get() + i * n_steps, n_steps, weights.right_.get() + c * n_wide + step,
                 n_wide, n_steps, step == 0 ? Start::line : Start::existing,
                 bias.data() + c * kLanes, corners);
      }
    }
  }
  _tile_release();
}

EYESPOT_AMX void RowTiles::accumulate(const PanelMatrix& scores, bool fresh,
                                      std::span<double> sum) {
  set_scores(scores);
  const PanelMatrix shape(1, source_.cols);
  const std::size_t n_left = tiles_of(n_scores_, kLanes);
  const std::size_t n_wide = tiles_of(source_.cols, kDepth);
  const std::size_t n_right = tiles_of(source_.cols, kLanes);
  const std::size_t n_rows = tiles_of(n_rows_, kDepth);
  constexpr std::size_t kStride = 2 * kLanes;
  alignas(kLineBytes) float out[kStride * kStride];
  const Corners corners{
      {{out, out + kLanes}, {out + kLanes * kStride, out + kLanes * kStride + kLanes}},
      {kStride * sizeof(float), kStride * sizeof(float)}};
  _tile_loadconfig(&kConfig);
  for (std::size_t step = 0; step < n_wide; step += kStepsAtATime) {
    const std::size_t n_steps = std::min(kStepsAtATime, n_wide - step);
    set_right(step, n_steps);
    const std::size_t end = std::min(2 * (step + n_steps), n_right);
    for (std::size_t c = 0; c < n_left; c += 2) {
      const bool tall = c + 1 < n_left;
      const std::size_t height = std::min(kStride, n_scores_ - c * kLanes);
      for (std::size_t j = 2 * step; j < end; j += 2) {
        const bool wide = j + 1 < end;
        const Place places[2] = {place_of(shape, n_scores_, j),
                                 place_of(shape, n_scores_, wide ? j + 1 : j)};
        // The sums come from far away: let them travel while the products are formed.
        for (std::size_t b = 0; b < (wide ? 2U : 1U); ++b) {
          const double* at = sum.data() + places[b].offset + c * kLanes * places[b].width;
          for (std::size_t i = 0; i < height; ++i, at += places[b].width) {
            __builtin_prefetch(at, 1);
            __builtin_prefetch(at + kLanes / 2, 1);
          }
        }
        multiply_for(tall, wide)(scores_.get() + c * max_steps_, max_steps_,
                                 rows_.get() + (j - 2 * step) * max_steps_, max_steps_, n_rows,
                                 Start::zero, nullptr, corners);
        for (std::size_t b = 0; b < (wide ? 2U : 1U); ++b) {
          put(out + b * kLanes, kStride, height, fresh,
              sum.data() + places[b].offset + c * kLanes * places[b].width, places[b].width);
        }
      }
    }
  }
  _tile_release();
}

}  // namespace eyespot::solver

#else

namespace eyespot::solver {

bool tiles_pay(std::size_t /*n_scores*/) {
  return false;
}

// Nobody makes what follows then.

WeightTiles::WeightTiles(std::size_t /*n_scores*/, std::size_t /*n_features*/) {}

void WeightTiles::set(std::span<const float> /*weights*/) {}

RowTiles::RowTiles(std::size_t /*max_rows*/, std::size_t /*n_features*/, std::size_t /*n_scores*/) {
}

std::size_t RowTiles::padded(std::size_t n_rows) {
  return n_rows;
}

void RowTiles::set(const RowsView& /*source*/, std::size_t /*first*/, std::size_t /*count*/,
                   const float* /*mean*/) {}

void RowTiles::scores(const WeightTiles& /*weights*/, std::span<const float> /*bias*/,
                      PanelMatrix& /*scores*/) {}

void RowTiles::accumulate(const PanelMatrix& /*scores*/, bool /*fresh*/,
                          std::span<double> /*sum*/) {}

}  // namespace eyespot::solver

#endif
