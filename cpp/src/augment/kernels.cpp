#include "kernels.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "../runtime/simd.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE \
  "augment/kernels.cpp"  // NOLINT(bugprone-suspicious-include): Highway's way
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
// NOLINTNEXTLINE(modernize-concat-nested-namespaces): Highway's macros take these two
namespace eyespot::detail {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

// NOLINTNEXTLINE(misc-use-internal-linkage): called through HWY_EXPORT, like that of other targets
const AugmentKernels& target_augment_kernels() {
  return scalar_augment_kernels();
}

#else

namespace {

namespace hn = hwy::HWY_NAMESPACE;

using std::int16_t;
using std::int32_t;
using std::int64_t;
using std::size_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

constexpr size_t kRgb = 3;

using Bytes16 = hn::CappedTag<uint8_t, 16>;
using Wide64 = hn::ScalableTag<uint64_t>;  // a pixel's coordinate, or its two neighbours in a row
using Wide16 = hn::Repartition<int16_t, Wide64>;
using Wide8 = hn::Repartition<uint8_t, Wide64>;
using Wide32 = hn::Repartition<uint32_t, Wide64>;
using WideF = hn::Repartition<float, Wide64>;

// ---- warp ------------------------------------------------------------------------------------

// Pixels are fetched by plain loads, a chunk at a time, and then blended by vectors: gathers are
// slower on most CPUs, and vectors right behind the stores that fill them would wait.
constexpr size_t kWarpChunk = 64;
constexpr uint8_t kZero = 0x80;  // as an index: gives 0

struct Chunk {
  alignas(64) uint64_t above[kWarpChunk];  // of each pixel, the two neighbours of the upper row
  alignas(64) uint64_t below[kWarpChunk];
  alignas(64) uint32_t fraction_x[kWarpChunk];  // of 2^15
  alignas(64) uint32_t fraction_y[kWarpChunk];
};

// Indices into each 128-bit block of two 64-bit lanes: three bytes from `first` on, each as the
// upper half of 16 bits.
HWY_INLINE hn::Vec<Wide8> pixel_indices(uint8_t first) {
  const auto f1 = static_cast<uint8_t>(first + 1);
  const auto f2 = static_cast<uint8_t>(first + 2);
  const auto s0 = static_cast<uint8_t>(first + 8);
  const auto s1 = static_cast<uint8_t>(first + 9);
  const auto s2 = static_cast<uint8_t>(first + 10);
  alignas(16) const uint8_t indices[16] = {kZero, first, kZero, f1, kZero, f2, kZero, kZero,
                                           kZero, s0,    kZero, s1, kZero, s2, kZero, kZero};
  return hn::LoadDup128(Wide8(), indices);
}

// A fraction for each 64-bit lane, in all four of its quarters.
HWY_INLINE hn::Vec<Wide16> spread(const uint32_t* HWY_RESTRICT fractions) {
  alignas(16) static constexpr uint8_t kIndices[16] = {0, 1, 0, 1, 0, 1, 0, 1,
                                                       8, 9, 8, 9, 8, 9, 8, 9};
  const Wide64 d;
  const Wide8 d8;
  const auto lanes = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint32_t, Wide64>(), fractions));
  return hn::BitCast(Wide16(),
                     hn::TableLookupBytes(hn::BitCast(d8, lanes), hn::LoadDup128(d8, kIndices)));
}

// Both neighbours of a row blended, with 7 bits below the grey level.
HWY_INLINE hn::Vec<Wide16> along_row(hn::Vec<Wide64> pair, hn::Vec<Wide8> left_indices,
                                     hn::Vec<Wide8> right_indices, hn::Vec<Wide16> fraction) {
  const Wide8 d8;
  const Wide16 d16;
  const hn::RebindToUnsigned<Wide16> du16;
  const auto bytes = hn::BitCast(d8, pair);
  const auto left = hn::BitCast(
      d16, hn::ShiftRight<1>(hn::BitCast(du16, hn::TableLookupBytesOr0(bytes, left_indices))));
  const auto right = hn::BitCast(
      d16, hn::ShiftRight<1>(hn::BitCast(du16, hn::TableLookupBytesOr0(bytes, right_indices))));
  return hn::Add(left, hn::MulFixedPoint15(hn::Sub(right, left), fraction));
}

