#include "gram_rows.hpp"

#include "runtime/simd.hpp"

namespace eyespot::solver {

GramRows::GramRows(std::size_t n) {
  if (detail::simd_has_tiles()) {
    tiles_.emplace(n);
  } else {
    panels_ = PanelMatrix(kAccumulateRows, n);
  }
}

void GramRows::pack(const RowsView& source, std::size_t first, std::size_t count,
                    const float* offset, const float* scale) {
  n_rows_ = count;
  if (tiles_) {
    tiles_->pack(source, first, count, offset, scale);
  } else {
    pack_rows(source, first, count, offset, scale, panels_);
  }
}

void GramRows::accumulate(std::size_t q, double* panel) const {
  if (tiles_) {
    tiles_->accumulate(q, panel);
  } else {
    accumulate_gram(panels_, n_rows_, q, panel);
  }
}

}  // namespace eyespot::solver
