#include "eyespot/linalg.hpp"

#include <algorithm>
#include <new>

#include "eyespot/types.hpp"

namespace eyespot {

namespace {

constexpr std::size_t kAlignment = 64;

}  // namespace

void PanelMatrix::Free::operator()(float* p) const noexcept {
  ::operator delete[](p, std::align_val_t{kAlignment});
}

PanelMatrix::PanelMatrix(std::size_t rows, std::size_t cols) : PanelMatrix(rows, cols, true) {}

PanelMatrix PanelMatrix::for_overwrite(std::size_t rows, std::size_t cols) {
  return {rows, cols, false};
}

PanelMatrix::PanelMatrix(std::size_t rows, std::size_t cols, bool filled)
    : rows_(rows), cols_(cols), width_(eyespot::panel_width()) {
  const std::size_t lanes = width_ / 3;
  n_panels_ = (cols + width_ - 1) / width_;
  const std::size_t last = n_panels_ == 0 ? 0 : cols - (n_panels_ - 1) * width_;
  last_width_ = (last + lanes - 1) / lanes * lanes;
  const std::size_t padded = n_panels_ == 0 ? 0 : (n_panels_ - 1) * width_ + last_width_;
  const std::size_t count = checked_mul(rows, padded, "matrix");
  const std::size_t bytes = checked_mul(count, sizeof(float), "matrix");
  data_.reset(static_cast<float*>(
      ::operator new[](std::max(bytes, kAlignment), std::align_val_t{kAlignment})));
  if (filled) std::fill_n(data_.get(), count, 0.0F);
}

LowerTriangle::LowerTriangle(std::size_t n) : n_(n) {
  const PanelMatrix shape(1, n);
  width_ = shape.panel_width();
  last_width_ = n > 0 ? shape.width(shape.n_panels() - 1) : 0;
  static_cast<void>(checked_mul(n, n + width_, "matrix"));
  std::size_t size = 0;
  for (std::size_t q = 0; q < shape.n_panels(); ++q) {
    begin_.push_back(size);
    size += (n - q * width_) * shape.width(q);
  }
  values_.resize(size);
}

void LowerTriangle::set_row(std::size_t i, std::span<const double> values) noexcept {
  for (std::size_t first = 0; first <= i; first += width_) {
    std::copy_n(values.data() + first, std::min(width_, i + 1 - first), &(*this)(i, first));
  }
}

void LowerTriangle::get_row(std::size_t i, std::span<double> values) const noexcept {
  for (std::size_t first = 0; first <= i; first += width_) {
    std::copy_n(&values_[index(i, first)], std::min(width_, i + 1 - first), values.data() + first);
  }
}

void pack_transposed(std::span<const float> source, std::size_t rows, std::size_t cols,
                     PanelMatrix& out) {
  // The source is read along its rows, a few at a time, so that the writes fill whole lines.
  for (std::size_t q = 0; q < out.n_panels(); ++q) {
    const std::size_t width = out.width(q);
    const std::size_t first = q * out.panel_width();
    const std::size_t used = std::min(out.used(q), rows - first);
    float* panel = out.panel(q);
    for (std::size_t p = 0; p < cols; ++p) {
      for (std::size_t j = 0; j < used; ++j) panel[p * width + j] = source[(first + j) * cols + p];
    }
  }
}

}  // namespace eyespot
