// Every SIMD target against the plain C++ kernels, at widths around all vector sizes: equal bits.

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string_view>
#include <vector>

#include "augment/kernels.hpp"
#include "runtime/simd.hpp"

namespace eyespot::detail {
namespace {

constexpr std::size_t kRgb = 3;
constexpr std::size_t kMaxWidth = 300;
constexpr std::uint8_t kCanary = 0xA5;

template <typename Check>
void on_each_target(const Check& check) {
  for (const std::string_view target : simd_targets()) {
    CAPTURE(target);
    force_simd_target(target);
    check(augment_kernels());
  }
  force_simd_target("");
}

std::vector<std::uint8_t> levels(std::size_t n, unsigned seed = 7) {
  std::minstd_rand bits(seed);
  std::vector<std::uint8_t> values(n);
  for (auto& value : values) value = static_cast<std::uint8_t>(bits() >> 8U & 255U);
  // Extremes in a row, where overflow would show.
  for (std::size_t i = 0; i < n / 3; ++i) values[i] = (i / 3 % 2 == 0) ? 255 : 0;
  return values;
}

// Bytes that a kernel may write to, with a canary behind them.
std::vector<std::uint8_t> with_canary(std::size_t n) {
  return std::vector<std::uint8_t>(n + 64, kCanary);
}

WarpLine line_at(double x, double y, double step_x, double step_y) {
  const auto fixed = [](double value) {
    return static_cast<std::int32_t>(value * (1 << kWarpBits));
  };
  return {.x = fixed(x), .y = fixed(y), .step_x = fixed(step_x), .step_y = fixed(step_y)};
}

TEST_CASE("a warp inside equals the oracle at every width") {
  constexpr std::int32_t kWidth = 120;
  constexpr std::int32_t kHeight = 90;
  const auto pixels = levels(std::size_t{kWidth} * kHeight * kRgb);
  const WarpSource source{.data = pixels.data(),
                          .stride = kWidth * kRgb,
                          .width = kWidth,
                          .height = kHeight,
                          .mirrored = true,
                          .fill = {}};
  on_each_target([&](const AugmentKernels& simd) {
    for (std::size_t n = 1; n <= 130; ++n) {
      CAPTURE(n);
      // From the upper left corner to the last place that is allowed.
      const double steps = static_cast<double>(std::max<std::size_t>(n, 2) - 1);
      const WarpLine line = line_at(0.0, 0.0, (kWidth - 2.001) / steps, (kHeight - 1.001) / steps);
      auto want = with_canary(n * kRgb);
      auto got = want;
      scalar_augment_kernels().warp(source, line, n, want.data());
      simd.warp(source, line, n, got.data());
      CHECK(got == want);
    }
  });
}

TEST_CASE("a warp beyond the edges equals the oracle, mirrored and filled, also of tiny images") {
  on_each_target([&](const AugmentKernels& simd) {
    for (const std::int32_t side : {1, 2, 3, 17, 60}) {
      for (const bool mirrored : {true, false}) {
        CAPTURE(side);
        CAPTURE(mirrored);
        const auto pixels = levels(static_cast<std::size_t>(side) * 40 * kRgb);
        const WarpSource source{.data = pixels.data(),
                                .stride = static_cast<std::size_t>(side) * kRgb,
                                .width = side,
                                .height = 40,
                                .mirrored = mirrored,
                                .fill = {1, 2, 250}};
        for (const std::size_t n : {1U, 15U, 16U, 17U, 64U, 131U}) {
          const WarpLine line = line_at(-70.3, 95.6, 1.07, -1.13);
          auto want = with_canary(n * kRgb);
          auto got = want;
          scalar_augment_kernels().warp_edge(source, line, n, want.data());
          simd.warp_edge(source, line, n, got.data());
          CHECK(got == want);
        }
      }
    }
  });
}

TEST_CASE("a warp over each edge and corner equals the oracle, up to one image's width beyond") {
  struct Corner {
    double x;
    double y;
  };
  on_each_target([&](const AugmentKernels& simd) {
    for (const std::int32_t width : {3, 4, 5, 21, 60}) {
      constexpr std::int32_t kHeight = 40;
      CAPTURE(width);
      const auto pixels = levels(static_cast<std::size_t>(width) * kHeight * kRgb);
      const WarpSource source{.data = pixels.data(),
                              .stride = static_cast<std::size_t>(width) * kRgb,
                              .width = width,
                              .height = kHeight,
                              .mirrored = true,
                              .fill = {}};
      const double reach_x = 2 * (width - 1) - 1.01;
      const double reach_y = 2 * (kHeight - 1) - 1.01;
      for (const auto& [x, y] : {Corner{-reach_x, -reach_y}, Corner{reach_x, -reach_y},
                                 Corner{-reach_x, reach_y}, Corner{reach_x, reach_y}}) {
        for (const std::size_t n : {1U, 2U, 15U, 16U, 17U, 64U, 65U, 131U}) {
          CAPTURE(n);
          const double steps = static_cast<double>(std::max<std::size_t>(n, 2) - 1);
          const WarpLine line = line_at(x, y, -2 * x / steps, -2 * y / steps);
          auto want = with_canary(n * kRgb);
          auto got = want;
          scalar_augment_kernels().warp_edge(source, line, n, want.data());
          simd.warp_edge(source, line, n, got.data());
          CHECK(got == want);
        }
      }
    }
  });
}

TEST_CASE("both passes of the integer blur equal the oracle") {
  on_each_target([](const AugmentKernels& simd) {
    for (const std::size_t radius : {std::size_t{1}, std::size_t{2}, kMaxIntegerRadius}) {
      std::vector<std::int16_t> weights(radius + 1, 1200);
      weights[0] = static_cast<std::int16_t>(32768 - std::size_t{2400} * radius);
      const BlurFilter<std::int16_t> filter{.weights = weights.data(), .radius = radius};
      for (std::size_t n = 1; n <= kMaxWidth; ++n) {
        CAPTURE(n);
        std::vector<std::vector<std::uint8_t>> image;
        image.reserve(2 * radius + 1);
        std::vector<const std::uint8_t*> rows;
        rows.reserve(image.capacity());
        for (unsigned k = 0; k <= 2 * radius; ++k) image.push_back(levels(n, k + 1));
        for (const auto& row : image) rows.push_back(row.data());
        std::vector<std::int16_t> want(n + 8, 77);
        auto got = want;
        scalar_augment_kernels().blur_rows(rows.data(), filter, n, want.data());
        simd.blur_rows(rows.data(), filter, n, got.data());
        REQUIRE(got == want);

        std::vector<std::int16_t> padded;
        for (const std::uint8_t level : levels(n + 2 * kRgb * radius)) {
          padded.push_back(static_cast<std::int16_t>(level << kBlurBits));
        }
        auto want_row = with_canary(n);
        auto got_row = want_row;
        const std::int16_t* center = padded.data() + kRgb * radius;
        scalar_augment_kernels().blur_columns(center, filter, n, want_row.data());
        simd.blur_columns(center, filter, n, got_row.data());
        REQUIRE(got_row == want_row);
      }
    }
  });
}

TEST_CASE("both passes of the wide blur equal the oracle") {
  on_each_target([](const AugmentKernels& simd) {
    constexpr std::size_t kRadius = 20;
    std::vector<float> weights;
    for (std::size_t k = 0; k <= kRadius; ++k) {
      weights.push_back(0.0244F / static_cast<float>(1 + k % 3));
    }
    const BlurFilter<float> filter{.weights = weights.data(), .radius = kRadius};
    for (std::size_t n = 1; n <= 130; ++n) {
      CAPTURE(n);
      std::vector<std::vector<std::uint8_t>> image;
      image.reserve(2 * kRadius + 1);
      std::vector<const std::uint8_t*> rows;
      rows.reserve(image.capacity());
      for (unsigned k = 0; k <= 2 * kRadius; ++k) image.push_back(levels(n, k + 1));
      for (const auto& row : image) rows.push_back(row.data());
      std::vector<float> want(n + 8, 77);
      auto got = want;
      scalar_augment_kernels().blur_rows_wide(rows.data(), filter, n, want.data());
      simd.blur_rows_wide(rows.data(), filter, n, got.data());
      REQUIRE(got == want);

      const auto bytes = levels(n + 2 * kRgb * kRadius);
      const std::vector<float> padded(bytes.begin(), bytes.end());
      auto want_row = with_canary(n);
      auto got_row = want_row;
      const float* center = padded.data() + kRgb * kRadius;
      scalar_augment_kernels().blur_columns_wide(center, filter, n, want_row.data());
      simd.blur_columns_wide(center, filter, n, got_row.data());
      REQUIRE(got_row == want_row);
    }
  });
}

TEST_CASE("table look-up, mirror and noise equal the oracle at every width") {
  const auto table = levels(256, 3);
  on_each_target([&](const AugmentKernels& simd) {
    for (std::size_t n = 0; n <= kMaxWidth; ++n) {
      CAPTURE(n);
      auto want = levels(n + 9);
      for (std::size_t i = 0; i < n; ++i) want[i] = static_cast<std::uint8_t>(i * 7);
      auto got = want;
      scalar_augment_kernels().look_up(want.data(), n, table.data());
      simd.look_up(got.data(), n, table.data());
      REQUIRE(got == want);

      scalar_augment_kernels().add_noise(want.data(), n, 0xFFFFFFFFFULL, {5, 6}, 31.5F);
      simd.add_noise(got.data(), n, 0xFFFFFFFFFULL, {5, 6}, 31.5F);
      REQUIRE(got == want);

      const auto row = levels(n * kRgb);
      auto want_row = with_canary(n * kRgb);
      auto got_row = want_row;
      scalar_augment_kernels().mirror(row.data(), n, want_row.data());
      simd.mirror(row.data(), n, got_row.data());
      REQUIRE(got_row == want_row);
    }
  });
}

TEST_CASE("noise of many groups equals the oracle") {
  on_each_target([](const AugmentKernels& simd) {
    auto want = levels(100'000);
    auto got = want;
    scalar_augment_kernels().add_noise(want.data(), want.size(), 0, {1, 2}, 500.0F);
    simd.add_noise(got.data(), got.size(), 0, {1, 2}, 500.0F);
    CHECK(got == want);
  });
}

}  // namespace
}  // namespace eyespot::detail
