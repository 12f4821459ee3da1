#include "panel_kernels.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE \
  "solver/panel_kernels.cpp"  // NOLINT(bugprone-suspicious-include): as Highway asks
#include <hwy/foreach_target.h>
// After foreach_target, which includes this file once per target.
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

// NOLINTBEGIN(misc-use-internal-linkage,modernize-concat-nested-namespaces): each target's
// namespace is reopened by Highway's macros, and its functions are reached from outside it.
HWY_BEFORE_NAMESPACE();
namespace eyespot::solver {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;

// Accumulators that leave registers free for one row of the right factor and a broadcast.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
constexpr std::size_t kTileRows = 8;
#else
constexpr std::size_t kTileRows = 4;
#endif
// Inner panels per pass: many, so that a tile's sums are seldom stored and loaded again; the slice
// of the right factor that a pass reads stays in L2, from where it comes as fast as it is used.
constexpr std::size_t kInnerPanels = 9;
// Rows that are packed at a time, so that the writes to a panel follow one another, and floats in a
// cache line.
constexpr std::size_t kPackedRows = 8;
constexpr std::size_t kLine = 16;

std::size_t vector_lanes() {
  return hn::Lanes(FloatTag());
}

HWY_INLINE float& element(PanelMatrix& m, std::size_t i, std::size_t j) {
  const std::size_t g = j / m.panel_width();
  return m.panel(g)[i * m.width(g) + j - g * m.panel_width()];
}

// One tile of a product: kRows x (kVectors vectors), over a run of inner panels.
struct TileArgs {
  const PanelMatrix* a;
  const PanelMatrix* b;
  PanelMatrix* out;
  const float* row;  // initial row, or null
  bool from_out;     // start from what `out` holds
  std::size_t first_row;
  std::size_t out_panel;
  std::size_t inner_begin;
  std::size_t inner_end;
};

template <std::size_t kRows, std::size_t kVectors>
HWY_NOINLINE void multiply_tile(const TileArgs& t) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t b_width = t.b->width(t.out_panel);
  const std::size_t out_width = t.out->width(t.out_panel);
  float* HWY_RESTRICT out = t.out->panel(t.out_panel) + t.first_row * out_width;
  hn::Vec<FloatTag> sum[kRows][kVectors];
  // Three loops, not one with a choice inside: the accumulators then stay in registers.
  if (t.from_out) {
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) {
        sum[r][v] = hn::Load(d, out + r * out_width + v * lanes);
      }
    }
  } else if (t.row != nullptr) {
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::LoadU(d, t.row + v * lanes);
    }
  } else {
    for (std::size_t r = 0; r < kRows; ++r) {
      for (std::size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
    }
  }
  const float* HWY_RESTRICT b =
      t.b->panel(t.out_panel) + t.inner_begin * t.a->panel_width() * b_width;
  // Neither loop is ever empty, and saying so spares a copy of the accumulators.
  std::size_t q = t.inner_begin;
  do {
    const std::size_t a_width = t.a->width(q);
    const std::size_t used = t.a->used(q);
    const float* HWY_RESTRICT a = t.a->panel(q) + t.first_row * a_width;
    std::size_t p = 0;
    do {
      hn::Vec<FloatTag> right[kVectors];
      for (std::size_t v = 0; v < kVectors; ++v) right[v] = hn::Load(d, b + v * lanes);
      for (std::size_t r = 0; r < kRows; ++r) {
        const auto left = hn::Set(d, a[r * a_width + p]);
        for (std::size_t v = 0; v < kVectors; ++v) {
          sum[r][v] = hn::MulAdd(left, right[v], sum[r][v]);
        }
      }
      b += b_width;
    } while (++p < used);
  } while (++q < t.inner_end);
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      hn::Store(sum[r][v], d, out + r * out_width + v * lanes);
    }
  }
}

template <std::size_t kVectors>
void multiply_rows(TileArgs t, std::size_t row_end) {
  // With one vector of columns a taller tile hides the latency of the additions.
  constexpr std::size_t kRows = kVectors == 1 ? 8 : kTileRows;
  while (t.first_row + kRows <= row_end) {
    multiply_tile<kRows, kVectors>(t);
    t.first_row += kRows;
  }
  const std::size_t rest = row_end - t.first_row;
  if constexpr (kRows > 4) {
    if ((rest & 4) != 0) {
      multiply_tile<4, kVectors>(t);
      t.first_row += 4;
    }
  }
  if ((rest & 2) != 0) {
    multiply_tile<2, kVectors>(t);
    t.first_row += 2;
  }
  if ((rest & 1) != 0) multiply_tile<1, kVectors>(t);
}

