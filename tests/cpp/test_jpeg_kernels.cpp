// Every SIMD target of the JPEG kernels against the plain C++ ones: equal bits, and equal refusals
// of coefficients that are too large.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "codec/jpeg_kernels.hpp"
#include "runtime/simd.hpp"

namespace eyespot::codec {
namespace {

template <typename Check>
void on_each_target(const Check& check) {
  for (const std::string_view target : detail::simd_targets()) {
    CAPTURE(std::string(target));
    detail::force_simd_target(target);
    check(jpeg_kernels());
  }
  detail::force_simd_target("");
}

class Source {
 public:
  std::size_t below(std::size_t n) { return bits_() % n; }
  std::vector<std::uint8_t> levels(std::size_t n) {
    std::vector<std::uint8_t> values(n);
    for (auto& value : values) value = static_cast<std::uint8_t>(bits_() & 255U);
    for (std::size_t i = 0; i < n / 3; ++i) values[i] = (i % 2 == 0) ? 255 : 0;
    return values;
  }
  std::int16_t within(int limit) {
    return static_cast<std::int16_t>(std::uniform_int_distribution<int>(-limit, limit)(bits_));
  }

 private:
  std::minstd_rand bits_{31};
};

struct Groups {
  static constexpr std::size_t kCount = 3;
  alignas(64) std::array<std::int16_t, kCount * kGroupSize> coefficients{};
  std::array<std::uint8_t, kCount * kGroupBlocks> last{};

  /// Position k of block b in zigzag order.
  std::int16_t& at(std::size_t b, std::size_t k) {
    const std::size_t natural = kNaturalOrder.at(k);
    return coefficients.at(b / kGroupBlocks * kGroupSize + natural / 8 * kGroupRow +
                           b % kGroupBlocks * 8 + natural % 8);
  }
};

/// As the decoder sets it up for blocks of this scaled side.
Dequantizer dequantizer(std::size_t side, Source& source, std::int16_t largest) {
  Dequantizer d;
  const auto used = [side](std::size_t i) {
    return side == 8 || i == 0 || (side == 4 && i != 4) || (side == 2 && i % 2 == 1);
  };
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const bool needed = side == 1 ? i == 0 : used(i / 8) && used(i % 8);
    const auto step =
        static_cast<std::int16_t>(1 + source.below(static_cast<std::size_t>(largest)));
    d.steps.at(i) = needed ? step : std::int16_t{0};
    d.limits.at(i) =
        needed ? static_cast<std::uint16_t>(kMaxDequantized / step) : std::uint16_t{0xFFFF};
  }
  return d;
}

}  // namespace

TEST_CASE("inverse DCTs equal the oracle's, whatever number of coefficients a block has") {
  Source source;
  std::size_t refused = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const auto side_log2 = static_cast<std::size_t>(trial % 4);
    const std::size_t side = std::size_t{1} << side_log2;
    const Dequantizer d = dequantizer(side, source, trial % 3 == 0 ? 1 : 40);
    Groups groups;
    // Few, some or all of the positions; magnitudes as in pictures, or at the limits and beyond.
    constexpr std::array<std::size_t, 6> kLast{0, 2, 9, 10, 30, 63};
    for (std::size_t b = 0; b < groups.last.size(); ++b) {
      const std::size_t last = source.below(kLast.at(source.below(kLast.size())) + 1);
      groups.last.at(b) = static_cast<std::uint8_t>(last);
      for (std::size_t k = 0; k <= last; ++k) {
        const int limit = kMaxDequantized / std::max<int>(d.steps.at(kNaturalOrder.at(k)), 1);
        groups.at(b, k) = source.within(trial % 7 == 6 ? limit + limit / 40 + 1 : limit / 12);
      }
    }
    constexpr std::size_t kStride = Groups::kCount * kGroupRow;
    std::array<std::uint8_t, 8 * kStride> want{};
    const bool inside = scalar_jpeg_kernels().inverse_dct.at(side_log2)(
        groups.coefficients.data(), d, groups.last.data(), Groups::kCount, want.data(), kStride);
    refused += inside ? 0 : 1;
    on_each_target([&](const JpegKernels& kernels) {
      std::array<std::uint8_t, 8 * kStride> got{};
      CHECK(kernels.inverse_dct.at(side_log2)(groups.coefficients.data(), d, groups.last.data(),
                                              Groups::kCount, got.data(), kStride) == inside);
      if (inside) CHECK(got == want);
    });
  }
  CHECK(refused > 100);
  CHECK(refused < 1500);
}

