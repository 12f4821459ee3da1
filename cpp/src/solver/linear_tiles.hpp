#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "eyespot/linalg.hpp"
#include "tiles.hpp"

// The two products of an evaluation on CPUs with AMX, which multiply bfloat16 sixteen times as fast
// as float32. A number of float32 is the sum of three of bfloat16, of eight bits each. Of the nine
// products of two such sums, six are formed: the three smallest are together less than float32's
// rounding of the result. All sums are float32's.
namespace eyespot::solver {

/// Tiles whose sum is a factor in float32.
struct TileParts {
  Tile parts[3];  // NOLINT(modernize-avoid-c-arrays)
};

/// Room for tiles, not cleared.
using TileArray = std::unique_ptr<TileParts[]>;  // NOLINT(modernize-avoid-c-arrays)

/// Whether tiles are faster for so many scores a row: fewer do not fill them.
[[nodiscard]] bool tiles_pay(std::size_t n_scores);

/// The weights of an evaluation.
class WeightTiles {
 public:
  WeightTiles() = default;
  WeightTiles(std::size_t n_scores, std::size_t n_features);
  /// n_scores rows of n_features.
  void set(std::span<const float> weights);

 private:
  friend class RowTiles;
  std::size_t n_scores_ = 0;
  std::size_t n_features_ = 0;
  TileArray right_;  // scores by features
};

/// A block of rows. It keeps where they are, and makes tiles of a few features at a time, so that
/// these stay in the cache.
class RowTiles {
 public:
  RowTiles() = default;
  RowTiles(std::size_t max_rows, std::size_t n_features, std::size_t n_scores);

  /// Rows that a matrix of scores needs for a block of so many.
  [[nodiscard]] static std::size_t padded(std::size_t n_rows);

  /// Takes rows [first, first + count), less `mean`, in place of those before. Both are read later.
  void set(const RowsView& source, std::size_t first, std::size_t count, const float* mean);
  /// As LinearScores::of, with biases for the padding too; `scores` has padded(count) rows.
  void scores(const WeightTiles& weights, std::span<const float> bias, PanelMatrix& scores);
  /// As accumulate_transposed(scores, rows, ...); the sums are not read before where `fresh`.
  void accumulate(const PanelMatrix& scores, bool fresh, std::span<double> sum);

 private:
  // Tiles of features from `step` on: left factors of the first product, right ones of the second.
  void set_left(std::size_t step, std::size_t n_steps);
  void set_right(std::size_t step, std::size_t n_steps);
  void set_scores(const PanelMatrix& scores);

  RowsView source_;
  std::size_t first_ = 0;
  std::size_t n_rows_ = 0;
  const float* mean_ = nullptr;
  std::size_t n_scores_ = 0;
  std::size_t max_steps_ = 0;  // tiles that the rows of a block may fill
  TileArray rows_;             // rows by some features, or these by rows
  TileArray scores_;           // scores by rows
};

}  // namespace eyespot::solver