void multiply_impl(const PanelMatrix& a, const PanelMatrix& b, MultiplyInit init, const float* row,
                   const MultiplyRange& range, PanelMatrix& out) {
  const std::size_t lanes = vector_lanes();
  for (std::size_t g = range.panel_begin; g < range.panel_end; ++g) {
    const std::size_t n_vectors = b.width(g) / lanes;
    std::size_t inner = range.inner_begin;
    bool first = true;
    do {
      const std::size_t inner_end = std::min(inner + kInnerPanels, range.inner_end);
      const bool from_out = !first || init == MultiplyInit::existing;
      const TileArgs t{.a = &a,
                       .b = &b,
                       .out = &out,
                       .row = init == MultiplyInit::row ? row + g * b.panel_width() : nullptr,
                       .from_out = from_out,
                       .first_row = range.row_begin,
                       .out_panel = g,
                       .inner_begin = inner,
                       .inner_end = inner_end};
      switch (n_vectors) {
        case 1: multiply_rows<1>(t, range.row_end); break;
        case 2: multiply_rows<2>(t, range.row_end); break;
        default: multiply_rows<3>(t, range.row_end); break;
      }
      first = false;
      inner = inner_end;
    } while (inner < range.inner_end);
  }
}

#if HWY_TARGET != HWY_SCALAR
// The sum of a vector's blocks of four lanes.
template <class D>
HWY_INLINE auto sum_of_blocks(D /*d*/, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) <= 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_of_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// to[0..4) = the sums of the lanes of four vectors.
HWY_INLINE void store_sums(hn::Vec<FloatTag> a, hn::Vec<FloatTag> b, hn::Vec<FloatTag> c,
                           hn::Vec<FloatTag> e, float* HWY_RESTRICT to) {
  const FloatTag d;
  const hn::Repartition<double, FloatTag> pairs;
  const auto ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const auto ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto left = hn::BitCast(pairs, ab);
  const auto right = hn::BitCast(pairs, ce);
  // Each block of four lanes holds its part of the four sums.
  const auto parts = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, left, right)),
                             hn::BitCast(d, hn::InterleaveUpper(pairs, left, right)));
  hn::StoreU(sum_of_blocks(d, parts), hn::CappedTag<float, 4>(), to);
}
#endif  // HWY_TARGET != HWY_SCALAR

// What a dot_tile reads and writes: columns of `out` from first_class on, which are in one panel.
struct DotArgs {
  const PanelMatrix* a;
  const PanelMatrix* b;
  const float* row;
  PanelMatrix* out;
  std::size_t first_class;
};

// Scores of kRows rows for kClasses rows of weights: dot products along the features, so that no
// lane goes to a class that is not there.
template <std::size_t kRows, std::size_t kClasses>
HWY_NOINLINE void dot_tile(const DotArgs& t, std::size_t first_row) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<FloatTag> sum[kRows][kClasses];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kClasses; ++c) sum[r][c] = hn::Zero(d);
  }
  std::size_t q = 0;
  do {
    const std::size_t width = t.a->width(q);
    const float* HWY_RESTRICT left = t.a->panel(q) + first_row * width;
    const float* HWY_RESTRICT right = t.b->panel(q) + t.first_class * width;
    std::size_t j = 0;
    do {
      hn::Vec<FloatTag> x[kRows];
      for (std::size_t r = 0; r < kRows; ++r) x[r] = hn::Load(d, left + r * width + j);
      for (std::size_t c = 0; c < kClasses; ++c) {
        const auto w = hn::Load(d, right + c * width + j);
        for (std::size_t r = 0; r < kRows; ++r) sum[r][c] = hn::MulAdd(x[r], w, sum[r][c]);
      }
      j += lanes;
    } while (j < width);
  } while (++q < t.a->n_panels());
  const float* row = t.row + t.first_class;
#if HWY_TARGET == HWY_SCALAR
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kClasses; ++c) {
      element(*t.out, first_row + r, t.first_class + c) = row[c] + hn::GetLane(sum[r][c]);
    }
  }
