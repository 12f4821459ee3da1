#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/runtime.hpp"

namespace eyespot {

/// A float32 matrix kept as column panels: panel q holds columns [q * width, (q + 1) * width) of
/// all rows, row after row, so that every kernel below walks memory in order. The last panel is as
/// narrow as whole SIMD vectors allow, and its padding columns are zero. Both factors of a product
/// and the product itself have this one layout, so nothing is repacked between the steps of the
/// solver. The width follows from the SIMD target; a panel never straddles a cache line.
class PanelMatrix {
 public:
  PanelMatrix() = default;
  /// Zero-filled. Throws Error(limit_exceeded) when the size overflows.
  PanelMatrix(std::size_t rows, std::size_t cols);
  /// The same without the zeros: pack_rows is to write each row before it is read.
  [[nodiscard]] static PanelMatrix for_overwrite(std::size_t rows, std::size_t cols);

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t cols() const noexcept { return cols_; }
  [[nodiscard]] std::size_t n_panels() const noexcept { return n_panels_; }
  /// Width of every panel but the last, in columns.
  [[nodiscard]] std::size_t panel_width() const noexcept { return width_; }
  /// Width of panel q in memory, padding included.
  [[nodiscard]] std::size_t width(std::size_t q) const noexcept {
    return q + 1 < n_panels_ ? width_ : last_width_;
  }
  /// Columns of panel q that belong to the matrix.
  [[nodiscard]] std::size_t used(std::size_t q) const noexcept {
    return q + 1 < n_panels_ ? width_ : cols_ - q * width_;
  }
  [[nodiscard]] const float* panel(std::size_t q) const noexcept {
    return data_.get() + q * width_ * rows_;
  }
  [[nodiscard]] float* panel(std::size_t q) noexcept { return data_.get() + q * width_ * rows_; }
  /// Row i from, or to, cols() contiguous values.
  template <class T>
  void set_row(std::size_t i, std::span<const T> values) noexcept {
    for (std::size_t q = 0; q < n_panels_; ++q) {
      float* to = panel(q) + i * width(q);
      for (std::size_t j = 0; j < used(q); ++j) to[j] = static_cast<float>(values[q * width_ + j]);
    }
  }
  template <class T>
  void get_row(std::size_t i, std::span<T> values) const noexcept {
    for (std::size_t q = 0; q < n_panels_; ++q) {
      const float* from = panel(q) + i * width(q);
      for (std::size_t j = 0; j < used(q); ++j) values[q * width_ + j] = static_cast<T>(from[j]);
    }
  }

 private:
  struct Free {
    void operator()(float* p) const noexcept;
  };
  PanelMatrix(std::size_t rows, std::size_t cols, bool filled);
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t width_ = 0;
  std::size_t n_panels_ = 0;
  std::size_t last_width_ = 0;
  std::unique_ptr<float[], Free> data_;
};

/// The lower triangle of a symmetric float64 matrix, in the column panels of a PanelMatrix, each
/// from its diagonal down.
class LowerTriangle {
 public:
  LowerTriangle() = default;
  /// n x n, zero-filled. Throws Error(limit_exceeded) when the size overflows.
  explicit LowerTriangle(std::size_t n);

  [[nodiscard]] std::size_t size() const noexcept { return n_; }
  [[nodiscard]] bool empty() const noexcept { return n_ == 0; }
  [[nodiscard]] std::size_t n_panels() const noexcept { return begin_.size(); }
  /// Columns of panel q in memory, padding included. Its rows begin with that of its first column.
  [[nodiscard]] std::size_t width(std::size_t q) const noexcept {
    return q + 1 < begin_.size() ? width_ : last_width_;
  }
  [[nodiscard]] double* panel(std::size_t q) noexcept { return values_.data() + begin_[q]; }
  [[nodiscard]] const double* panel(std::size_t q) const noexcept {
    return values_.data() + begin_[q];
  }
  /// All panels, with what they hold above the diagonal and as padding.
  [[nodiscard]] std::span<double> values() noexcept { return values_; }
  /// The element in row i and column j, j <= i.
  [[nodiscard]] double& operator()(std::size_t i, std::size_t j) noexcept {
    return values_[index(i, j)];
  }
  [[nodiscard]] double operator()(std::size_t i, std::size_t j) const noexcept {
    return values_[index(i, j)];
  }
  /// Row i up to the diagonal, from or to i + 1 contiguous values.
  void set_row(std::size_t i, std::span<const double> values) noexcept;
  void get_row(std::size_t i, std::span<double> values) const noexcept;

  [[nodiscard]] bool operator==(const LowerTriangle&) const = default;

 private:
  [[nodiscard]] std::size_t index(std::size_t i, std::size_t j) const noexcept {
    const std::size_t q = j / width_;
    const std::size_t first = q * width_;
    return begin_[q] + (i - first) * width(q) + j - first;
  }

  std::size_t n_ = 0;
  std::size_t width_ = 0;
  std::size_t last_width_ = 0;
  std::vector<std::size_t> begin_;  // of each panel
  std::vector<double> values_;
};

/// Columns of a full panel under the SIMD target in force: three vectors of float32.
[[nodiscard]] std::size_t panel_width();

/// Row-major rows of `cols` floats, `stride` apart. When `rows` is not null, row i of the view is
/// row rows[i] of the data.
struct RowsView {
  const float* data = nullptr;
  std::size_t cols = 0;
  std::size_t stride = 0;
  const std::uint32_t* rows = nullptr;

