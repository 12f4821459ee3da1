#include "stream_resizer.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "eyespot/types.hpp"

namespace eyespot::detail {

namespace {

// Most target rows that any one source row counts for, or that are open between two such rows.
std::size_t widest_overlap(const AxisWeights& weights) {
  std::size_t widest = 1;
  std::size_t end = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    while (end < weights.size() && weights.first[end] <= weights.last[i]) ++end;
    widest = std::max(widest, end - i);
  }
  return widest;
}

// Rows that multiply make the sums of a vertical pass large; harmless unless they are wide as well.
bool goes_horizontal_first(const AxisSpec& x, const AxisSpec& y) {
  constexpr std::uint32_t kWide = 4;
  return y.resample == Resample::bicubic ||
         (y.length < y.out_size && x.in_size / kWide > x.out_size);
}

constexpr std::size_t kRgb = 3;
constexpr std::size_t kVector = 8;  // values that horizontal_rgb() takes at a time

constexpr std::size_t pairs(std::size_t taps) noexcept {
  return (taps + 1) / 2;
}

constexpr std::size_t pair_values(std::size_t taps) noexcept {
  return pairs(taps) * kVector;
}

// The weights as horizontal_rgb() wants them: for each pair of taps, the first weight three times,
// the second three times, and two zeros.
void spread_pairs(const AxisWeights& weights, std::int16_t* out) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int16_t* values = weights.values.data() + i * weights.taps;
    for (std::size_t k = 0; k < weights.taps; k += 2, out += kVector) {
      const std::int16_t first = values[k];
      const std::int16_t second = k + 1 < weights.taps ? values[k + 1] : std::int16_t{0};
      out[0] = out[1] = out[2] = first;
      out[3] = out[4] = out[5] = second;
      out[6] = out[7] = 0;
    }
  }
}

// The axis as it looks when every `step` samples have become one.
AxisSpec reduced(AxisSpec axis, std::uint32_t step) {
  axis.in_size = (axis.in_size - 1) / step + 1;
  axis.begin /= step;
  axis.length /= step;
  return axis;
}

}  // namespace

std::size_t StreamResizer::plan(AxisSpec x, AxisSpec y, std::size_t channels,
                                const Kernels& kernels, WeightCache& cache) {
  source_rows_ = y.in_size;
  const std::uint32_t step_x = BoxReducer::step(x.length, x.out_size);
  const std::uint32_t step_y = BoxReducer::step(y.length, y.out_size);
  std::size_t bytes = reducer_.plan(x.in_size, channels, step_x, step_y);
  x = reduced(x, step_x);
  y = reduced(y, step_y);
  horizontal_first_ = goes_horizontal_first(x, y);
  // The first pass takes values with kLevelBits; so does the second when the first was horizontal,
  // because restore_rows() raises them again.
  y.bits = 14;
  x.bits = horizontal_first_ ? 14 : 15;
  x_weights_ = cache.get(x);
  y_weights_ = cache.get(y);
  x_ = x;
  y_ = y;
  kernels_ = &kernels;
  channels_ = channels;

  constexpr const char* kWhat = "resize";
  const std::size_t in_width = checked_mul(x.in_size, channels, kWhat);
  const std::size_t out_width = checked_mul(x.out_size, channels, kWhat);
  sum_width_ = horizontal_first_ ? out_width : in_width;
  sum_stride_ = padded(sum_width_);
  staged_stride_ = padded(in_width);
  column_stride_ = padded(std::max(in_width, out_width));
  block_size_ = checked_mul(kBlockRows, padded(out_width), kWhat);
  by_rows_ = channels == kRgb && !horizontal_first_;
  std::size_t open_rows = std::min<std::size_t>(widest_overlap(*y_weights_), y.out_size);
  if (!by_rows_) {
    // From the first row of the oldest open block to the last open row. (A shrinking triangle: two
    // blocks.)
    open_rows = std::clamp(kBlockRows - 1 + open_rows, kBlockRows, block_count() * kBlockRows);
  }
  sum_slots_ = std::bit_ceil(open_rows);

  const auto charge = [&bytes](std::size_t rows, std::size_t stride) {
    const std::size_t values = checked_mul(rows, stride, kWhat);
    bytes = checked_add(bytes, checked_mul(values, sizeof(std::int16_t), kWhat), kWhat);
  };
  charge(sum_slots_, sum_stride_);
  if (by_rows_) {
    charge(x.out_size, pair_values(x_weights_->taps));
  } else {
    charge(kBlockRows, column_stride_);
  }
  if (horizontal_first_) {
    charge(kBlockRows, staged_stride_);
    charge(kBlockRows, sum_stride_);
  }
  return bytes;
}

void StreamResizer::begin(MutableImageView out) {
  out_ = out;
  reset();
  if (!by_rows_) blocks_.reserve(block_size_);
}

void StreamResizer::begin() {
  out_ = {};
  reset();
  blocks_.reserve(checked_mul(block_count(), block_size_, "resize"));
}