#else
  // The sums of all lanes, four vectors at a time.
  constexpr std::size_t kSums = kRows * kClasses;
  HWY_ALIGN float sums[(kSums + 3) / 4 * 4];
  for (std::size_t s = 0; s < kSums; s += 4) {
    const auto of = [&](std::size_t i) {
      return i < kSums ? sum[i / kClasses][i % kClasses] : hn::Zero(d);
    };
    store_sums(of(s), of(s + 1), of(s + 2), of(s + 3), sums + s);
  }
  const std::size_t g = t.first_class / t.out->panel_width();
  const std::size_t offset = t.first_class - g * t.out->panel_width();
  const std::size_t width = t.out->width(g);
  for (std::size_t r = 0; r < kRows; ++r) {
    float* HWY_RESTRICT to = t.out->panel(g) + (first_row + r) * width + offset;
    for (std::size_t c = 0; c < kClasses; ++c) to[c] = row[c] + sums[r * kClasses + c];
    for (std::size_t c = kClasses; c < width - offset; ++c) to[c] = row[c];
  }
#endif
}

template <std::size_t kClasses>
void dot_rows(const DotArgs& t, std::size_t n_rows) {
  // As tall as the registers allow: each row of weights is loaded once a tile.
  constexpr std::size_t kRows = std::clamp<std::size_t>(kTileRows * 3 / kClasses, 1, 8);
  std::size_t i = 0;
  for (; i + kRows <= n_rows; i += kRows) dot_tile<kRows, kClasses>(t, i);
  for (; i < n_rows; ++i) dot_tile<1, kClasses>(t, i);
}

void multiply_transposed_impl(const PanelMatrix& a, const PanelMatrix& b, std::size_t first,
                              const float* row, std::size_t n_rows, PanelMatrix& out) {
  const DotArgs t{.a = &a, .b = &b, .row = row, .out = &out, .first_class = first};
  switch (b.rows() - first) {
    case 1: dot_rows<1>(t, n_rows); break;
    case 2: dot_rows<2>(t, n_rows); break;
    case 3: dot_rows<3>(t, n_rows); break;
    case 4: dot_rows<4>(t, n_rows); break;
    case 5: dot_rows<5>(t, n_rows); break;
    case 6: dot_rows<6>(t, n_rows); break;
    case 7: dot_rows<7>(t, n_rows); break;
    case 8: dot_rows<8>(t, n_rows); break;
    case 9: dot_rows<9>(t, n_rows); break;
    case 10: dot_rows<10>(t, n_rows); break;
    default: dot_rows<11>(t, n_rows);
  }
}

// sum(c, j) += sum over i of left(i, c) * right(i, j): kRows columns of left, kVectors of right.
template <std::size_t kRows, std::size_t kVectors>
HWY_NOINLINE void accumulate_tile(const float* HWY_RESTRICT left, std::size_t left_width,
                                  const float* HWY_RESTRICT right, std::size_t n_rows,
                                  double* HWY_RESTRICT sum) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t width = kVectors * lanes;
  // The sums come from far away: let them travel while the products are formed.
  for (std::size_t j = 0; j < kRows * width; j += 64 / sizeof(double)) hwy::Prefetch(sum + j);
  hn::Vec<FloatTag> part[kRows][kVectors];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) part[r][v] = hn::Zero(d);
  }
  std::size_t i = 0;
  do {
    hn::Vec<FloatTag> x[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) x[v] = hn::Load(d, right + v * lanes);
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto factor = hn::Set(d, left[r]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        part[r][v] = hn::MulAdd(factor, x[v], part[r][v]);
      }
    }
    left += left_width;
    right += width;
  } while (++i < n_rows);
  HWY_ALIGN float row[kVectors * HWY_MAX_BYTES / sizeof(float)] = {};
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t v = 0; v < kVectors; ++v) hn::Store(part[r][v], d, row + v * lanes);
    double* HWY_RESTRICT to = sum + r * width;
    for (std::size_t j = 0; j < width; ++j) to[j] += static_cast<double>(row[j]);
  }
}

