#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "eyespot/random.hpp"
#include "kernels.hpp"

// The kernels in plain C++: what EYESPOT_SIMD=scalar runs, and the oracle of the SIMD ones. Written
// for the reader.
namespace eyespot::detail {
namespace {

constexpr std::size_t kRgb = 3;

// What MulFixedPoint15 computes.
int product(int a, int b) {
  return (a * b + (1 << 14)) >> 15;
}

std::uint8_t to_level(int value) {
  return static_cast<std::uint8_t>(std::clamp(value, 0, 255));
}

// Between a and b, which have `kLerpBits` below the grey level, at fraction / 2^15.
constexpr int kLerpBits = 7;
int lerp(int a, int b, int fraction) {
  return a + product(b - a, fraction);
}

// Position `i` mirrored into [0, size) without repeating the border.
std::int32_t mirrored(std::int32_t i, std::int32_t size) {
  if (size == 1) return 0;
  const std::int32_t period = 2 * (size - 1);
  i = std::abs(i) % period;
  return i < size ? i : period - i;
}

struct Fraction {
  int x = 0;
  int y = 0;
};
Fraction fraction_of(std::int32_t x, std::int32_t y) {
  constexpr std::int32_t kMask = (1 << kWarpBits) - 1;
  return {.x = (x & kMask) >> 1, .y = (y & kMask) >> 1};
}

// `corner(dx, dy, c)` is a level of one of the four neighbours.
template <typename Corner>
void blend(const Corner& corner, Fraction f, std::uint8_t* out) {
  for (std::size_t c = 0; c < kRgb; ++c) {
    const int above = lerp(corner(0, 0, c) << kLerpBits, corner(1, 0, c) << kLerpBits, f.x);
    const int below = lerp(corner(0, 1, c) << kLerpBits, corner(1, 1, c) << kLerpBits, f.x);
    out[c] = to_level((lerp(above, below, f.y) + (1 << (kLerpBits - 1))) >> kLerpBits);
  }
}

void warp(const WarpSource& source, WarpLine line, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i, out += kRgb) {
    const auto column = static_cast<std::size_t>(line.x >> kWarpBits);
    const auto row = static_cast<std::size_t>(line.y >> kWarpBits);
    const std::uint8_t* at = source.data + row * source.stride + column * kRgb;
    const auto corner = [&](std::size_t dx, std::size_t dy, std::size_t c) {
      return int{at[dy * source.stride + dx * kRgb + c]};
    };
    blend(corner, fraction_of(line.x, line.y), out);
    line.x += line.step_x;
    line.y += line.step_y;
  }
}

void warp_edge(const WarpSource& source, WarpLine line, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i, out += kRgb) {
    const std::int32_t column = line.x >> kWarpBits;
    const std::int32_t row = line.y >> kWarpBits;
    const auto corner = [&](std::int32_t dx, std::int32_t dy, std::size_t c) -> int {
      std::int32_t x = column + dx;
      std::int32_t y = row + dy;
      if (source.mirrored) {
        x = mirrored(x, source.width);
        y = mirrored(y, source.height);
      } else if (x < 0 || y < 0 || x >= source.width || y >= source.height) {
        return source.fill[c];
      }
      return source.data[static_cast<std::size_t>(y) * source.stride +
                         static_cast<std::size_t>(x) * kRgb + c];
    };
    blend(corner, fraction_of(line.x, line.y), out);
    line.x += line.step_x;
    line.y += line.step_y;
  }
}

void blur_rows(const std::uint8_t* const* rows, BlurFilter<std::int16_t> filter, std::size_t n,
               std::int16_t* out) {
  const std::uint8_t* const* center = rows + filter.radius;
  for (std::size_t i = 0; i < n; ++i) {
    int sum = product(center[0][i] << kBlurBits, filter.weights[0]);
    for (std::size_t k = 1; k <= filter.radius; ++k) {
      const int pair = (*(center - k))[i] + center[k][i];
      sum += product(pair << kBlurBits, filter.weights[k]);
    }
    out[i] = static_cast<std::int16_t>(sum);
  }
}

void blur_columns(const std::int16_t* in, BlurFilter<std::int16_t> filter, std::size_t n,
                  std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int16_t* center = in + i;
    int sum = product(*center, filter.weights[0]);
    for (std::size_t k = 1; k <= filter.radius; ++k) {
      sum += product(*(center - kRgb * k) + center[kRgb * k], filter.weights[k]);
    }
    out[i] = to_level((sum + (1 << (kBlurBits - 1))) >> kBlurBits);
  }
}

