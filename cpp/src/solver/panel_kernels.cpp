#include <algorithm>
#include <numeric>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE \
  "solver/panel_kernels.cpp"  // NOLINT(bugprone-suspicious-include): as Highway asks
#include <hwy/foreach_target.h>
// After foreach_target, which includes this file once per target.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "dot_products-inl.hpp"

// NOLINTBEGIN(misc-use-internal-linkage,modernize-concat-nested-namespaces): each target's
// namespace is reopened by Highway's macros, and its functions are reached from outside it.
HWY_BEFORE_NAMESPACE();
namespace eyespot::solver {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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
  constexpr std::size_t kRows = kVectors == 1 ? std::min<std::size_t>(8, 2 * kTileRows) : kTileRows;
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
  if constexpr (kRows > 2) {
    if ((rest & 2) != 0) {
      multiply_tile<2, kVectors>(t);
      t.first_row += 2;
    }
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

// What a dot_tile reads and writes: columns of `out` from first_class on, which are in one panel.
struct DotArgs {
  const PanelMatrix* a;
  const PanelMatrix* b;
  const float* row;
  PanelMatrix* out;
  std::size_t first_class;
};

// Scores of kRows rows for kClasses rows of weights: dot products, so that no lane goes to a class
// that is not there.
template <std::size_t kRows, std::size_t kClasses>
HWY_NOINLINE void dot_tile(const DotArgs& t, std::size_t first_row) {
  HWY_ALIGN float sums[kDotProducts<kRows, kClasses>];
  dot_products<kRows, kClasses>(*t.a, first_row, *t.b, t.first_class, sums);
  const float* row = t.row + t.first_class;
#if HWY_TARGET == HWY_SCALAR
  // Panels of three columns: the classes are in several.
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kClasses; ++c) {
      element(*t.out, first_row + r, t.first_class + c) = row[c] + sums[r * kClasses + c];
    }
  }
#else
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

// Rows of a tile, as many as the registers allow: each row of weights is loaded once a tile.
constexpr std::size_t dot_rows(std::size_t n_classes) {
  return std::clamp<std::size_t>(3 * kTileRows / n_classes, 1, 8);
}

// Rows [begin, end).
template <std::size_t kClasses>
void dot_tiles(const DotArgs& t, std::size_t begin, std::size_t end) {
  constexpr std::size_t kRows = dot_rows(kClasses);
  std::size_t i = begin;
  for (; i + kRows <= end; i += kRows) dot_tile<kRows, kClasses>(t, i);
  for (; i < end; ++i) dot_tile<1, kClasses>(t, i);
}

void multiply_transposed_impl(const PanelMatrix& a, const PanelMatrix& b, std::size_t first,
                              const float* row, std::size_t n_rows, PanelMatrix& out) {
  // Half of the classes at a time where all would leave room for the sums of few rows: of each tile
  // or two, so that rows are on their way from far caches while those before them are multiplied by
  // the second half. What the first half writes as padding, the second does anew.
  const std::size_t n_classes = b.rows() - first;
  const bool halved = n_classes > 6;
  const std::size_t step = halved ? (n_classes + 1) / 2 : n_classes;
  const std::size_t height = halved ? std::lcm(dot_rows(step), dot_rows(n_classes - step)) : n_rows;
  for (std::size_t begin = 0; begin < n_rows; begin += height) {
    const std::size_t end = std::min(begin + height, n_rows);
    for (std::size_t c = first; c < b.rows(); c += step) {
      const DotArgs t{.a = &a, .b = &b, .row = row, .out = &out, .first_class = c};
      switch (std::min(step, b.rows() - c)) {
        case 1: dot_tiles<1>(t, begin, end); break;
        case 2: dot_tiles<2>(t, begin, end); break;
        case 3: dot_tiles<3>(t, begin, end); break;
        case 4: dot_tiles<4>(t, begin, end); break;
        case 5: dot_tiles<5>(t, begin, end); break;
        default: dot_tiles<6>(t, begin, end);
      }
    }
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
    for (std::size_t v = 0; v < kVectors; ++v) x[v] = load_once(d, right + v * lanes);
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
