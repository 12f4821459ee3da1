#include "jpeg_kernels.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "../runtime/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "codec/jpeg_kernels.cpp"  // NOLINT(bugprone-suspicious-include)
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
// NOLINTNEXTLINE(modernize-concat-nested-namespaces): Highway's macros take these two
namespace eyespot::codec {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

// NOLINTNEXTLINE(misc-use-internal-linkage): called through HWY_EXPORT, like that of other targets
const JpegKernels& target_kernels() {
  return scalar_jpeg_kernels();
}

#else

namespace {

namespace hn = hwy::HWY_NAMESPACE;

using std::int16_t;
using std::size_t;
using std::uint8_t;

// One to four blocks side by side, each in its 128 bits: a row of coefficients, or a column of
// what the first pass yields.
using Tag = hn::CappedTag<int16_t, kGroupRow>;
using WideTag = hn::RepartitionToWide<Tag>;
using V = hn::Vec<Tag>;
using W = hn::Vec<WideTag>;

template <class D>
HWY_INLINE hn::Vec<D> pairs(D d, int first, int second) {
  const hn::RepartitionToWide<D> wide;
  const auto low = static_cast<uint32_t>(static_cast<uint16_t>(first));
  const auto high = static_cast<uint32_t>(static_cast<uint16_t>(second)) << 16U;
  return hn::BitCast(d, hn::Set(wide, static_cast<int32_t>(low | high)));
}

// a[2i] * b[2i] + a[2i + 1] * b[2i + 1].
template <class D>
HWY_INLINE auto dot_pairs(D /*d*/, hn::Vec<D> a, hn::Vec<D> b) {
  const hn::RepartitionToWide<D> wide;
  auto odd = hn::Zero(wide);
  const auto even = hn::ReorderWidenMulAccumulate(wide, a, b, hn::Zero(wide), odd);
  return hn::RearrangeToOddPlusEven(even, odd);
}

template <int kShift>
HWY_INLINE W descale(W x) {
  return hn::ShiftRight<kShift>(hn::Add(x, hn::Set(WideTag(), 1 << (kShift - 1))));
}

// Lower or upper halves of the blocks' rows, lane by lane.
template <bool kUpper>
HWY_INLINE V interleave(V a, V b) {
  if constexpr (kUpper) {
    return hn::InterleaveUpper(Tag(), a, b);
  } else {
    return hn::InterleaveLower(Tag(), a, b);
  }
}

template <bool kUpper>
HWY_INLINE V interleave_pairs(V a, V b) {
  const WideTag wide;
  const W x = hn::BitCast(wide, a);
  const W y = hn::BitCast(wide, b);
  if constexpr (kUpper) {
    return hn::BitCast(Tag(), hn::InterleaveUpper(wide, x, y));
  } else {
    return hn::BitCast(Tag(), hn::InterleaveLower(wide, x, y));
  }
}

// x * 2^kBits.
template <bool kUpper, int kBits>
HWY_INLINE W raised(V x) {
  const V zero = hn::Zero(Tag());
  return hn::ShiftRight<16 - kBits>(hn::BitCast(WideTag(), interleave<kUpper>(zero, x)));
}

template <int kShift>
HWY_INLINE void butterflies(W even0, W even1, W even2, W even3, W odd0, W odd1, W odd2, W odd3,
                            W* out) {
  out[0] = descale<kShift>(hn::Add(even0, odd0));
  out[1] = descale<kShift>(hn::Add(even1, odd1));
  out[2] = descale<kShift>(hn::Add(even2, odd2));
  out[3] = descale<kShift>(hn::Add(even3, odd3));
  out[4] = descale<kShift>(hn::Sub(even3, odd3));
  out[5] = descale<kShift>(hn::Sub(even2, odd2));
  out[6] = descale<kShift>(hn::Sub(even1, odd1));
  out[7] = descale<kShift>(hn::Sub(even0, odd0));
}

// A pass over half of the lanes. The oracle's formulas, multiplied out to sums of two products.
template <int kShift, bool kUpper>
HWY_INLINE void half_pass8(const V* x, W* out) {
  using namespace dct;
  const Tag d;
  const V x26 = interleave<kUpper>(x[2], x[6]);
  const W sum3 = dot_pairs(d, x26, pairs(d, k0_541 + k0_765, k0_541));
  const W sum2 = dot_pairs(d, x26, pairs(d, k0_541, k0_541 - k1_848));
  const W sum0 = raised<kUpper, kBits>(hn::Add(x[0], x[4]));
  const W sum1 = raised<kUpper, kBits>(hn::Sub(x[0], x[4]));

  const V z34 = interleave<kUpper>(hn::Add(x[7], x[3]), hn::Add(x[5], x[1]));
  const W z3 = dot_pairs(d, z34, pairs(d, k1_176 - k1_962, k1_176));
  const W z4 = dot_pairs(d, z34, pairs(d, k1_176, k1_176 - k0_390));
  const V x71 = interleave<kUpper>(x[7], x[1]);
  const V x53 = interleave<kUpper>(x[5], x[3]);
  const W odd0 = hn::Add(dot_pairs(d, x71, pairs(d, -k0_900, k1_501 - k0_900)), z4);
  const W odd1 = hn::Add(dot_pairs(d, x53, pairs(d, -k2_563, k3_073 - k2_563)), z3);
  const W odd2 = hn::Add(dot_pairs(d, x53, pairs(d, k2_053 - k2_563, -k2_563)), z4);
  const W odd3 = hn::Add(dot_pairs(d, x71, pairs(d, k0_299 - k0_900, -k0_900)), z3);
  butterflies<kShift>(hn::Add(sum0, sum3), hn::Add(sum1, sum2), hn::Sub(sum1, sum2),
                      hn::Sub(sum0, sum3), odd0, odd1, odd2, odd3, out);
}

// The same when x[4] to x[7] are 0.
template <int kShift, bool kUpper>
HWY_INLINE void half_pass8_low(const V* x, W* out) {
  using namespace dct;
  const Tag d;
  const V x2 = interleave<kUpper>(x[2], hn::Zero(d));
  const W sum3 = dot_pairs(d, x2, pairs(d, k0_541 + k0_765, 0));
  const W sum2 = dot_pairs(d, x2, pairs(d, k0_541, 0));
  const W sum0 = raised<kUpper, kBits>(x[0]);

  const V x13 = interleave<kUpper>(x[1], x[3]);
  const W odd0 = dot_pairs(d, x13, pairs(d, k1_501 - k0_900 + k1_176 - k0_390, k1_176));
  const W odd1 = dot_pairs(d, x13, pairs(d, k1_176, k3_073 - k2_563 + k1_176 - k1_962));
  const W odd2 = dot_pairs(d, x13, pairs(d, k1_176 - k0_390, k1_176 - k2_563));
  const W odd3 = dot_pairs(d, x13, pairs(d, k1_176 - k0_900, k1_176 - k1_962));
  butterflies<kShift>(hn::Add(sum0, sum3), hn::Add(sum0, sum2), hn::Sub(sum0, sum2),
                      hn::Sub(sum0, sum3), odd0, odd1, odd2, odd3, out);
}

HWY_INLINE void transpose8(V* v) {
  for (int round = 0; round < 3; ++round) {
    const V t0 = interleave<false>(v[0], v[4]), t1 = interleave<true>(v[0], v[4]);
    const V t2 = interleave<false>(v[1], v[5]), t3 = interleave<true>(v[1], v[5]);
    const V t4 = interleave<false>(v[2], v[6]), t5 = interleave<true>(v[2], v[6]);
    const V t6 = interleave<false>(v[3], v[7]), t7 = interleave<true>(v[3], v[7]);
    v[0] = t0, v[1] = t1, v[2] = t2, v[3] = t3, v[4] = t4, v[5] = t5, v[6] = t6, v[7] = t7;
  }
}

constexpr int kShift1 = dct::kBits - kPass1Bits;
constexpr int kShift2 = dct::kBits + kPass1Bits + 3;

// Loads rows of coefficients, and remembers whether any was too large, as any lane with its
// highest bit set.
class Loader {
 public:
  Loader(const int16_t* coefficients, const Dequantizer& dequantizer, size_t offset)
      : coefficients_(coefficients + offset), dequantizer_(dequantizer), excess_(hn::Zero(Tag())) {}

