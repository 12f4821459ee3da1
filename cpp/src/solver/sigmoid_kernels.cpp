#include "sigmoid_kernels.hpp"

#include <algorithm>

#include "loss_kernels.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE \
  "solver/sigmoid_kernels.cpp"  // NOLINT(bugprone-suspicious-include): as Highway asks
#include <hwy/foreach_target.h>
// After foreach_target, which includes this file once per target.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

// NOLINTBEGIN(misc-use-internal-linkage,modernize-concat-nested-namespaces): each target's
// namespace is reopened by Highway's macros, and its functions are reached from outside it.
HWY_BEFORE_NAMESPACE();
namespace eyespot::solver {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;
using IntTag = hn::RebindToSigned<FloatTag>;
using ByteTag = hn::Rebind<std::uint8_t, FloatTag>;

// Which of the columns from `column` on the row bears; none beyond the last class.
HWY_INLINE hn::Mask<FloatTag> bears(const std::uint8_t* row, std::size_t column,
                                    std::size_t n_classes) {
  const ByteTag bytes;
  const std::size_t lanes = hn::Lanes(bytes);
  hn::Vec<ByteTag> labels;
  if (column + lanes <= n_classes) {
    labels = hn::LoadU(bytes, row + column);
  } else {
    HWY_ALIGN std::uint8_t rest[hn::MaxLanes(ByteTag())] = {};
    if (column < n_classes) std::copy(row + column, row + n_classes, rest);
    labels = hn::Load(bytes, rest);
  }
  const IntTag ints;
  return hn::RebindMask(FloatTag(), hn::Ne(hn::PromoteTo(ints, labels), hn::Zero(ints)));
}

RowLosses sigmoid_residuals_impl(PanelMatrix& scores, std::size_t n_rows, const LabelBlock& block,
                                 float* column_sum) {
  const FloatTag d;
  const std::size_t lanes = hn::Lanes(d);
  const auto zero = hn::Zero(d);
  const auto one = hn::Set(d, 1.0F);
  RowLosses result;
  for (std::size_t i = 0; i < n_rows; ++i) {
    const std::uint8_t* labels = block.row(i);
    const auto row_weight =
        hn::Set(d, block.weights != nullptr ? block.weights[block.first + i] : 1.0F);
    auto loss = zero;
    bool right = true;
    for (std::size_t g = 0; g < scores.n_panels(); ++g) {
      const std::size_t width = scores.width(g);
      float* row = scores.panel(g) + i * width;
      for (std::size_t j = 0; j < width; j += lanes) {
        const std::size_t column = g * scores.panel_width() + j;
        const auto yes = bears(labels, column, block.n_classes);
        const auto score = hn::Load(d, row + j);
        // s > 0 where the score has the wrong sign. The tail exp(-|s|) is small and exact there,
        // so neither the loss log(1 + exp(s)) nor sigmoid(s) cancels.
        const auto s = hn::IfThenElse(yes, hn::Neg(score), score);
        const auto from = hn::Neg(hn::Abs(score));
        // As loss_kernels' factor_exp.
        const auto tail =
            hn::IfThenZeroElse(hn::Lt(from, hn::Set(d, kLeastExponent)), hn::Exp(d, from));
        const auto inverse = hn::Div(one, hn::Add(one, tail));
        const auto wrong = hn::IfThenElse(hn::Ge(s, zero), inverse, hn::Mul(tail, inverse));
        const auto weight =
            hn::Mul(row_weight, hn::IfThenElse(yes, hn::LoadU(d, block.positive + column),
                                               hn::LoadU(d, block.negative + column)));
        loss = hn::MulAdd(weight, hn::Add(hn::Max(s, zero), hn::Log1p(d, tail)), loss);
        const auto size = hn::Mul(weight, wrong);
        const auto residual = hn::IfThenElse(yes, hn::Neg(size), size);
        hn::Store(residual, d, row + j);
        float* total = column_sum + column;
        hn::StoreU(hn::Add(hn::LoadU(d, total), residual), d, total);
        const auto no_but_0 = hn::AndNot(yes, hn::Eq(score, zero));
        right = right && hn::AllFalse(d, hn::Or(hn::Gt(s, zero), no_but_0));
      }
    }
    result.loss += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, loss)));
    result.n_correct += right ? 1 : 0;
  }
  return result;
}

}  // namespace HWY_NAMESPACE
}  // namespace eyespot::solver
HWY_AFTER_NAMESPACE();
// NOLINTEND(misc-use-internal-linkage,modernize-concat-nested-namespaces)

#if HWY_ONCE
// NOLINTBEGIN(misc-const-correctness): the check does not see through the table of pointers
namespace eyespot::solver {

HWY_EXPORT(sigmoid_residuals_impl);

RowLosses sigmoid_residuals(PanelMatrix& scores, std::size_t n_rows, const LabelBlock& block,
                            float* column_sum) {
  return HWY_DYNAMIC_DISPATCH(sigmoid_residuals_impl)(scores, n_rows, block, column_sum);
}

}  // namespace eyespot::solver
// NOLINTEND(misc-const-correctness)
#endif  // HWY_ONCE