// As many pixels as there are 64-bit lanes, of four bytes each, the last of them 0.
HWY_INLINE void blend(const Chunk& chunk, size_t i, hn::Vec<Wide8> left, hn::Vec<Wide8> right,
                      uint8_t* HWY_RESTRICT pixels) {
  const Wide64 d;
  const Wide16 d16;
  const auto fraction = spread(chunk.fraction_x + i);
  const auto upper = along_row(hn::Load(d, chunk.above + i), left, right, fraction);
  const auto lower = along_row(hn::Load(d, chunk.below + i), left, right, fraction);
  const auto level =
      hn::Add(upper, hn::MulFixedPoint15(hn::Sub(lower, upper), spread(chunk.fraction_y + i)));
  const auto rounded = hn::ShiftRight<7>(hn::Add(level, hn::Set(d16, int16_t{64})));
  const hn::Rebind<uint8_t, Wide16> d8;
  hn::StoreU(hn::DemoteTo(d8, rounded), d8, pixels);
}

// Sixteen pixels of four bytes to pixels of three; writes four bytes too many.
constexpr size_t kWarpGroup = 16;
HWY_INLINE void store_group(const uint8_t* HWY_RESTRICT pixels, uint8_t* HWY_RESTRICT out) {
  alignas(16) static constexpr uint8_t kIndices[16] = {0,  1,  2,  4,  5,     6,     8,     9,
                                                       10, 12, 13, 14, kZero, kZero, kZero, kZero};
  const Bytes16 d;
  const auto indices = hn::Load(d, kIndices);
  for (size_t i = 0; i < kWarpGroup / 4; ++i) {
    hn::StoreU(hn::TableLookupBytesOr0(hn::Load(d, pixels + 16 * i), indices), d, out + 12 * i);
  }
}

HWY_INLINE uint64_t load_eight(const uint8_t* at) {
  uint64_t bytes = 0;
  std::memcpy(&bytes, at, sizeof(bytes));
  return bytes;
}

// 16 fraction bits to 15.
HWY_INLINE uint32_t fraction_of(int32_t position) {
  return (static_cast<uint32_t>(position) & 0xFFFFU) >> 1U;
}

void fetch_inside(const WarpSource& source, WarpLine line, size_t n, Chunk& chunk) {
  for (size_t i = 0; i < n; ++i) {
    const uint8_t* at = source.data + static_cast<size_t>(line.y >> kWarpBits) * source.stride +
                        static_cast<size_t>(line.x >> kWarpBits) * kRgb;
    chunk.above[i] = load_eight(at);
    chunk.below[i] = load_eight(at + source.stride);
    chunk.fraction_x[i] = fraction_of(line.x);
    chunk.fraction_y[i] = fraction_of(line.y);
    line.x += line.step_x;
    line.y += line.step_y;
  }
}

// `i` mirrored into [0, last]; |i| <= 2 last.
HWY_INLINE int32_t mirrored_once(int32_t i, int32_t last) {
  return last - std::abs(last - std::abs(i));
}

// Whether a line reaches no further than mirrored_once() does, in a source which eight bytes of a
// row can be loaded from.
bool is_near(const WarpSource& source, WarpLine line, size_t n) {
  const auto near = [n](int64_t start, int64_t step, int64_t size) {
    const int64_t end = (start + static_cast<int64_t>(n - 1) * step) >> kWarpBits;
    const int64_t most = 2 * (size - 1) - 1;
    start >>= kWarpBits;
    return HWY_MIN(start, end) >= -most && HWY_MAX(start, end) <= most;
  };
  return source.width >= 3 && source.height >= 2 && near(line.x, line.step_x, source.width) &&
         near(line.y, line.step_y, source.height);
}

