#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "aligned.hpp"
#include "box_reducer.hpp"
#include "eyespot/image.hpp"
#include "kernels.hpp"
#include "weights.hpp"

namespace eyespot::detail {

/// Resizes one plane (of 1 to 4 interleaved channels) while its rows arrive, top to bottom. What it
/// holds grows with the widths, never with the number of source rows.
///
/// Result: rows of grey levels in an image of the caller's, or, for planes that have yet to be put
/// together, blocks of 16 target rows, transposed. Block b's column i holds rows 16 b .. 16 b + 15
/// of sample i, with kFractionBits fraction bits, because that is what the second pass yields and
/// the colour conversion and the final store want; rows below the image are zero or stale.
///
/// Pass order. Bilinear goes vertical first: adding a weighted source row to two target rows is
/// contiguous and needs no window logic, and the dearer horizontal pass then runs on target rows
/// only. RGB rows then go through it one by one, while they are in the L1 cache; other channels are
/// no whole vectors and go by blocks. Bicubic goes horizontal first and clamps to 0..255 in
/// between: it overshoots, which makes the order part of the result, and Pillow does it so. (Pillow
/// 13 turns the order round where the other one is cheaper.)
class StreamResizer {
 public:
  /// Plans for rows of x.in_size pixels, and returns how many bytes begin() is going to hold for
  /// them; the blocks, whose size the caller has chosen, not counted. The weights are computed
  /// unless a recent image had the same geometry; `bits` of the axes is for this class to set.
  /// Throws Error(limit_exceeded) when a size overflows.
  [[nodiscard]] std::size_t plan(AxisSpec x, AxisSpec y, std::size_t channels,
                                 const Kernels& kernels, WeightCache& cache);

  /// Takes the memory that plan() has told; rows may follow. Target rows are written to `out`, of
  /// the target's size, as they are complete.
  void begin(MutableImageView out);
  /// The same, for a result in blocks.
  void begin();

  /// Takes source row `y`; rows come in order, and rows that no target row needs may be left out.
  void row(std::uint32_t y, const std::uint8_t* samples);

  [[nodiscard]] bool complete() const noexcept { return oldest_ == y_.out_size; }
  /// Target blocks that are complete, after begin() without an image.
  [[nodiscard]] std::size_t blocks_done() const noexcept { return blocks_done_; }
  [[nodiscard]] std::size_t block_count() const noexcept {
    return (y_.out_size + kBlockRows - 1) / kBlockRows;
  }
  [[nodiscard]] const std::int16_t* block(std::size_t b) const noexcept {
    return blocks_.data() + b * block_size_;
  }
  /// First and last source row that counts.
  [[nodiscard]] std::uint32_t first_row() const noexcept {
    return y_weights_->first.front() * reducer_.step_y();
  }
  [[nodiscard]] std::uint32_t last_row() const noexcept {
    const std::uint64_t end = (std::uint64_t{y_weights_->last.back()} + 1) * reducer_.step_y();
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(end, source_rows_)) - 1;
  }

 private:
  /// row(), after the reducer.
  void reduced_row(std::uint32_t y, const std::uint8_t* samples);
  /// Adds a source row of the vertical pass: levels, or values with kLevelBits.
  template <typename Sample>
  void vertical(std::uint32_t y, const Sample* samples);
  void reset();
  void finish_row(std::size_t target_row);
  void finish_block();
  /// Where the block that is complete next goes.
  [[nodiscard]] std::int16_t* next_block() noexcept {
    return blocks_.data() + (out_.data != nullptr ? 0 : blocks_done_ * block_size_);
  }
  void horizontal(const std::int16_t* rows, std::size_t stride, std::int16_t* out);
  void flush_staged();
  [[nodiscard]] std::int16_t* sum(std::size_t target_row) noexcept {
    return sums_.data() + (target_row & (sum_slots_ - 1)) * sum_stride_;
  }

  const Kernels* kernels_ = nullptr;
  BoxReducer reducer_;
  std::uint32_t source_rows_ = 0;
  AxisSpec x_;  ///< after the reducer, as y_
  AxisSpec y_;
  std::shared_ptr<const AxisWeights> x_weights_;
  std::shared_ptr<const AxisWeights> y_weights_;
  std::size_t channels_ = 0;
  bool horizontal_first_ = false;
  bool by_rows_ = false;  ///< whether rows go through the second pass one by one
  MutableImageView out_;  ///< without data when the result is blocks

  // Vertical pass: target rows being summed, in a ring of whole blocks of rows.
  AlignedBuffer<std::int16_t> sums_;
  std::size_t sum_width_ = 0;
  std::size_t sum_stride_ = 0;
  std::size_t sum_slots_ = 0;  ///< a power of two
  std::size_t oldest_ = 0;     ///< first target row that is not complete
  std::size_t started_ = 0;    ///< target rows whose sums have begun

  // Horizontal first: source rows wait for a block of 16.
  AlignedBuffer<std::int16_t> staged_;
  std::uint32_t staged_rows_[kBlockRows] = {};
  std::size_t staged_count_ = 0;
  std::size_t staged_stride_ = 0;
  AlignedBuffer<std::int16_t> narrow_;  ///< the same rows at the target's width

  AlignedBuffer<std::int16_t> pair_weights_;  ///< those of x_weights_ as horizontal_rgb() wants
  AlignedBuffer<std::int16_t> columns_;
  std::size_t column_stride_ = 0;
  AlignedBuffer<std::int16_t> blocks_;
  std::size_t block_size_ = 0;
  std::size_t blocks_done_ = 0;
};

}  // namespace eyespot::detail
