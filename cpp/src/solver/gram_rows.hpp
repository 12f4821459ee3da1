#pragma once

#include <cstddef>
#include <variant>

#include "eyespot/linalg.hpp"
#include "gram_pairs.hpp"
#include "gram_tiles.hpp"

namespace eyespot::solver {

/// A block of up to kAccumulateRows rows of n numbers that are to be added to the Gram matrix of a
/// metric, in the form in which this CPU multiplies them fastest.
class GramRows {
 public:
  explicit GramRows(std::size_t n);

  /// Takes rows as pack_rows does, in place of those before.
  void pack(const RowsView& source, std::size_t first, std::size_t count, const float* offset,
            const float* scale);
  /// What accumulate_gram does with these rows, or with what bfloat16 keeps of them.
  void accumulate(std::size_t q, double* panel) const;

 private:
  // Rows in float32.
  struct Panels {
    PanelMatrix rows;
    std::size_t n_rows = 0;

    explicit Panels(std::size_t n) : rows(PanelMatrix::for_overwrite(kAccumulateRows, n)) {}
    void pack(const RowsView& source, std::size_t first, std::size_t count, const float* offset,
              const float* scale);
    void accumulate(std::size_t q, double* panel) const;
  };
  using Form = std::variant<Panels, GramPairs, GramTiles>;
  static Form fastest(std::size_t n);

  Form form_;
};

}  // namespace eyespot::solver
