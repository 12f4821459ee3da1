#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE \
  "solver/vector_kernels.cpp"  // NOLINT(bugprone-suspicious-include): as Highway asks
#include <hwy/foreach_target.h>
// After foreach_target, which includes this file once per target.
#include <hwy/highway.h>

// NOLINTBEGIN(misc-use-internal-linkage,modernize-concat-nested-namespaces): each target's
// namespace is reopened by Highway's macros, and its functions are reached from outside it.
HWY_BEFORE_NAMESPACE();
namespace eyespot::solver {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DoubleTag = hn::ScalableTag<double>;
using HalfFloatTag = hn::Rebind<float, DoubleTag>;

HWY_INLINE hn::Vec<DoubleTag> load(DoubleTag d, const double* from) {
  return hn::LoadU(d, from);
}

HWY_INLINE hn::Vec<DoubleTag> load(DoubleTag d, const float* from) {
  return hn::PromoteTo(d, hn::LoadU(HalfFloatTag(), from));
}

template <class A, class B>
double dot_of(const A* a, const B* b, std::size_t n) {
  const DoubleTag d;
  const std::size_t lanes = hn::Lanes(d);
  auto s0 = hn::Zero(d);
  auto s1 = hn::Zero(d);
  auto s2 = hn::Zero(d);
  auto s3 = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::MulAdd(load(d, a + i), load(d, b + i), s0);
    s1 = hn::MulAdd(load(d, a + i + lanes), load(d, b + i + lanes), s1);
    s2 = hn::MulAdd(load(d, a + i + 2 * lanes), load(d, b + i + 2 * lanes), s2);
    s3 = hn::MulAdd(load(d, a + i + 3 * lanes), load(d, b + i + 3 * lanes), s3);
  }
  double rest = 0;
  for (; i < n; ++i) rest += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  const auto sum = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
  return hn::GetLane(hn::SumOfLanes(d, sum)) + rest;
}

double largest_of(const double* a, std::size_t n) {
  const DoubleTag d;
  const std::size_t lanes = hn::Lanes(d);
  auto m0 = hn::Zero(d);
  auto m1 = hn::Zero(d);
  std::size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    m0 = hn::Max(m0, hn::Abs(hn::LoadU(d, a + i)));
    m1 = hn::Max(m1, hn::Abs(hn::LoadU(d, a + i + lanes)));
  }
  double largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(m0, m1)));
  for (; i < n; ++i) largest = std::max(largest, std::abs(a[i]));
  return largest;
}

