#include <algorithm>
#include <array>
#include <cstdlib>

#include "jpeg_kernels.hpp"

// The kernels in plain C++: what EYESPOT_SIMD=scalar runs, and the oracle of the SIMD ones. Written
// for the reader.
namespace eyespot::codec {
namespace {

using Block = std::array<int, kBlockSize>;

// x / 2^bits to nearest, halves upwards.
int descale(int x, int bits) noexcept {
  return (x + (1 << (bits - 1))) >> bits;
}

std::uint8_t level(int sample) noexcept {
  return static_cast<std::uint8_t>(std::clamp(sample + 128, 0, 255));
}

// Eight values `step` apart to eight, scaled by sqrt(8) * 2^(13 - shift).
void idct8(const int* in, std::size_t step, int shift, std::array<int, 8>& out) noexcept {
  using namespace dct;
  const auto x = [&](std::size_t i) { return in[i * step]; };
  const int half = (x(2) + x(6)) * k0_541;
  const int even2 = half - x(6) * k1_848;
  const int even3 = half + x(2) * k0_765;
  const int even0 = (x(0) + x(4)) * (1 << kBits);
  const int even1 = (x(0) - x(4)) * (1 << kBits);
  const std::array even{even0 + even3, even1 + even2, even1 - even2, even0 - even3};

  const int z1 = -(x(7) + x(1)) * k0_900;
  const int z2 = -(x(5) + x(3)) * k2_563;
  const int z5 = (x(7) + x(3) + x(5) + x(1)) * k1_176;
  const int z3 = z5 - (x(7) + x(3)) * k1_962;
  const int z4 = z5 - (x(5) + x(1)) * k0_390;
  const std::array odd{x(1) * k1_501 + z1 + z4, x(3) * k3_073 + z2 + z3, x(5) * k2_053 + z2 + z4,
                       x(7) * k0_299 + z1 + z3};
  for (std::size_t i = 0; i < 4; ++i) {
    out[i] = descale(even[i] + odd[i], shift);
    out[7 - i] = descale(even[i] - odd[i], shift);
  }
}

// To four values: every second one's mean, without the fourth input.
void idct4(const int* in, std::size_t step, int shift, std::array<int, 8>& out) noexcept {
  using namespace dct;
  const auto x = [&](std::size_t i) { return in[i * step]; };
  const int even0 = x(0) * (1 << (kBits + 1));
  const int even2 = x(2) * k1_848 - x(6) * k0_765;
  const int odd0 = -x(7) * k0_510 - x(5) * k0_601 + x(3) * k0_900 + x(1) * k2_563;
  const int odd1 = -x(7) * k0_211 + x(5) * k1_452 - x(3) * k2_173 + x(1) * k1_062;
  out[0] = descale(even0 + even2 + odd0, shift + 1);
  out[1] = descale(even0 - even2 + odd1, shift + 1);
  out[2] = descale(even0 - even2 - odd1, shift + 1);
  out[3] = descale(even0 + even2 - odd0, shift + 1);
}

void idct2(const int* in, std::size_t step, int shift, std::array<int, 8>& out) noexcept {
  using namespace dct;
  const auto x = [&](std::size_t i) { return in[i * step]; };
  const int even = x(0) * (1 << (kBits + 2));
  const int odd = -x(7) * k0_721 + x(5) * k0_850 - x(3) * k1_273 + x(1) * k3_625;
  out[0] = descale(even + odd, shift + 2);
  out[1] = descale(even - odd, shift + 2);
}

using Pass = void (*)(const int* in, std::size_t step, int shift, std::array<int, 8>& out);

// Columns, then rows.
template <std::size_t kSide, Pass kPass>
bool transform(const Block& block, std::uint8_t* out, std::size_t stride) noexcept {
  Block half{};
  bool inside = true;
  std::array<int, 8> values{};
  for (std::size_t c = 0; c < 8; ++c) {
    // Columns that the reduced forms have no use for.
    if ((kSide == 4 && c == 4) || (kSide == 2 && c > 0 && c % 2 == 0)) continue;
    kPass(block.data() + c, 8, dct::kBits - kPass1Bits, values);
    for (std::size_t r = 0; r < kSide; ++r) {
      inside = inside && values[r] >= -kMaxPass1 - 1 && values[r] <= kMaxPass1;
      half[r * 8 + c] = values[r];
    }
  }
  if (!inside) return false;
  for (std::size_t r = 0; r < kSide; ++r) {
    kPass(half.data() + r * 8, 1, dct::kBits + kPass1Bits + 3, values);
    for (std::size_t c = 0; c < kSide; ++c) out[r * stride + c] = level(values[c]);
  }
  return true;
}

bool dc_only(const Block& block, std::uint8_t* out, std::size_t /*stride*/) noexcept {
  *out = level(descale(block[0], 3));
  return true;
}

template <std::size_t kSide, bool (*kTransform)(const Block&, std::uint8_t*, std::size_t)>
bool inverse_dct(const std::int16_t* coefficients, const Dequantizer& dequantizer,
                 const std::uint8_t* /*last*/, std::size_t groups, std::uint8_t* out,
                 std::size_t stride) {
  bool inside = true;
  for (std::size_t b = 0; b < groups * kGroupBlocks; ++b) {
    const std::int16_t* from = coefficients + b / kGroupBlocks * kGroupSize + b % kGroupBlocks * 8;
    Block block{};
    for (std::size_t i = 0; i < (kSide == 1 ? 1 : kBlockSize); ++i) {
      const int coefficient = from[i / 8 * kGroupRow + i % 8];
      inside = inside && std::abs(coefficient) <= dequantizer.limits[i];
      block[i] = inside ? coefficient * dequantizer.steps[i] : 0;
    }
    inside = kTransform(block, out + b * kSide, stride) && inside;
  }
  return inside;
}

void weigh_rows(const std::uint8_t* near, const std::uint8_t* far, std::size_t n,
                std::int16_t* sums) {
  for (std::size_t i = 0; i < n; ++i) sums[i] = static_cast<std::int16_t>(3 * near[i] + far[i]);
}

void narrow_row(const std::int16_t* sums, std::size_t n, std::int16_t bias, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>((sums[i] + bias) >> 2);
}

void interpolate_row(const std::int16_t* sums, std::size_t n, std::int16_t even, std::int16_t odd,
                     std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const std::int16_t* at = sums + i;
    out[2 * i] = static_cast<std::uint8_t>((3 * at[0] + at[-1] + even) >> 4);
    out[2 * i + 1] = static_cast<std::uint8_t>((3 * at[0] + at[1] + odd) >> 4);
  }
}

void double_row(const std::uint8_t* in, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) out[2 * i] = out[2 * i + 1] = in[i];
}

