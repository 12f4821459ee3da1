#include "gram_rows.hpp"

#include "runtime/simd.hpp"

namespace eyespot::solver {

void GramRows::Panels::pack(const RowsView& source, std::size_t first, std::size_t count,
                            const float* offset, const float* scale) {
  n_rows = count;
  pack_rows(source, first, count, offset, scale, rows);
}

void GramRows::Panels::accumulate(std::size_t q, double* panel) const {
  accumulate_gram(rows, n_rows, q, panel);
}

GramRows::Form GramRows::fastest(std::size_t n) {
  switch (detail::simd_bfloat16()) {
    case detail::Bfloat16::tiles: return GramTiles(n);
    case detail::Bfloat16::pairs: return GramPairs(n);
    case detail::Bfloat16::none: break;
  }
  return Panels(n);
}

GramRows::GramRows(std::size_t n) : form_(fastest(n)) {}

void GramRows::pack(const RowsView& source, std::size_t first, std::size_t count,
                    const float* offset, const float* scale) {
  std::visit([&](auto& form) { form.pack(source, first, count, offset, scale); }, form_);
}

void GramRows::accumulate(std::size_t q, double* panel) const {
  std::visit([&](const auto& form) { form.accumulate(q, panel); }, form_);
}

}  // namespace eyespot::solver