template <class X>
void add_scaled_of(double factor, const X* x, double* HWY_RESTRICT y, std::size_t n) {
  const DoubleTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto factors = hn::Set(d, factor);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::MulAdd(factors, load(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += factor * static_cast<double>(x[i]);
}

// The sum of a[i] * b(i): vector_of gives a vector of the b from i on, number_of one.
template <class VectorOf, class NumberOf>
HWY_INLINE double sum_in_float(const float* a, std::size_t n, const VectorOf& vector_of,
                               const NumberOf& number_of) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t run = 4 * lanes * 64;
  double total = 0;
  std::size_t i = 0;
  while (i + lanes <= n) {
    const std::size_t end = i + std::min(run, (n - i) / lanes * lanes);
    auto s0 = hn::Zero(d);
    auto s1 = hn::Zero(d);
    auto s2 = hn::Zero(d);
    auto s3 = hn::Zero(d);
    for (; i + 4 * lanes <= end; i += 4 * lanes) {
      s0 = hn::MulAdd(hn::LoadU(d, a + i), vector_of(i), s0);
      s1 = hn::MulAdd(hn::LoadU(d, a + i + lanes), vector_of(i + lanes), s1);
      s2 = hn::MulAdd(hn::LoadU(d, a + i + 2 * lanes), vector_of(i + 2 * lanes), s2);
      s3 = hn::MulAdd(hn::LoadU(d, a + i + 3 * lanes), vector_of(i + 3 * lanes), s3);
    }
    for (; i < end; i += lanes) s0 = hn::MulAdd(hn::LoadU(d, a + i), vector_of(i), s0);
    const auto sum = hn::Add(hn::Add(s0, s1), hn::Add(s2, s3));
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
  }
  for (; i < n; ++i) total += static_cast<double>(a[i]) * static_cast<double>(number_of(i));
  return total;
}

double dot_in_float_of(const float* a, const float* b, std::size_t n) {
  const hn::ScalableTag<float> d;
  return sum_in_float(
      a, n, [&](std::size_t i) { return hn::LoadU(d, b + i); },
      [&](std::size_t i) { return b[i]; });
}

double add_and_dot_in_float(float factor, const float* HWY_RESTRICT x, float* HWY_RESTRICT y,
                            const float* HWY_RESTRICT a, std::size_t n) {
  const hn::ScalableTag<float> d;
  const auto factors = hn::Set(d, factor);
  const auto vector_of = [&](std::size_t i) {
    const auto sum = hn::MulAdd(factors, hn::LoadU(d, x + i), hn::LoadU(d, y + i));
    hn::StoreU(sum, d, y + i);
    return sum;
  };
  return sum_in_float(a, n, vector_of, [&](std::size_t i) { return y[i] += factor * x[i]; });
}

void add_in_float(float factor, const float* x, float* HWY_RESTRICT y, std::size_t n) {
  const hn::ScalableTag<float> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto factors = hn::Set(d, factor);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::MulAdd(factors, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] += factor * x[i];
}

double dot_doubles(const double* a, const double* b, std::size_t n) {
  return dot_of(a, b, n);
}
double dot_mixed(const float* a, const double* b, std::size_t n) {
  return dot_of(a, b, n);
}
double dot_floats(const float* a, const float* b, std::size_t n) {
  return dot_of(a, b, n);
}
void add_doubles(double factor, const double* x, double* y, std::size_t n) {
  add_scaled_of(factor, x, y, n);
}
void add_floats(double factor, const float* x, double* y, std::size_t n) {
  add_scaled_of(factor, x, y, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace eyespot::solver
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-use-internal-linkage,modernize-concat-nested-namespaces)

#if HWY_ONCE
// NOLINTBEGIN(misc-const-correctness): the check does not see through the table of pointers
namespace eyespot::solver {

HWY_EXPORT(dot_doubles);
HWY_EXPORT(dot_mixed);
HWY_EXPORT(dot_floats);
HWY_EXPORT(add_doubles);
HWY_EXPORT(add_floats);
HWY_EXPORT(dot_in_float_of);
HWY_EXPORT(add_and_dot_in_float);
HWY_EXPORT(add_in_float);
HWY_EXPORT(largest_of);

}  // namespace eyespot::solver

namespace eyespot {

double dot(std::span<const double> a, std::span<const double> b) {
  static_cast<void>(simd_target());  // applies EYESPOT_SIMD before the first dispatch
  return HWY_DYNAMIC_DISPATCH(solver::dot_doubles)(a.data(), b.data(), a.size());
}

double dot(std::span<const float> a, std::span<const double> b) {
  static_cast<void>(simd_target());
  return HWY_DYNAMIC_DISPATCH(solver::dot_mixed)(a.data(), b.data(), a.size());
}

double dot(std::span<const float> a, std::span<const float> b) {
  static_cast<void>(simd_target());
  return HWY_DYNAMIC_DISPATCH(solver::dot_floats)(a.data(), b.data(), a.size());
}

double dot_in_float(std::span<const float> a, std::span<const float> b) {
  static_cast<void>(simd_target());
  return HWY_DYNAMIC_DISPATCH(solver::dot_in_float_of)(a.data(), b.data(), a.size());
}

double add_scaled_and_dot(float factor, std::span<const float> x, std::span<float> y,
                          std::span<const float> a) {
  static_cast<void>(simd_target());
  return HWY_DYNAMIC_DISPATCH(solver::add_and_dot_in_float)(factor, x.data(), y.data(), a.data(),
                                                            y.size());
}

double largest_magnitude(std::span<const double> a) {
  static_cast<void>(simd_target());
  return HWY_DYNAMIC_DISPATCH(solver::largest_of)(a.data(), a.size());
}

void add_scaled(float factor, std::span<const float> x, std::span<float> y) {
  static_cast<void>(simd_target());
  HWY_DYNAMIC_DISPATCH(solver::add_in_float)(factor, x.data(), y.data(), x.size());
}

void add_scaled(double factor, std::span<const double> x, std::span<double> y) {
  static_cast<void>(simd_target());
  HWY_DYNAMIC_DISPATCH(solver::add_doubles)(factor, x.data(), y.data(), x.size());
}

void add_scaled(double factor, std::span<const float> x, std::span<double> y) {
  static_cast<void>(simd_target());
  HWY_DYNAMIC_DISPATCH(solver::add_floats)(factor, x.data(), y.data(), x.size());
}

}  // namespace eyespot
// NOLINTEND(misc-const-correctness)
#endif  // HWY_ONCE