  HWY_INLINE V row(size_t r) {
    const Tag d;
    const hn::RebindToUnsigned<Tag> du;
    const V row = hn::Load(d, coefficients_ + r * kGroupRow);
    const auto limit = hn::LoadDup128(du, dequantizer_.limits.data() + r * 8);
    const auto over = hn::SaturatedSub(hn::BitCast(du, hn::Abs(row)), limit);
    over_ = r == 0 ? over : hn::Or(over_, over);
    return hn::Mul(row, hn::LoadDup128(d, dequantizer_.steps.data() + r * 8));
  }
  HWY_INLINE void check_pass1(V v) {
    excess_ = hn::Or(excess_, hn::Add(v, hn::Set(Tag(), int16_t{kMaxPass1 + 1})));
  }
  [[nodiscard]] HWY_INLINE bool inside() const {
    const hn::RebindToUnsigned<Tag> du;
    const auto high = hn::And(hn::BitCast(du, excess_), hn::Set(du, uint16_t{0x8000}));
    return hn::AllTrue(du, hn::Eq(hn::Or(high, over_), hn::Zero(du)));
  }

 private:
  const int16_t* coefficients_;
  const Dequantizer& dequantizer_;
  V excess_;
  hn::Vec<hn::RebindToUnsigned<Tag> > over_ = hn::Zero(hn::RebindToUnsigned<Tag>());
};

HWY_INLINE auto to_levels(V v) {
  const hn::Rebind<uint8_t, Tag> d8;
  return hn::DemoteTo(d8, hn::SaturatedAdd(v, hn::Set(Tag(), int16_t{128})));
}

HWY_INLINE void first_pass(Loader& in, V* v) {
  const Tag d;
  W low[8], high[8];
  for (size_t r = 0; r < 8; ++r) v[r] = in.row(r);
  half_pass8<kShift1, false>(v, low);
  half_pass8<kShift1, true>(v, high);
  for (size_t r = 0; r < 8; ++r) {
    v[r] = hn::ReorderDemote2To(d, low[r], high[r]);
    in.check_pass1(v[r]);
  }
  transpose8(v);
  half_pass8<kShift2, false>(v, low);
  half_pass8<kShift2, true>(v, high);
  for (size_t r = 0; r < 8; ++r) v[r] = hn::ReorderDemote2To(d, low[r], high[r]);
}

// For blocks whose coefficients lie in their upper left 4 x 4.
HWY_INLINE void first_pass_low(Loader& in, V* v) {
  const Tag d;
  W low[8], high[8];
  for (size_t r = 0; r < 4; ++r) v[r] = in.row(r);
  half_pass8_low<kShift1, false>(v, low);
  V rows[4];  // columns 0 to 3 of rows r and r + 4
  for (size_t r = 0; r < 4; ++r) {
    rows[r] = hn::ReorderDemote2To(d, low[r], low[r + 4]);
    in.check_pass1(rows[r]);
  }
  const V a = interleave<false>(rows[0], rows[2]), b = interleave<false>(rows[1], rows[3]);
  const V e = interleave<true>(rows[0], rows[2]), f = interleave<true>(rows[1], rows[3]);
  const V c01 = interleave<false>(a, b), c23 = interleave<true>(a, b);  // rows 0 to 3
  const V h01 = interleave<false>(e, f), h23 = interleave<true>(e, f);  // rows 4 to 7
  const hn::RepartitionToWide<WideTag> d64;
  const auto join = [&](V x, V y, V* out) HWY_ATTR {
    const auto x64 = hn::BitCast(d64, x);
    const auto y64 = hn::BitCast(d64, y);
    out[0] = hn::BitCast(d, hn::InterleaveLower(d64, x64, y64));
    out[1] = hn::BitCast(d, hn::InterleaveUpper(d64, x64, y64));
  };
  join(c01, h01, v);
  join(c23, h23, v + 2);
  half_pass8_low<kShift2, false>(v, low);
  half_pass8_low<kShift2, true>(v, high);
  for (size_t r = 0; r < 8; ++r) v[r] = hn::ReorderDemote2To(d, low[r], high[r]);
}

bool inverse_dct8(const int16_t* coefficients, const Dequantizer& dequantizer, const uint8_t* last,
                  size_t groups, uint8_t* out, size_t stride) {
  // Up to this zigzag position coefficients lie in the upper left 4 x 4.
  constexpr uint8_t kLastLow = 9;
  const Tag d;
  const hn::Rebind<uint8_t, Tag> d8;
  bool inside = true;
  for (size_t g = 0; g < groups; ++g, coefficients += kGroupSize, last += kGroupBlocks) {
    const uint8_t furthest = *std::max_element(last, last + kGroupBlocks);
    for (size_t offset = 0; offset < kGroupRow; offset += hn::Lanes(d)) {
      Loader in(coefficients, dequantizer, offset);
      uint8_t* to = out + g * kGroupRow + offset;
      if (furthest == 0) {
        // The first sample of each block is the DC; rounding twice, as two passes do, changes
        // nothing.
        const V dc = hn::ShiftRight<3>(hn::Add(in.row(0), hn::Set(d, int16_t{4})));
        const auto first = hn::BitCast(d, hn::Set(hn::Repartition<uint16_t, Tag>(), 0x0100));
        const auto levels = to_levels(hn::TableLookupBytes(dc, first));
        for (size_t r = 0; r < 8; ++r) hn::StoreU(levels, d8, to + r * stride);
      } else {
        V v[8];
        if (furthest <= kLastLow) {
          first_pass_low(in, v);
        } else {
          first_pass(in, v);
        }
        transpose8(v);
        for (size_t r = 0; r < 8; ++r) hn::StoreU(to_levels(v[r]), d8, to + r * stride);
      }
      inside = inside && in.inside();
    }
  }
  return inside;
}

// Both passes of the 4 x 4 form, on the lanes of pairs of inputs.
template <int kShift>
HWY_INLINE void pass4(W even0, V x26, V x75, V x31, W* out) {
  using namespace dct;
  const Tag d;
  const W even2 = dot_pairs(d, x26, pairs(d, k1_848, -k0_765));
  const W odd0 = hn::Add(dot_pairs(d, x75, pairs(d, -k0_510, -k0_601)),
                         dot_pairs(d, x31, pairs(d, k0_900, k2_563)));
  const W odd1 = hn::Add(dot_pairs(d, x75, pairs(d, -k0_211, k1_452)),
                         dot_pairs(d, x31, pairs(d, -k2_173, k1_062)));
  const W sum = hn::Add(even0, even2);
  const W difference = hn::Sub(even0, even2);
  out[0] = descale<kShift>(hn::Add(sum, odd0));
  out[1] = descale<kShift>(hn::Add(difference, odd1));
  out[2] = descale<kShift>(hn::Sub(difference, odd1));
  out[3] = descale<kShift>(hn::Sub(sum, odd0));
}

template <bool kUpper>
HWY_INLINE void first_half4(const V* x, W* out) {
  pass4<kShift1 + 1>(raised<kUpper, dct::kBits + 1>(x[0]), interleave<kUpper>(x[2], x[6]),
                     interleave<kUpper>(x[7], x[5]), interleave<kUpper>(x[3], x[1]), out);
}

bool inverse_dct4(const int16_t* coefficients, const Dequantizer& dequantizer,
                  const uint8_t* /*last*/, size_t groups, uint8_t* out, size_t stride) {
  constexpr size_t kSide = 4;
  const Tag d;
  const hn::Rebind<uint8_t, Tag> d8;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN uint8_t levels[2][HWY_MAX_BYTES];
  bool inside = true;
  for (size_t g = 0; g < groups; ++g, coefficients += kGroupSize) {
    for (size_t offset = 0; offset < kGroupRow; offset += lanes) {
      Loader in(coefficients, dequantizer, offset);
      V x[8];
      for (const size_t r : {0, 1, 2, 3, 5, 6, 7}) x[r] = in.row(r);
      W low[4], high[4];
      first_half4<false>(x, low);
      first_half4<true>(x, high);
      V rows[4];
      for (size_t r = 0; r < kSide; ++r) {
        rows[r] = hn::ReorderDemote2To(d, low[r], high[r]);
        in.check_pass1(rows[r]);
      }
      // Two columns a vector, four rows each.
      const V a = interleave<false>(rows[0], rows[2]), b = interleave<false>(rows[1], rows[3]);
      const V e = interleave<true>(rows[0], rows[2]), f = interleave<true>(rows[1], rows[3]);
      const V c01 = interleave<false>(a, b), c23 = interleave<true>(a, b);
      const V c45 = interleave<false>(e, f), c67 = interleave<true>(e, f);
      W columns[4];
      pass4<kShift2 + 1>(raised<false, dct::kBits + 1>(c01), interleave<false>(c23, c67),
                         interleave<true>(c67, c45), interleave<true>(c23, c01), columns);
      // Back to rows: two a vector and block.
      const V p = hn::ReorderDemote2To(d, columns[0], columns[1]);
      const V q = hn::ReorderDemote2To(d, columns[2], columns[3]);
      const V even = interleave<false>(p, q), odd = interleave<true>(p, q);
      hn::StoreU(to_levels(interleave<false>(even, odd)), d8, levels[0]);
      hn::StoreU(to_levels(interleave<true>(even, odd)), d8, levels[1]);
      uint8_t* to = out + (g * kGroupRow + offset) / 8 * kSide;
      for (size_t b8 = 0; b8 < lanes; b8 += 8, to += kSide) {
        for (size_t r = 0; r < kSide; ++r) {
          std::copy_n(levels[r / 2] + b8 + r % 2 * kSide, kSide, to + r * stride);
        }
      }
      inside = inside && in.inside();
    }
  }
  return inside;
}

bool inverse_dct2(const int16_t* coefficients, const Dequantizer& dequantizer,
                  const uint8_t* /*last*/, size_t groups, uint8_t* out, size_t stride) {
  using namespace dct;
  constexpr size_t kSide = 2;
  const Tag d;
  const WideTag wide;
  const hn::Rebind<uint8_t, Tag> d8;
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN uint8_t levels[HWY_MAX_BYTES];
  HWY_ALIGN static constexpr int16_t kRow[8] = {0, k3_625, 0, -k1_273, 0, k0_850, 0, -k0_721};
  bool inside = true;
  for (size_t g = 0; g < groups; ++g, coefficients += kGroupSize) {
    for (size_t offset = 0; offset < kGroupRow; offset += lanes) {
      Loader in(coefficients, dequantizer, offset);
      V x[8];
      for (const size_t r : {0, 1, 3, 5, 7}) x[r] = in.row(r);
      W halves[2][2];
      const auto half = [&]<bool kUpper>(W* to) HWY_ATTR {
        const W odd =
            hn::Add(dot_pairs(d, interleave<kUpper>(x[7], x[5]), pairs(d, -k0_721, k0_850)),
                    dot_pairs(d, interleave<kUpper>(x[3], x[1]), pairs(d, -k1_273, k3_625)));
        const W even = raised<kUpper, kBits + 2>(x[0]);
        to[0] = descale<kShift1 + 2>(hn::Add(even, odd));
        to[1] = descale<kShift1 + 2>(hn::Sub(even, odd));
      };
      half.template operator()<false>(halves[0]);
      half.template operator()<true>(halves[1]);
      V rows[2];
      for (size_t r = 0; r < kSide; ++r) {
        rows[r] = hn::ReorderDemote2To(d, halves[0][r], halves[1][r]);
        in.check_pass1(rows[r]);
      }
      // The sums over a row's four pairs, of both rows in turn.
      const V factors = hn::LoadDup128(d, kRow);
      const W sum0 = dot_pairs(d, rows[0], factors);
      const W sum1 = dot_pairs(d, rows[1], factors);
      const W two =
          hn::Add(hn::InterleaveLower(wide, sum0, sum1), hn::InterleaveUpper(wide, sum0, sum1));
      const W odd = hn::Add(two, hn::Shuffle1032(two));
      const W even = raised<false, kBits + 2>(interleave<false>(rows[0], rows[1]));
      const W left = descale<kShift2 + 2>(hn::Add(even, odd));
      const W right = descale<kShift2 + 2>(hn::Sub(even, odd));
      // Lanes 0 and 1 of each block: two rows' left samples; 4 and 5: their right ones.
      hn::StoreU(to_levels(hn::ReorderDemote2To(d, left, right)), d8, levels);
      uint8_t* to = out + (g * kGroupRow + offset) / 8 * kSide;
      for (size_t b8 = 0; b8 < lanes; b8 += 8, to += kSide) {
        for (size_t r = 0; r < kSide; ++r) {
          to[r * stride] = levels[b8 + r];
          to[r * stride + 1] = levels[b8 + 4 + r];
        }
      }
      inside = inside && in.inside();
    }
  }
  return inside;
}

// The widest vectors there are: on Zen 5, whole decodes ran 3 % faster with 512 bits than with 256.
using RowTag = hn::CappedTag<int16_t, 32>;
using LevelTag = hn::Rebind<uint8_t, RowTag>;

HWY_INLINE hn::Vec<RowTag> widened(const uint8_t* in) {
  return hn::PromoteTo(RowTag(), hn::LoadU(LevelTag(), in));
}

HWY_INLINE hn::Vec<RowTag> tripled(hn::Vec<RowTag> x) {
  return hn::Add(x, hn::Add(x, x));
}

void weigh_rows(const uint8_t* near, const uint8_t* far, size_t n, int16_t* sums) {
  const RowTag d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::StoreU(hn::Add(tripled(widened(near + i)), widened(far + i)), d, sums + i);
  }
}

void narrow_row(const int16_t* sums, size_t n, int16_t bias, uint8_t* out) {
  const RowTag d;
  const LevelTag d8;
  const auto rounding = hn::Set(d, bias);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto level = hn::ShiftRight<2>(hn::Add(hn::LoadU(d, sums + i), rounding));
    hn::StoreU(hn::DemoteTo(d8, level), d8, out + i);
  }
}

