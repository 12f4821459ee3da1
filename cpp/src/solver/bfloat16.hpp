#pragma once

#include "runtime/simd.hpp"

#if EYESPOT_HAS_BFLOAT16

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define EYESPOT_AVX512 __attribute__((target("avx512f"))) inline

// What kernels that multiply in bfloat16 share. A word has a pair of its numbers, which follow the
// dimension that is summed over.
namespace eyespot::solver::bfloat16 {

inline constexpr std::size_t kLanes = 16;  // words of a vector

// GCC's vectors, as its intrinsics of AVX-512 warn of what is no fault in version 12.
using Words = std::uint32_t __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));

template <class Vector, class T>
EYESPOT_AVX512 Vector load(const T* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

template <class Vector, class T>
EYESPOT_AVX512 void store(Vector vector, T* to) {
  std::memcpy(to, &vector, sizeof(vector));
}

// The bits of float32 numbers, of which the upper half becomes the nearest of bfloat16, ties to
// even.
EYESPOT_AVX512 Words rounded(Words bits) {
  return bits + (((bits >> 16U) & 1U) + 0x7FFFU);
}

// The upper halves of words in turn: bfloat16 where they are float32's.
EYESPOT_AVX512 Words paired(Words even, Words odd) {
  return (even >> 16U) | (odd & 0xFFFF0000U);
}

// to += from: a multiple of eight numbers.
EYESPOT_AVX512 void add(const float* from, std::size_t count, double* to) {
  for (std::size_t j = 0; j < count; j += 8) {
    // The intrinsic without a mask reads an uninitialised vector in GCC 12's header.
    const __m512d values = _mm512_maskz_cvtps_pd(0xFF, _mm256_load_ps(from + j));
    _mm512_storeu_pd(to + j, _mm512_add_pd(_mm512_loadu_pd(to + j), values));
  }
}

}  // namespace eyespot::solver::bfloat16

#endif