void StreamResizer::reset() {
  reducer_.begin();
  // A vector at the end of a row may reach past it.
  sums_.reserve(sum_slots_ * sum_stride_ + kVector);
  oldest_ = 0;
  started_ = 0;
  blocks_done_ = 0;
  staged_count_ = 0;
  if (horizontal_first_) {
    staged_.reserve(kBlockRows * staged_stride_);
    narrow_.reserve(kBlockRows * sum_stride_);
  }
  if (by_rows_) {
    spread_pairs(*x_weights_, pair_weights_.reserve(x_.out_size * pair_values(x_weights_->taps)));
  } else {
    columns_.reserve(kBlockRows * column_stride_);
  }
}

void StreamResizer::row(std::uint32_t y, const std::uint8_t* samples) {
  if (y < first_row() || y > last_row()) return;
  if (!reducer_.active()) {
    reduced_row(y, samples);
    return;
  }
  reducer_.add(samples);
  const std::uint32_t step = reducer_.step_y();
  if (y % step == step - 1 || y == last_row()) reduced_row(y / step, reducer_.finish());
}

void StreamResizer::reduced_row(std::uint32_t y, const std::uint8_t* samples) {
  if (!horizontal_first_) {
    vertical(y, samples);
    return;
  }
  kernels_->widen(samples, x_.in_size * channels_, staged_.data() + staged_count_ * staged_stride_);
  staged_rows_[staged_count_++] = y;
  if (staged_count_ == kBlockRows || y == y_weights_->last.back()) flush_staged();
}

// The staged rows through the horizontal pass, clamped, then on to the vertical pass.
void StreamResizer::flush_staged() {
  const std::size_t out_width = x_.out_size * channels_;
  // The block that is complete next is not begun before its last row has come.
  std::int16_t* scratch = next_block();
  horizontal(staged_.data(), staged_stride_, scratch);
  kernels_->restore_rows(scratch, (out_width + 7) / 8 * 8, narrow_.data(), sum_stride_);
  const std::size_t count = staged_count_;
  staged_count_ = 0;
  for (std::size_t r = 0; r < count; ++r) {
    vertical(staged_rows_[r], narrow_.data() + r * sum_stride_);
  }
}

template <typename Sample>
void StreamResizer::vertical(std::uint32_t y, const Sample* samples) {
  const AxisWeights& weights = *y_weights_;
  const std::size_t n_targets = weights.size();
  const std::size_t fresh = started_;  // targets from here on get their first row
  while (started_ < n_targets && weights.first[started_] <= y) ++started_;
  const auto weight = [&](std::size_t target) {
    return weights.values[target * weights.taps + (y - weights.first[target])];
  };
  std::size_t target = oldest_;
  if constexpr (std::is_same_v<Sample, std::uint8_t>) {
    for (; target < fresh && target + 1 < started_; target += 2) {
      kernels_->accumulate2(samples, sum_width_, weight(target), sum(target), weight(target + 1),
                            sum(target + 1), target + 1 >= fresh);
    }
    for (; target < started_; ++target) {
      kernels_->accumulate(samples, sum_width_, weight(target), sum(target), target >= fresh);
    }
  } else {
    for (; target < started_; ++target) {
      kernels_->accumulate_wide(samples, sum_width_, weight(target), sum(target), target >= fresh);
    }
  }
  while (oldest_ < started_ && weights.last[oldest_] <= y) {
    if (by_rows_) finish_row(oldest_);
    ++oldest_;
    if (by_rows_) continue;
    if (oldest_ % kBlockRows == 0 || oldest_ == n_targets) finish_block();
  }
}

void StreamResizer::finish_row(std::size_t target_row) {
  kernels_->horizontal_rgb(sum(target_row), x_weights_->first.data(), pair_weights_.data(),
                           pairs(x_weights_->taps), x_.out_size, out_.row(target_row));
}

void StreamResizer::finish_block() {
  const std::int16_t* rows = sum(blocks_done_ * kBlockRows);
  std::int16_t* out = next_block();
  if (horizontal_first_) {
    kernels_->transpose(rows, sum_stride_, 0, (sum_width_ + 7) / 8 * 8, out);
  } else {
    horizontal(rows, sum_stride_, out);
  }
  if (out_.data != nullptr) {
    const std::size_t first = blocks_done_ * kBlockRows;
    kernels_->store_rows(out, x_.out_size * channels_, std::min(kBlockRows, y_.out_size - first),
                         out_.row(first), out_.stride);
  }
  ++blocks_done_;
}

// Transposes just ahead of the targets that need the columns, so that they are still in the L1
// cache when they are weighed.
void StreamResizer::horizontal(const std::int16_t* rows, std::size_t stride, std::int16_t* out) {
  constexpr std::size_t kChunk = 16;
  const AxisWeights& weights = *x_weights_;
  const std::size_t n_targets = weights.size();
  std::size_t ready = weights.first[0] * channels_ / 8 * 8;
  for (std::size_t begin = 0; begin < n_targets; begin += kChunk) {
    const std::size_t end = std::min(begin + kChunk, n_targets);
    const std::size_t needed = (weights.first[end - 1] + weights.taps) * channels_;
    const std::size_t until = std::max(ready, (needed + 7) / 8 * 8);
    kernels_->transpose(rows, stride, ready, until, columns_.data());
    ready = until;
    kernels_->horizontal(columns_.data(), channels_, weights.first.data(), weights.values.data(),
                         weights.taps, begin, end, out);
  }
}

}  // namespace eyespot::detail
