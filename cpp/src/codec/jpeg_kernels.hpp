#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "jpeg_entropy.hpp"

// From coefficients to RGB rows, one set of functions a SIMD target. All of them give the very
// numbers that libjpeg-turbo gives (its accurate integer IDCT, "fancy" upsampling, its colour
// conversion), so all targets give the same.
namespace eyespot::codec {

/// Rows end in room for this many samples more, which kernels may read and overwrite.
inline constexpr std::size_t kRowPadding = 64;

struct alignas(64) Dequantizer {
  /// Steps, in natural order.
  std::array<std::int16_t, kBlockSize> steps{};
  /// Largest magnitude of each coefficient that is decoded here. Beyond, times its step, it would
  /// exceed kMaxDequantized, four times what any picture has. With larger ones libjpeg-turbo's
  /// 16-bit arithmetic may wrap around or saturate, each target in its own way.
  std::array<std::uint16_t, kBlockSize> limits{};
};
inline constexpr int kMaxDequantized = 4095;
/// The same for what the first, vertical pass of an inverse DCT yields, which has kPass1Bits
/// fraction bits.
inline constexpr int kMaxPass1 = 16383;
inline constexpr int kPass1Bits = 2;

/// Inverse DCT of `groups` groups of four blocks, dequantised on the way. `last` tells for each
/// block the zigzag position of its last coefficient. Block b's columns of the rows at `out` begin
/// at b times the block's scaled side. False when a coefficient exceeds its limit.
using InverseDct = bool (*)(const std::int16_t* coefficients, const Dequantizer& dequantizer,
                            const std::uint8_t* last, std::size_t groups, std::uint8_t* out,
                            std::size_t stride);

struct JpegKernels {
  /// By the logarithm of the scaled side: 1, 2, 4, 8 samples. The first looks at DCs only.
  std::array<InverseDct, 4> inverse_dct;
  /// sums[i] = 3 * near[i] + far[i], i < n.
  void (*weigh_rows)(const std::uint8_t* near, const std::uint8_t* far, std::size_t n,
                     std::int16_t* sums);
  /// out[i] = (sums[i] + bias) / 4, rounded down.
  void (*narrow_row)(const std::int16_t* sums, std::size_t n, std::int16_t bias, std::uint8_t* out);
  /// out[2i] = (3 * sums[i] + sums[i - 1] + even) / 16, out[2i + 1] = (3 * sums[i] + sums[i + 1] +
  /// odd) / 16, rounded down; sums[-1] and sums[n] are there.
  void (*interpolate_row)(const std::int16_t* sums, std::size_t n, std::int16_t even,
                          std::int16_t odd, std::uint8_t* out);
  /// out[2i] = out[2i + 1] = in[i].
  void (*double_row)(const std::uint8_t* in, std::size_t n, std::uint8_t* out);
  /// `n` JFIF YCbCr pixels to interleaved RGB, for which there is room for n + kRowPadding pixels.
  void (*ycc_to_rgb)(const std::uint8_t* y, const std::uint8_t* cb, const std::uint8_t* cr,
                     std::size_t n, std::uint8_t* rgb);
  void (*grey_to_rgb)(const std::uint8_t* grey, std::size_t n, std::uint8_t* rgb);
};

/// Constants of the accurate integer IDCT (Loeffler, Ligtenberg, Moschytz) and of its reduced
/// forms, with 13 fraction bits.
namespace dct {
inline constexpr int kBits = 13;
inline constexpr int k0_211 = 1730;
inline constexpr int k0_299 = 2446;
inline constexpr int k0_390 = 3196;
inline constexpr int k0_510 = 4176;
inline constexpr int k0_541 = 4433;
inline constexpr int k0_601 = 4926;
inline constexpr int k0_721 = 5906;
inline constexpr int k0_765 = 6270;
inline constexpr int k0_850 = 6967;
inline constexpr int k0_900 = 7373;
inline constexpr int k1_062 = 8697;
inline constexpr int k1_176 = 9633;
inline constexpr int k1_273 = 10426;
inline constexpr int k1_452 = 11893;
inline constexpr int k1_501 = 12299;
inline constexpr int k1_848 = 15137;
inline constexpr int k1_962 = 16069;
inline constexpr int k2_053 = 16819;
inline constexpr int k2_173 = 17799;
inline constexpr int k2_563 = 20995;
inline constexpr int k3_073 = 25172;
inline constexpr int k3_625 = 29692;
}  // namespace dct

/// JFIF's colour conversion with 16 fraction bits: what is left of 1.402, 1.772, 0.344 and 0.714
/// when whole multiples of Cb and Cr have been added or taken away.
namespace ycc {
inline constexpr int kRedCr = 26345;     // 1.402 - 1
inline constexpr int kBlueCb = -14942;   // 1.772 - 2
inline constexpr int kGreenCb = -22554;  // -0.344136
inline constexpr int kGreenCr = 18734;   // -0.714136 + 1
}  // namespace ycc

/// The kernels of the target in force. Throws as simd_target() does.
[[nodiscard]] const JpegKernels& jpeg_kernels();

/// Plain C++: the "scalar" target and the oracle of the others.
[[nodiscard]] const JpegKernels& scalar_jpeg_kernels();

}  // namespace eyespot::codec
