#pragma once

#include <cstddef>
#include <cstdint>

// The inner loops, one set a SIMD target. All arithmetic on pixels is in 16-bit integers, and every
// product is rounded alike, so all targets give the same bits. Sums have kFractionBits bits below
// the grey level: 255 * 64 * (sum of |weights| < 1.5) < 2^15, so they do not overflow. Levels that
// are about to be weighed have kLevelBits, one more, and their weights 14 bits.
namespace eyespot::detail {

inline constexpr int kFractionBits = 6;
inline constexpr int kLevelBits = 7;
/// Rows that the horizontal pass treats together, as the lanes of its vectors.
inline constexpr std::size_t kBlockRows = 16;

/// product(a, b) below is (a * b + 2^14) >> 15, so it keeps a's fraction bits when b has 15, and
/// one less when b has 14.
struct Kernels {
  /// acc[i] += product(row[i] << kLevelBits, weight), i < n, or = when `fresh`. `acc` is aligned
  /// and has room for padded(n) values, whose tail is not used.
  void (*accumulate)(const std::uint8_t* row, std::size_t n, std::int16_t weight, std::int16_t* acc,
                     bool fresh);
  /// accumulate() into two sums at a time, the second of which may be fresh: a source row mostly
  /// counts for two target rows.
  void (*accumulate2)(const std::uint8_t* row, std::size_t n, std::int16_t weight0,
                      std::int16_t* acc0, std::int16_t weight1, std::int16_t* acc1, bool fresh1);
  /// accumulate() of values that have kLevelBits already. `row` is like `acc`.
  void (*accumulate_wide)(const std::int16_t* row, std::size_t n, std::int16_t weight,
                          std::int16_t* acc, bool fresh);
  /// out[i] = row[i] << kLevelBits, i < n; writes up to padded(n).
  void (*widen)(const std::uint8_t* row, std::size_t n, std::int16_t* out);
  /// columns[c * 16 + r] = rows[r * stride + c] for c in [begin, end), a multiple of 8 each, and
  /// all 16 rows. Everything aligned.
  void (*transpose)(const std::int16_t* rows, std::size_t stride, std::size_t begin,
                    std::size_t end, std::int16_t* columns);
  /// The way back, between two passes: the first n columns, a multiple of 8, clamped to 0..255 and
  /// raised to kLevelBits.
  void (*restore_rows)(const std::int16_t* columns, std::size_t n, std::int16_t* rows,
                       std::size_t stride);
  /// For targets i in [begin, end) and each channel c: column i * channels + c of `out` = sum over
  /// k < taps of product(column (first[i] + k) * channels + c, values[i * taps + k]).
  void (*horizontal)(const std::int16_t* columns, std::size_t channels, const std::uint32_t* first,
                     const std::int16_t* values, std::size_t taps, std::size_t begin,
                     std::size_t end, std::int16_t* out);
  /// A row of `n` RGB pixels in whole grey levels: those of pixel i are the sums over k < 2 * pairs
  /// of product(row[3 * (first[i] + k) + channel], weight), rounded and clamped. For each i and
  /// pair of taps, `weights` has the first one's three times, the second one's three times, and two
  /// zeros. `row` can be read 8 values beyond the last one that counts.
  void (*horizontal_rgb)(const std::int16_t* row, const std::uint32_t* first,
                         const std::int16_t* weights, std::size_t pairs, std::size_t n,
                         std::uint8_t* out);
  /// JFIF YCbCr columns of `n` pixels to interleaved RGB columns, clamped
  /// to 16 bits only.
  void (*ycc_to_rgb)(const std::int16_t* y, const std::int16_t* cb, const std::int16_t* cr,
                     std::size_t n, std::int16_t* rgb);
  /// Grey columns to RGB columns.
  void (*grey_to_rgb)(const std::int16_t* grey, std::size_t n, std::int16_t* rgb);
  /// Rounds and clamps `n_columns` columns to whole grey levels and writes their first `n_rows`
  /// rows. `columns` has room for a multiple of 32 columns.
  void (*store_rows)(const std::int16_t* columns, std::size_t n_columns, std::size_t n_rows,
                     std::uint8_t* out, std::size_t out_stride);
  /// n interleaved RGB pixels to three rows.
  void (*split_rgb)(const std::uint8_t* rgb, std::size_t n, std::uint8_t* red, std::uint8_t* green,
                    std::uint8_t* blue);
  /// out[i] = in[i] * factor + offset in float32, rounded after each operation.
  void (*to_float)(const std::uint8_t* in, std::size_t n, float factor, float offset, float* out);
  /// The same on n interleaved pixels with factor and offset for each of three channels.
  void (*to_float3)(const std::uint8_t* in, std::size_t n, const float* factor, const float* offset,
                    float* out);
};

// JFIF (ITU-T T.871): R = Y + 1.402 Cr', G = Y - 0.344136 Cb' - 0.714136 Cr', B = Y + 1.772 Cb',
// where Cb' and Cr' are centred on 128. The whole ones are added, the fractions multiplied, as
// factors for product().
inline constexpr std::int16_t kRedFromCr = 13173;    // 0.402
inline constexpr std::int16_t kGreenFromCb = 11277;  // 0.344136
inline constexpr std::int16_t kGreenFromCr = 23401;  // 0.714136
inline constexpr std::int16_t kBlueFromCb = 25297;   // 0.772

/// The kernels of the target in force. Throws as simd_target() does.
[[nodiscard]] const Kernels& kernels();

/// Plain C++: the "scalar" target and the oracle of the others.
[[nodiscard]] const Kernels& scalar_kernels();

}  // namespace eyespot::detail