  [[nodiscard]] const float* row(std::size_t i) const noexcept {
    return data + (rows != nullptr ? rows[i] : i) * stride;
  }
};

/// out(i, j) = (source(first + i, j) - offset[j]) * scale[i] for i < count; `offset` and `scale`
/// may be null (0 and 1). `out` has at least `count` rows and exactly source.cols columns; rows
/// from `count` on keep what they held.
void pack_rows(const RowsView& source, std::size_t first, std::size_t count, const float* offset,
               const float* scale, PanelMatrix& out);

/// out = transpose of the row-major `rows` x `cols` matrix `source`, so out is cols x rows.
void pack_transposed(std::span<const float> source, std::size_t rows, std::size_t cols,
                     PanelMatrix& out);

/// What the product is added to.
enum class MultiplyInit : unsigned char {
  zero,      ///< nothing
  row,       ///< `row[c]` in every row; it must cover the padding of the last panel too
  existing,  ///< what `out` already holds
};

/// Which part of a product to form: rows [row_begin, row_end) of the result, its panels
/// [panel_begin, panel_end), and of the inner dimension only the panels [inner_begin, inner_end) of
/// `a`.
struct MultiplyRange {
  std::size_t row_begin = 0;
  std::size_t row_end = 0;
  std::size_t panel_begin = 0;
  std::size_t panel_end = 0;
  std::size_t inner_begin = 0;
  std::size_t inner_end = 0;
};

/// out = init + a * b on `range`. a is m x d, b is d x k, out is m x k, or wider and the rest of it
/// stays what it is. `out` may be `a` itself when the inner panels and the panels written are
/// disjoint. One thread; the order of additions depends on the shapes and the SIMD target only.
/// Accumulates in float32.
void multiply(const PanelMatrix& a, const PanelMatrix& b, MultiplyInit init, const float* row,
              const MultiplyRange& range, PanelMatrix& out);

/// The product with a right factor that is kept as its transpose, of which the rows from `first` on
/// are used: out(i, c) = row[c] + sum over j of a(i, j) * b(c, j) for i < n_rows and c >= first,
/// and the padding of out is taken from `row` too. For 1 to kMaxTransposed rows, `first` a multiple
/// of panel_width() / 3: faster than multiply there, whose vectors such a factor leaves empty.
void multiply_transposed(const PanelMatrix& a, const PanelMatrix& b, std::size_t first,
                         const float* row, std::size_t n_rows, PanelMatrix& out);
inline constexpr std::size_t kMaxTransposed = 11;

/// Float64 sums in the layout of a PanelMatrix: panel q, a.cols() rows of b.width(q) numbers,
/// begins at q * b.panel_width() * a.cols(). This many numbers:
[[nodiscard]] inline std::size_t panel_sums(std::size_t rows, const PanelMatrix& b) {
  if (b.n_panels() == 0) return 0;
  return rows * ((b.n_panels() - 1) * b.panel_width() + b.width(b.n_panels() - 1));
}

/// sum(c, j) += transpose(a)(c, i) * b(i, j) over i < n_rows; `sum` is laid out as panel_sums says.
/// Rows are taken in chunks of kAccumulateRows: float32 inside a chunk, float64 between chunks.
void accumulate_transposed(const PanelMatrix& a, const PanelMatrix& b, std::size_t n_rows,
                           double* sum);
inline constexpr std::size_t kAccumulateRows = 288;

/// The part of accumulate_transposed(a, b, ...) in panel q.
void accumulate_panel(const PanelMatrix& a, const PanelMatrix& b, std::size_t n_rows, std::size_t q,
                      double* sum);
/// The part of accumulate_panel in the columns of a's panels [left_begin, left_end): `sum` is where
/// the sums of these begin.
void accumulate_panels(const PanelMatrix& a, std::size_t left_begin, std::size_t left_end,
                       const PanelMatrix& b, std::size_t n_rows, std::size_t q, double* sum);
/// The part of accumulate_transposed(a, a, ...) in panel q, from its diagonal down: `panel` is that
/// of a LowerTriangle.
void accumulate_gram(const PanelMatrix& a, std::size_t n_rows, std::size_t q, double* panel);

/// Sum of a[i] * b[i] in float64, in an order that depends on the length and the SIMD target only.
[[nodiscard]] double dot(std::span<const double> a, std::span<const double> b);
[[nodiscard]] double dot(std::span<const float> a, std::span<const double> b);
[[nodiscard]] double dot(std::span<const float> a, std::span<const float> b);
/// The same with float32 sums over up to 64 products in each lane of four vectors, added in
/// float64: a good seven digits of the sum of the products' sizes.
[[nodiscard]] double dot_in_float(std::span<const float> a, std::span<const float> b);
/// Largest |a[i]|, 0 for none; a NaN may be passed over.
[[nodiscard]] double largest_magnitude(std::span<const double> a);
/// y += factor * x.
void add_scaled(double factor, std::span<const double> x, std::span<double> y);
void add_scaled(double factor, std::span<const float> x, std::span<double> y);
void add_scaled(float factor, std::span<const float> x, std::span<float> y);
/// The same, and then dot_in_float(a, y), in one pass; `a` is not y.
[[nodiscard]] double add_scaled_and_dot(float factor, std::span<const float> x, std::span<float> y,
                                        std::span<const float> a);

}  // namespace eyespot
