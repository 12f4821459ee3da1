#pragma once

#include <cstddef>
#include <cstdint>

#include "bfloat16.hpp"

namespace eyespot::solver {

/// A matrix factor in bfloat16 as CPUs with AMX (Intel since Sapphire Rapids) load it: 16 lines of
/// 16 pairs. A left factor has a row a line, a right one a column a place of all lines; the pairs
/// follow the dimension that is summed over.
struct alignas(64) Tile {
  std::uint32_t pairs[16][16];  // NOLINT(modernize-avoid-c-arrays)
};

}  // namespace eyespot::solver

#if EYESPOT_HAS_BFLOAT16

#define EYESPOT_AMX __attribute__((target("avx512f,amx-tile,amx-bf16")))

namespace eyespot::solver::tiles {

using namespace bfloat16;

inline constexpr std::size_t kDepth = 32;  // numbers that a tile of 16 lines of 16 pairs sums over
inline constexpr std::size_t kLineBytes = 64;

// Lanes of a and b in turn, of the lower or the upper half of each quarter, one or two at a time.
EYESPOT_AVX512 Words lower_ones(Words a, Words b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
EYESPOT_AVX512 Words upper_ones(Words a, Words b) {
  return __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
EYESPOT_AVX512 Words lower_twos(Words a, Words b) {
  return __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
EYESPOT_AVX512 Words upper_twos(Words a, Words b) {
  return __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}
// Quarters 0 and 2, or 1 and 3, of either.
EYESPOT_AVX512 Words even_quarters(Words a, Words b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
EYESPOT_AVX512 Words odd_quarters(Words a, Words b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

// A right factor from a left one, or the reverse.
EYESPOT_AVX512 void transpose(const Tile& from, Tile& to) {
  // Lines i to i + 3, turned: the one j after i has their columns j, 4 + j, 8 + j and 12 + j.
  Words fours[kLanes];
  for (std::size_t i = 0; i < kLanes; i += 4) {
    const auto a = load<Words>(from.pairs[i]);
    const auto b = load<Words>(from.pairs[i + 1]);
    const auto c = load<Words>(from.pairs[i + 2]);
    const auto d = load<Words>(from.pairs[i + 3]);
    fours[i] = lower_twos(lower_ones(a, b), lower_ones(c, d));
    fours[i + 1] = upper_twos(lower_ones(a, b), lower_ones(c, d));
    fours[i + 2] = lower_twos(upper_ones(a, b), upper_ones(c, d));
    fours[i + 3] = upper_twos(upper_ones(a, b), upper_ones(c, d));
  }
  for (std::size_t j = 0; j < 4; ++j) {
    const Words even = even_quarters(fours[j], fours[4 + j]);
    const Words odd = odd_quarters(fours[j], fours[4 + j]);
    const Words later_even = even_quarters(fours[8 + j], fours[12 + j]);
    const Words later_odd = odd_quarters(fours[8 + j], fours[12 + j]);
    store(even_quarters(even, later_even), to.pairs[j]);
    store(even_quarters(odd, later_odd), to.pairs[4 + j]);
    store(odd_quarters(even, later_even), to.pairs[8 + j]);
    store(odd_quarters(odd, later_odd), to.pairs[12 + j]);
  }
}

// All eight registers whole.
struct alignas(64) Config {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t line_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t lines[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr Config kConfig;

}  // namespace eyespot::solver::tiles

#endif
