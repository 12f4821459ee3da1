#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "eyespot/linalg.hpp"

// Row-major numbers from -1 to 1.
inline std::vector<float> random_matrix(std::size_t rows, std::size_t cols, std::uint32_t seed) {
  std::mt19937 engine(seed);
  std::vector<float> m(rows * cols);
  for (float& value : m) value = static_cast<float>(engine() % 2001) / 1000.0F - 1.0F;
  return m;
}

inline float& at(eyespot::PanelMatrix& m, std::size_t i, std::size_t j) {
  const std::size_t q = j / m.panel_width();
  return m.panel(q)[i * m.width(q) + j - q * m.panel_width()];
}

inline float at(const eyespot::PanelMatrix& m, std::size_t i, std::size_t j) {
  const std::size_t q = j / m.panel_width();
  return m.panel(q)[i * m.width(q) + j - q * m.panel_width()];
}

// Where panel_sums of so many rows have the one in row i and column j.
inline std::size_t sum_index(const eyespot::PanelMatrix& b, std::size_t rows, std::size_t i,
                             std::size_t j) {
  const std::size_t q = j / b.panel_width();
  return q * b.panel_width() * rows + i * b.width(q) + j - q * b.panel_width();
}
