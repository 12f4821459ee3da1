#include "row_products.hpp"

#include <algorithm>

#include "blocks.hpp"

namespace eyespot::solver {

namespace {

// Features whose rows are turned at a time: few, so that the lines written to stay in the cache.
constexpr std::size_t kStrip = 96;

// Writes features [first, first + count) of the centred rows of panel q, as its columns.
void turn(const RowsView& rows, std::span<const float> mean, std::size_t first, std::size_t count,
          std::size_t q, PanelMatrix& out) {
  const std::size_t width = out.width(q);
  const float* shift = mean.data() + first;
  for (std::size_t begin = 0; begin < count; begin += kStrip) {
    const std::size_t end = std::min(begin + kStrip, count);
    for (std::size_t i = 0; i < out.used(q); ++i) {
      const float* from = rows.row(q * out.panel_width() + i) + first;
      float* to = out.panel(q) + i;
      for (std::size_t j = begin; j < end; ++j) to[j * width] = from[j] - shift[j];
    }
  }
}

}  // namespace

// The Gram matrix of the transpose, of which some rows at a time are made, so few that they stay in
// the cache.
LowerTriangle row_products(const RowsView& rows, std::size_t n, std::span<const float> mean,
                           ThreadPool* pool, const Poll& poll) {
  const std::size_t d = rows.cols;
  ThreadPool* const workers = pool_for(pool, n * n * d / 2, kWorthMultiplying);
  PanelMatrix turned(std::min(kAccumulateRows, d), n);
  LowerTriangle products(n);
  for (std::size_t first = 0; first < d; first += kAccumulateRows) {
    const std::size_t count = std::min(kAccumulateRows, d - first);
    // A panel of the transpose a task; once all are there, a panel of the products.
    for (const bool turning : {true, false}) {
      run_blocks(workers, turned.n_panels(), poll, [&](std::size_t q, std::size_t, const auto&) {
        if (turning) {
          turn(rows, mean, first, count, q, turned);
        } else {
          accumulate_gram(turned, count, q, products.panel(q));
        }
      });
    }
  }
  return products;
}

}  // namespace eyespot::solver
