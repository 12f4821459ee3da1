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
// NOLINTNEXTLINE(modernize-concat-nested-namespaces): Highway's macros take these two
namespace eyespot::detail {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

// NOLINTNEXTLINE(misc-use-internal-linkage): called through HWY_EXPORT, like that of other targets
const Kernels& target_kernels() {
  return scalar_kernels();
}

#elif HWY_TARGET == HWY_AVX3 && (HWY_TARGETS & HWY_AVX2)

}  // namespace HWY_NAMESPACE
namespace N_AVX2 {
extern const Kernels kKernels;
}
namespace HWY_NAMESPACE {

// See LevelTag: nothing here is for wider vectors, and compiled for AVX-512 the compiler uses some.
const Kernels& target_kernels() {
  return N_AVX2::target_kernels();
}

#else

namespace {

namespace hn = hwy::HWY_NAMESPACE;

using std::int16_t;
using std::size_t;
using std::uint8_t;

// 128-bit vectors on every target: inside the decoder, of whose time these loops are a tenth, they
// were the fastest. On a Cascade Lake Xeon whole decodes ran at 0.94 of the bare decoder's speed
// with 128 bits (AVX2 target), at 0.91 with 256 and at 0.86 with 512; the cause was not isolated.
using LevelTag = hn::CappedTag<int16_t, 8>;
using ByteTag = hn::CappedTag<uint8_t, 16>;
using FloatTag = hn::CappedTag<float, 4>;

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

template <bool kFresh>
void accumulate_row(const uint8_t* row, size_t n, int16_t weight, int16_t* HWY_RESTRICT acc) {
  const LevelTag d;
  const auto w = hn::Set(d, weight);
  for_row(hn::Rebind<uint8_t, decltype(d)>(), row, n, [&](size_t i, const uint8_t* bytes) HWY_ATTR {
    const auto product = hn::MulFixedPoint15(load_wide(d, bytes), w);
    hn::Store(kFresh ? product : hn::Add(hn::Load(d, acc + i), product), d, acc + i);
  });
}

void accumulate(const uint8_t* row, size_t n, int16_t weight, int16_t* acc, bool fresh) {
  fresh ? accumulate_row<true>(row, n, weight, acc) : accumulate_row<false>(row, n, weight, acc);
}

template <bool kFresh>
void accumulate_two(const uint8_t* row, size_t n, int16_t weight0, int16_t* HWY_RESTRICT acc0,
                    int16_t weight1, int16_t* HWY_RESTRICT acc1) {
  const LevelTag d;
  const auto w0 = hn::Set(d, weight0);
  const auto w1 = hn::Set(d, weight1);
  const auto add = [&](size_t i, const uint8_t* bytes) HWY_ATTR {
    const auto v = load_wide(d, bytes);
    const auto product = hn::MulFixedPoint15(v, w1);
    hn::Store(hn::Add(hn::Load(d, acc0 + i), hn::MulFixedPoint15(v, w0)), d, acc0 + i);
    hn::Store(kFresh ? product : hn::Add(hn::Load(d, acc1 + i), product), d, acc1 + i);
  };
  // The compiler unrolls the inner loop, not the one in for_row(): 1 % of a whole decode.
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    for (size_t k = 0; k < 4; ++k) add(i + k * lanes, row + i + k * lanes);
  }
  for_row(hn::Rebind<uint8_t, decltype(d)>(), row + i, n - i,
          [&](size_t k, const uint8_t* bytes) HWY_ATTR { add(i + k, bytes); });
}

void accumulate2(const uint8_t* row, size_t n, int16_t weight0, int16_t* acc0, int16_t weight1,
                 int16_t* acc1, bool fresh1) {
  fresh1 ? accumulate_two<true>(row, n, weight0, acc0, weight1, acc1)
         : accumulate_two<false>(row, n, weight0, acc0, weight1, acc1);
}

void accumulate_wide(const int16_t* HWY_RESTRICT row, size_t n, int16_t weight,
                     int16_t* HWY_RESTRICT acc, bool fresh) {
  const LevelTag d;
  const auto w = hn::Set(d, weight);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto product = hn::MulFixedPoint15(hn::Load(d, row + i), w);
    const auto start = fresh ? hn::Zero(d) : hn::Load(d, acc + i);
    hn::Store(hn::Add(start, product), d, acc + i);
  }
}

