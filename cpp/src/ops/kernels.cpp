#include "kernels.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../runtime/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/kernels.cpp"  // NOLINT(bugprone-suspicious-include): Highway's way
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace eyespot::detail {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

const Kernels& target_kernels() {
  return scalar_kernels();
}

#else

namespace {

namespace hn = hwy::HWY_NAMESPACE;

using std::int16_t;
using std::size_t;
using std::uint8_t;

// The lanes of a column's vector: all 16 rows, or half of them where vectors are 128 bits wide.
using ColumnTag = hn::CappedTag<int16_t, kBlockRows>;
using ByteTag = hn::FixedTag<uint8_t, 16>;

// Runs body(offset, pointer to a whole vector of row bytes) over n bytes; the last, partial vector
// comes from a copy, so nothing is read past the row's end.
template <class D8, class Body>
HWY_INLINE void for_row(D8 d8, const uint8_t* HWY_RESTRICT row, size_t n, const Body& body) {
  const size_t lanes = hn::Lanes(d8);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i, row + i);
  if (i < n) {
    HWY_ALIGN uint8_t tail[HWY_MAX_BYTES] = {};
    std::memcpy(tail, row + i, n - i);
    body(i, tail);
  }
}

template <class D>
HWY_INLINE auto load_wide(D d, const uint8_t* HWY_RESTRICT row) {
  const hn::Rebind<uint8_t, D> d8;
  return hn::ShiftLeft<kLevelBits>(hn::PromoteTo(d, hn::LoadU(d8, row)));
}

void accumulate(const uint8_t* row, size_t n, int16_t weight, int16_t* HWY_RESTRICT acc) {
  const hn::ScalableTag<int16_t> d;
  const auto w = hn::Set(d, weight);
  for_row(hn::Rebind<uint8_t, decltype(d)>(), row, n, [&](size_t i, const uint8_t* bytes) HWY_ATTR {
    const auto product = hn::MulFixedPoint15(load_wide(d, bytes), w);
    hn::Store(hn::Add(hn::Load(d, acc + i), product), d, acc + i);
  });
}

void accumulate2(const uint8_t* row, size_t n, int16_t weight0, int16_t* HWY_RESTRICT acc0,
                 int16_t weight1, int16_t* HWY_RESTRICT acc1) {
  const hn::ScalableTag<int16_t> d;
  const auto w0 = hn::Set(d, weight0);
  const auto w1 = hn::Set(d, weight1);
  for_row(hn::Rebind<uint8_t, decltype(d)>(), row, n, [&](size_t i, const uint8_t* bytes) HWY_ATTR {
    const auto v = load_wide(d, bytes);
    hn::Store(hn::Add(hn::Load(d, acc0 + i), hn::MulFixedPoint15(v, w0)), d, acc0 + i);
    hn::Store(hn::Add(hn::Load(d, acc1 + i), hn::MulFixedPoint15(v, w1)), d, acc1 + i);
  });
}

void accumulate_wide(const int16_t* HWY_RESTRICT row, size_t n, int16_t weight,
                     int16_t* HWY_RESTRICT acc) {
  const hn::ScalableTag<int16_t> d;
  const auto w = hn::Set(d, weight);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto product = hn::MulFixedPoint15(hn::Load(d, row + i), w);
    hn::Store(hn::Add(hn::Load(d, acc + i), product), d, acc + i);
  }
}

void widen(const uint8_t* row, size_t n, int16_t* HWY_RESTRICT out) {
  const hn::ScalableTag<int16_t> d;
  for_row(hn::Rebind<uint8_t, decltype(d)>(), row, n, [&](size_t i, const uint8_t* bytes) HWY_ATTR {
    hn::Store(load_wide(d, bytes), d, out + i);
  });
}

// Two rows side by side, eight rows apart, where the vector has room for both.
template <class D>
HWY_INLINE hn::Vec<D> load_row_pair(D d, const int16_t* HWY_RESTRICT row, size_t stride) {
  if constexpr (hn::MaxLanes(D()) == kBlockRows) {
    const hn::Half<D> half;
    return hn::Combine(d, hn::Load(half, row + 8 * stride), hn::Load(half, row));
  } else {
    return hn::Load(d, row);
  }
}

