// Every SIMD target against the plain C++ kernels, at widths around all vector sizes: equal bits.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include "ops/aligned.hpp"
#include "ops/kernels.hpp"
#include "ops/weights.hpp"
#include "runtime/simd.hpp"

namespace eyespot::detail {
namespace {

constexpr std::size_t kMaxWidth = 130;

// Runs check(kernels) on each SIMD target of this CPU, and then goes back to the best one.
template <typename Check>
void on_each_target(const Check& check) {
  for (const std::string_view target : simd_targets()) {
    CAPTURE(target);
    force_simd_target(target);
    check(kernels());
  }
  force_simd_target("");
}

class Source {
 public:
  std::vector<std::uint8_t> levels(std::size_t n) {
    std::vector<std::uint8_t> values(n);
    for (auto& value : values) value = static_cast<std::uint8_t>(bits_() & 255U);
    // Extremes in a row, where overflow would show.
    for (std::size_t i = 0; i < n / 3; ++i) values[i] = (i % 2 == 0) ? 255 : 0;
    return values;
  }
  // Sums with fraction bits as the first pass leaves them, overshoot included.
  void sums(std::int16_t* out, std::size_t n) {
    std::uniform_int_distribution<int> value(-60 << kFractionBits, 315 << kFractionBits);
    for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::int16_t>(value(bits_));
  }
  std::int16_t weight() {
    return static_cast<std::int16_t>(std::uniform_int_distribution<int>(-3000, 32767)(bits_));
  }

 private:
  std::minstd_rand bits_{20};
};

// Aligned memory with equal contents on both sides of a comparison.
class Sums {
 public:
  Sums(std::size_t n, Source& source) : size_(padded(n)), data_(buffer_.reserve(size_)) {
    source.sums(data_, size_);
  }
  explicit Sums(std::size_t n) : size_(padded(n)), data_(buffer_.reserve(size_)) {
    std::memset(data_, 0, size_ * sizeof(std::int16_t));
  }
  Sums(const Sums& other) : size_(other.size_), data_(buffer_.reserve(size_)) {
    std::memcpy(data_, other.data_, size_ * sizeof(std::int16_t));
  }
  Sums& operator=(const Sums&) = delete;
  [[nodiscard]] std::int16_t* data() const { return data_; }
  [[nodiscard]] std::vector<std::int16_t> first(std::size_t n) const { return {data_, data_ + n}; }

