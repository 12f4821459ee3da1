#include <cstddef>
#include <cstdint>

#include "kernels.hpp"

// Two kernels for CPUs that permute single bytes over a whole 512-bit vector (AVX-512 VBMI: Intel
// since Ice Lake, AMD since Zen 4). Highway 1.0.3 has no such operation.
#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>

#define EYESPOT_VBMI __attribute__((target("avx512f,avx512bw,avx512vbmi")))

namespace eyespot::detail {
namespace {

using std::size_t;
using std::uint8_t;

constexpr size_t kRgb = 3;
constexpr size_t kVector = 64;

EYESPOT_VBMI __mmask64 first_bytes(size_t n) {
  return n == 0 ? 0 : ~__mmask64{0} >> (kVector - n);
}

EYESPOT_VBMI __m512i found(__m512i levels, const __m512i* table) {
  const __m512i dark = _mm512_permutex2var_epi8(table[0], levels, table[1]);
  const __m512i bright = _mm512_permutex2var_epi8(table[2], levels, table[3]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(levels), dark, bright);
}

EYESPOT_VBMI void look_up(uint8_t* bytes, size_t n, const uint8_t* table) {
  const __m512i quarters[4] = {_mm512_loadu_si512(table), _mm512_loadu_si512(table + kVector),
                               _mm512_loadu_si512(table + 2 * kVector),
                               _mm512_loadu_si512(table + 3 * kVector)};
  size_t i = 0;
  for (; i + kVector <= n; i += kVector) {
    _mm512_storeu_si512(bytes + i, found(_mm512_loadu_si512(bytes + i), quarters));
  }
  const __mmask64 rest = first_bytes(n - i);
  const __m512i levels = _mm512_maskz_loadu_epi8(rest, bytes + i);
  _mm512_mask_storeu_epi8(bytes + i, rest, found(levels, quarters));
}

// The unmasked intrinsic reads an uninitialised vector in GCC 12's header, which warns of it.
EYESPOT_VBMI __m512i permuted(__m512i order, __m512i bytes) {
  return _mm512_maskz_permutexvar_epi8(~__mmask64{0}, order, bytes);
}

// A vector's first 21 pixels in reverse order, at its end.
constexpr size_t kPixels = kVector / kRgb;
struct ReversedBytes {
  alignas(kVector) uint8_t from[2 * kVector] = {};

  constexpr ReversedBytes() {
    for (size_t i = 1; i < kVector; ++i) {
      const size_t at = i - 1;
      from[i] = static_cast<uint8_t>(kRgb * (kPixels - 1 - at / kRgb) + at % kRgb);
    }
  }
};

// Forwards through `in` and backwards through `out`, as the other targets do.
EYESPOT_VBMI void mirror(const uint8_t* in, size_t n, uint8_t* out) {
  static constexpr ReversedBytes kReversed;
  const __m512i order = _mm512_load_si512(kReversed.from);
  size_t left = kRgb * n;
  for (; left >= kVector; left -= kRgb * kPixels) {
    const __m512i pixels = _mm512_loadu_si512(in + kRgb * n - left);
    _mm512_storeu_si512(out + left - kVector, permuted(order, pixels));
  }
  const __mmask64 rest = first_bytes(left);
  const __m512i pixels = _mm512_maskz_loadu_epi8(rest, in + kRgb * n - left);
  // As many bytes of `order` as are left, from its end.
  const __m512i last = _mm512_loadu_si512(kReversed.from + kVector - left);
  _mm512_mask_storeu_epi8(out, rest, permuted(last, pixels));
}

}  // namespace

AugmentKernels with_byte_permutes(AugmentKernels kernels) {
  if (__builtin_cpu_supports("avx512vbmi") != 0) {
    kernels.look_up = look_up;
    kernels.mirror = mirror;
  }
  return kernels;
}

}  // namespace eyespot::detail

#else

namespace eyespot::detail {

AugmentKernels with_byte_permutes(AugmentKernels kernels) {
  return kernels;
}

}  // namespace eyespot::detail

#endif