// Interleaving vector i with vector i + 4, three times over, transposes 8 x 8 lanes in each 128-bit
// block: every round turns the address (vector, lane) by one bit.
template <class D, class V>
HWY_INLINE void transpose_blocks(D d, V& v0, V& v1, V& v2, V& v3, V& v4, V& v5, V& v6, V& v7) {
  for (int round = 0; round < 3; ++round) {
    const V t0 = hn::InterleaveLower(d, v0, v4), t1 = hn::InterleaveUpper(d, v0, v4);
    const V t2 = hn::InterleaveLower(d, v1, v5), t3 = hn::InterleaveUpper(d, v1, v5);
    const V t4 = hn::InterleaveLower(d, v2, v6), t5 = hn::InterleaveUpper(d, v2, v6);
    const V t6 = hn::InterleaveLower(d, v3, v7), t7 = hn::InterleaveUpper(d, v3, v7);
    v0 = t0, v1 = t1, v2 = t2, v3 = t3, v4 = t4, v5 = t5, v6 = t6, v7 = t7;
  }
}

void transpose(const int16_t* rows, size_t stride, size_t begin, size_t end,
               int16_t* HWY_RESTRICT columns) {
  const ColumnTag d;
  for (size_t c = begin; c < end; c += 8) {
    for (size_t r = 0; r < kBlockRows; r += hn::Lanes(d)) {
      const int16_t* in = rows + r * stride + c;
      auto v0 = load_row_pair(d, in, stride);
      auto v1 = load_row_pair(d, in + stride, stride);
      auto v2 = load_row_pair(d, in + 2 * stride, stride);
      auto v3 = load_row_pair(d, in + 3 * stride, stride);
      auto v4 = load_row_pair(d, in + 4 * stride, stride);
      auto v5 = load_row_pair(d, in + 5 * stride, stride);
      auto v6 = load_row_pair(d, in + 6 * stride, stride);
      auto v7 = load_row_pair(d, in + 7 * stride, stride);
      transpose_blocks(d, v0, v1, v2, v3, v4, v5, v6, v7);
      int16_t* out = columns + c * kBlockRows + r;
      hn::Store(v0, d, out);
      hn::Store(v1, d, out + kBlockRows);
      hn::Store(v2, d, out + 2 * kBlockRows);
      hn::Store(v3, d, out + 3 * kBlockRows);
      hn::Store(v4, d, out + 4 * kBlockRows);
      hn::Store(v5, d, out + 5 * kBlockRows);
      hn::Store(v6, d, out + 6 * kBlockRows);
      hn::Store(v7, d, out + 7 * kBlockRows);
    }
  }
}

template <class D>
HWY_INLINE void store_row_pair(hn::Vec<D> v, D d, int16_t* HWY_RESTRICT row, size_t stride) {
  if constexpr (hn::MaxLanes(D()) == kBlockRows) {
    const hn::Half<D> half;
    hn::Store(hn::LowerHalf(half, v), half, row);
    hn::Store(hn::UpperHalf(half, v), half, row + 8 * stride);
  } else {
    hn::Store(v, d, row);
  }
}

void restore_rows(const int16_t* columns, size_t n, int16_t* HWY_RESTRICT rows, size_t stride) {
  const ColumnTag d;
  const auto low = hn::Zero(d);
  const auto high = hn::Set(d, int16_t{255 << kFractionBits});
  const auto load = [&](const int16_t* column) HWY_ATTR {
    const auto value = hn::Min(hn::Max(hn::Load(d, column), low), high);
    return hn::ShiftLeft<kLevelBits - kFractionBits>(value);
  };
  for (size_t c = 0; c < n; c += 8) {
    for (size_t r = 0; r < kBlockRows; r += hn::Lanes(d)) {
      const int16_t* in = columns + c * kBlockRows + r;
      auto v0 = load(in), v1 = load(in + kBlockRows);
      auto v2 = load(in + 2 * kBlockRows), v3 = load(in + 3 * kBlockRows);
      auto v4 = load(in + 4 * kBlockRows), v5 = load(in + 5 * kBlockRows);
      auto v6 = load(in + 6 * kBlockRows), v7 = load(in + 7 * kBlockRows);
      transpose_blocks(d, v0, v1, v2, v3, v4, v5, v6, v7);
      int16_t* out = rows + r * stride + c;
      store_row_pair(v0, d, out, stride);
      store_row_pair(v1, d, out + stride, stride);
      store_row_pair(v2, d, out + 2 * stride, stride);
      store_row_pair(v3, d, out + 3 * stride, stride);
      store_row_pair(v4, d, out + 4 * stride, stride);
      store_row_pair(v5, d, out + 5 * stride, stride);
      store_row_pair(v6, d, out + 6 * stride, stride);
      store_row_pair(v7, d, out + 7 * stride, stride);
    }
  }
}

