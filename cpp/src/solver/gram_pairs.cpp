#include "gram_pairs.hpp"

#include <algorithm>

#include "bfloat16.hpp"

#if EYESPOT_HAS_BFLOAT16

#define EYESPOT_PAIRS __attribute__((target("avx512f,avx512bf16")))

namespace eyespot::solver {

using namespace bfloat16;

namespace {

// Rows that are turned into pairs at a time.
constexpr std::size_t kStripRows = 96;
static_assert(kAccumulateRows % kStripRows == 0 && kStripRows % 2 == 0);
// Columns of the left factor at a time: with three vectors of the right one, most registers have
// sums.
constexpr std::size_t kColumns = 8;

// out, kColumns x (16 * kVectors) = the transpose of some columns of a panel times another panel.
template <std::size_t kVectors>
EYESPOT_PAIRS void multiply(const std::uint32_t* left, std::size_t left_width,
                            const std::uint32_t* right, std::size_t n_pairs, float* out) {
  __m512 sums[kColumns][kVectors] = {};
  for (std::size_t p = 0; p < n_pairs; ++p) {
    __m512bh x[kVectors];
    for (std::size_t v = 0; v < kVectors; ++v) x[v] = load<__m512bh>(right + v * kLanes);
    for (std::size_t c = 0; c < kColumns; ++c) {
      const auto factor = reinterpret_cast<__m512bh>(Words{} + left[c]);
      for (std::size_t v = 0; v < kVectors; ++v) {
        sums[c][v] = _mm512_dpbf16_ps(sums[c][v], factor, x[v]);
      }
    }
    left += left_width;
    right += kVectors * kLanes;
  }
  for (std::size_t c = 0; c < kColumns; ++c) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      store(sums[c][v], out + (c * kVectors + v) * kLanes);
    }
  }
}

// Two rows of a panel a line.
EYESPOT_AVX512 void convert(const float* rows, std::size_t width, std::size_t n_pairs,
                            std::uint32_t* out) {
  for (std::size_t p = 0; p < n_pairs; ++p, rows += 2 * width, out += width) {
    for (std::size_t j = 0; j < width; j += kLanes) {
      const Words even = rounded(load<Words>(rows + j));
      const Words odd = rounded(load<Words>(rows + width + j));
      store(paired(even, odd), out + j);
    }
  }
}

}  // namespace

GramPairs::GramPairs(std::size_t n) : strip_(kStripRows, n) {
  // NOLINTNEXTLINE(modernize-avoid-c-arrays)
  pairs_ = std::make_unique_for_overwrite<std::uint32_t[]>(panel_sums(kAccumulateRows / 2, strip_));
}

std::size_t GramPairs::begin(std::size_t q) const noexcept {
  return q * strip_.panel_width() * (kAccumulateRows / 2);
}

void GramPairs::pack(const RowsView& source, std::size_t first, std::size_t count,
                     const float* offset, const float* scale) {
  n_pairs_ = (count + 1) / 2;
  for (std::size_t done = 0; done < count; done += kStripRows) {
    const std::size_t n_rows = std::min(kStripRows, count - done);
    pack_rows(source, first + done, n_rows, offset, scale != nullptr ? scale + done : nullptr,
              strip_);
    for (std::size_t q = 0; q < strip_.n_panels(); ++q) {
      const std::size_t width = strip_.width(q);
      float* rows = strip_.panel(q);
      if (n_rows % 2 != 0) std::fill_n(rows + n_rows * width, width, 0.0F);
      convert(rows, width, (n_rows + 1) / 2, pairs_.get() + begin(q) + done / 2 * width);
    }
  }
}

void GramPairs::accumulate(std::size_t q, double* panel) const {
  const std::size_t width = strip_.width(q);
  const std::uint32_t* right = pairs_.get() + begin(q);
  alignas(64) float out[kColumns * 3 * kLanes];
  for (std::size_t g = q; g < strip_.n_panels(); ++g) {
    const std::size_t left_width = strip_.width(g);
    for (std::size_t j = 0; j < strip_.used(g); j += kColumns) {
      const std::uint32_t* left = pairs_.get() + begin(g) + j;
      switch (width / kLanes) {
        case 1: multiply<1>(left, left_width, right, n_pairs_, out); break;
        case 2: multiply<2>(left, left_width, right, n_pairs_, out); break;
        default: multiply<3>(left, left_width, right, n_pairs_, out);
      }
      const std::size_t row = (g - q) * strip_.panel_width() + j;
      add(out, std::min(kColumns, strip_.used(g) - j) * width, panel + row * width);
    }
  }
}

}  // namespace eyespot::solver

#else

namespace eyespot::solver {

// Without bfloat16 in this build, no target in force has it, and nobody makes one.
GramPairs::GramPairs(std::size_t /*n*/) {}

void GramPairs::pack(const RowsView& /*source*/, std::size_t /*first*/, std::size_t /*count*/,
                     const float* /*offset*/, const float* /*scale*/) {}

void GramPairs::accumulate(std::size_t /*q*/, double* /*panel*/) const {}

}  // namespace eyespot::solver

#endif