// Mirrored neighbours are neighbours as well, but maybe the other way round.
void fetch_mirrored(const WarpSource& source, WarpLine line, size_t n, Chunk& chunk) {
  const int32_t last_x = source.width - 1;
  const int32_t last_y = source.height - 1;
  const auto last_load = kRgb * static_cast<size_t>(source.width) - sizeof(uint64_t);
  for (size_t i = 0; i < n; ++i) {
    const int32_t x = line.x >> kWarpBits;
    const int32_t y = line.y >> kWarpBits;
    const int32_t left = mirrored_once(x, last_x);
    const int32_t right = mirrored_once(x + 1, last_x);
    const size_t first = kRgb * static_cast<size_t>(HWY_MIN(left, right));
    const size_t load = HWY_MIN(first, last_load);
    const auto pair = [&](int32_t row) {
      const uint64_t bytes =
          load_eight(source.data + static_cast<size_t>(row) * source.stride + load) >>
          (8 * (first - load));
      const uint64_t swapped = ((bytes >> 24U) & 0xFFFFFFU) | (bytes << 24U);
      return left < right ? bytes : swapped;
    };
    chunk.above[i] = pair(mirrored_once(y, last_y));
    chunk.below[i] = pair(mirrored_once(y + 1, last_y));
    chunk.fraction_x[i] = fraction_of(line.x);
    chunk.fraction_y[i] = fraction_of(line.y);
    line.x += line.step_x;
    line.y += line.step_y;
  }
}

template <class Fetch>
HWY_INLINE void warp_pixels(const WarpSource& source, WarpLine line, size_t n, uint8_t* out,
                            const Fetch& fetch) {
  const size_t lanes = hn::Lanes(Wide64());
  const auto left = pixel_indices(0);
  const auto right = pixel_indices(3);
  alignas(64) uint8_t pixels[4 * kWarpGroup];
  uint8_t packed[kRgb * kWarpGroup + 4];
  Chunk chunk = {};
  for (size_t begin = 0; begin < n; begin += kWarpChunk) {
    const size_t count = HWY_MIN(kWarpChunk, n - begin);
    fetch(source, line, count, chunk);
    line.x += static_cast<int32_t>(count) * line.step_x;
    line.y += static_cast<int32_t>(count) * line.step_y;
    for (size_t i = 0; i < count; i += kWarpGroup) {
      for (size_t j = 0; j < kWarpGroup; j += lanes) {
        blend(chunk, i + j, left, right, pixels + 4 * j);
      }
      uint8_t* const to = out + kRgb * (begin + i);
      if (kRgb * (begin + i + kWarpGroup) + 4 <= kRgb * n) {
        store_group(pixels, to);
      } else {
        store_group(pixels, packed);
        std::memcpy(to, packed, kRgb * HWY_MIN(kWarpGroup, count - i));
      }
    }
  }
}

void warp(const WarpSource& source, WarpLine line, size_t n, uint8_t* out) {
  warp_pixels(source, line, n, out, fetch_inside);
}

void warp_edge(const WarpSource& source, WarpLine line, size_t n, uint8_t* out) {
  if (!source.mirrored || !is_near(source, line, n)) {
    scalar_augment_kernels().warp_edge(source, line, n, out);
    return;
  }
  warp_pixels(source, line, n, out, fetch_mirrored);
}

// ---- blur ------------------------------------------------------------------------------------

// Calls body(i) for vectors of `lanes` that cover [0, n), of which the last may overlap the one
// before. n >= lanes.
template <class Body>
HWY_INLINE void for_vectors(size_t n, size_t lanes, const Body& body) {
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i);
  if (i < n) body(n - lanes);
}

HWY_INLINE hn::Vec<Wide16> load_levels(const uint8_t* HWY_RESTRICT bytes) {
  return hn::PromoteTo(Wide16(), hn::LoadU(hn::Rebind<uint8_t, Wide16>(), bytes));
}

// Two vectors at a time: one chain of additions would wait for itself.
void blur_rows(const uint8_t* const* rows, BlurFilter<int16_t> filter, size_t n, int16_t* out) {
  const Wide16 d;
  const size_t lanes = hn::Lanes(d);
  if (n < 2 * lanes) {
    scalar_augment_kernels().blur_rows(rows, filter, n, out);
    return;
  }
  const uint8_t* const* center = rows + filter.radius;
  for_vectors(n, 2 * lanes, [&](size_t i) HWY_ATTR {
    auto weight = hn::Set(d, filter.weights[0]);
    auto sum0 = hn::MulFixedPoint15(hn::ShiftLeft<kBlurBits>(load_levels(center[0] + i)), weight);
    auto sum1 =
        hn::MulFixedPoint15(hn::ShiftLeft<kBlurBits>(load_levels(center[0] + i + lanes)), weight);
    for (size_t k = 1; k <= filter.radius; ++k) {
      const uint8_t* HWY_RESTRICT before = *(center - k) + i;
      const uint8_t* HWY_RESTRICT after = center[k] + i;
      weight = hn::Set(d, filter.weights[k]);
      const auto pair0 = hn::Add(load_levels(before), load_levels(after));
      const auto pair1 = hn::Add(load_levels(before + lanes), load_levels(after + lanes));
      sum0 = hn::Add(sum0, hn::MulFixedPoint15(hn::ShiftLeft<kBlurBits>(pair0), weight));
      sum1 = hn::Add(sum1, hn::MulFixedPoint15(hn::ShiftLeft<kBlurBits>(pair1), weight));
    }
    hn::StoreU(sum0, d, out + i);
    hn::StoreU(sum1, d, out + i + lanes);
  });
}