TEST_CASE("one coefficient beyond its limit is refused, on either side, at every position") {
  Source source;
  for (const std::size_t side_log2 : {0U, 1U, 2U, 3U}) {
    const Dequantizer d = dequantizer(std::size_t{1} << side_log2, source, 255);
    for (std::size_t k = 0; k < kBlockSize; ++k) {
      const std::size_t natural = kNaturalOrder.at(k);
      if (d.steps.at(natural) == 0) continue;
      const int limit = d.limits.at(natural);
      for (const int value : {limit / 2, limit + 1, -limit / 2, -limit - 1, -32768, 32767}) {
        Groups groups;
        const std::size_t b = source.below(groups.last.size());
        groups.at(b, k) = static_cast<std::int16_t>(value);
        groups.last.at(b) = static_cast<std::uint8_t>(k);
        on_each_target([&](const JpegKernels& kernels) {
          std::array<std::uint8_t, 8 * Groups::kCount * kGroupRow> out{};
          CHECK(kernels.inverse_dct.at(side_log2)(
                    groups.coefficients.data(), d, groups.last.data(), Groups::kCount, out.data(),
                    Groups::kCount * kGroupRow) == (value >= -limit && value <= limit));
        });
      }
    }
  }
}

TEST_CASE("rows are upsampled and converted as the oracle does, at every width") {
  Source source;
  constexpr std::size_t kMaxWidth = 130;
  constexpr std::size_t kRoom = kMaxWidth + 2 * kRowPadding;
  const JpegKernels& oracle = scalar_jpeg_kernels();
  for (std::size_t n = 1; n <= kMaxWidth; ++n) {
    CAPTURE(n);
    const auto near = source.levels(kRoom);
    const auto far = source.levels(kRoom);
    const auto third = source.levels(kRoom);
    on_each_target([&](const JpegKernels& kernels) {
      const auto first = [](const auto& values, std::size_t from, std::size_t count) {
        const auto begin = values.begin() + static_cast<std::ptrdiff_t>(from);
        return std::vector(begin, begin + static_cast<std::ptrdiff_t>(count));
      };
      std::vector<std::int16_t> want_sums(kRoom), got_sums(kRoom);
      oracle.weigh_rows(near.data(), far.data(), n + 2, want_sums.data());
      kernels.weigh_rows(near.data(), far.data(), n + 2, got_sums.data());
      CHECK(first(got_sums, 0, n + 2) == first(want_sums, 0, n + 2));

      std::vector<std::uint8_t> want(3 * kRoom), got(3 * kRoom);
      const auto same = [&](std::size_t count) {
        return first(got, 0, count) == first(want, 0, count);
      };
      for (const std::int16_t bias : std::to_array<std::int16_t>({1, 2})) {
        oracle.narrow_row(want_sums.data(), n, bias, want.data());
        kernels.narrow_row(want_sums.data(), n, bias, got.data());
        CHECK(same(n));
      }
      for (const auto& [even, odd] : {std::array<std::int16_t, 2>{4, 8}, {8, 7}}) {
        oracle.interpolate_row(want_sums.data() + 1, n, even, odd, want.data());
        kernels.interpolate_row(want_sums.data() + 1, n, even, odd, got.data());
        CHECK(same(2 * n));
      }
      oracle.double_row(near.data(), n, want.data());
      kernels.double_row(near.data(), n, got.data());
      CHECK(same(2 * n));
      oracle.ycc_to_rgb(near.data(), far.data(), third.data(), n, want.data());
      kernels.ycc_to_rgb(near.data(), far.data(), third.data(), n, got.data());
      CHECK(same(3 * n));
      oracle.grey_to_rgb(near.data(), n, want.data());
      kernels.grey_to_rgb(near.data(), n, got.data());
      CHECK(same(3 * n));
    });
  }
}

TEST_CASE("every colour is converted as JFIF says, rounded as libjpeg does") {
  std::vector<std::uint8_t> y(256 + kRowPadding), cb(y.size()), cr(y.size());
  std::vector<std::uint8_t> rgb(3 * (y.size() + kRowPadding));
  for (std::size_t i = 0; i < 256; ++i) cr[i] = static_cast<std::uint8_t>(i);
  const auto fraction = [](double factor, int value) {
    return (static_cast<int>(factor * 65536 + (factor < 0 ? -0.5 : 0.5)) * value + 32768) >> 16;
  };
  const auto clamped = [](int value) {
    return static_cast<std::uint8_t>(std::clamp(value, 0, 255));
  };
  std::size_t wrong = 0;
  for (int luma = 0; luma < 256; luma += 51) {
    for (int blue = 0; blue < 256; ++blue) {
      std::ranges::fill(y, static_cast<std::uint8_t>(luma));
      std::ranges::fill(cb, static_cast<std::uint8_t>(blue));
      jpeg_kernels().ycc_to_rgb(y.data(), cb.data(), cr.data(), 256, rgb.data());
      for (int red = 0; red < 256; ++red) {
        const std::uint8_t* pixel = rgb.data() + std::ptrdiff_t{3} * red;
        const int green = (-22554 * (blue - 128) - 46802 * (red - 128) + 32768) >> 16;
        const bool right = pixel[0] == clamped(luma + fraction(1.402, red - 128)) &&
                           pixel[1] == clamped(luma + green) &&
                           pixel[2] == clamped(luma + fraction(1.772, blue - 128));
        wrong += right ? 0 : 1;
      }
    }
  }
  CHECK(wrong == 0);
}

}  // namespace eyespot::codec