template <std::size_t kVectors>
void accumulate_columns(const float* left, std::size_t left_width, std::size_t n_left,
                        const float* right, std::size_t n_rows, double* sum) {
  const std::size_t width = kVectors * vector_lanes();
  // Tiles of nearly equal height, so that no thin one is left at the end.
  const std::size_t n_tiles = (n_left + kTileRows - 1) / kTileRows;
  std::size_t c = 0;
  for (std::size_t tile = 0; tile < n_tiles; ++tile) {
    const std::size_t height = n_left * (tile + 1) / n_tiles - c;
    const float* from = left + c;
    double* to = sum + c * width;
    switch (height) {
      case 1: accumulate_tile<1, kVectors>(from, left_width, right, n_rows, to); break;
      case 2: accumulate_tile<2, kVectors>(from, left_width, right, n_rows, to); break;
      case 3: accumulate_tile<3, kVectors>(from, left_width, right, n_rows, to); break;
      case 4: accumulate_tile<4, kVectors>(from, left_width, right, n_rows, to); break;
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
      case 5: accumulate_tile<5, kVectors>(from, left_width, right, n_rows, to); break;
      case 6: accumulate_tile<6, kVectors>(from, left_width, right, n_rows, to); break;
      case 7: accumulate_tile<7, kVectors>(from, left_width, right, n_rows, to); break;
      default: accumulate_tile<8, kVectors>(from, left_width, right, n_rows, to);
#else
      default: break;
#endif
    }
    c += height;
  }
}

// Panel q of the right factor with the panels of the left one in [left_begin, left_end).
void accumulate_impl(const PanelMatrix& a, const PanelMatrix& b, std::size_t n_rows,
                     std::size_t left_begin, std::size_t left_end, std::size_t q, double* panel) {
  const std::size_t width = b.width(q);
  for (std::size_t i = 0; i < n_rows; i += kAccumulateRows) {
    const std::size_t chunk = std::min(kAccumulateRows, n_rows - i);
    const float* right = b.panel(q) + i * width;
    for (std::size_t g = left_begin; g < left_end; ++g) {
      const float* left = a.panel(g) + i * a.width(g);
      double* to = panel + (g - left_begin) * a.panel_width() * width;
      switch (width / vector_lanes()) {
        case 1: accumulate_columns<1>(left, a.width(g), a.used(g), right, chunk, to); break;
        case 2: accumulate_columns<2>(left, a.width(g), a.used(g), right, chunk, to); break;
        default: accumulate_columns<3>(left, a.width(g), a.used(g), right, chunk, to);
      }
    }
  }
}

void pack_rows_impl(const RowsView& source, std::size_t first, std::size_t count,
                    const float* offset, const float* scale, PanelMatrix& out) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t begin = 0; begin < count; begin += kPackedRows) {
    const std::size_t end = std::min(begin + kPackedRows, count);
    for (std::size_t q = 0; q < out.n_panels(); ++q) {
      const std::size_t width = out.width(q);
      const std::size_t used = out.used(q);
      const float* shift = offset != nullptr ? offset + q * out.panel_width() : nullptr;
      for (std::size_t i = begin; i < end; ++i) {
        const float* HWY_RESTRICT from = source.row(first + i) + q * out.panel_width();
        float* HWY_RESTRICT to = out.panel(q) + i * width;
        const float factor = scale != nullptr ? scale[i] : 1.0F;
        const auto factors = hn::Set(d, factor);
        const float* ahead =
            source.row(first + std::min(i + kPackedRows, count - 1)) + q * out.panel_width();
        for (std::size_t p = 0; p < used; p += kLine) hwy::Prefetch(ahead + p);
        std::size_t j = 0;
        for (; j + lanes <= used; j += lanes) {
          auto x = hn::LoadU(d, from + j);
          if (shift != nullptr) x = hn::Sub(x, hn::LoadU(d, shift + j));
          if (scale != nullptr) x = hn::Mul(x, factors);
          hn::Store(x, d, to + j);
        }
        for (; j < used; ++j) to[j] = (from[j] - (shift != nullptr ? shift[j] : 0.0F)) * factor;
        for (; j < width; ++j) to[j] = 0.0F;
      }
    }
  }
}

// The normaliser of one row: the sum of exp(score - highest), with the highest scores (which add 1
// each) kept apart from the rest, so that a tiny rest is not lost beside them.
struct Normaliser {
  float highest = 0;
  float n_highest = 0;
  float rest = 0;
};

// e^x for derivatives, which are factors: 0 where it is so small that products with it could leave
// the normal numbers. Those may take a processor a hundred times as long, and add nothing.
HWY_INLINE hn::Vec<FloatTag> factor_exp(FloatTag d, hn::Vec<FloatTag> x) {
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, kLeastExponent)), hn::Exp(d, x));
}