void widen(const uint8_t* row, size_t n, int16_t* HWY_RESTRICT out) {
  const LevelTag d;
  for_row(hn::Rebind<uint8_t, decltype(d)>(), row, n, [&](size_t i, const uint8_t* bytes) HWY_ATTR {
    hn::Store(load_wide(d, bytes), d, out + i);
  });
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
  const LevelTag d;
  for (size_t c = begin; c < end; c += 8) {
    for (size_t r = 0; r < kBlockRows; r += hn::Lanes(d)) {
      const int16_t* in = rows + r * stride + c;
      auto v0 = hn::Load(d, in);
      auto v1 = hn::Load(d, in + stride);
      auto v2 = hn::Load(d, in + 2 * stride);
      auto v3 = hn::Load(d, in + 3 * stride);
      auto v4 = hn::Load(d, in + 4 * stride);
      auto v5 = hn::Load(d, in + 5 * stride);
      auto v6 = hn::Load(d, in + 6 * stride);
      auto v7 = hn::Load(d, in + 7 * stride);
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

void restore_rows(const int16_t* columns, size_t n, int16_t* HWY_RESTRICT rows, size_t stride) {
  const LevelTag d;
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
      hn::Store(v0, d, out);
      hn::Store(v1, d, out + stride);
      hn::Store(v2, d, out + 2 * stride);
      hn::Store(v3, d, out + 3 * stride);
      hn::Store(v4, d, out + 4 * stride);
      hn::Store(v5, d, out + 5 * stride);
      hn::Store(v6, d, out + 6 * stride);
      hn::Store(v7, d, out + 7 * stride);
    }
  }
}

// kChannels sums side by side share the weight's broadcast and hide the multiplier's latency.
template <size_t kChannels>
HWY_INLINE void weigh_columns(const int16_t* HWY_RESTRICT in, size_t step, size_t count,
                              const int16_t* HWY_RESTRICT weights, int16_t* HWY_RESTRICT out) {
  const LevelTag d;
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
                const int16_t* values, size_t taps, size_t begin, size_t end, int16_t* out) {
  const size_t step = channels * kBlockRows;
  for (size_t i = begin; i < end; ++i) {
    const int16_t* in = columns + first[i] * step;
    const int16_t* weights = values + i * taps;
    int16_t* target = out + i * step;
    if (channels == 3) {
      weigh_columns<3>(in, step, taps, weights, target);
    } else {
      for (size_t c = 0; c < channels; ++c) {
        weigh_columns<1>(in + c * kBlockRows, step, taps, weights, target + c * kBlockRows);
      }
    }
  }
}

// Two taps of one pixel a vector: their three channels are lanes 0 to 2 and 3 to 5.
template <size_t kPairs, class D>
HWY_INLINE hn::Vec<D> weigh_pixel(D d, const int16_t* HWY_RESTRICT in,
                                  const int16_t* HWY_RESTRICT weights, size_t more) {
  const size_t pairs = kPairs != 0 ? kPairs : more;
  auto sum = hn::MulFixedPoint15(hn::LoadU(d, in), hn::Load(d, weights));
  for (size_t k = 1; k < pairs; ++k) {
    const auto levels = hn::LoadU(d, in + 6 * k);
    sum = hn::Add(sum, hn::MulFixedPoint15(levels, hn::Load(d, weights + 8 * k)));
  }
  return hn::Add(sum, hn::ShiftRightBytes<3 * sizeof(int16_t)>(d, sum));
}

template <size_t kPairs>
void weigh_row(const int16_t* row, const std::uint32_t* first, const int16_t* weights, size_t more,
               size_t n, uint8_t* HWY_RESTRICT out) {
  const size_t pairs = kPairs != 0 ? kPairs : more;
  constexpr size_t kPixels = 4;  // 12 bytes
  const LevelTag d;
  const hn::Repartition<int64_t, LevelTag> d64;
  const ByteTag d8;
  const hn::Half<ByteTag> half;
  const auto rounding = hn::Set(d, int16_t{1 << (kFractionBits - 1)});
  alignas(16) static constexpr uint8_t kTight[16] = {0,  1,  2,  4,  5,    6,    8,    9,
                                                     10, 12, 13, 14, 0x80, 0x80, 0x80, 0x80};
  const auto tight = hn::Load(d8, kTight);
  const auto pixel = [&](size_t i) HWY_ATTR {
    return weigh_pixel<kPairs>(d, row + 3 * size_t{first[i]}, weights + i * pairs * 8, pairs);
  };
  const auto levels = [&](auto sums0, auto sums1) HWY_ATTR {
    const auto both =
        hn::BitCast(d, hn::InterleaveLower(d64, hn::BitCast(d64, sums0), hn::BitCast(d64, sums1)));
    return hn::DemoteTo(half, hn::ShiftRight<kFractionBits>(hn::SaturatedAdd(both, rounding)));
  };
  for (size_t i = 0; i < n; i += kPixels) {
    const size_t last = n - 1;
    const auto low = levels(pixel(i), pixel(HWY_MIN(i + 1, last)));
    const auto high = levels(pixel(HWY_MIN(i + 2, last)), pixel(HWY_MIN(i + 3, last)));
    const auto bytes = hn::TableLookupBytes(hn::Combine(d8, high, low), tight);
    const size_t room = 3 * (n - i);
    if (room >= 16) {
      hn::StoreU(bytes, d8, out + 3 * i);  // the 4 bytes too many are written over
    } else {
      HWY_ALIGN uint8_t tail[16];
      hn::Store(bytes, d8, tail);
      std::memcpy(out + 3 * i, tail, HWY_MIN(room, 3 * kPixels));
    }
  }
}

// The usual numbers of taps as loops of known length.
void horizontal_rgb(const int16_t* row, const std::uint32_t* first, const int16_t* weights,
                    size_t pairs, size_t n, uint8_t* out) {
  switch (pairs) {
    case 1: weigh_row<1>(row, first, weights, pairs, n, out); break;
    case 2: weigh_row<2>(row, first, weights, pairs, n, out); break;
    case 3: weigh_row<3>(row, first, weights, pairs, n, out); break;
    case 4: weigh_row<4>(row, first, weights, pairs, n, out); break;
    default: weigh_row<0>(row, first, weights, pairs, n, out); break;
  }
}

void ycc_to_rgb(const int16_t* y, const int16_t* cb, const int16_t* cr, size_t n,
                int16_t* HWY_RESTRICT rgb) {
  const LevelTag d;
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

// The grey levels of columns c and c + 8, in the even and the odd bytes.
HWY_INLINE hn::Vec<ByteTag> level_pair(LevelTag d, const int16_t* HWY_RESTRICT column) {
  const auto half = hn::Set(d, int16_t{1 << (kFractionBits - 1)});
  const auto low = hn::Zero(d);
  const auto high = hn::Set(d, int16_t{255});
  const auto level = [&](const int16_t* p) HWY_ATTR {
    const auto rounded = hn::ShiftRight<kFractionBits>(hn::SaturatedAdd(hn::Load(d, p), half));
    return hn::Min(hn::Max(rounded, low), high);
  };
  const auto pair = hn::Or(level(column), hn::ShiftLeft<8>(level(column + 8 * kBlockRows)));
  return hn::BitCast(ByteTag(), pair);
}

// 32 columns at a time. A byte's address is (vector: 4 bits, byte in the 128-bit block: 4 bits),
// and a round of interleaving vector i with vector i + 8 turns it by one bit. level_pair() has put
// bit 3 of the column into the lowest place, so with the vectors in the order (bits 2, 1, 0, 4 of
// the column) three rounds end at (column bit 4, row bits 2..0; column bits 3..0). Bit 3 of the row
// is the upper half of the vector, or the next turn of the loop.
void store_rows(const int16_t* columns, size_t n_columns, size_t n_rows, uint8_t* out,
                size_t out_stride) {
  const LevelTag d;
  const ByteTag d8;
  using V = hn::Vec<ByteTag>;
  HWY_ALIGN uint8_t tile[kBlockRows * 32];
  for (size_t c = 0; c < n_columns; c += 32) {
    const bool whole = n_rows == kBlockRows && c + 32 <= n_columns;
    uint8_t* const target = whole ? out + c : tile;
    const size_t stride = whole ? out_stride : 32;
    for (size_t r = 0; r < kBlockRows; r += hn::Lanes(d)) {
      const int16_t* in = columns + c * kBlockRows + r;
      const int16_t* in2 = in + 16 * kBlockRows;
      V v0 = level_pair(d, in), v1 = level_pair(d, in2);
      V v2 = level_pair(d, in + 1 * kBlockRows), v3 = level_pair(d, in2 + 1 * kBlockRows);
      V v4 = level_pair(d, in + 2 * kBlockRows), v5 = level_pair(d, in2 + 2 * kBlockRows);
      V v6 = level_pair(d, in + 3 * kBlockRows), v7 = level_pair(d, in2 + 3 * kBlockRows);
      V v8 = level_pair(d, in + 4 * kBlockRows), v9 = level_pair(d, in2 + 4 * kBlockRows);
      V va = level_pair(d, in + 5 * kBlockRows), vb = level_pair(d, in2 + 5 * kBlockRows);
      V vc = level_pair(d, in + 6 * kBlockRows), vd = level_pair(d, in2 + 6 * kBlockRows);
      V ve = level_pair(d, in + 7 * kBlockRows), vf = level_pair(d, in2 + 7 * kBlockRows);
      for (int round = 0; round < 3; ++round) {
        const V t0 = hn::InterleaveLower(d8, v0, v8), t1 = hn::InterleaveUpper(d8, v0, v8);
        const V t2 = hn::InterleaveLower(d8, v1, v9), t3 = hn::InterleaveUpper(d8, v1, v9);
        const V t4 = hn::InterleaveLower(d8, v2, va), t5 = hn::InterleaveUpper(d8, v2, va);
        const V t6 = hn::InterleaveLower(d8, v3, vb), t7 = hn::InterleaveUpper(d8, v3, vb);
        const V t8 = hn::InterleaveLower(d8, v4, vc), t9 = hn::InterleaveUpper(d8, v4, vc);
        const V ta = hn::InterleaveLower(d8, v5, vd), tb = hn::InterleaveUpper(d8, v5, vd);
        const V tc = hn::InterleaveLower(d8, v6, ve), td = hn::InterleaveUpper(d8, v6, ve);
        const V te = hn::InterleaveLower(d8, v7, vf), tf = hn::InterleaveUpper(d8, v7, vf);
        v0 = t0, v1 = t1, v2 = t2, v3 = t3, v4 = t4, v5 = t5, v6 = t6, v7 = t7;
        v8 = t8, v9 = t9, va = ta, vb = tb, vc = tc, vd = td, ve = te, vf = tf;
      }
      uint8_t* const rows = target + r * stride;
      hn::StoreU(v0, d8, rows), hn::StoreU(v8, d8, rows + 16);
      hn::StoreU(v1, d8, rows + stride);
      hn::StoreU(v9, d8, rows + stride + 16);
      hn::StoreU(v2, d8, rows + 2 * stride);
      hn::StoreU(va, d8, rows + 2 * stride + 16);
      hn::StoreU(v3, d8, rows + 3 * stride);
      hn::StoreU(vb, d8, rows + 3 * stride + 16);
      hn::StoreU(v4, d8, rows + 4 * stride);
      hn::StoreU(vc, d8, rows + 4 * stride + 16);
      hn::StoreU(v5, d8, rows + 5 * stride);
      hn::StoreU(vd, d8, rows + 5 * stride + 16);
      hn::StoreU(v6, d8, rows + 6 * stride);
      hn::StoreU(ve, d8, rows + 6 * stride + 16);
      hn::StoreU(v7, d8, rows + 7 * stride);
      hn::StoreU(vf, d8, rows + 7 * stride + 16);
    }
    if (!whole) {
      const size_t width = HWY_MIN(size_t{32}, n_columns - c);
      for (size_t r = 0; r < n_rows; ++r) {
        std::memcpy(out + r * out_stride + c, tile + r * 32, width);
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
  const FloatTag df;
  const size_t lanes = hn::Lanes(df);
  const auto f = hn::Set(df, factor);
  const auto o = hn::Set(df, offset);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(scaled_floats(df, in + i, f, o), df, out + i);
  for (; i < n; ++i) out[i] = static_cast<float>(in[i]) * factor + offset;
}

void to_float3(const uint8_t* in, size_t n, const float* factor, const float* offset, float* out) {
  const FloatTag df;
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

extern const Kernels kKernels;
const Kernels kKernels{accumulate,   accumulate2, accumulate_wide, widen,      transpose,
                       restore_rows, horizontal,  horizontal_rgb,  ycc_to_rgb, grey_to_rgb,
                       store_rows,   split_rgb,   to_float,        to_float3};

const Kernels& target_kernels() {
  return kKernels;
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
