#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "eyespot/linalg.hpp"
#include "matrices.hpp"
#include "runtime/simd.hpp"
#include "solver/gram_pairs.hpp"
#include "solver/gram_rows.hpp"
#include "solver/gram_tiles.hpp"

using namespace eyespot;

namespace {

float to_bfloat16(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof(bits));
  bits = (bits + 0x7FFFU + ((bits >> 16U) & 1U)) & 0xFFFF0000U;
  std::memcpy(&x, &bits, sizeof(bits));
  return x;
}

// The largest difference of the sums of two blocks of rows, one after the other, from those of
// what `keep` leaves of their numbers, by the number of rows.
template <class Rows, class Keep>
double worst_difference(std::size_t n, std::initializer_list<std::size_t> heights,
                        const Keep& keep) {
  const float scale_step = 0.01F;
  Rows block(n);
  LowerTriangle sums(n);
  std::vector<double> expected(n * n);
  std::size_t total = 0;
  std::vector<float> offset(n);
  for (std::size_t j = 0; j < n; ++j) offset[j] = 0.3F * static_cast<float>(j % 3);
  for (const std::size_t height : heights) {
    const auto rows = random_matrix(height + 1, n, static_cast<std::uint32_t>(height));
    std::vector<float> scale(height);
    for (std::size_t i = 0; i < height; ++i) scale[i] = 1 + scale_step * static_cast<float>(i % 7);
    block.pack({.data = rows.data(), .cols = n, .stride = n, .rows = nullptr}, 1, height,
               offset.data(), scale.data());
    for (std::size_t q = 0; q < sums.n_panels(); ++q) block.accumulate(q, sums.panel(q));
    for (std::size_t r = 0; r < height; ++r) {
      std::vector<double> row(n);
      for (std::size_t j = 0; j < n; ++j) {
        row[j] = static_cast<double>(keep((rows[(r + 1) * n + j] - offset[j]) * scale[r]));
      }
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j <= i; ++j) expected[i * n + j] += row[i] * row[j];
      }
    }
    total += height;
  }
  double worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      worst = std::max(worst, std::abs(sums(i, j) - expected[i * n + j]));
    }
  }
  return worst / static_cast<double>(total);
}

template <class Rows>
void check_rounded_products(std::string_view target) {
  const auto targets = detail::simd_targets();
  if (std::ranges::find(targets, target) == targets.end()) {
    MESSAGE("not run: this CPU does not have ", target, ", or may not use it");
    return;
  }
  detail::force_simd_target(target);
  for (const std::size_t n : std::initializer_list<std::size_t>{1, 15, 16, 17, 48, 49, 70, 101}) {
    CAPTURE(n);
    for (const std::size_t height : std::initializer_list<std::size_t>{1, 31, 32, 33, 97, 288}) {
      CAPTURE(height);
      CHECK(worst_difference<Rows>(n, {kAccumulateRows, height}, to_bfloat16) < 1e-6);
    }
  }
  detail::force_simd_target("");
}

}  // namespace

TEST_CASE("a lower triangle gives back what it was given, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    CHECK(LowerTriangle().empty());
    CHECK(LowerTriangle(0).n_panels() == 0);
    for (const std::size_t n : std::initializer_list<std::size_t>{1, 12, 47, 48, 49, 101}) {
      CAPTURE(n);
      LowerTriangle matrix(n);
      CHECK(matrix.size() == n);
      for (std::size_t i = 0; i < n; ++i) {
        std::vector<double> row(i + 1);
        for (std::size_t j = 0; j <= i; ++j) row[j] = static_cast<double>(i * n + j + 1);
        matrix.set_row(i, row);
      }
      const LowerTriangle copy = matrix;
      CHECK(copy == matrix);
      for (std::size_t i = 0; i < n; ++i) {
        std::vector<double> row(i + 1);
        copy.get_row(i, row);
        for (std::size_t j = 0; j <= i; ++j) {
          CHECK(row[j] == static_cast<double>(i * n + j + 1));
          CHECK(copy(i, j) == row[j]);
        }
      }
      matrix(n - 1, 0) = 0;
      CHECK_FALSE(copy == matrix);
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("a block's Gram matrix is near that of its rows, on every target") {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(target);
    detail::force_simd_target(target);
    for (const std::size_t n : std::initializer_list<std::size_t>{1, 15, 16, 17, 48, 70, 101}) {
      CAPTURE(n);
      const auto all = [](float x) { return x; };
      CHECK(worst_difference<solver::GramRows>(n, {kAccumulateRows, 33}, all) < 2e-3);
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("pairs have the products of numbers rounded to bfloat16") {
  check_rounded_products<solver::GramPairs>("avx3_bf16");
}

TEST_CASE("tiles have the products of numbers rounded to bfloat16") {
  check_rounded_products<solver::GramTiles>("amx");
}
