#include "gram_tiles.hpp"

#include <algorithm>

#if EYESPOT_HAS_BFLOAT16

namespace eyespot::solver {

using namespace tiles;

namespace {

constexpr std::size_t kMaxSteps = kAccumulateRows / kDepth;
// Rows that are turned into tiles at a time.
constexpr std::size_t kStripRows = 96;
static_assert(kAccumulateRows % kStripRows == 0 && kStripRows % kDepth == 0);

// 32 rows of 16 columns of a panel, which is `width` wide.
EYESPOT_AVX512 void convert(const float* rows, std::size_t width, Tile& out) {
  for (std::size_t i = 0; i < kLanes; ++i, rows += 2 * width) {
    const Words even = rounded(load<Words>(rows));
    const Words odd = rounded(load<Words>(rows + width));
    store(paired(even, odd), out.pairs[i]);
  }
}

// out, 16 x (16 * kRight) = the transpose of 16 columns times others. Registers 0 to 2 have the
// sums, which do not wait for one another.
template <std::size_t kRight>
EYESPOT_AMX void multiply(const Tile* left, const Tile* right, std::size_t n_steps, float* out) {
  constexpr std::size_t kNext = kMaxSteps;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  for (const Tile* end = left + n_steps; left < end; ++left, ++right) {
    _tile_loadd(3, left->pairs, kLineBytes);
    _tile_loadd(4, right->pairs, kLineBytes);
    _tile_dpbf16ps(0, 3, 4);
    if constexpr (kRight > 1) {
      _tile_loadd(5, right[kNext].pairs, kLineBytes);
      _tile_dpbf16ps(1, 3, 5);
    }
    if constexpr (kRight > 2) {
      _tile_loadd(6, right[2 * kNext].pairs, kLineBytes);
      _tile_dpbf16ps(2, 3, 6);
    }
  }
  constexpr std::size_t kOutBytes = kRight * kLineBytes;
  _tile_stored(0, out, kOutBytes);
  if constexpr (kRight > 1) _tile_stored(1, out + kLanes, kOutBytes);
  if constexpr (kRight > 2) _tile_stored(2, out + 2 * kLanes, kOutBytes);
}

}  // namespace

GramTiles::GramTiles(std::size_t n) : strip_(kStripRows, n) {
  const std::size_t n_tiles = (n + kLanes - 1) / kLanes * kMaxSteps;
  // NOLINTBEGIN(modernize-avoid-c-arrays)
  left_ = std::make_unique_for_overwrite<Tile[]>(n_tiles);
  right_ = std::make_unique_for_overwrite<Tile[]>(n_tiles);
  // NOLINTEND(modernize-avoid-c-arrays)
}

void GramTiles::pack(const RowsView& source, std::size_t first, std::size_t count,
                     const float* offset, const float* scale) {
  n_steps_ = (count + kDepth - 1) / kDepth;
  for (std::size_t begin = 0; begin < count; begin += kStripRows) {
    const std::size_t n_rows = std::min(kStripRows, count - begin);
    pack_rows(source, first + begin, n_rows, offset, scale != nullptr ? scale + begin : nullptr,
              strip_);
    const std::size_t end = (n_rows + kDepth - 1) / kDepth;
    for (std::size_t q = 0; q < strip_.n_panels(); ++q) {
      const std::size_t width = strip_.width(q);
      float* rows = strip_.panel(q);
      std::fill(rows + n_rows * width, rows + end * kDepth * width, 0.0F);
      for (std::size_t v = 0; v < width / kLanes; ++v) {
        const std::size_t group = q * strip_.panel_width() / kLanes + v;
        for (std::size_t step = 0; step < end; ++step) {
          const std::size_t at = group * kMaxSteps + begin / kDepth + step;
          convert(rows + step * kDepth * width + v * kLanes, width, right_[at]);
          transpose(right_[at], left_[at]);
        }
      }
    }
  }
}

EYESPOT_AMX void GramTiles::accumulate(std::size_t q, double* panel) const {
  _tile_loadconfig(&kConfig);
  const std::size_t n = strip_.cols();
  const std::size_t width = strip_.width(q);
  const std::size_t first = q * strip_.panel_width();
  const Tile* right = right_.get() + first / kLanes * kMaxSteps;
  alignas(kLineBytes) float out[3 * kLanes * kLanes] = {};
  for (std::size_t i = first; i < n; i += kLanes) {
    const Tile* left = left_.get() + i / kLanes * kMaxSteps;
    switch (width / kLanes) {
      case 1: multiply<1>(left, right, n_steps_, out); break;
      case 2: multiply<2>(left, right, n_steps_, out); break;
      default: multiply<3>(left, right, n_steps_, out);
    }
    add(out, std::min(kLanes, n - i) * width, panel + (i - first) * width);
  }
  _tile_release();
}

}  // namespace eyespot::solver

#else

namespace eyespot::solver {

// Without tiles in this build, simd_has_tiles() says no, and nobody makes one.
GramTiles::GramTiles(std::size_t /*n*/) {}

void GramTiles::pack(const RowsView& /*source*/, std::size_t /*first*/, std::size_t /*count*/,
                     const float* /*offset*/, const float* /*scale*/) {}

void GramTiles::accumulate(std::size_t /*q*/, double* /*panel*/) const {}

}  // namespace eyespot::solver

#endif