std::uint8_t clamped(int value) noexcept {
  return static_cast<std::uint8_t>(std::clamp(value, 0, 255));
}

void ycc_to_rgb(const std::uint8_t* y, const std::uint8_t* cb, const std::uint8_t* cr,
                std::size_t n, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < n; ++i, rgb += 3) {
    const int blue = cb[i] - 128;
    const int red = cr[i] - 128;
    rgb[0] = clamped(y[i] + red + descale(red * ycc::kRedCr, 16));
    rgb[1] = clamped(y[i] - red + descale(blue * ycc::kGreenCb + red * ycc::kGreenCr, 16));
    rgb[2] = clamped(y[i] + 2 * blue + descale(blue * ycc::kBlueCb, 16));
  }
}

void grey_to_rgb(const std::uint8_t* grey, std::size_t n, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < n; ++i, rgb += 3) rgb[0] = rgb[1] = rgb[2] = grey[i];
}

}  // namespace

const JpegKernels& scalar_jpeg_kernels() {
  static constexpr JpegKernels kKernels{
      {inverse_dct<1, dc_only>, inverse_dct<2, transform<2, idct2>>,
       inverse_dct<4, transform<4, idct4>>, inverse_dct<8, transform<8, idct8>>},
      weigh_rows,
      narrow_row,
      interpolate_row,
      double_row,
      ycc_to_rgb,
      grey_to_rgb};
  return kKernels;
}

}  // namespace eyespot::codec
