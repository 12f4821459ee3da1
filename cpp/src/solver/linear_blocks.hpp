#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <span>
#include <vector>

#include "eyespot/linalg.hpp"

// How rows are cut into blocks, and the scores of a block, for training and prediction alike.
namespace eyespot::solver {

/// Rows a block: measured best well beyond the second-level cache, since tall blocks add to the
/// float64 sums less often, but within it for few classes, whose sums are small; small data are cut
/// small enough for each of up to max_groups groups of enough work to have a block. A matter of the
/// shape only.
inline std::size_t block_rows(std::size_t n_rows, std::size_t n_features, std::size_t n_classes,
                              std::size_t max_groups) {
  constexpr std::size_t kBlockBytes = std::size_t{4} << 20;
  constexpr std::size_t kFewClassesBytes = std::size_t{1} << 19;
  constexpr std::size_t kMinRows = 96;
  // Multiply-adds that make a group worth its join, and its thread.
  constexpr std::size_t kGroupWork = std::size_t{1} << 21;
  const std::size_t bytes = n_classes <= kMaxTransposed ? kFewClassesBytes : kBlockBytes;
  const std::size_t fitting = bytes / (sizeof(float) * (n_features + n_classes));
  const std::size_t work = 2 * n_rows * n_features * n_classes;
  const std::size_t n_groups =
      std::clamp<std::size_t>(std::bit_floor(work / kGroupWork), 1, max_groups);
  const std::size_t share = (n_rows + n_groups - 1) / n_groups;
  std::size_t n_blocks = std::max<std::size_t>(1, (share + kAccumulateRows - 1) / kAccumulateRows);
  // Two threads share an even number of them.
  if (n_groups == 1 && n_blocks > 1) n_blocks += n_blocks % 2;
  const std::size_t even = (share + n_blocks - 1) / n_blocks;
  const std::size_t sharing = std::max(kMinRows, (even + 7) / 8 * 8);
  return std::clamp<std::size_t>(std::min(fitting / 8 * 8, sharing), 8, kAccumulateRows);
}

/// Rows cut into groups of the same height, but for the last, and these into blocks: threads with
/// as many groups each end together.
class RowGroups {
 public:
  RowGroups() = default;
  /// A group for each block up to most_groups; blocks of `block_rows` rows or a little less, or,
  /// with `nearly`, a little more where that makes fewer of them.
  RowGroups(std::size_t n_rows, std::size_t block_rows, std::size_t most_groups, bool nearly)
      : n_rows_(n_rows) {
    const std::size_t wanted = std::clamp<std::size_t>(shares(n_rows, block_rows), 1, most_groups);
    group_rows_ = std::max<std::size_t>(rounded(shares(n_rows, wanted)), 8);  // even of no rows
    n_groups_ = shares(n_rows, group_rows_);
    blocks_per_group_ = nearly
                            ? std::max<std::size_t>(1, (group_rows_ + block_rows / 2) / block_rows)
                            : shares(group_rows_, block_rows);
    block_rows_ = rounded(shares(group_rows_, blocks_per_group_));
  }

  [[nodiscard]] std::size_t n_groups() const noexcept { return n_groups_; }
  /// The blocks of group g are those from g times this on.
  [[nodiscard]] std::size_t blocks_per_group() const noexcept { return blocks_per_group_; }
  [[nodiscard]] std::size_t n_blocks() const noexcept { return n_groups_ * blocks_per_group_; }
  /// Rows of the highest block.
  [[nodiscard]] std::size_t block_rows() const noexcept { return block_rows_; }
  [[nodiscard]] std::size_t first(std::size_t block) const noexcept {
    return block / blocks_per_group_ * group_rows_ + block % blocks_per_group_ * block_rows_;
  }
  /// Rows of a block: 0 for some at the end of a group, but not for its first.
  [[nodiscard]] std::size_t height(std::size_t block) const noexcept {
    const std::size_t end = std::min((block / blocks_per_group_ + 1) * group_rows_, n_rows_);
    return std::min(block_rows_, end - std::min(first(block), end));
  }

 private:
  static std::size_t shares(std::size_t whole, std::size_t part) {
    return (whole + part - 1) / part;
  }
  // Kernels take eight rows at a time.
  static std::size_t rounded(std::size_t rows) { return (rows + 7) / 8 * 8; }

  std::size_t n_rows_ = 0;
  std::size_t n_groups_ = 0;
  std::size_t group_rows_ = 0;
  std::size_t blocks_per_group_ = 0;
  std::size_t block_rows_ = 0;
};

/// Weights and biases in the layout of the products.
class LinearScores {
 public:
  LinearScores() = default;
  LinearScores(std::size_t n_classes, std::size_t n_features)
      : weights_(n_classes, n_features), shape_(1, n_classes) {
    const std::size_t last = shape_.n_panels() - 1;
    bias_.resize(last * shape_.panel_width() + shape_.width(last));
    if (n_classes <= kMaxTransposed) return;
    // Dot products for the last few, who would take a vector for themselves. Measured on Zen 4:
    // they pay up to half a vector.
    const std::size_t lanes = shape_.panel_width() / 3;
    const std::size_t rest = n_classes % lanes;
    n_multiplied_ = n_classes - (2 * rest <= lanes ? rest : 0);
    right_ = PanelMatrix(n_features, n_multiplied_);
  }

  /// n_classes rows of weights, one after the other, and biases; padding columns score `padding`.
  void set(std::span<const float> weights, std::span<const double> bias, float padding) {
    const std::size_t d = weights_.cols();
    for (std::size_t c = 0; c < weights_.rows(); ++c) {
      weights_.set_row(c, weights.subspan(c * d, d));
    }
    std::ranges::fill(bias_, padding);
    std::ranges::transform(bias, bias_.begin(), [](double b) { return static_cast<float>(b); });
    if (n_multiplied_ == 0) return;
    pack_transposed(weights.first(n_multiplied_ * d), n_multiplied_, d, right_);
  }

  /// n_classes x n_features.
  [[nodiscard]] const PanelMatrix& weights() const noexcept { return weights_; }
  /// Biases, with those of the padding.
  [[nodiscard]] std::span<const float> bias() const noexcept { return bias_; }

  /// Scores of the first `count` rows.
  void of(const PanelMatrix& rows, std::size_t count, PanelMatrix& scores) const {
    if (n_multiplied_ < weights_.rows()) {
      multiply_transposed(rows, weights_, n_multiplied_, bias_.data(), count, scores);
    }
    if (n_multiplied_ == 0) return;
    multiply(rows, right_, MultiplyInit::row, bias_.data(),
             {.row_begin = 0,
              .row_end = count,
              .panel_begin = 0,
              .panel_end = right_.n_panels(),
              .inner_begin = 0,
              .inner_end = rows.n_panels()},
             scores);
  }

 private:
  PanelMatrix weights_;
  PanelMatrix shape_;  // of one row of scores
  PanelMatrix right_;  // as a right factor, the weights of the first n_multiplied_ classes
  std::size_t n_multiplied_ = 0;
  std::vector<float> bias_;  // padded
};

}  // namespace eyespot::solver