// kChannels sums side by side share the weight's broadcast and hide the multiplier's latency.
template <size_t kChannels>
HWY_INLINE void weigh_columns(const int16_t* HWY_RESTRICT in, size_t step, size_t count,
                              const int16_t* HWY_RESTRICT weights, int16_t* HWY_RESTRICT out) {
  const ColumnTag d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = 0; r < kBlockRows; r += lanes) {
    const int16_t* column = in + r;
    auto w = hn::Set(d, weights[0]);
    auto sum0 = hn::MulFixedPoint15(hn::Load(d, column), w);
    auto sum1 = sum0;
    auto sum2 = sum0;
    if constexpr (kChannels == 3) {
      sum1 = hn::MulFixedPoint15(hn::Load(d, column + kBlockRows), w);
      sum2 = hn::MulFixedPoint15(hn::Load(d, column + 2 * kBlockRows), w);
    }
    for (size_t k = 1; k < count; ++k) {
      column += step;
      w = hn::Set(d, weights[k]);
      sum0 = hn::Add(sum0, hn::MulFixedPoint15(hn::Load(d, column), w));
      if constexpr (kChannels == 3) {
        sum1 = hn::Add(sum1, hn::MulFixedPoint15(hn::Load(d, column + kBlockRows), w));
        sum2 = hn::Add(sum2, hn::MulFixedPoint15(hn::Load(d, column + 2 * kBlockRows), w));
      }
    }
    hn::Store(sum0, d, out + r);
    if constexpr (kChannels == 3) {
      hn::Store(sum1, d, out + kBlockRows + r);
      hn::Store(sum2, d, out + 2 * kBlockRows + r);
    }
  }
}

void horizontal(const int16_t* columns, size_t channels, const std::uint32_t* first,
                const std::uint32_t* count, const int16_t* values, size_t stride, size_t begin,
                size_t end, int16_t* out) {
  const size_t step = channels * kBlockRows;
  for (size_t i = begin; i < end; ++i) {
    const int16_t* in = columns + first[i] * step;
    const int16_t* weights = values + i * stride;
    int16_t* target = out + i * step;
    if (channels == 3) {
      weigh_columns<3>(in, step, count[i], weights, target);
    } else {
      for (size_t c = 0; c < channels; ++c) {
        weigh_columns<1>(in + c * kBlockRows, step, count[i], weights, target + c * kBlockRows);
      }
    }
  }
}

void ycc_to_rgb(const int16_t* y, const int16_t* cb, const int16_t* cr, size_t n,
                int16_t* HWY_RESTRICT rgb) {
  const ColumnTag d;
  const size_t lanes = hn::Lanes(d);
  const auto center = hn::Set(d, int16_t{128 << kFractionBits});
  for (size_t x = 0; x < n; ++x) {
    for (size_t r = 0; r < kBlockRows; r += lanes) {
      const auto luma = hn::Load(d, y + x * kBlockRows + r);
      const auto blue = hn::Sub(hn::Load(d, cb + x * kBlockRows + r), center);
      const auto red = hn::Sub(hn::Load(d, cr + x * kBlockRows + r), center);
      int16_t* out = rgb + 3 * x * kBlockRows + r;
      const auto scaled = [&](auto v, int16_t factor)
                              HWY_ATTR { return hn::MulFixedPoint15(v, hn::Set(d, factor)); };
      const auto r_out = hn::SaturatedAdd(hn::SaturatedAdd(luma, red), scaled(red, kRedFromCr));
      const auto g_out = hn::SaturatedSub(hn::SaturatedSub(luma, scaled(blue, kGreenFromCb)),
                                          scaled(red, kGreenFromCr));
      const auto b_out = hn::SaturatedAdd(hn::SaturatedAdd(luma, blue), scaled(blue, kBlueFromCb));
      hn::Store(r_out, d, out);
      hn::Store(g_out, d, out + kBlockRows);
      hn::Store(b_out, d, out + 2 * kBlockRows);
    }
  }
}

