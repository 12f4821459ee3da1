#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "bytes.hpp"
#include "eyespot/types.hpp"

// The headers of the one kind of JPEG that eyespot decodes itself: see jpeg_baseline.cpp.
namespace eyespot::codec {

inline constexpr std::size_t kBlockSize = 64;  ///< coefficients of an 8 x 8 block
inline constexpr std::size_t kMaxMcuBlocks = 10;

/// Natural (row by row) index of the k-th coefficient in zigzag order.
inline constexpr std::array<std::uint8_t, kBlockSize> kNaturalOrder{
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

/// A Huffman table as its DHT segment has it.
struct HuffmanCode {
  bool defined = false;
  std::array<std::uint8_t, 16> counts{};  ///< codes of 1 bit, of 2 bits, ... of 16 bits
  std::array<std::uint8_t, 256> symbols{};

  bool operator==(const HuffmanCode&) const = default;
};

struct BaselineFrame {
  struct Component {
    std::uint8_t id = 0;
    std::uint32_t h = 1;  ///< sampling factors
    std::uint32_t v = 1;
    std::size_t quantization = 0;  ///< which of the tables below
    std::size_t dc = 0;
    std::size_t ac = 0;
  };
  struct QuantizationTable {
    bool defined = false;
    std::array<std::uint8_t, kBlockSize> steps{};  ///< in natural order; none is 0
  };

  Size size;
  std::size_t component_count = 0;  ///< 1 (grey) or 3 (YCbCr)
  std::array<Component, 3> components;
  std::uint32_t max_h = 1;
  std::uint32_t max_v = 1;
  std::array<QuantizationTable, 4> quantization;
  std::array<HuffmanCode, 4> dc_codes;
  std::array<HuffmanCode, 4> ac_codes;
  std::uint32_t restart_interval = 0;  ///< MCUs; 0: none
  std::size_t scan = 0;                ///< where the entropy-coded data begins
};

/// Reads the markers up to the scan. Nothing unless all of this holds: SOF0 or SOF1, 8 bits, one
/// component or three that libjpeg would take for YCbCr, luma at full size and chroma at full or
/// half size along either axis, one scan of everything, 8-bit quantization, every table there and
/// every segment exactly as it should be. Whatever is refused here is for libjpeg to judge.
[[nodiscard]] std::optional<BaselineFrame> read_baseline_frame(Bytes bytes);

}  // namespace eyespot::codec
