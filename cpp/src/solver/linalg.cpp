#include "eyespot/linalg.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "blocks.hpp"
#include "eyespot/types.hpp"
#include "panel_kernels.hpp"

namespace eyespot {

namespace {

constexpr std::size_t kAlignment = 64;

// Eight running sums, joined in a fixed order: as exact as one, and the compiler can vectorise it.
template <class A, class B>
double ordered_dot(std::span<const A> a, std::span<const B> b) {
  constexpr std::size_t kLanes = 8;
  std::array<double, kLanes> sum{};
  std::size_t i = 0;
  for (; i + kLanes <= a.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      sum[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
    }
  }
  for (; i < a.size(); ++i) sum[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

}  // namespace

void PanelMatrix::Free::operator()(float* p) const noexcept {
  ::operator delete[](p, std::align_val_t{kAlignment});
}

PanelMatrix::PanelMatrix(std::size_t rows, std::size_t cols)
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
  std::fill_n(data_.get(), count, 0.0F);
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

double dot(std::span<const double> a, std::span<const double> b) {
  return ordered_dot(a, b);
}
double dot(std::span<const float> a, std::span<const double> b) {
  return ordered_dot(a, b);
}
double dot(std::span<const float> a, std::span<const float> b) {
  return ordered_dot(a, b);
}

void add_scaled(double factor, std::span<const double> x, std::span<double> y) {
  for (std::size_t i = 0; i < x.size(); ++i) y[i] += factor * x[i];
}

void add_scaled(double factor, std::span<const float> x, std::span<double> y) {
  for (std::size_t i = 0; i < x.size(); ++i) y[i] += factor * static_cast<double>(x[i]);
}

bool cholesky(std::span<double> a, std::size_t n, ThreadPool* pool, const Poll& poll) {
  static_cast<void>(panel_width());  // the SIMD target is settled before the first kernel runs
  constexpr std::size_t kBlock = 64;
  constexpr std::size_t kTile = 4;
  constexpr std::size_t kRowsPerTask = 32;
  ThreadPool* const workers = n >= 256 ? pool : nullptr;
  double* const base = a.data();
  for (std::size_t first = 0; first < n; first += kBlock) {
    const std::size_t last = std::min(first + kBlock, n);
    // a(i, j) -= dot of the finished parts of rows i and j, for the block's columns and every row
    // below: left-looking, so each element is written once and its sum has one order.
    const std::size_t n_tasks = (n - first + kRowsPerTask - 1) / kRowsPerTask;
    const auto subtract = [&](std::size_t task, std::size_t /*worker*/, const auto& /*go*/) {
      std::array<double, kTile * kTile> product{};
      const std::size_t begin = first + task * kRowsPerTask;
      const std::size_t end = std::min(begin + kRowsPerTask, n);
      for (std::size_t i = begin; i < end; i += kTile) {
        const std::size_t n_i = std::min(kTile, end - i);
        for (std::size_t j = first; j < last && j < i + n_i; j += kTile) {
          const std::size_t n_j = std::min(kTile, last - j);
          solver::dot_tile(base + i * n, n_i, base + j * n, n_j, n, first, product.data());
          for (std::size_t r = 0; r < n_i; ++r) {
            for (std::size_t c = 0; c < n_j && j + c <= i + r; ++c) {
              base[(i + r) * n + j + c] -= product[r * kTile + c];
            }
          }
        }
      }
    };
    if (first > 0) solver::run_blocks(workers, n_tasks, poll, subtract);
    // The block on the diagonal, then the rows below it.
    const auto solve_row = [&](std::size_t i) {
      double* row = base + i * n;
      for (std::size_t j = first; j < std::min(last, i); ++j) {
        const double* other = base + j * n;
        const std::span<const double> x(row + first, j - first);
        const std::span<const double> y(other + first, j - first);
        row[j] = (row[j] - ordered_dot(x, y)) / other[j];
      }
    };
    for (std::size_t i = first; i < last; ++i) {
      solve_row(i);
      double* row = base + i * n;
      const std::span<const double> x(row + first, i - first);
      const double pivot = row[i] - ordered_dot(x, x);
      if (!(pivot > 0)) return false;
      row[i] = std::sqrt(pivot);
    }
    const std::size_t below = n - last;
    solver::run_blocks(workers, (below + kRowsPerTask - 1) / kRowsPerTask, poll,
                       [&](std::size_t task, std::size_t /*worker*/, const auto& /*go*/) {
                         const std::size_t begin = last + task * kRowsPerTask;
                         const std::size_t end = std::min(begin + kRowsPerTask, n);
                         for (std::size_t i = begin; i < end; ++i) solve_row(i);
                       });
  }
  return true;
}

}  // namespace eyespot