// Writes exp(score - highest) into row i, as factors or exactly.
template <bool kFactors>
HWY_INLINE Normaliser exponentials(PanelMatrix& scores, std::size_t i) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  auto top = hn::Set(d, kPaddingScore);
  for (std::size_t g = 0; g < scores.n_panels(); ++g) {
    const std::size_t width = scores.width(g);
    const float* row = scores.panel(g) + i * width;
    for (std::size_t j = 0; j < width; j += lanes) top = hn::Max(top, hn::Load(d, row + j));
  }
  const auto shift = hn::MaxOfLanes(d, top);
  const auto one = hn::Set(d, 1.0F);
  auto rest = hn::Zero(d);
  auto count = hn::Zero(d);
  for (std::size_t g = 0; g < scores.n_panels(); ++g) {
    const std::size_t width = scores.width(g);
    float* row = scores.panel(g) + i * width;
    for (std::size_t j = 0; j < width; j += lanes) {
      const auto score = hn::Load(d, row + j);
      const auto below = hn::Sub(score, shift);
      const auto e = kFactors ? factor_exp(d, below) : hn::Exp(d, below);
      const auto is_top = hn::Eq(score, shift);
      hn::Store(e, d, row + j);
      rest = hn::Add(rest, hn::IfThenZeroElse(is_top, e));
      count = hn::Add(count, hn::IfThenElseZero(is_top, one));
    }
  }
  return {.highest = hn::GetLane(shift),
          .n_highest = hn::GetLane(hn::SumOfLanes(d, count)),
          .rest = hn::GetLane(hn::SumOfLanes(d, rest))};
}

