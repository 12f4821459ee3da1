#pragma once

#include <cstddef>
#include <span>

#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::solver {

/// Inner products of the first n rows, less `mean` each. Same bits for any number of threads.
[[nodiscard]] LowerTriangle row_products(const RowsView& rows, std::size_t n,
                                         std::span<const float> mean, ThreadPool* pool,
                                         const Poll& poll);

}  // namespace eyespot::solver