void blur_columns(const int16_t* in, BlurFilter<int16_t> filter, size_t n, uint8_t* out) {
  const Wide16 d;
  const hn::Rebind<uint8_t, Wide16> d8;
  const size_t lanes = hn::Lanes(d);
  if (n < 2 * lanes) {
    scalar_augment_kernels().blur_columns(in, filter, n, out);
    return;
  }
  const auto half = hn::Set(d, int16_t{1 << (kBlurBits - 1)});
  for_vectors(n, 2 * lanes, [&](size_t i) HWY_ATTR {
    auto weight = hn::Set(d, filter.weights[0]);
    auto sum0 = hn::MulFixedPoint15(hn::LoadU(d, in + i), weight);
    auto sum1 = hn::MulFixedPoint15(hn::LoadU(d, in + i + lanes), weight);
    for (size_t k = 1; k <= filter.radius; ++k) {
      const int16_t* before = in + i - kRgb * k;
      const int16_t* after = in + i + kRgb * k;
      weight = hn::Set(d, filter.weights[k]);
      const auto pair0 = hn::Add(hn::LoadU(d, before), hn::LoadU(d, after));
      const auto pair1 = hn::Add(hn::LoadU(d, before + lanes), hn::LoadU(d, after + lanes));
      sum0 = hn::Add(sum0, hn::MulFixedPoint15(pair0, weight));
      sum1 = hn::Add(sum1, hn::MulFixedPoint15(pair1, weight));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBlurBits>(hn::Add(sum0, half))), d8, out + i);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kBlurBits>(hn::Add(sum1, half))), d8,
               out + i + lanes);
  });
}

using Signed32 = hn::RebindToSigned<Wide32>;

HWY_INLINE hn::Vec<Signed32> load_integers(const uint8_t* HWY_RESTRICT bytes) {
  return hn::PromoteTo(Signed32(), hn::LoadU(hn::Rebind<uint8_t, Signed32>(), bytes));
}

void blur_rows_wide(const uint8_t* const* rows, BlurFilter<float> filter, size_t n, float* out) {
  const WideF d;
  const size_t lanes = hn::Lanes(d);
  if (n < lanes) {
    scalar_augment_kernels().blur_rows_wide(rows, filter, n, out);
    return;
  }
  const uint8_t* const* center = rows + filter.radius;
  for_vectors(n, lanes, [&](size_t i) HWY_ATTR {
    auto sum =
        hn::Mul(hn::ConvertTo(d, load_integers(center[0] + i)), hn::Set(d, filter.weights[0]));
    for (size_t k = 1; k <= filter.radius; ++k) {
      const auto pair = hn::Add(load_integers(*(center - k) + i), load_integers(center[k] + i));
      sum = hn::Add(sum, hn::Mul(hn::ConvertTo(d, pair), hn::Set(d, filter.weights[k])));
    }
    hn::StoreU(sum, d, out + i);
  });
}

void blur_columns_wide(const float* in, BlurFilter<float> filter, size_t n, uint8_t* out) {
  const WideF d;
  const hn::Rebind<uint8_t, WideF> d8;
  const size_t lanes = hn::Lanes(d);
  if (n < lanes) {
    scalar_augment_kernels().blur_columns_wide(in, filter, n, out);
    return;
  }
  for_vectors(n, lanes, [&](size_t i) HWY_ATTR {
    auto sum = hn::Mul(hn::LoadU(d, in + i), hn::Set(d, filter.weights[0]));
    for (size_t k = 1; k <= filter.radius; ++k) {
      const auto pair = hn::Add(hn::LoadU(d, in + i - kRgb * k), hn::LoadU(d, in + i + kRgb * k));
      sum = hn::Add(sum, hn::Mul(pair, hn::Set(d, filter.weights[k])));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(sum)), d8, out + i);
  });
}