 private:
  std::size_t size_;
  AlignedBuffer<std::int16_t> buffer_;
  std::int16_t* data_;
};

TEST_CASE("the accumulators and widen equal the oracle at every width") {
  on_each_target([](const Kernels& simd) {
    Source source;
    for (std::size_t n = 1; n <= kMaxWidth; ++n) {
      CAPTURE(n);
      const auto row = source.levels(n);
      const std::int16_t w0 = source.weight();
      const std::int16_t w1 = source.weight();
      const Sums start0(n, source);
      const Sums start1(n);
      // NOLINTBEGIN(performance-unnecessary-copy-initialization): their data() is written to below
      const Sums got0(start0);
      const Sums got1(start1);
      const Sums want0(start0);
      const Sums want1(start1);
      // NOLINTEND(performance-unnecessary-copy-initialization)
      const bool fresh = n % 2 == 0;
      simd.accumulate2(row.data(), n, w0, got0.data(), w1, got1.data(), fresh);
      scalar_kernels().accumulate(row.data(), n, w0, want0.data(), false);
      scalar_kernels().accumulate(row.data(), n, w1, want1.data(), fresh);
      CHECK(got0.first(n) == want0.first(n));
      CHECK(got1.first(n) == want1.first(n));
      simd.accumulate(row.data(), n, w1, got0.data(), fresh);
      scalar_kernels().accumulate(row.data(), n, w1, want0.data(), fresh);
      CHECK(got0.first(n) == want0.first(n));
      simd.accumulate_wide(start0.data(), n, w0, got1.data(), fresh);
      scalar_kernels().accumulate_wide(start0.data(), n, w0, want1.data(), fresh);
      CHECK(got1.first(n) == want1.first(n));
      simd.widen(row.data(), n, got0.data());
      scalar_kernels().widen(row.data(), n, want0.data());
      CHECK(got0.first(n) == want0.first(n));
    }
  });
}

TEST_CASE("transpose, restore_rows and store_rows equal the oracle at every width and row count") {
  on_each_target([](const Kernels& simd) {
    Source source;
    for (std::size_t n = 1; n <= kMaxWidth; ++n) {
      CAPTURE(n);
      const std::size_t stride = padded(n);
      const std::size_t whole = (n + 7) / 8 * 8;
      const Sums rows(kBlockRows * stride, source);
      const Sums got(kBlockRows * stride);
      const Sums want(kBlockRows * stride);
      const std::size_t begin = n > 40 ? 16 : 0;
      simd.transpose(rows.data(), stride, begin, whole, got.data());
      scalar_kernels().transpose(rows.data(), stride, begin, whole, want.data());
      CHECK(got.first(kBlockRows * stride) == want.first(kBlockRows * stride));

      simd.restore_rows(rows.data(), whole, got.data(), stride);
      scalar_kernels().restore_rows(rows.data(), whole, want.data(), stride);
      CHECK(got.first(kBlockRows * stride) == want.first(kBlockRows * stride));

      const std::size_t n_rows = 1 + n % kBlockRows;
      std::vector<std::uint8_t> got_rows(kBlockRows * n, 7);
      std::vector<std::uint8_t> want_rows(kBlockRows * n, 7);
      simd.store_rows(rows.data(), n, n_rows, got_rows.data(), n);
      scalar_kernels().store_rows(rows.data(), n, n_rows, want_rows.data(), n);
      CHECK(got_rows == want_rows);
    }
  });
}

TEST_CASE("horizontal equals the oracle for 1 to 4 channels, up and down, at every width") {
  on_each_target([](const Kernels& simd) {
    Source source;
    for (std::uint32_t n = 1; n <= kMaxWidth; ++n) {
      const std::size_t channels = 1 + n % 4;
      for (const std::uint32_t target : {1U, 17U, 61U}) {
        CAPTURE(n);
        CAPTURE(target);
        const auto filter = n % 2 == 0 ? Resample::bilinear : Resample::bicubic;
        const AxisWeights weights = compute_weights({n, 0.25, n - 0.5, target, filter, 14});
        const Sums columns(n * channels * kBlockRows, source);
        const Sums got(target * channels * kBlockRows);
        const Sums want(target * channels * kBlockRows);
        const std::size_t begin = target / 3;
        simd.horizontal(columns.data(), channels, weights.first.data(), weights.values.data(),
                        weights.taps, begin, target, got.data());
        scalar_kernels().horizontal(columns.data(), channels, weights.first.data(),
                                    weights.values.data(), weights.taps, begin, target,
                                    want.data());
        CHECK(got.first(target * channels * kBlockRows) ==
              want.first(target * channels * kBlockRows));
      }
    }
  });
}

TEST_CASE(
    "horizontal_rgb equals the oracle for every number of taps, and writes no byte too many") {
  on_each_target([](const Kernels& simd) {
    Source source;
    for (std::size_t n = 1; n <= 40; ++n) {
      for (std::size_t pairs = 1; pairs <= 6; ++pairs) {
        CAPTURE(n);
        CAPTURE(pairs);
        const std::size_t width = 3 * (n + 2 * pairs);
        const Sums row(width + 8, source);
        std::vector<std::uint32_t> first(n);
        for (std::size_t i = 0; i < n; ++i) first[i] = static_cast<std::uint32_t>(i * 7 % (n + 1));
        const Sums weights(n * pairs * 8);
        for (std::size_t i = 0; i < n * pairs; ++i) {
          std::int16_t* values = weights.data() + i * 8;
          std::fill(values, values + 3, static_cast<std::int16_t>(source.weight() / 4));
          std::fill(values + 3, values + 6, static_cast<std::int16_t>(source.weight() / 4));
        }
        std::vector<std::uint8_t> got(3 * n + 16, 7);
        std::vector<std::uint8_t> want(3 * n + 16, 7);
        simd.horizontal_rgb(row.data(), first.data(), weights.data(), pairs, n, got.data());
        scalar_kernels().horizontal_rgb(row.data(), first.data(), weights.data(), pairs, n,
                                        want.data());
        CHECK(got == want);
      }
    }
  });
}

TEST_CASE("colour conversions equal the oracle at every width") {
  on_each_target([](const Kernels& simd) {
    Source source;
    for (std::size_t n = 1; n <= kMaxWidth; ++n) {
      CAPTURE(n);
      const Sums y(n * kBlockRows, source);
      const Sums cb(n * kBlockRows, source);
      const Sums cr(n * kBlockRows, source);
      const Sums got(3 * n * kBlockRows);
      const Sums want(3 * n * kBlockRows);
      simd.ycc_to_rgb(y.data(), cb.data(), cr.data(), n, got.data());
      scalar_kernels().ycc_to_rgb(y.data(), cb.data(), cr.data(), n, want.data());
      CHECK(got.first(3 * n * kBlockRows) == want.first(3 * n * kBlockRows));
      simd.grey_to_rgb(y.data(), n, got.data());
      scalar_kernels().grey_to_rgb(y.data(), n, want.data());
      CHECK(got.first(3 * n * kBlockRows) == want.first(3 * n * kBlockRows));
    }
  });
}

TEST_CASE("packing equals the oracle at every width, bit for bit in float32 too") {
  on_each_target([](const Kernels& simd) {
    Source source;
    constexpr std::array<float, 3> kFactor{0.0171247F, 0.017507F, 0.0174292F};
    constexpr std::array<float, 3> kOffset{-2.1179F, -2.03571F, -1.80444F};
    for (std::size_t n = 1; n <= kMaxWidth; ++n) {
      CAPTURE(n);
      const auto rgb = source.levels(3 * n);
      std::vector<std::uint8_t> got(3 * n);
      std::vector<std::uint8_t> want(3 * n);
      simd.split_rgb(rgb.data(), n, got.data(), &got[n], &got[2 * n]);
      scalar_kernels().split_rgb(rgb.data(), n, want.data(), &want[n], &want[2 * n]);
      CHECK(got == want);
      std::vector<float> got_floats(3 * n);
      std::vector<float> want_floats(3 * n);
      simd.to_float(rgb.data(), 3 * n, kFactor[0], kOffset[0], got_floats.data());
      scalar_kernels().to_float(rgb.data(), 3 * n, kFactor[0], kOffset[0], want_floats.data());
      CHECK(got_floats == want_floats);
      simd.to_float3(rgb.data(), n, kFactor.data(), kOffset.data(), got_floats.data());
      scalar_kernels().to_float3(rgb.data(), n, kFactor.data(), kOffset.data(), want_floats.data());
      CHECK(got_floats == want_floats);
    }
  });
}

TEST_CASE("weights of every target sum to one and their windows move forwards") {
  for (const Resample filter : {Resample::bilinear, Resample::bicubic}) {
    for (std::uint32_t in = 1; in <= kMaxWidth; in += 3) {
      for (const std::uint32_t out : {1U, 2U, 7U, 64U, 224U, 1000U}) {
        CAPTURE(in);
        CAPTURE(out);
        const double begin = in > 4 ? 1.375 : 0.0;
        const int bits = filter == Resample::bilinear ? 15 : 14;
        const AxisWeights weights =
            compute_weights({in, begin, in - 1.5 * begin, out, filter, bits});
        for (std::size_t i = 0; i < out; ++i) {
          int sum = 0;
          for (std::size_t k = 0; k < weights.taps; ++k) {
            sum += weights.values[i * weights.taps + k];
          }
          CHECK(sum >= std::min(1 << bits, 32767));
          CHECK(sum <= 1 << bits);
          CHECK(weights.first[i] <= weights.last[i]);
          CHECK(weights.last[i] < weights.first[i] + weights.taps);
          CHECK(weights.first[i] + weights.taps <= in);
          if (i > 0) {
            CHECK(weights.first[i] >= weights.first[i - 1]);
            CHECK(weights.last[i] >= weights.last[i - 1]);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace eyespot::detail