void grey_to_rgb(const int16_t* grey, size_t n, int16_t* HWY_RESTRICT rgb) {
  for (size_t x = 0; x < n; ++x) {
    for (size_t c = 0; c < 3; ++c) {
      std::memcpy(rgb + (3 * x + c) * kBlockRows, grey + x * kBlockRows,
                  kBlockRows * sizeof(int16_t));
    }
  }
}

template <class D>
HWY_INLINE hn::Vec<ByteTag> round_column(D d, const int16_t* HWY_RESTRICT column) {
  const ByteTag d8;
  const auto half = hn::Set(d, int16_t{1 << (kFractionBits - 1)});
  const auto round = [&](const int16_t* p) HWY_ATTR {
    return hn::ShiftRight<kFractionBits>(hn::SaturatedAdd(hn::Load(d, p), half));
  };
  if constexpr (hn::MaxLanes(D()) == kBlockRows) {
    return hn::DemoteTo(d8, round(column));
  } else {
    const hn::Half<ByteTag> d8_half;
    return hn::Combine(d8, hn::DemoteTo(d8_half, round(column + 8)),
                       hn::DemoteTo(d8_half, round(column)));
  }
}

// The transposition of transpose(), on 16 x 16 bytes: four rounds.
void store_rows(const int16_t* columns, size_t n_columns, size_t n_rows, uint8_t* out,
                size_t out_stride) {
  const ByteTag d;
  const ColumnTag d16;
  using V = hn::Vec<ByteTag>;
  HWY_ALIGN uint8_t tile[kBlockRows * 16];
  for (size_t c = 0; c < n_columns; c += 16) {
    const int16_t* in = columns + c * kBlockRows;
    V v0 = round_column(d16, in), v1 = round_column(d16, in + 1 * kBlockRows);
    V v2 = round_column(d16, in + 2 * kBlockRows), v3 = round_column(d16, in + 3 * kBlockRows);
    V v4 = round_column(d16, in + 4 * kBlockRows), v5 = round_column(d16, in + 5 * kBlockRows);
    V v6 = round_column(d16, in + 6 * kBlockRows), v7 = round_column(d16, in + 7 * kBlockRows);
    V v8 = round_column(d16, in + 8 * kBlockRows), v9 = round_column(d16, in + 9 * kBlockRows);
    V va = round_column(d16, in + 10 * kBlockRows), vb = round_column(d16, in + 11 * kBlockRows);
    V vc = round_column(d16, in + 12 * kBlockRows), vd = round_column(d16, in + 13 * kBlockRows);
    V ve = round_column(d16, in + 14 * kBlockRows), vf = round_column(d16, in + 15 * kBlockRows);
    for (int round = 0; round < 4; ++round) {
      const V t0 = hn::InterleaveLower(d, v0, v8), t1 = hn::InterleaveUpper(d, v0, v8);
      const V t2 = hn::InterleaveLower(d, v1, v9), t3 = hn::InterleaveUpper(d, v1, v9);
      const V t4 = hn::InterleaveLower(d, v2, va), t5 = hn::InterleaveUpper(d, v2, va);
      const V t6 = hn::InterleaveLower(d, v3, vb), t7 = hn::InterleaveUpper(d, v3, vb);
      const V t8 = hn::InterleaveLower(d, v4, vc), t9 = hn::InterleaveUpper(d, v4, vc);
      const V ta = hn::InterleaveLower(d, v5, vd), tb = hn::InterleaveUpper(d, v5, vd);
      const V tc = hn::InterleaveLower(d, v6, ve), td = hn::InterleaveUpper(d, v6, ve);
      const V te = hn::InterleaveLower(d, v7, vf), tf = hn::InterleaveUpper(d, v7, vf);
      v0 = t0, v1 = t1, v2 = t2, v3 = t3, v4 = t4, v5 = t5, v6 = t6, v7 = t7;
      v8 = t8, v9 = t9, va = ta, vb = tb, vc = tc, vd = td, ve = te, vf = tf;
    }
    const bool whole = n_rows == kBlockRows && c + 16 <= n_columns;
    uint8_t* target = whole ? out + c : tile;
    const size_t stride = whole ? out_stride : 16;
    hn::StoreU(v0, d, target), hn::StoreU(v1, d, target + stride);
    hn::StoreU(v2, d, target + 2 * stride), hn::StoreU(v3, d, target + 3 * stride);
    hn::StoreU(v4, d, target + 4 * stride), hn::StoreU(v5, d, target + 5 * stride);
    hn::StoreU(v6, d, target + 6 * stride), hn::StoreU(v7, d, target + 7 * stride);
    hn::StoreU(v8, d, target + 8 * stride), hn::StoreU(v9, d, target + 9 * stride);
    hn::StoreU(va, d, target + 10 * stride), hn::StoreU(vb, d, target + 11 * stride);
    hn::StoreU(vc, d, target + 12 * stride), hn::StoreU(vd, d, target + 13 * stride);
    hn::StoreU(ve, d, target + 14 * stride), hn::StoreU(vf, d, target + 15 * stride);
    if (!whole) {
      const size_t width = HWY_MIN(size_t{16}, n_columns - c);
      for (size_t r = 0; r < n_rows; ++r) {
        std::memcpy(out + r * out_stride + c, tile + r * 16, width);
      }
    }
  }
}