void blur_rows_wide(const std::uint8_t* const* rows, BlurFilter<float> filter, std::size_t n,
                    float* out) {
  const std::uint8_t* const* center = rows + filter.radius;
  for (std::size_t i = 0; i < n; ++i) {
    float sum = static_cast<float>(center[0][i]) * filter.weights[0];
    for (std::size_t k = 1; k <= filter.radius; ++k) {
      sum += static_cast<float>((*(center - k))[i] + center[k][i]) * filter.weights[k];
    }
    out[i] = sum;
  }
}

void blur_columns_wide(const float* in, BlurFilter<float> filter, std::size_t n,
                       std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const float* center = in + i;
    float sum = *center * filter.weights[0];
    for (std::size_t k = 1; k <= filter.radius; ++k) {
      sum += (*(center - kRgb * k) + center[kRgb * k]) * filter.weights[k];
    }
    out[i] = to_level(static_cast<int>(std::lrint(sum)));
  }
}

void look_up(std::uint8_t* bytes, std::size_t n, const std::uint8_t* table) {
  for (std::size_t i = 0; i < n; ++i) bytes[i] = table[bytes[i]];
}

template <std::size_t kTerms>
float polynomial(const std::array<float, kTerms>& terms, float x) {
  float sum = terms.back();
  for (std::size_t i = kTerms - 1; i-- > 0;) sum = sum * x + terms[i];
  return sum;
}

// The sine's and the cosine's number of one word.
std::array<float, 2> gaussian_pair(std::uint32_t word, float sigma) {
  // u = odd / 2^19
  const auto odd = static_cast<float>(2 * (word >> kAngleBits) + 1);
  const std::int32_t shifted = std::bit_cast<std::int32_t>(odd) - kRootHalfBits;
  const auto exponent = static_cast<float>(shifted >> 23);
  const float t = std::bit_cast<float>((shifted & 0x7FFFFF) + kRootHalfBits) - 1.0F;
  const float logarithm = t * polynomial(kLogTerms, t) + (19.0F - exponent) * kTwoLn2;
  const float radius = std::sqrt(std::max(logarithm, 0.0F)) * sigma;

  constexpr float kTurn = 1.0F / 4096;
  const float x = static_cast<float>(word & 0x1FFFU) * kTurn + (0.5F * kTurn - 1.0F);
  const float squared = x * x;
  const float sine = x * polynomial(kSineTerms, squared);
  const float cosine = polynomial(kCosineTerms, squared);
  const bool left = (word & 0x2000U) != 0;
  return {radius * sine, radius * (left ? -cosine : cosine)};
}

void add_noise(std::uint8_t* bytes, std::size_t n, std::uint64_t group, PhiloxKey key,
               float sigma) {
  constexpr std::size_t kBlocks = 16;
  std::array<float, kNoiseGroup> noise{};
  for (std::size_t begin = 0; begin < n; begin += kNoiseGroup, ++group) {
    for (std::size_t b = 0; b < kBlocks; ++b) {
      const auto [low, high] = words(group * kBlocks + b);
      const PhiloxBlock random = philox({low, high, 0, 0}, key);
      const std::size_t place = 2 * (b % 8) + b / 8;
      for (std::size_t k = 0; k < random.size(); ++k) {
        const auto [sine, cosine] = gaussian_pair(random[k], sigma);
        noise[2 * kBlocks * k + place] = sine;
        noise[2 * kBlocks * k + kBlocks + place] = cosine;
      }
    }
    const std::size_t count = std::min(kNoiseGroup, n - begin);
    for (std::size_t i = 0; i < count; ++i) {
      std::uint8_t& level = bytes[begin + i];
      level = to_level(static_cast<int>(std::lrint(static_cast<float>(level) + noise[i])));
    }
  }
}

void mirror(const std::uint8_t* in, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < kRgb; ++c) out[kRgb * i + c] = in[kRgb * (n - 1 - i) + c];
  }
}

}  // namespace

const AugmentKernels& scalar_augment_kernels() {
  static constexpr AugmentKernels kSet{warp,         warp_edge,      blur_rows,
                                       blur_columns, blur_rows_wide, blur_columns_wide,
                                       look_up,      add_noise,      mirror};
  return kSet;
}

}  // namespace eyespot::detail
