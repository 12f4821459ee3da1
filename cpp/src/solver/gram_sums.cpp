#include "gram_sums.hpp"

#include <algorithm>

#include "blocks.hpp"
#include "eyespot/types.hpp"

namespace eyespot::solver {

GramSums::GramSums(std::size_t n)
    : n_(n),
      shape_(1, n),
      started_(shape_.n_panels()),
      // NOLINTNEXTLINE(modernize-avoid-c-arrays)
      sums_(std::make_unique_for_overwrite<double[]>(panel_sums(n, shape_))) {}

void GramSums::add(const PanelMatrix& chunk, std::size_t n_rows, std::size_t q) {
  if (started_[q] == 0) {
    std::fill_n(sums_.get() + q * shape_.panel_width() * n_, n_ * shape_.width(q), 0.0);
    started_[q] = 1;
  }
  accumulate_gram(chunk, n_rows, q, sums_.get());
}

std::vector<double> GramSums::lower(double divisor, ThreadPool* pool, const Poll& poll) const {
  std::vector<double> out(checked_mul(n_, n_, "features"));
  ThreadPool* const workers = pool_for(pool, out.size(), kWorthReading);
  run_blocks(workers, n_panels(), poll, [&](std::size_t q, std::size_t, const auto&) {
    if (started_[q] == 0) return;
    const std::size_t first = q * shape_.panel_width();
    for (std::size_t i = first; i < n_; ++i) {
      const double* from = sums_.get() + first * n_ + i * shape_.width(q);
      double* to = out.data() + i * n_ + first;
      const std::size_t count = std::min(i + 1 - first, shape_.used(q));
      for (std::size_t j = 0; j < count; ++j) to[j] = from[j] / divisor;
    }
  });
  return out;
}

}  // namespace eyespot::solver
