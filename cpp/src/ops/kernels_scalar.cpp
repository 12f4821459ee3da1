#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels.hpp"

// The kernels in plain C++: what EYESPOT_SIMD=scalar runs, and the oracle of the SIMD ones. Written
// for the reader.
namespace eyespot::detail {
namespace {

std::int16_t wide(std::uint8_t level) {
  return static_cast<std::int16_t>(level << kLevelBits);
}

int product(std::int16_t a, std::int16_t b) {
  return (a * b + (1 << 14)) >> 15;
}

std::int16_t add(std::int16_t a, int b) {
  return static_cast<std::int16_t>(a + b);
}

// The grey level of a sum.
std::uint8_t level(std::int16_t sum) {
  constexpr int kHalf = 1 << (kFractionBits - 1);
  return static_cast<std::uint8_t>(std::clamp((sum + kHalf) >> kFractionBits, 0, 255));
}

// Colours far out of gamut exceed 16 bits, and are clamped in the end anyway.
int clamped(int value) {
  return std::clamp(value, -32768, 32767);
}

void accumulate(const std::uint8_t* row, std::size_t n, std::int16_t weight, std::int16_t* acc,
                bool fresh) {
  for (std::size_t i = 0; i < n; ++i) {
    acc[i] = add(fresh ? std::int16_t{0} : acc[i], product(wide(row[i]), weight));
  }
}

void accumulate2(const std::uint8_t* row, std::size_t n, std::int16_t weight0, std::int16_t* acc0,
                 std::int16_t weight1, std::int16_t* acc1, bool fresh1) {
  accumulate(row, n, weight0, acc0, false);
  accumulate(row, n, weight1, acc1, fresh1);
}

void accumulate_wide(const std::int16_t* row, std::size_t n, std::int16_t weight, std::int16_t* acc,
                     bool fresh) {
  for (std::size_t i = 0; i < n; ++i) {
    acc[i] = add(fresh ? std::int16_t{0} : acc[i], product(row[i], weight));
  }
}

void widen(const std::uint8_t* row, std::size_t n, std::int16_t* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = wide(row[i]);
}

void transpose(const std::int16_t* rows, std::size_t stride, std::size_t begin, std::size_t end,
               std::int16_t* columns) {
  for (std::size_t c = begin; c < end; ++c) {
    for (std::size_t r = 0; r < kBlockRows; ++r) columns[c * kBlockRows + r] = rows[r * stride + c];
  }
}

void restore_rows(const std::int16_t* columns, std::size_t n, std::int16_t* rows,
                  std::size_t stride) {
  for (std::size_t r = 0; r < kBlockRows; ++r) {
    for (std::size_t c = 0; c < n; ++c) {
      const int value = std::clamp<int>(columns[c * kBlockRows + r], 0, 255 << kFractionBits);
      rows[r * stride + c] = add(0, value << (kLevelBits - kFractionBits));
    }
  }
}

void horizontal(const std::int16_t* columns, std::size_t channels, const std::uint32_t* first,
                const std::int16_t* values, std::size_t taps, std::size_t begin, std::size_t end,
                std::int16_t* out) {
  for (std::size_t i = begin; i < end; ++i) {
    for (std::size_t c = 0; c < channels; ++c) {
      std::int16_t* target = out + (i * channels + c) * kBlockRows;
      std::fill(target, target + kBlockRows, std::int16_t{0});
      for (std::size_t k = 0; k < taps; ++k) {
        const std::int16_t* column = columns + ((first[i] + k) * channels + c) * kBlockRows;
        const std::int16_t weight = values[i * taps + k];
        for (std::size_t r = 0; r < kBlockRows; ++r) {
          target[r] = add(target[r], product(column[r], weight));
        }
      }
    }
  }
}

void horizontal_rgb(const std::int16_t* row, const std::uint32_t* first,
                    const std::int16_t* weights, std::size_t pairs, std::size_t n,
                    std::uint8_t* out) {
  constexpr std::size_t kVector = 8;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      std::int16_t sum = 0;
      for (std::size_t k = 0; k < 2 * pairs; ++k) {
        const std::int16_t weight = weights[(i * pairs + k / 2) * kVector + k % 2 * 3];
        sum = add(sum, product(row[(first[i] + k) * 3 + c], weight));
      }
      out[3 * i + c] = level(sum);
    }
  }
}

void ycc_to_rgb(const std::int16_t* y, const std::int16_t* cb, const std::int16_t* cr,
                std::size_t n, std::int16_t* rgb) {
  constexpr int kCenter = 128 << kFractionBits;
  for (std::size_t x = 0; x < n; ++x) {
    for (std::size_t r = 0; r < kBlockRows; ++r) {
      const std::size_t i = x * kBlockRows + r;
      const std::int16_t blue = add(cb[i], -kCenter);
      const std::int16_t red = add(cr[i], -kCenter);
      std::int16_t* out = rgb + 3 * x * kBlockRows + r;
      const int r_out = clamped(y[i] + red) + product(red, kRedFromCr);
      const int g_out = clamped(y[i] - product(blue, kGreenFromCb)) - product(red, kGreenFromCr);
      const int b_out = clamped(y[i] + blue) + product(blue, kBlueFromCb);
      out[0] = add(0, clamped(r_out));
      out[kBlockRows] = add(0, clamped(g_out));
      out[2 * kBlockRows] = add(0, clamped(b_out));
    }
  }
}

void grey_to_rgb(const std::int16_t* grey, std::size_t n, std::int16_t* rgb) {
  for (std::size_t x = 0; x < n; ++x) {
    for (std::size_t c = 0; c < 3; ++c) {
      std::copy_n(grey + x * kBlockRows, kBlockRows, rgb + (3 * x + c) * kBlockRows);
    }
  }
}

void store_rows(const std::int16_t* columns, std::size_t n_columns, std::size_t n_rows,
                std::uint8_t* out, std::size_t out_stride) {
  for (std::size_t r = 0; r < n_rows; ++r) {
    for (std::size_t c = 0; c < n_columns; ++c) {
      out[r * out_stride + c] = level(columns[c * kBlockRows + r]);
    }
  }
}

void split_rgb(const std::uint8_t* rgb, std::size_t n, std::uint8_t* red, std::uint8_t* green,
               std::uint8_t* blue) {
  for (std::size_t i = 0; i < n; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

void to_float(const std::uint8_t* in, std::size_t n, float factor, float offset, float* out) {
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<float>(in[i]) * factor + offset;
}

void to_float3(const std::uint8_t* in, std::size_t n, const float* factor, const float* offset,
               float* out) {
  for (std::size_t i = 0; i < 3 * n; ++i) {
    out[i] = static_cast<float>(in[i]) * factor[i % 3] + offset[i % 3];
  }
}

}  // namespace

const Kernels& scalar_kernels() {
  static constexpr Kernels kSet{accumulate,   accumulate2, accumulate_wide, widen,      transpose,
                                restore_rows, horizontal,  horizontal_rgb,  ycc_to_rgb, grey_to_rgb,
                                store_rows,   split_rgb,   to_float,        to_float3};
  return kSet;
}

}  // namespace eyespot::detail
