#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::solver {

/// Inner products of the first n rows, less `mean` each: the lower triangle, row-major, n x n.
/// Same bits for any number of threads.
[[nodiscard]] std::vector<double> row_products(const RowsView& rows, std::size_t n,
                                               std::span<const float> mean, ThreadPool* pool,
                                               const Poll& poll);

}  // namespace eyespot::solver