// Puts turn(v) in the place of each vector v of row i, and adds it to column_sum.
template <class Turn>
HWY_INLINE void turn_row(PanelMatrix& scores, std::size_t i, float* column_sum, const Turn& turn) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t g = 0; g < scores.n_panels(); ++g) {
    const std::size_t width = scores.width(g);
    float* row = scores.panel(g) + i * width;
    float* total = column_sum + g * scores.panel_width();
    for (std::size_t j = 0; j < width; j += lanes) {
      const auto turned = turn(hn::Load(d, row + j));
      hn::Store(turned, d, row + j);
      hn::StoreU(hn::Add(hn::LoadU(d, total + j), turned), d, total + j);
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
// What softmax_residuals does, for a vector of rows at a time from the first on; for scores that
// are one panel of up to kMaxTransposed columns, where a vector a row would be mostly padding.
// Returns how many rows that was.
std::size_t narrow_residuals(PanelMatrix& scores, std::size_t n_rows, const std::int32_t* targets,
                             const float* weights, float* column_sum, RowLosses& result) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  const hn::Rebind<double, hn::Half<FloatTag>> dd;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t k = scores.cols();
  const std::size_t width = scores.width(0);
  const auto one = hn::Set(d, 1.0F);
  const auto places = hn::Mul(hn::Iota(di, 0), hn::Set(di, static_cast<std::int32_t>(width)));
  hn::Vec<FloatTag> totals[kMaxTransposed];
  for (std::size_t c = 0; c < k; ++c) totals[c] = hn::Zero(d);
  auto loss = hn::Zero(dd);
  std::size_t i = 0;
  for (; i + lanes <= n_rows; i += lanes) {
    float* HWY_RESTRICT rows = scores.panel(0) + i * width;
    const auto target = hn::LoadU(di, targets + i);
    const auto weight = weights != nullptr ? hn::LoadU(d, weights + i) : one;
    hn::Vec<FloatTag> e[kMaxTransposed];
    auto top = hn::GatherIndex(d, rows, places);
    e[0] = top;
    for (std::size_t c = 1; c < k; ++c) {
      e[c] = hn::GatherIndex(d, rows + c, places);
      top = hn::Max(top, e[c]);
    }
    const auto own = hn::GatherIndex(d, rows, hn::Add(places, target));
    auto rest = hn::Zero(d);
    auto count = hn::Zero(d);
    for (std::size_t c = 0; c < k; ++c) {
      const auto is_top = hn::Eq(e[c], top);
      e[c] = factor_exp(d, hn::Sub(e[c], top));
      rest = hn::Add(rest, hn::IfThenZeroElse(is_top, e[c]));
      count = hn::Add(count, hn::IfThenElseZero(is_top, one));
    }
    const auto sum = hn::Add(count, rest);
    const auto factor = hn::Div(weight, sum);
    const auto right = hn::Eq(own, top);
    const auto certain = hn::And(right, hn::Eq(count, one));
    const auto little = hn::Neg(hn::Mul(rest, factor));
    for (std::size_t c = 0; c < k; ++c) {
      const auto p = hn::Mul(e[c], factor);
      totals[c] = hn::Add(totals[c], p);
      const auto is_target =
          hn::RebindMask(d, hn::Eq(target, hn::Set(di, static_cast<std::int32_t>(c))));
      const auto residual = hn::IfThenElse(certain, little, hn::Sub(p, weight));
      hn::ScatterIndex(hn::IfThenElse(is_target, residual, p), d, rows + c, places);
    }
    result.n_correct += hn::CountTrue(d, right);
    const auto row_loss = hn::Mul(
        weight, hn::Add(hn::Log1p(d, hn::Add(hn::Sub(count, one), rest)), hn::Sub(top, own)));
    const hn::Half<FloatTag> half;
    loss = hn::Add(loss, hn::Add(hn::PromoteTo(dd, hn::LowerHalf(half, row_loss)),
                                 hn::PromoteTo(dd, hn::UpperHalf(half, row_loss))));
  }
  result.loss += hn::GetLane(hn::SumOfLanes(dd, loss));
  for (std::size_t c = 0; c < k; ++c) {
    column_sum[c] += hn::GetLane(hn::SumOfLanes(d, totals[c]));
  }
  return i;
}
#endif  // HWY_TARGET != HWY_SCALAR

RowLosses softmax_residuals_impl(PanelMatrix& scores, std::size_t n_rows,
                                 const std::int32_t* targets, const float* weights,
                                 float* column_sum) {
  const FloatTag d;
  RowLosses result;
  std::size_t first = 0;
#if HWY_TARGET != HWY_SCALAR
  if (scores.n_panels() == 1 && scores.cols() <= kMaxTransposed) {
    first = narrow_residuals(scores, n_rows, targets, weights, column_sum, result);
  }
#endif
  for (std::size_t i = first; i < n_rows; ++i) {
    const auto target = static_cast<std::size_t>(targets[i]);
    const float own = element(scores, i, target);
    const Normaliser norm = exponentials<true>(scores, i);
    const float sum = norm.n_highest + norm.rest;
    const float weight = weights != nullptr ? weights[i] : 1.0F;
    const auto factor = hn::Set(d, weight / sum);
    turn_row(scores, i, column_sum, [&](hn::Vec<FloatTag> e) { return hn::Mul(e, factor); });
    // p - 1 and -log p without cancellation where p is close to 1.
    float& residual = element(scores, i, target);
    const bool right = own == norm.highest;
    residual = right && norm.n_highest == 1.0F ? -weight * (norm.rest / sum) : residual - weight;
    const double log_sum =
        std::log1p(static_cast<double>(norm.n_highest - 1.0F) + static_cast<double>(norm.rest));
    result.loss += static_cast<double>(weight) *
                   (log_sum + static_cast<double>(norm.highest) - static_cast<double>(own));
    result.n_correct += right ? 1 : 0;
  }
  return result;
}

RowLosses logistic_residuals_impl(PanelMatrix& scores, std::size_t n_rows,
                                  const std::int32_t* targets, const float* weights,
                                  float* column_sum) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t width = scores.width(0);
  const auto zero = hn::Zero(d);
  const auto one = hn::Set(d, 1.0F);
  HWY_ALIGN float margin[hn::MaxLanes(FloatTag())] = {};  // positive where the row is told rightly
  HWY_ALIGN float weight[hn::MaxLanes(FloatTag())] = {};  // negative for the second class
  auto total = zero;
  RowLosses result;
  for (std::size_t i = 0; i < n_rows; i += lanes) {
    const std::size_t count = std::min(lanes, n_rows - i);
    float* HWY_RESTRICT row = scores.panel(0) + i * width;
    for (std::size_t r = 0; r < count; ++r) {
      const float sign = targets[i + r] == 0 ? 1.0F : -1.0F;
      margin[r] = -sign * row[r * width];
      weight[r] = sign * (weights != nullptr ? weights[i + r] : 1.0F);
      result.n_correct += margin[r] >= 0 ? 1 : 0;
    }
    std::fill(weight + count, weight + lanes, 0.0F);
    const auto m = hn::Load(d, margin);
    const auto w = hn::Load(d, weight);
    // Small and exact where the row is told apart with ease: neither p - 1 nor log p cancels.
    const auto tail = factor_exp(d, hn::Neg(hn::Abs(m)));
    const auto inverse = hn::Div(one, hn::Add(one, tail));
    const auto wrong = hn::IfThenElse(hn::Gt(m, zero), hn::Mul(tail, inverse), inverse);
    const auto residual = hn::Mul(w, wrong);
    const auto loss = hn::Add(hn::Max(hn::Neg(m), zero), hn::Log1p(d, tail));
    total = hn::Add(total, residual);
    hn::Store(residual, d, margin);
    hn::Store(hn::Mul(hn::Abs(w), loss), d, weight);
    for (std::size_t r = 0; r < count; ++r) {
      row[r * width] = margin[r];
      result.loss += static_cast<double>(weight[r]);
    }
  }
  column_sum[0] += hn::GetLane(hn::SumOfLanes(d, total));
  return result;
}

