#include "loss_kernels.hpp"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE \
  "solver/loss_kernels.cpp"  // NOLINT(bugprone-suspicious-include): as Highway asks
#include <hwy/foreach_target.h>
// After foreach_target, which includes this file once per target.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "dot_products-inl.hpp"

// NOLINTBEGIN(misc-use-internal-linkage,modernize-concat-nested-namespaces): each target's
// namespace is reopened by Highway's macros, and its functions are reached from outside it.
HWY_BEFORE_NAMESPACE();
namespace eyespot::solver {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// Turns the scores of up to a vector of rows into residuals, which are added to `total` and their
// losses to `result`.
HWY_INLINE void logistic_vector(float* scores, std::size_t count, const std::int32_t* targets,
                                const float* weights, hn::Vec<FloatTag>& total, RowLosses& result) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto zero = hn::Zero(d);
  const auto one = hn::Set(d, 1.0F);
  HWY_ALIGN float margin[hn::MaxLanes(FloatTag())] = {};  // positive where the row is told rightly
  HWY_ALIGN float weight[hn::MaxLanes(FloatTag())] = {};  // negative for the second class
  for (std::size_t r = 0; r < count; ++r) {
    const float sign = targets[r] == 0 ? 1.0F : -1.0F;
    margin[r] = -sign * scores[r];
    weight[r] = sign * (weights != nullptr ? weights[r] : 1.0F);
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
    scores[r] = margin[r];
    result.loss += static_cast<double>(weight[r]);
  }
}

RowLosses logistic_residuals_impl(PanelMatrix& scores, std::size_t n_rows,
                                  const std::int32_t* targets, const float* weights,
                                  float* column_sum) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t width = scores.width(0);
  HWY_ALIGN float own[hn::MaxLanes(FloatTag())];
  auto total = hn::Zero(d);
  RowLosses result;
  for (std::size_t i = 0; i < n_rows; i += lanes) {
    const std::size_t count = std::min(lanes, n_rows - i);
    float* HWY_RESTRICT row = scores.panel(0) + i * width;
    for (std::size_t r = 0; r < count; ++r) own[r] = row[r * width];
    logistic_vector(own, count, targets + i, weights != nullptr ? weights + i : nullptr, total,
                    result);
    for (std::size_t r = 0; r < count; ++r) row[r * width] = own[r];
  }
  column_sum[0] += hn::GetLane(hn::SumOfLanes(d, total));
  return result;
}

// part += the sum of kRows rows from `first` on, times a factor each: in the order, and so with the
// bits, of accumulate_transposed.
template <std::size_t kRows>
HWY_INLINE void add_few_rows(const PanelMatrix& rows, std::size_t first, const float* factors,
                             float* HWY_RESTRICT part) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  hn::Vec<FloatTag> factor[kRows];
  for (std::size_t r = 0; r < kRows; ++r) factor[r] = hn::Set(d, factors[r]);
  for (std::size_t q = 0; q < rows.n_panels(); ++q) {
    const std::size_t width = rows.width(q);
    const float* HWY_RESTRICT x = rows.panel(q) + first * width;
    for (std::size_t j = 0; j < width; j += lanes) {
      auto sum = hn::Load(d, part + j);
      for (std::size_t r = 0; r < kRows; ++r) {
        sum = hn::MulAdd(factor[r], hn::Load(d, x + r * width + j), sum);
      }
      hn::Store(sum, d, part + j);
    }
    part += width;
  }
}

// Some rows at a time, so few that they are in the first-level cache when they are read again.
RowLosses logistic_sums_impl(const PanelMatrix& rows, std::size_t n_rows,
                             const PanelMatrix& score_weights, float bias,
                             const std::int32_t* targets, const float* weights, float* column_sum,
                             float* part, double* sum) {
  constexpr std::size_t kBytes = std::size_t{20} << 10;  // of rows, beside weights and sums
  // As dot_products writes fours, no fewer.
  constexpr std::size_t kTile = std::min<std::size_t>(8, 4 * kTileRows);
  constexpr std::size_t kMost = 32;
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t n_sums = panel_sums(1, rows);
  const std::size_t fitting = kBytes / (sizeof(float) * n_sums) / kTile * kTile;
  const std::size_t height = std::clamp(fitting, kTile, kMost);
  HWY_ALIGN float scores[kMost];
  auto total = hn::Zero(d);
  RowLosses result;
  for (std::size_t begin = 0; begin < n_rows; begin += kAccumulateRows) {
    const std::size_t end = std::min(begin + kAccumulateRows, n_rows);
    std::fill_n(part, n_sums, 0.0F);
    for (std::size_t first = begin; first < end; first += height) {
      const std::size_t count = std::min(height, end - first);
      const std::size_t tiled = count / kTile * kTile;
      for (std::size_t r = 0; r < tiled; r += kTile) {
        dot_products<kTile, 1>(rows, first + r, score_weights, 0, scores + r);
      }
      for (std::size_t r = tiled; r < count; ++r) {
        HWY_ALIGN float own[kDotProducts<1, 1>];
        dot_products<1, 1>(rows, first + r, score_weights, 0, own);
        scores[r] = own[0];
      }
      for (std::size_t r = 0; r < count; ++r) scores[r] += bias;
      for (std::size_t r = 0; r < count; r += lanes) {
        logistic_vector(scores + r, std::min(lanes, count - r), targets + first + r,
                        weights != nullptr ? weights + first + r : nullptr, total, result);
      }
      for (std::size_t r = 0; r < tiled; r += kTile) {
        add_few_rows<kTile>(rows, first + r, scores + r, part);
      }
      for (std::size_t r = tiled; r < count; ++r) {
        add_few_rows<1>(rows, first + r, scores + r, part);
      }
    }
    for (std::size_t j = 0; j < n_sums; ++j) sum[j] += static_cast<double>(part[j]);
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

HWY_EXPORT(softmax_residuals_impl);
HWY_EXPORT(logistic_residuals_impl);
HWY_EXPORT(logistic_sums_impl);
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

RowLosses logistic_sums(const PanelMatrix& rows, std::size_t n_rows,
                        const PanelMatrix& score_weights, float bias, const std::int32_t* targets,
                        const float* weights, float* column_sum, float* part, double* sum) {
  return HWY_DYNAMIC_DISPATCH(logistic_sums_impl)(rows, n_rows, score_weights, bias, targets,
                                                  weights, column_sum, part, sum);
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
// NOLINTEND(misc-const-correctness)
#endif  // HWY_ONCE