// ---- exposure --------------------------------------------------------------------------------

// The lower half of a level looks up sixteen tables of sixteen levels; its upper half, bit by bit,
// says which of them is right.
void look_up(uint8_t* bytes, size_t n, const uint8_t* table) {
  const Wide8 d;
  const size_t lanes = hn::Lanes(d);
  const auto low = hn::Set(d, uint8_t{15});
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto levels = hn::LoadU(d, bytes + i);
    const auto indices = hn::And(levels, low);
    const auto bit4 = hn::TestBit(levels, hn::Set(d, uint8_t{16}));
    const auto bit5 = hn::TestBit(levels, hn::Set(d, uint8_t{32}));
    const auto bit6 = hn::TestBit(levels, hn::Set(d, uint8_t{64}));
    const auto bit7 = hn::TestBit(levels, hn::Set(d, uint8_t{128}));
    const auto among16 = [&](size_t k) HWY_ATTR {
      return hn::TableLookupBytes(hn::LoadDup128(d, table + k), indices);
    };
    const auto among32 = [&](size_t k)
                             HWY_ATTR { return hn::IfThenElse(bit4, among16(k + 16), among16(k)); };
    const auto among64 = [&](size_t k)
                             HWY_ATTR { return hn::IfThenElse(bit5, among32(k + 32), among32(k)); };
    const auto among128 = [&](size_t k) HWY_ATTR {
      return hn::IfThenElse(bit6, among64(k + 64), among64(k));
    };
    hn::StoreU(hn::IfThenElse(bit7, among128(128), among128(0)), d, bytes + i);
  }
  scalar_augment_kernels().look_up(bytes + i, n - i, table);
}

// ---- noise -----------------------------------------------------------------------------------

constexpr size_t kNoiseBlocks = 16;

// The products of one round need 64 bits, so each counter word has a 64-bit lane, of whose upper
// half nobody takes notice.
struct Counters {
  hn::Vec<Wide64> c0, c1, c2, c3;
};

HWY_INLINE Counters philox_rounds(Counters c, const uint64_t* HWY_RESTRICT keys) {
  const Wide64 d;
  const Wide32 d32;
  const auto multiplier0 = hn::BitCast(d32, hn::Set(d, uint64_t{kPhiloxMultipliers[0]}));
  const auto multiplier1 = hn::BitCast(d32, hn::Set(d, uint64_t{kPhiloxMultipliers[1]}));
  for (size_t round = 0; round < kPhiloxRounds; ++round) {
    const auto product0 = hn::MulEven(hn::BitCast(d32, c.c0), multiplier0);
    const auto product1 = hn::MulEven(hn::BitCast(d32, c.c2), multiplier1);
    const auto key0 = hn::Set(d, keys[2 * round]);
    const auto key1 = hn::Set(d, keys[2 * round + 1]);
    c = {hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), c.c1), key0), product1,
         hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), c.c3), key1), product0};
  }
  return c;
}

template <size_t kTerms>
HWY_INLINE hn::Vec<WideF> polynomial(const std::array<float, kTerms>& terms, hn::Vec<WideF> x) {
  const WideF d;
  auto sum = hn::Set(d, terms[kTerms - 1]);
  for (size_t i = kTerms - 1; i-- > 0;) sum = hn::Add(hn::Mul(sum, x), hn::Set(d, terms[i]));
  return sum;
}

HWY_INLINE void add_to_levels(hn::Vec<WideF> noise, uint8_t* HWY_RESTRICT bytes) {
  const WideF d;
  const hn::Rebind<uint8_t, WideF> d8;
  const auto sum = hn::Add(hn::ConvertTo(d, load_integers(bytes)), noise);
  hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(sum)), d8, bytes);
}