void softmax_curvatures_impl(PanelMatrix& scores, std::size_t n_rows, const float* weights,
                             float* column_sum, float* means) {
  const FloatTag d;
  const auto one = hn::Set(d, 1.0F);
  for (std::size_t i = 0; i < n_rows; ++i) {
    const Normaliser norm = exponentials<true>(scores, i);
    const auto inverse = hn::Set(d, 1.0F / (norm.n_highest + norm.rest));
    const auto weight = hn::Set(d, weights != nullptr ? weights[i] : 1.0F);
    auto sum = hn::Zero(d);
    turn_row(scores, i, column_sum, [&](hn::Vec<FloatTag> e) {
      const auto p = hn::Mul(e, inverse);
      const auto curvature = hn::Mul(weight, hn::Mul(p, hn::Sub(one, p)));
      sum = hn::Add(sum, curvature);
      return curvature;
    });
    means[i] = hn::GetLane(hn::SumOfLanes(d, sum)) / static_cast<float>(scores.cols());
  }
}

void logistic_curvatures_impl(PanelMatrix& scores, std::size_t n_rows, const float* weights,
                              float* column_sum, float* means) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t width = scores.width(0);
  const auto one = hn::Set(d, 1.0F);
  HWY_ALIGN float values[hn::MaxLanes(FloatTag())] = {};
  HWY_ALIGN float weight[hn::MaxLanes(FloatTag())] = {};
  auto total = hn::Zero(d);
  for (std::size_t i = 0; i < n_rows; i += lanes) {
    const std::size_t count = std::min(lanes, n_rows - i);
    float* HWY_RESTRICT row = scores.panel(0) + i * width;
    for (std::size_t r = 0; r < count; ++r) {
      values[r] = row[r * width];
      weight[r] = weights != nullptr ? weights[i + r] : 1.0F;
    }
    std::fill(weight + count, weight + lanes, 0.0F);
    const auto tail = factor_exp(d, hn::Neg(hn::Abs(hn::Load(d, values))));
    const auto inverse = hn::Div(one, hn::Add(one, tail));
    const auto curvature = hn::Mul(hn::Load(d, weight), hn::Mul(hn::Mul(tail, inverse), inverse));
    total = hn::Add(total, curvature);
    hn::Store(curvature, d, values);
    for (std::size_t r = 0; r < count; ++r) means[i + r] = row[r * width] = values[r];
  }
  column_sum[0] += hn::GetLane(hn::SumOfLanes(d, total));
}

