#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::solver {

/// Sums of the products of n columns with one another, over rows that come a chunk at a time. Same
/// bits for any number of threads: each panel has one order whoever forms it.
class GramSums {
 public:
  explicit GramSums(std::size_t n);

  [[nodiscard]] std::size_t n_panels() const noexcept { return shape_.n_panels(); }
  /// Adds the first n_rows rows of a chunk in panel q; several threads may, each in its own panel.
  void add(const PanelMatrix& chunk, std::size_t n_rows, std::size_t q);
  /// The sums by `divisor`, 0 where nothing was added: the lower triangle, row-major, n x n.
  [[nodiscard]] std::vector<double> lower(double divisor, ThreadPool* pool, const Poll& poll) const;

 private:
  std::size_t n_;
  PanelMatrix shape_;                  // of one row
  std::vector<std::uint8_t> started_;  // panel by panel: until then its sums are not even zero
  std::unique_ptr<double[]> sums_;     // NOLINT(modernize-avoid-c-arrays): a vector would clear it
};

}  // namespace eyespot::solver
