#include "gram_tiles.hpp"

#include <algorithm>
#include <cstring>

#include "eyespot/runtime.hpp"

// Highway 1.0.3 has no tiles.
#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EYESPOT_AVX512 __attribute__((target("avx512f")))
#define EYESPOT_AMX __attribute__((target("avx512f,amx-tile,amx-bf16")))

namespace eyespot::solver {

namespace {

// GCC's vectors, as its intrinsics of AVX-512 warn of what is no fault in version 12.
using Words = std::uint32_t __attribute__((vector_size(64)));
using Doubles = double __attribute__((vector_size(64)));
using HalfFloats = float __attribute__((vector_size(32)));

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

constexpr std::size_t kLanes = 16;     // columns, or lines, of a tile
constexpr std::size_t kTileRows = 32;  // of the data: two a line, or as many as a line has numbers
constexpr std::size_t kMaxSteps = kAccumulateRows / kTileRows;
constexpr std::size_t kLineBytes = 64;
// Rows that are turned into tiles at a time.
constexpr std::size_t kStripRows = 96;
static_assert(kAccumulateRows % kStripRows == 0 && kStripRows % kTileRows == 0);

bool cpu_has_tiles() {
  constexpr unsigned kFeatures = 7;
  constexpr unsigned kBfloat16 = 1U << 22U;
  constexpr unsigned kTiles = 1U << 24U;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(kFeatures, 0, &a, &b, &c, &d) == 0) return false;
  return (d & kBfloat16) != 0 && (d & kTiles) != 0;
}

// Linux gives the registers of tiles, 8 KiB a thread, to processes that ask for them.
bool system_grants_tiles() {
  constexpr int kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM, missing from older headers
  constexpr int kTileData = 18;     // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

// The bits of float32 numbers, of which the upper half becomes the nearest of bfloat16, ties to
// even.
EYESPOT_AVX512 Words rounded(Words bits) {
  return bits + (((bits >> 16U) & 1U) + 0x7FFFU);
}

// 32 rows of 16 columns of a panel, which is `width` wide.
EYESPOT_AVX512 void convert(const float* rows, std::size_t width, Tile& out) {
  for (std::size_t i = 0; i < kLanes; ++i, rows += 2 * width) {
    const Words even = rounded(load<Words>(rows));
    const Words odd = rounded(load<Words>(rows + width));
    store((even >> 16U) | (odd & 0xFFFF0000U), out.pairs[i]);
  }
}

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

EYESPOT_AVX512 void transpose(const Tile& from, Tile& to) {
  // Lines i to i + 3, turned: the one j after i has their columns j, 4 + j, 8 + j and 12 + j.
  Words fours[kLanes];
  for (std::size_t i = 0; i < kLanes; i += 4) {
    const Words a = load<Words>(from.pairs[i]);
    const Words b = load<Words>(from.pairs[i + 1]);
    const Words c = load<Words>(from.pairs[i + 2]);
    const Words d = load<Words>(from.pairs[i + 3]);
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
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t line_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t lines[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// out, 16 x (16 * kRight) = the transpose of 16 columns times others. Registers 0 to 2 have the
// sums, which do not wait for one another.
template <std::size_t kRight>
EYESPOT_AMX void multiply(const Tile* left, const Tile* right, std::size_t n_steps, float* out) {
  constexpr std::size_t kNext = kMaxSteps;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  for (const Tile* end = left + n_steps; left < end; ++left, ++right) {
    _tile_loadd(3, left->pairs, kLineBytes);
    _tile_loadd(4, right->pairs, kLineBytes);
    _tile_dpbf16ps(0, 3, 4);
    if constexpr (kRight > 1) {
      _tile_loadd(5, right[kNext].pairs, kLineBytes);
      _tile_dpbf16ps(1, 3, 5);
    }
    if constexpr (kRight > 2) {
      _tile_loadd(6, right[2 * kNext].pairs, kLineBytes);
      _tile_dpbf16ps(2, 3, 6);
    }
  }
  constexpr std::size_t kOutBytes = kRight * kLineBytes;
  _tile_stored(0, out, kOutBytes);
  if constexpr (kRight > 1) _tile_stored(1, out + kLanes, kOutBytes);
  if constexpr (kRight > 2) _tile_stored(2, out + 2 * kLanes, kOutBytes);
}

EYESPOT_AVX512 void add(const float* from, std::size_t count, double* to) {
  constexpr std::size_t kStep = sizeof(Doubles) / sizeof(double);
  for (std::size_t j = 0; j < count; j += kStep) {
    const auto values = __builtin_convertvector(load<HalfFloats>(from + j), Doubles);
    store(load<Doubles>(to + j) + values, to + j);
  }
}

}  // namespace

bool GramTiles::available() {
  static const bool has_tiles = cpu_has_tiles() && system_grants_tiles();
  return has_tiles && simd_target() == "avx3";
}

GramTiles::GramTiles(std::size_t n) : strip_(kStripRows, n) {
  const std::size_t n_tiles = (n + kLanes - 1) / kLanes * kMaxSteps;
  // NOLINTBEGIN(modernize-avoid-c-arrays)
  left_ = std::make_unique_for_overwrite<Tile[]>(n_tiles);
  right_ = std::make_unique_for_overwrite<Tile[]>(n_tiles);
  // NOLINTEND(modernize-avoid-c-arrays)
}

void GramTiles::pack(const RowsView& source, std::size_t first, std::size_t count,
                     const float* offset, const float* scale) {
  n_steps_ = (count + kTileRows - 1) / kTileRows;
  for (std::size_t begin = 0; begin < count; begin += kStripRows) {
    const std::size_t n_rows = std::min(kStripRows, count - begin);
    pack_rows(source, first + begin, n_rows, offset, scale != nullptr ? scale + begin : nullptr,
              strip_);
    const std::size_t end = (n_rows + kTileRows - 1) / kTileRows;
    for (std::size_t q = 0; q < strip_.n_panels(); ++q) {
      const std::size_t width = strip_.width(q);
      float* rows = strip_.panel(q);
      std::fill(rows + n_rows * width, rows + end * kTileRows * width, 0.0F);
      for (std::size_t v = 0; v < width / kLanes; ++v) {
        const std::size_t group = q * strip_.panel_width() / kLanes + v;
        for (std::size_t step = 0; step < end; ++step) {
          const std::size_t at = group * kMaxSteps + begin / kTileRows + step;
          convert(rows + step * kTileRows * width + v * kLanes, width, right_[at]);
          transpose(right_[at], left_[at]);
        }
      }
    }
  }
}

EYESPOT_AMX void GramTiles::accumulate(std::size_t q, double* panel) const {
  static constexpr TileConfig kConfig;
  _tile_loadconfig(&kConfig);
  const std::size_t n = strip_.cols();
  const std::size_t width = strip_.width(q);
  const std::size_t first = q * strip_.panel_width();
  const Tile* right = right_.get() + first / kLanes * kMaxSteps;
  alignas(kLineBytes) float out[3 * kLanes * kLanes] = {};
  for (std::size_t i = first; i < n; i += kLanes) {
    const Tile* left = left_.get() + i / kLanes * kMaxSteps;
    switch (width / kLanes) {
      case 1: multiply<1>(left, right, n_steps_, out); break;
      case 2: multiply<2>(left, right, n_steps_, out); break;
      default: multiply<3>(left, right, n_steps_, out);
    }
    add(out, std::min(kLanes, n - i) * width, panel + (i - first) * width);
  }
  _tile_release();
}

}  // namespace eyespot::solver

#else

namespace eyespot::solver {

bool GramTiles::available() {
  return false;
}

GramTiles::GramTiles(std::size_t /*n*/) {}

void GramTiles::pack(const RowsView& /*source*/, std::size_t /*first*/, std::size_t /*count*/,
                     const float* /*offset*/, const float* /*scale*/) {}

void GramTiles::accumulate(std::size_t /*q*/, double* /*panel*/) const {}

}  // namespace eyespot::solver

#endif
