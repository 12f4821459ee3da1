// Products of rows of panels, for the files that Highway includes once per target: so is this one.
#if defined(EYESPOT_SOLVER_DOT_PRODUCTS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef EYESPOT_SOLVER_DOT_PRODUCTS_INL_HPP
#undef EYESPOT_SOLVER_DOT_PRODUCTS_INL_HPP
#else
#define EYESPOT_SOLVER_DOT_PRODUCTS_INL_HPP
#endif

#include <hwy/highway.h>

#include <cstddef>

#include "eyespot/linalg.hpp"

// NOLINTBEGIN(modernize-concat-nested-namespaces): each target's namespace is reopened by Highway's
// macros.
HWY_BEFORE_NAMESPACE();
namespace eyespot::solver {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;

// Accumulators that leave registers free for one row of the right factor and a broadcast. Where
// nothing is fast, code is short.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM
constexpr std::size_t kTileRows = 8;
#elif HWY_TARGET == HWY_SCALAR
constexpr std::size_t kTileRows = 1;
#else
constexpr std::size_t kTileRows = 4;
#endif

// A vector that stays in a register. GCC reads memory anew for each of two or three uses, which
// took half as long again where the second-level cache is what is waited for (Emerald Rapids).
HWY_INLINE hn::Vec<FloatTag> load_once(FloatTag d, const float* from) {
#if HWY_COMPILER_GCC_ACTUAL && HWY_TARGET == HWY_AVX3
  auto v = hn::Load(d, from);
  asm("" : "+v"(v.raw));  // NOLINT(hicpp-no-assembler): no instruction
  return v;
#else
  return hn::Load(d, from);
#endif
}

HWY_INLINE float& element(PanelMatrix& m, std::size_t i, std::size_t j) {
  const std::size_t g = j / m.panel_width();
  return m.panel(g)[i * m.width(g) + j - g * m.panel_width()];
}

#if HWY_TARGET == HWY_SCALAR
// to[0..4) = the numbers themselves: a vector has but one lane.
HWY_INLINE void store_sums(hn::Vec<FloatTag> a, hn::Vec<FloatTag> b, hn::Vec<FloatTag> c,
                           hn::Vec<FloatTag> e, float* HWY_RESTRICT to) {
  to[0] = hn::GetLane(a);
  to[1] = hn::GetLane(b);
  to[2] = hn::GetLane(c);
  to[3] = hn::GetLane(e);
}
#else
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
#endif  // HWY_TARGET == HWY_SCALAR

// sum(r, c) += one vector of row r times the same of row c of the weights, `width` floats apart.
template <std::size_t kRows, std::size_t kClasses>
HWY_INLINE void add_products(const float* HWY_RESTRICT left, const float* HWY_RESTRICT right,
                             std::size_t width, hn::Vec<FloatTag> (&sum)[kRows][kClasses]) {
  const FloatTag d;
  // The registers that the sums leave hold the vectors of the smaller side.
  if constexpr (kRows < kClasses) {
    hn::Vec<FloatTag> x[kRows];
    for (std::size_t r = 0; r < kRows; ++r) x[r] = load_once(d, left + r * width);
    for (std::size_t c = 0; c < kClasses; ++c) {
      const auto w = load_once(d, right + c * width);
      for (std::size_t r = 0; r < kRows; ++r) sum[r][c] = hn::MulAdd(x[r], w, sum[r][c]);
    }
  } else {
    hn::Vec<FloatTag> w[kClasses];
    for (std::size_t c = 0; c < kClasses; ++c) w[c] = load_once(d, right + c * width);
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto x = load_once(d, left + r * width);
      for (std::size_t c = 0; c < kClasses; ++c) sum[r][c] = hn::MulAdd(x, w[c], sum[r][c]);
    }
  }
}

// sums[r * kClasses + c] = the dot product of row first_row + r of `a` and row first_class + c of
// `b`, along the features.
template <std::size_t kRows, std::size_t kClasses>
HWY_INLINE void dot_products(const PanelMatrix& a, std::size_t first_row, const PanelMatrix& b,
                             std::size_t first_class, float* HWY_RESTRICT sums) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<FloatTag> sum[kRows][kClasses];
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kClasses; ++c) sum[r][c] = hn::Zero(d);
  }
  // Full panels by themselves: all distances are known there, and cost no instruction.
  const std::size_t last = a.n_panels() - 1;
  const std::size_t full = 3 * lanes;
  const float* HWY_RESTRICT left = a.panel(0);
  const float* HWY_RESTRICT right = b.panel(0);
  for (std::size_t q = 0; q < last; ++q) {
    for (std::size_t j = 0; j < full; j += lanes) {
      add_products<kRows, kClasses>(left + first_row * full + j, right + first_class * full + j,
                                    full, sum);
    }
    left += a.rows() * full;
    right += b.rows() * full;
  }
  const std::size_t width = a.width(last);
  std::size_t j = 0;
  do {
    add_products<kRows, kClasses>(left + first_row * width + j, right + first_class * width + j,
                                  width, sum);
    j += lanes;
  } while (j < width);
  const auto of = [&](std::size_t i) {
    return i < kRows * kClasses ? sum[i / kClasses][i % kClasses] : hn::Zero(d);
  };
  for (std::size_t i = 0; i < kRows * kClasses; i += 4) {
    store_sums(of(i), of(i + 1), of(i + 2), of(i + 3), sums + i);
  }
}

// Room for what dot_products writes: fours of sums.
template <std::size_t kRows, std::size_t kClasses>
constexpr std::size_t kDotProducts = (kRows * kClasses + 3) / 4 * 4;

}  // namespace HWY_NAMESPACE
}  // namespace eyespot::solver
HWY_AFTER_NAMESPACE();
// NOLINTEND(modernize-concat-nested-namespaces)

#endif  // per target