// As gaussian_pair() of the scalar kernels: the sines' numbers go to bytes, the cosines' to
// bytes + kNoiseBlocks.
HWY_INLINE void add_gaussians(hn::Vec<Wide32> random, hn::Vec<WideF> sigma,
                              uint8_t* HWY_RESTRICT bytes) {
  const WideF d;
  const Wide32 du;
  const Signed32 di;
  const auto one = hn::Set(d, 1.0F);
  const auto odd_bits =
      hn::Add(hn::ShiftLeft<1>(hn::ShiftRight<kAngleBits>(random)), hn::Set(du, uint32_t{1}));
  const auto odd = hn::ConvertTo(d, hn::BitCast(di, odd_bits));
  const auto root_half = hn::Set(di, kRootHalfBits);
  const auto shifted = hn::Sub(hn::BitCast(di, odd), root_half);
  const auto exponent = hn::ConvertTo(d, hn::ShiftRight<23>(shifted));
  const auto mantissa = hn::Add(hn::And(shifted, hn::Set(di, int32_t{0x7FFFFF})), root_half);
  const auto t = hn::Sub(hn::BitCast(d, mantissa), one);
  const auto whole = hn::Mul(hn::Sub(hn::Set(d, 19.0F), exponent), hn::Set(d, kTwoLn2));
  const auto logarithm = hn::Add(hn::Mul(t, polynomial(kLogTerms, t)), whole);
  const auto radius = hn::Mul(hn::Sqrt(hn::Max(logarithm, hn::Zero(d))), sigma);

  constexpr float kTurn = 1.0F / 4096;
  const auto angle_bits = hn::BitCast(di, hn::And(random, hn::Set(du, uint32_t{0x1FFF})));
  const auto angle = hn::Add(hn::Mul(hn::ConvertTo(d, angle_bits), hn::Set(d, kTurn)),
                             hn::Set(d, 0.5F * kTurn - 1.0F));
  const auto squared = hn::Mul(angle, angle);
  const auto sine = hn::Mul(angle, polynomial(kSineTerms, squared));
  const auto sign = hn::ShiftLeft<18>(hn::And(random, hn::Set(du, uint32_t{0x2000})));
  const auto cosine = hn::Xor(polynomial(kCosineTerms, squared), hn::BitCast(d, sign));
  add_to_levels(hn::Mul(radius, sine), bytes);
  add_to_levels(hn::Mul(radius, cosine), bytes + kNoiseBlocks);
}

// All of a group's numbers, added to kNoiseGroup bytes.
HWY_INLINE void add_group(uint64_t group, const uint64_t* HWY_RESTRICT keys, hn::Vec<WideF> sigma,
                          uint8_t* HWY_RESTRICT bytes) {
  const Wide64 d;
  const Wide32 d32;
  const size_t lanes = hn::Lanes(d);
  const auto low = hn::Set(d, uint64_t{0xFFFFFFFF});
  for (size_t j = 0; j < kNoiseBlocks / 2; j += lanes) {
    const auto make = [&](size_t block) HWY_ATTR {
      const auto index = hn::Iota(d, group * kNoiseBlocks + block);
      return philox_rounds({index, hn::ShiftRight<32>(index), hn::Zero(d), hn::Zero(d)}, keys);
    };
    const Counters first = make(j);
    const Counters second = make(j + kNoiseBlocks / 2);
    const auto pack = [&](hn::Vec<Wide64> even, hn::Vec<Wide64> odd) HWY_ATTR {
      return hn::BitCast(d32, hn::Or(hn::And(even, low), hn::ShiftLeft<32>(odd)));
    };
    uint8_t* const at = bytes + 2 * j;
    add_gaussians(pack(first.c0, second.c0), sigma, at);
    add_gaussians(pack(first.c1, second.c1), sigma, at + 2 * kNoiseBlocks);
    add_gaussians(pack(first.c2, second.c2), sigma, at + 4 * kNoiseBlocks);
    add_gaussians(pack(first.c3, second.c3), sigma, at + 6 * kNoiseBlocks);
  }
}

void add_noise(uint8_t* bytes, size_t n, uint64_t group, PhiloxKey key, float sigma) {
  uint64_t keys[2 * kPhiloxRounds];
  for (size_t round = 0; round < kPhiloxRounds; ++round) {
    keys[2 * round] = key[0];
    keys[2 * round + 1] = key[1];
    key = {key[0] + kPhiloxKeySteps[0], key[1] + kPhiloxKeySteps[1]};
  }
  const auto scale = hn::Set(WideF(), sigma);
  size_t i = 0;
  for (; i + kNoiseGroup <= n; i += kNoiseGroup) add_group(group++, keys, scale, bytes + i);
  if (i < n) {
    uint8_t rest[kNoiseGroup] = {};
    std::memcpy(rest, bytes + i, n - i);
    add_group(group, keys, scale, rest);
    std::memcpy(bytes + i, rest, n - i);
  }
}

// ---- flip ------------------------------------------------------------------------------------

