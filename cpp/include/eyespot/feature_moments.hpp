#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {

/// Index of the first row with a NaN or an infinity, or n_rows when there is none.
[[nodiscard]] std::size_t first_non_finite_row(const RowsView& features, std::size_t n_rows,
                                               ThreadPool* pool, const Poll& poll);

/// One weight a row of the view, 1 on average; empty for null. Throws Error(invalid_argument) for a
/// weight that is negative or not finite, or weights that sum to 0.
[[nodiscard]] std::vector<float> mean_one_weights(const RowsView& features, std::size_t n_rows,
                                                  const float* weights);

/// Weighted mean of the rows, and the mean of the outer products of the centred rows: of all up to
/// 16 * d rows, of evenly spaced ones beyond that, and of their numbers rounded to bfloat16 with
/// the SIMD targets "avx3_bf16" and "amx": all that a preconditioner needs.
struct FeatureMoments {
  std::vector<float> mean;  ///< d
  LowerTriangle gram;       ///< d x d
  double variance = 0;      ///< mean over the features of their variance
};
/// `weights`, one a row of the data behind the view, may be null. Without a Gram matrix, for a
/// Preconditioner of one scale, `gram` stays empty. Throws Error(invalid_argument) where there are
/// no rows or no features.
[[nodiscard]] FeatureMoments feature_moments(const RowsView& features, std::size_t n_rows,
                                             const float* weights, ThreadPool* pool,
                                             const Poll& poll, bool with_gram = true);
/// Forms the Gram matrix of moments that were found without one, of the same rows and weights; the
/// variance is its then.
void add_gram(FeatureMoments& moments, const RowsView& features, std::size_t n_rows,
              const float* weights, ThreadPool* pool, const Poll& poll);

/// Rows whose curvature a metric knows one by one. What row rows[i] adds to the Hessian of the mean
/// loss in its own scores is the sum of v v^T over its vectors v, those with row_of == i: the row's
/// share of all weight is in them.
struct ActiveCurvature {
  std::vector<std::uint32_t> rows;    ///< of the data, in the order of the view
  std::vector<std::uint32_t> row_of;  ///< of each vector, its row's place in `rows`, ascending
  std::vector<float> vectors;         ///< row-major, row_of.size() x n_scores
};

/// Moments in which a row counts by the curvature that its loss has at one point, averaged over the
/// scores.
struct CurvedMoments {
  FeatureMoments moments;      ///< of the rows that are not active
  double curvature = 0;        ///< weighted mean of the curvatures
  double rest = 0;             ///< the same without that of active rows
  std::vector<float> centres;  ///< as in LossCurvature; empty beside active rows
  ActiveCurvature active;
};

/// The Hessians of the losses of rows in their scores.
struct ScoreCurvatures {
  /// Writes, row-major, n_scores numbers for each of the given rows of the data behind the view.
  std::function<void(std::span<const std::uint32_t> rows, std::span<float> values)> of;
  /// Whether these are probabilities p, and the Hessian is diag(p) - p p^T; else they are the
  /// Hessian's diagonal, and the rest of it is 0.
  bool coupled = false;
};

/// How the losses of rows bend at one point.
struct LossCurvature {
  /// Of each row of the view, its weight times its curvature, averaged over the scores.
  std::vector<float> rows;
  /// n_scores x d: of each score, the mean of the centred rows by their weight and curvature in it;
  /// 0 for a score in which no row bends the loss. May be empty.
  std::vector<float> centres;
};

/// What CurvedMoments are to be made of.
struct CurvedForm {
  std::size_t n_scores = 0;
  double least = 0;           ///< curvature to assume where all rows are told apart with certainty
  bool with_gram = true;      ///< whether to form a Gram matrix
  std::size_t n_vectors = 0;  ///< that active rows may have
};

/// The moments that suit the way on from one point: where the classes are told apart with ease, the
/// loss is flat, and the rows that bend it least, by 2 % of all curvature, are left out. `plain`
/// are those of the same data; `weights`, one a row of the view, may be empty; `single` is asked
/// for those rows only that may be active.
[[nodiscard]] CurvedMoments curved_moments(const RowsView& features, std::size_t n_rows,
                                           std::span<const float> weights,
                                           const FeatureMoments& plain, LossCurvature curvature,
                                           const ScoreCurvatures& single, const CurvedForm& form,
                                           ThreadPool* pool, const Poll& poll);

}  // namespace eyespot