// Two bytes a lane: the left ones lie first in memory, on the little-endian targets there are.
HWY_INLINE void store_pairs(hn::Vec<RowTag> left, hn::Vec<RowTag> right, uint8_t* out) {
  const hn::Repartition<uint8_t, RowTag> bytes;
  hn::StoreU(hn::BitCast(bytes, hn::Or(left, hn::ShiftLeft<8>(right))), bytes, out);
}

void interpolate_row(const int16_t* sums, size_t n, int16_t even, int16_t odd, uint8_t* out) {
  const RowTag d;
  const auto to_even = hn::Set(d, even);
  const auto to_odd = hn::Set(d, odd);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto here = tripled(hn::LoadU(d, sums + i));
    const auto left = hn::Add(hn::Add(here, hn::LoadU(d, sums + i - 1)), to_even);
    const auto right = hn::Add(hn::Add(here, hn::LoadU(d, sums + i + 1)), to_odd);
    store_pairs(hn::ShiftRight<4>(left), hn::ShiftRight<4>(right), out + 2 * i);
  }
}

void double_row(const uint8_t* in, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; i += hn::Lanes(RowTag())) {
    const auto level = widened(in + i);
    store_pairs(level, level, out + 2 * i);
  }
}

void ycc_to_rgb(const uint8_t* y, const uint8_t* cb, const uint8_t* cr, size_t n, uint8_t* rgb) {
  const RowTag d;
  const hn::RepartitionToWide<RowTag> wide;
  const LevelTag d8;
  const auto centre = hn::Set(d, int16_t{128});
  const auto one = hn::Set(d, int16_t{1});
  const auto half = hn::Set(wide, 1 << 15);
  const auto green_factors = pairs(d, ycc::kGreenCb, ycc::kGreenCr);
  // x * factor / 2^16, to nearest, from the upper halves of the products of twice x.
  const auto product = [&](auto twice, int factor) HWY_ATTR {
    const auto high = hn::MulHigh(twice, hn::Set(d, static_cast<int16_t>(factor)));
    return hn::ShiftRight<1>(hn::Add(high, one));
  };
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto luma = widened(y + i);
    const auto blue = hn::Sub(widened(cb + i), centre);
    const auto red = hn::Sub(widened(cr + i), centre);
    const auto blue2 = hn::Add(blue, blue);
    const auto red2 = hn::Add(red, red);
    const auto low = dot_pairs(d, hn::InterleaveLower(d, blue, red), green_factors);
    const auto high = dot_pairs(d, hn::InterleaveUpper(d, blue, red), green_factors);
    const auto green = hn::ReorderDemote2To(d, hn::ShiftRight<16>(hn::Add(low, half)),
                                            hn::ShiftRight<16>(hn::Add(high, half)));
    const auto r = hn::Add(hn::Add(luma, red), product(red2, ycc::kRedCr));
    const auto g = hn::Add(hn::Sub(luma, red), green);
    const auto b = hn::Add(hn::Add(luma, blue2), product(blue2, ycc::kBlueCb));
    hn::StoreInterleaved3(hn::DemoteTo(d8, r), hn::DemoteTo(d8, g), hn::DemoteTo(d8, b), d8,
                          rgb + 3 * i);
  }
}

void grey_to_rgb(const uint8_t* grey, size_t n, uint8_t* rgb) {
  const LevelTag d8;
  for (size_t i = 0; i < n; i += hn::Lanes(d8)) {
    const auto level = hn::LoadU(d8, grey + i);
    hn::StoreInterleaved3(level, level, level, d8, rgb + 3 * i);
  }
}

}  // namespace

// NOLINTNEXTLINE(misc-use-internal-linkage): called through HWY_EXPORT
const JpegKernels& target_kernels() {
  // A transform of DCs alone is a shift: nothing for vectors.
  static const JpegKernels kKernels{
      {scalar_jpeg_kernels().inverse_dct[0], inverse_dct2, inverse_dct4, inverse_dct8},
      weigh_rows,
      narrow_row,
      interpolate_row,
      double_row,
      ycc_to_rgb,
      grey_to_rgb};
  return kKernels;
}

#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace eyespot::codec
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eyespot::codec {

HWY_EXPORT(target_kernels);

const JpegKernels& jpeg_kernels() {
  detail::simd_ready();
  return HWY_DYNAMIC_DISPATCH(target_kernels)();
}

}  // namespace eyespot::codec
#endif  // HWY_ONCE