// Which 32-bit lanes twelve bytes for each 128-bit block come from, in reverse order, where they
// begin `skipped` lanes after the first; and which lanes close them up again, at a vector's end.
template <size_t kLanes>
struct ReversalLanes {
  alignas(64) uint32_t deal[kLanes] = {};
  alignas(64) uint32_t close[kLanes] = {};

  constexpr explicit ReversalLanes(size_t skipped) {
    constexpr size_t kBlocks = kLanes / 4;
    for (size_t i = 0; i < kLanes; ++i) {
      const size_t from = skipped + kRgb * (kBlocks - 1 - i / 4) + i % 4;
      deal[i] = static_cast<uint32_t>(HWY_MIN(from, kLanes - 1));
    }
    for (size_t i = kBlocks; i < kLanes; ++i) {
      const size_t at = i - kBlocks;
      close[i] = static_cast<uint32_t>(at / kRgb * 4 + at % kRgb);
    }
  }
};

// Reverses as many pixels as a vector has 32-bit lanes.
class Reversal {
 public:
  using Lanes = ReversalLanes<hn::MaxLanes(Wide32())>;

  explicit Reversal(const Lanes& lanes)
      : deal_(hn::SetTableIndices(Wide32(), lanes.deal)),
        close_(hn::SetTableIndices(Wide32(), lanes.close)) {}

  HWY_INLINE void operator()(const uint8_t* from, uint8_t* to) const {
    alignas(16) static constexpr uint8_t kIndices[16] = {9, 10, 11, 6, 7,     8,     3,     4,
                                                         5, 0,  1,  2, kZero, kZero, kZero, kZero};
    const Wide32 d;
    const Wide8 d8;
    const auto dealt = hn::TableLookupLanes(hn::BitCast(d, hn::LoadU(d8, from)), deal_);
    const auto turned =
        hn::TableLookupBytesOr0(hn::BitCast(d8, dealt), hn::LoadDup128(d8, kIndices));
    hn::StoreU(hn::BitCast(d8, hn::TableLookupLanes(hn::BitCast(d, turned), close_)), d8, to);
  }

 private:
  using Indices = decltype(hn::SetTableIndices(Wide32(), static_cast<const uint32_t*>(nullptr)));
  Indices deal_;
  Indices close_;
};

// Reads forwards and writes backwards: caches are twice as fast that way as the other way round.
void mirror(const uint8_t* in, size_t n, uint8_t* out) {
  const size_t bytes = hn::Lanes(Wide8());
  const size_t pixels = bytes / 4;
  if (kRgb * n < bytes) {
    scalar_augment_kernels().mirror(in, n, out);
    return;
  }
  static constexpr Reversal::Lanes kFirst(0);
  const Reversal first(kFirst);
  size_t i = 0;
  for (; kRgb * i + bytes <= kRgb * n; i += pixels) {
    first(in + kRgb * i, out + kRgb * (n - i) - bytes);
  }
  // What is left has no room for a whole vector behind its pixels, nor before their place.
  static constexpr Reversal::Lanes kLast(hn::MaxLanes(Wide32()) / 4);
  const Reversal last(kLast);
  const auto finish = [&](size_t from) HWY_ATTR {
    alignas(64) uint8_t reversed[hn::MaxLanes(Wide8())];
    last(in + kRgb * (from + pixels) - bytes, reversed);
    std::memcpy(out + kRgb * (n - from - pixels), reversed + bytes - kRgb * pixels, kRgb * pixels);
  };
  if (i + pixels < n) finish(i);
  if (i < n) finish(n - pixels);
}

}  // namespace

const AugmentKernels& target_augment_kernels() {
  static constexpr AugmentKernels kSet{warp,         warp_edge,      blur_rows,
                                       blur_columns, blur_rows_wide, blur_columns_wide,
                                       look_up,      add_noise,      mirror};
#if HWY_TARGET == HWY_AVX3
  static const AugmentKernels best = with_byte_permutes(kSet);
  return best;
#else
  return kSet;
#endif
}

#endif

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace eyespot::detail
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eyespot::detail {

HWY_EXPORT(target_augment_kernels);

const AugmentKernels& augment_kernels() {
  simd_ready();
  return HWY_DYNAMIC_DISPATCH(target_augment_kernels)();
}

}  // namespace eyespot::detail
#endif  // HWY_ONCE