void softmax_rows_impl(PanelMatrix& scores, std::size_t n_rows) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  for (std::size_t i = 0; i < n_rows; ++i) {
    const Normaliser norm = exponentials<false>(scores, i);
    const auto factor = hn::Set(d, 1.0F / (norm.n_highest + norm.rest));
    for (std::size_t g = 0; g < scores.n_panels(); ++g) {
      const std::size_t width = scores.width(g);
      float* row = scores.panel(g) + i * width;
      for (std::size_t j = 0; j < width; j += lanes) {
        hn::Store(hn::Mul(hn::Load(d, row + j), factor), d, row + j);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace eyespot::solver
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-use-internal-linkage,modernize-concat-nested-namespaces)

#if HWY_ONCE
// NOLINTBEGIN(misc-const-correctness): the check does not see through the table of pointers
namespace eyespot::solver {

HWY_EXPORT(vector_lanes);
HWY_EXPORT(multiply_impl);
HWY_EXPORT(multiply_transposed_impl);
HWY_EXPORT(accumulate_impl);
HWY_EXPORT(pack_rows_impl);
HWY_EXPORT(softmax_residuals_impl);
HWY_EXPORT(logistic_residuals_impl);
HWY_EXPORT(softmax_curvatures_impl);
HWY_EXPORT(logistic_curvatures_impl);
HWY_EXPORT(softmax_rows_impl);

RowLosses softmax_residuals(PanelMatrix& scores, std::size_t n_rows, const std::int32_t* targets,
                            const float* weights, float* column_sum) {
  return HWY_DYNAMIC_DISPATCH(softmax_residuals_impl)(scores, n_rows, targets, weights, column_sum);
}

RowLosses logistic_residuals(PanelMatrix& scores, std::size_t n_rows, const std::int32_t* targets,
                             const float* weights, float* column_sum) {
  return HWY_DYNAMIC_DISPATCH(logistic_residuals_impl)(scores, n_rows, targets, weights,
                                                       column_sum);
}

void softmax_curvatures(PanelMatrix& scores, std::size_t n_rows, const float* weights,
                        float* column_sum, float* means) {
  HWY_DYNAMIC_DISPATCH(softmax_curvatures_impl)(scores, n_rows, weights, column_sum, means);
}

void logistic_curvatures(PanelMatrix& scores, std::size_t n_rows, const float* weights,
                         float* column_sum, float* means) {
  HWY_DYNAMIC_DISPATCH(logistic_curvatures_impl)(scores, n_rows, weights, column_sum, means);
}

void softmax_rows(PanelMatrix& scores, std::size_t n_rows) {
  HWY_DYNAMIC_DISPATCH(softmax_rows_impl)(scores, n_rows);
}

}  // namespace eyespot::solver

namespace eyespot {

std::size_t panel_width() {
  static_cast<void>(simd_target());  // applies EYESPOT_SIMD before the first dispatch
  return 3 * HWY_DYNAMIC_DISPATCH(solver::vector_lanes)();
}

void multiply(const PanelMatrix& a, const PanelMatrix& b, MultiplyInit init, const float* row,
              const MultiplyRange& range, PanelMatrix& out) {
  HWY_DYNAMIC_DISPATCH(solver::multiply_impl)(a, b, init, row, range, out);
}

void multiply_transposed(const PanelMatrix& a, const PanelMatrix& b, std::size_t first,
                         const float* row, std::size_t n_rows, PanelMatrix& out) {
  HWY_DYNAMIC_DISPATCH(solver::multiply_transposed_impl)(a, b, first, row, n_rows, out);
}

void accumulate_transposed(const PanelMatrix& a, const PanelMatrix& b, std::size_t n_rows,
                           double* sum) {
  for (std::size_t q = 0; q < b.n_panels(); ++q) accumulate_panel(a, b, n_rows, q, sum);
}

void accumulate_panel(const PanelMatrix& a, const PanelMatrix& b, std::size_t n_rows, std::size_t q,
                      double* sum) {
  accumulate_panels(a, 0, a.n_panels(), b, n_rows, q, sum + q * b.panel_width() * a.cols());
}

void accumulate_panels(const PanelMatrix& a, std::size_t left_begin, std::size_t left_end,
                       const PanelMatrix& b, std::size_t n_rows, std::size_t q, double* sum) {
  if (n_rows == 0) return;
  HWY_DYNAMIC_DISPATCH(solver::accumulate_impl)(a, b, n_rows, left_begin, left_end, q, sum);
}

void accumulate_gram(const PanelMatrix& a, std::size_t n_rows, std::size_t q, double* panel) {
  accumulate_panels(a, q, a.n_panels(), a, n_rows, q, panel);
}

void pack_rows(const RowsView& source, std::size_t first, std::size_t count, const float* offset,
               const float* scale, PanelMatrix& out) {
  HWY_DYNAMIC_DISPATCH(solver::pack_rows_impl)(source, first, count, offset, scale, out);
}

}  // namespace eyespot
// NOLINTEND(misc-const-correctness)
#endif  // HWY_ONCE