void split_rgb(const uint8_t* rgb, size_t n, uint8_t* red, uint8_t* green, uint8_t* blue) {
  const ByteTag d;
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    hn::Vec<ByteTag> r, g, b;
    hn::LoadInterleaved3(d, rgb + 3 * i, r, g, b);
    hn::StoreU(r, d, red + i);
    hn::StoreU(g, d, green + i);
    hn::StoreU(b, d, blue + i);
  }
  for (; i < n; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

// Not a fused multiply-add: its rounding would differ between targets.
template <class DF>
HWY_INLINE hn::Vec<DF> scaled_floats(DF df, const uint8_t* HWY_RESTRICT in, hn::Vec<DF> factor,
                                     hn::Vec<DF> offset) {
  const hn::RebindToSigned<DF> di;
  const hn::Rebind<uint8_t, DF> d8;
  const auto value = hn::ConvertTo(df, hn::PromoteTo(di, hn::LoadU(d8, in)));
  return hn::Add(hn::Mul(value, factor), offset);
}

void to_float(const uint8_t* in, size_t n, float factor, float offset, float* out) {
  const hn::ScalableTag<float> df;
  const size_t lanes = hn::Lanes(df);
  const auto f = hn::Set(df, factor);
  const auto o = hn::Set(df, offset);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(scaled_floats(df, in + i, f, o), df, out + i);
  for (; i < n; ++i) out[i] = static_cast<float>(in[i]) * factor + offset;
}

void to_float3(const uint8_t* in, size_t n, const float* factor, const float* offset, float* out) {
  const hn::ScalableTag<float> df;
  const size_t lanes = hn::Lanes(df);
  HWY_ALIGN float factors[3 * HWY_MAX_BYTES / sizeof(float)];
  HWY_ALIGN float offsets[3 * HWY_MAX_BYTES / sizeof(float)];
  for (size_t k = 0; k < 3 * lanes; ++k) {
    factors[k] = factor[k % 3];
    offsets[k] = offset[k % 3];
  }
  size_t i = 0;
  for (; i + 3 * lanes <= 3 * n; i += 3 * lanes) {
    for (size_t k = 0; k < 3 * lanes; k += lanes) {
      hn::StoreU(
          scaled_floats(df, in + i + k, hn::Load(df, factors + k), hn::Load(df, offsets + k)), df,
          out + i + k);
    }
  }
  for (; i < 3 * n; ++i) out[i] = static_cast<float>(in[i]) * factor[i % 3] + offset[i % 3];
}

}  // namespace

const Kernels& target_kernels() {
  static constexpr Kernels kSet{accumulate,   accumulate2, accumulate_wide, widen,       transpose,
                                restore_rows, horizontal,  ycc_to_rgb,      grey_to_rgb, store_rows,
                                split_rgb,    to_float,    to_float3};
  return kSet;
}

#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace eyespot::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eyespot::detail {

HWY_EXPORT(target_kernels);

const Kernels& kernels() {
  simd_ready();
  return HWY_DYNAMIC_DISPATCH(target_kernels)();
}

}  // namespace eyespot::detail
#endif  // HWY_ONCE
