#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "eyespot/random.hpp"

// The inner loops of the augmentations, one set a SIMD target. Pixels are interleaved RGB bytes.
// All targets give the same bits: integers are rounded alike, and floats are added and multiplied
// one after the other, never fused.
namespace eyespot::detail {

/// Fraction bits of a warp's coordinates.
inline constexpr int kWarpBits = 16;
/// Fraction bits of blurred rows between the passes, which are summed in 16-bit integers.
inline constexpr int kBlurBits = 6;
/// The largest radius of the integer blur.
inline constexpr std::size_t kMaxIntegerRadius = 12;

/// Positions in a source image, in 1 / 2^kWarpBits of a pixel; pixel i has its centre at i.
struct WarpLine {
  std::int32_t x = 0;
  std::int32_t y = 0;
  std::int32_t step_x = 0;  ///< from one target pixel to the next
  std::int32_t step_y = 0;
};

/// The pixels that a warp reads; sides of 1 to 2^15 - 1.
struct WarpSource {
  const std::uint8_t* data = nullptr;
  std::size_t stride = 0;
  std::int32_t width = 0;
  std::int32_t height = 0;
  bool mirrored = true;  ///< beyond its edges: mirrored without repeating the border, or `fill`
  std::array<std::uint8_t, 3> fill{};
};

/// Half of a symmetric filter, the centre first, for a blur along one axis: out[i] = weights[0] *
/// in[i] + sum over 1 <= k <= radius of weights[k] * (in[i - k] + in[i + k]). Integer weights have
/// 15 fraction bits.
template <typename Weight>
struct BlurFilter {
  const Weight* weights = nullptr;
  std::size_t radius = 0;
};

/// Noise comes in groups of this many samples.
inline constexpr std::size_t kNoiseGroup = 128;

struct AugmentKernels {
  /// Bilinear pixels along a line all of whose points have 0 <= x <= width - 3 and 0 <= y <=
  /// height - 2, so that no edge needs a thought. Writes 3 n bytes.
  void (*warp)(const WarpSource& source, WarpLine line, std::size_t n, std::uint8_t* out);
  /// The same anywhere.
  void (*warp_edge)(const WarpSource& source, WarpLine line, std::size_t n, std::uint8_t* out);
  /// One target row of the vertical blur from 2 radius + 1 source rows of n bytes, the centre at
  /// rows[radius]. The result has kBlurBits.
  void (*blur_rows)(const std::uint8_t* const* rows, BlurFilter<std::int16_t> filter, std::size_t n,
                    std::int16_t* out);
  /// The horizontal blur of n samples of three channels; 3 radius samples before and after them are
  /// readable.
  void (*blur_columns)(const std::int16_t* in, BlurFilter<std::int16_t> filter, std::size_t n,
                       std::uint8_t* out);
  /// Both passes for large filters, in float.
  void (*blur_rows_wide)(const std::uint8_t* const* rows, BlurFilter<float> filter, std::size_t n,
                         float* out);
  void (*blur_columns_wide)(const float* in, BlurFilter<float> filter, std::size_t n,
                            std::uint8_t* out);
  /// bytes[i] = table[bytes[i]], i < n.
  void (*look_up)(std::uint8_t* bytes, std::size_t n, const std::uint8_t* table);
  /// bytes[i] += sigma * gaussian number kNoiseGroup * group + i of the key's stream, rounded to
  /// even and clamped, i < n.
  void (*add_noise)(std::uint8_t* bytes, std::size_t n, std::uint64_t group, PhiloxKey key,
                    float sigma);
  /// n pixels in reverse order.
  void (*mirror)(const std::uint8_t* in, std::size_t n, std::uint8_t* out);
};

/// The kernels of the target in force. Throws as simd_target() does.
[[nodiscard]] const AugmentKernels& augment_kernels();

/// AVX-512 kernels, some of them replaced where the CPU permutes bytes over a whole vector.
[[nodiscard]] AugmentKernels with_byte_permutes(AugmentKernels kernels);

/// Plain C++: the "scalar" target and the oracle of the others.
[[nodiscard]] const AugmentKernels& scalar_augment_kernels();

// Gaussian numbers from random words, after Box and Muller. A word w gives two: the radius
// sqrt(-2 ln u) with u = ((w >> 14) + 1/2) / 2^18, times the sine and the cosine of an angle whose
// direction the low 14 bits tell. In a group, word k of blocks 16 g to 16 g + 15 gives samples
// 32 k to 32 k + 15 (sines) and 32 k + 16 to 32 k + 31 (cosines); within them, block b is sample
// 2 (b % 8) + b / 8, which is how vectors of 64-bit products are packed to 32 bits.
inline constexpr unsigned kAngleBits = 14;

// -2 ln(m) on [sqrt(1/2), sqrt(2)) as t * P(t), t = m - 1, and sin(pi/2 x) as x * P(x^2) and
// cos(pi/2 x) as P(x^2) on [-1, 1], nearly minimax; the errors are below 7e-6, 2e-6 and 7e-6.
inline constexpr std::array kLogTerms{-2 * 1.0000054836F, -2 * -0.4999141001F,
                                      -2 * 0.3324826956F, -2 * -0.2535913885F,
                                      -2 * 0.2216877490F, -2 * -0.1466253400F};
inline constexpr std::array kSineTerms{1.5707951784F, -0.6459259391F, 0.0795006528F,
                                       -0.0043710149F};
inline constexpr std::array kCosineTerms{0.9999933243F, -1.2334845066F, 0.2525802255F,
                                         -0.0190957356F};
inline constexpr float kTwoLn2 = 1.3862943611F;
inline constexpr std::int32_t kRootHalfBits = 0x3F3504F3;  ///< of sqrt(1/2) as a float

}  // namespace eyespot::detail
