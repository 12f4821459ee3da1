#include "cholesky.hpp"

#include <algorithm>
#include <cmath>

#include "blocks.hpp"
#include "eyespot/error.hpp"

namespace eyespot::solver {

namespace {

// Below this size the workers would be woken more often than it is worth.
constexpr std::size_t kMinParallelFactor = 256;

// Substitution by panels, from the last to the first when `backward`: each panel of the unknown is
// its right-hand side plus the known panels times `m`, times the inverse on the diagonal.
void substitute(PanelMatrix& rows, const PanelMatrix& m, bool backward, ThreadPool* pool) {
  // As many rows a task as one look at the factor is good for, or each thread's share; a row's
  // result does not depend on the others.
  constexpr std::size_t kMostRows = 24;
  const std::size_t n = m.n_panels();
  PanelMatrix copy(rows.rows(), m.cols());
  ThreadPool* const workers = pool_for(pool, rows.rows() * m.rows() * m.cols(), kWorthMultiplying);
  const std::size_t n_workers = worker_count(workers);
  const std::size_t share = (rows.rows() + n_workers - 1) / n_workers;
  const std::size_t n_rows = std::min((share + 3) / 4 * 4, kMostRows);
  const std::size_t n_tasks = (rows.rows() + n_rows - 1) / n_rows;
  run_blocks(workers, n_tasks, Poll{}, [&](std::size_t task, std::size_t, const auto&) {
    MultiplyRange range{.row_begin = task * n_rows,
                        .row_end = std::min((task + 1) * n_rows, rows.rows())};
    for (std::size_t turn = 0; turn < n; ++turn) {
      const std::size_t q = backward ? n - 1 - turn : turn;
      range.panel_begin = q;
      range.panel_end = q + 1;
      range.inner_begin = backward ? q + 1 : 0;
      range.inner_end = backward ? n : q;
      if (range.inner_begin < range.inner_end) {
        multiply(rows, m, MultiplyInit::existing, nullptr, range, rows);
      }
      const std::size_t width = rows.width(q);
      std::copy(rows.panel(q) + range.row_begin * width, rows.panel(q) + range.row_end * width,
                copy.panel(q) + range.row_begin * width);
      range.inner_begin = q;
      range.inner_end = q + 1;
      multiply(copy, m, MultiplyInit::zero, nullptr, range, rows);
    }
  });
}

}  // namespace

Cholesky::Cholesky(std::size_t n) : lower_(n, n), upper_(n, n), blocks_(n * lower_.panel_width()) {}

// Left-looking, a panel of columns at a time. lower_ begins as -A; a finished panel holds -L, whose
// transpose in upper_ is the right factor of all updates to come.
bool Cholesky::factorise(const LowerTriangle& matrix, double scale, double shift,
                         const PivotRule& rule, ThreadPool* pool, const Poll& poll) {
  const std::size_t d = lower_.rows();
  const std::size_t width = lower_.panel_width();
  const std::size_t n = lower_.n_panels();
  ThreadPool* const workers = d >= kMinParallelFactor ? pool : nullptr;
  run_blocks(workers, n, poll, [&](std::size_t q, std::size_t, const auto&) {
    const std::size_t first = q * width;
    const std::size_t stride = lower_.width(q);
    float* to = lower_.panel(q) + first * stride;
    const double* from = matrix.panel(q);
    const std::size_t used = lower_.used(q);
    for (std::size_t i = first; i < d; ++i, to += stride, from += stride) {
      for (std::size_t j = 0; j < used; ++j) to[j] = static_cast<float>(-scale * from[j]);
      if (i < first + used) to[i - first] = static_cast<float>(-scale * from[i - first] - shift);
    }
  });
  PanelMatrix remainder(d, width);
  PanelMatrix solved(d, width);
  for (std::size_t q = 0; q < n; ++q) {
    const std::size_t first = q * width;
    const std::size_t used = lower_.used(q);
    const auto update = [&](std::size_t begin, std::size_t end) {
      if (q == 0) return;
      multiply(lower_, upper_, MultiplyInit::existing, nullptr,
               {.row_begin = begin,
                .row_end = end,
                .panel_begin = q,
                .panel_end = q + 1,
                .inner_begin = 0,
                .inner_end = q},
               lower_);
    };
    update(first, first + used);
    if (!factorise_diagonal(matrix, scale, shift, rule, q)) return false;
    PanelMatrix inverse(used, used);  // transposed
    std::copy_n(upper_.panel(q) + first * upper_.width(q), used * upper_.width(q),
                inverse.panel(0));
    run_blocks(workers, n - q - 1, poll, [&](std::size_t task, std::size_t, const auto&) {
      const std::size_t g = q + 1 + task;
      const std::size_t begin = g * width;
      const std::size_t end = begin + lower_.used(g);
      update(begin, end);
      // The panel is a whole one, since another follows it.
      std::copy(lower_.panel(q) + begin * width, lower_.panel(q) + end * width,
                remainder.panel(0) + begin * width);
      multiply(remainder, inverse, MultiplyInit::zero, nullptr,
               {.row_begin = begin,
                .row_end = end,
                .panel_begin = 0,
                .panel_end = 1,
                .inner_begin = 0,
                .inner_end = 1},
               solved);
      const float* from = solved.panel(0);
      std::copy(from + begin * width, from + end * width, lower_.panel(q) + begin * width);
      float* to = upper_.panel(g) + first * upper_.width(g);
      for (std::size_t i = begin; i < end; ++i) {
        for (std::size_t j = 0; j < used; ++j) {
          to[j * upper_.width(g) + i - begin] = from[i * width + j];
        }
      }
    });
  }
  return true;
}

double Cholesky::factorise_shifted(const LowerTriangle& matrix, double scale, double shift,
                                   ThreadPool* pool, const Poll& poll) {
  while (!factorise(matrix, scale, shift, {}, pool, poll)) {
    shift *= 10;
    if (!std::isfinite(shift)) {
      throw Error(ErrorCode::non_finite, "embeddings",
                  "so large that their squares overflow float32; divide them by their maximum");
    }
  }
  return shift;
}

// Factor of the block of panel q on the diagonal, in float64, and its inverse: that goes to lower_,
// transposed to upper_. False when a pivot is neither good nor lost. The inverse has 0 for the row
// and the column of a lost one, and so have all products with it.
bool Cholesky::factorise_diagonal(const LowerTriangle& matrix, double scale, double shift,
                                  const PivotRule& rule, std::size_t q) {
  const std::size_t width = lower_.panel_width();
  const std::size_t first = q * width;
  const std::size_t used = lower_.used(q);
  const std::size_t stride = lower_.width(q);
  float* lower = lower_.panel(q) + first * stride;
  float* upper = upper_.panel(q) + first * stride;
  std::vector<double> factor(width * width);
  std::vector<double> reciprocal(width);  // of the pivots' roots
  for (std::size_t i = 0; i < used; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double sum = -static_cast<double>(lower[i * stride + j]);
      for (std::size_t p = 0; p < j; ++p) sum -= factor[i * width + p] * factor[j * width + p];
      if (j < i) {
        factor[i * width + j] = sum * reciprocal[j];
        continue;
      }
      const double whole = scale * matrix(first + i, first + i) + shift;
      if (!std::isfinite(sum)) return false;
      if (sum > rule.least * whole) {
        factor[i * width + i] = std::sqrt(sum);
        reciprocal[i] = 1 / factor[i * width + i];
      } else if (!(sum <= rule.lost * whole)) {
        return false;
      }
    }
  }
  std::vector<double> inverse(used * used);
  for (std::size_t j = 0; j < used; ++j) {
    for (std::size_t i = 0; i < used; ++i) {
      double sum = i == j ? 1.0 : 0.0;
      for (std::size_t p = j; p < i; ++p) sum -= factor[i * width + p] * inverse[p * used + j];
      inverse[i * used + j] = i < j ? 0.0 : sum * reciprocal[i];
      lower[i * stride + j] = static_cast<float>(inverse[i * used + j]);
      upper[j * stride + i] = static_cast<float>(inverse[i * used + j]);
      blocks_[(first + i) * width + j] = static_cast<float>(factor[i * width + j]);
    }
  }
  return true;
}

void Cholesky::get_row(std::size_t i, std::span<float> row) const {
  const std::size_t width = lower_.panel_width();
  const std::size_t first = i / width * width;
  std::ranges::fill(row, 0.0F);
  for (std::size_t q = 0; q * width < first; ++q) {
    const float* from = lower_.panel(q) + i * width;
    for (std::size_t j = 0; j < width; ++j) row[q * width + j] = -from[j];
  }
  std::copy_n(blocks_.data() + i * width, std::min(width, row.size() - first), row.data() + first);
}

void Cholesky::divide_by_transpose(PanelMatrix& rows, ThreadPool* pool) const {
  substitute(rows, upper_, false, pool);
}

void Cholesky::divide(PanelMatrix& rows, ThreadPool* pool) const {
  substitute(rows, lower_, true, pool);
}

}  // namespace eyespot::solver
