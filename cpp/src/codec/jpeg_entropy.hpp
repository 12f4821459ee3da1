#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "bytes.hpp"
#include "jpeg_frame.hpp"

// Huffman decoding of a baseline scan: most of the time of a decode.
//
// Why no read can leave its buffer. Bytes are copied out of the file, without their stuffing, into
// a buffer that ends in kMaxMcuBytes of zeros, more than the longest codes and values of a whole
// MCU take. Decoding an MCU begins at or before the end of the data, or not at all, and cannot get
// past the zeros; whether it got past the data is looked at after each MCU.
//
// Why no write can. A block's coefficients are stored through kPlaces, whose index is bounded by
// what one step can add to a position below 64.
namespace eyespot::codec {

/// Blocks that lie side by side share a group of coefficients: row r of block b's 8 x 8 begins at
/// r * 32 + b * 8, so that SIMD kernels load the same row of all four at once.
inline constexpr std::size_t kGroupBlocks = 4;
inline constexpr std::size_t kGroupSize = kGroupBlocks * kBlockSize;
inline constexpr std::size_t kGroupRow = kGroupBlocks * 8;

/// A canonical Huffman code: for what the look-up tables below do not hold.
class CanonicalCode {
 public:
  /// False when there are more codes of a length than there can be. `code` has 256 symbols at most.
  [[nodiscard]] bool build(const HuffmanCode& code) noexcept;
  /// Length of the code that `window`, left-aligned, begins with, of more than `shorter` bits; 0
  /// when there is none.
  [[nodiscard]] unsigned find(std::uint64_t window, unsigned shorter,
                              std::uint8_t& symbol) const noexcept;

 private:
  std::array<std::int32_t, 17> last_{};    ///< largest code of each length; -1: none
  std::array<std::int32_t, 17> offset_{};  ///< what to add to a code for the index of its symbol
  std::array<std::uint8_t, 256> symbols_{};
};

/// What the next bits hold: a code and, behind it, the bits of the value.
struct DcTable {
  static constexpr unsigned kLookupBits = 9;
  /// Bits 0 to 7: bits to consume; 8 to 15: those of the value. 0: the code is longer.
  std::array<std::uint16_t, std::size_t{1} << kLookupBits> steps;
  CanonicalCode code;
  HuffmanCode built;  ///< what all this was made from: mostly it is the usual code again

  [[nodiscard]] bool build(const HuffmanCode& source) noexcept;
};

/// As above, with the step to the next position; and, when it lies wholly within the look-up too,
/// the symbol after that, value included.
struct AcTable {
  static constexpr unsigned kLookupBits = 10;
  /// Set when the last symbol ends the block.
  static constexpr std::uint64_t kEnd = std::uint64_t{1} << 63U;
  /// Bytes from the lowest: bits to consume for both symbols; bits of the first code; 63 less the
  /// bits of the first value; the step to the position after the first symbol, and to the one after
  /// both; bytes 5 and 6: the second value; then kEnd. Without a second symbol the steps are the
  /// same. The whole is 0 when the code is longer.
  std::array<std::uint64_t, std::size_t{1} << kLookupBits> steps;
  CanonicalCode code;
  HuffmanCode built;  ///< what all this was made from: mostly it is the usual code again

  [[nodiscard]] bool build(const HuffmanCode& source) noexcept;
};

/// What to keep of the blocks that are decoded.
enum class Keep : std::uint8_t { nothing, dc, all };

/// The blocks of one component's row of blocks in a run of MCUs.
struct BlockRow {
  std::int16_t* coefficients = nullptr;  ///< groups, zeroed beforehand where they are kept
  std::uint8_t* last = nullptr;  ///< for each block, zigzag position of the last one not zero
};

class EntropyDecoder {
 public:
  /// False when a table is no Huffman code. `frame` must outlive this; `bytes` is the whole file.
  [[nodiscard]] bool start(Bytes bytes, const BaselineFrame& frame) noexcept;

  /// Rows of blocks, in the order in which an MCU has them: by component, then downwards.
  using BlockRows = std::array<BlockRow, 6>;

  /// Decodes the next `count` MCUs. `keep` is by component. False at the first irregularity:
  /// damage, missing data, a marker out of place.
  [[nodiscard]] bool decode(std::size_t count, const BlockRows& rows,
                            const std::array<Keep, 3>& keep) noexcept;

  /// True when the scan's data ends here, and nothing but the end marker follows it.
  [[nodiscard]] bool at_end_of_image() noexcept;
  /// True when an end marker follows somewhere.
  [[nodiscard]] bool end_marker_follows() const noexcept;

 private:
  static constexpr std::size_t kMaxSymbolBits = 16 + 15;
  static constexpr std::size_t kMaxMcuBytes =
      kMaxMcuBlocks * kBlockSize * kMaxSymbolBits / 8 + 2 * sizeof(std::uint64_t);
  static constexpr std::size_t kDataBytes = std::size_t{16} << 10U;

  struct McuBlock {
    const DcTable* dc;
    const AcTable* ac;
    std::uint8_t component;
    std::uint8_t row;   ///< of EntropyDecoder::BlockRows
    std::uint8_t x;     ///< in the MCU
    std::uint8_t step;  ///< blocks from one MCU to the next
  };
  /// Up to 64 bits of the data, left-aligned; `next` is the first byte not counted among them.
  struct Cursor {
    std::uint64_t bits = 0;
    unsigned count = 0;
    const std::uint8_t* next = nullptr;
  };

  /// Decodes MCUs, `first` and on, until `end` or until the data must be filled up.
  std::size_t run(std::size_t first, std::size_t end, const BlockRows& rows,
                  const std::array<Keep, 3>& keep) noexcept;
  template <Keep kKeep>
  static unsigned decode_block(Cursor& cursor, const McuBlock& block, std::int32_t& predictor,
                               std::int16_t* coefficients, bool& regular) noexcept;
  void fill() noexcept;
  [[nodiscard]] bool restart() noexcept;
  /// True when all whole bytes of the data up to the marker have been consumed.
  [[nodiscard]] bool is_exhausted() const noexcept;
  [[nodiscard]] std::uint8_t marker() const noexcept;

  Bytes bytes_;
  std::size_t at_ = 0;  ///< next byte of the file
  bool final_ = false;  ///< all data up to a marker, or to the end of the file, is in data_
  const std::uint8_t* end_ = nullptr;  ///< of the data in data_
  Cursor cursor_;
  bool regular_ = true;

  std::array<McuBlock, kMaxMcuBlocks> blocks_{};
  std::size_t block_count_ = 0;
  std::array<std::int32_t, 3> predictors_{};
  std::uint32_t restart_interval_ = 0;
  std::size_t until_restart_ = 0;
  std::uint8_t next_restart_ = 0;

  std::array<DcTable, 4> dc_;
  std::array<AcTable, 4> ac_;
  std::array<std::uint8_t, kDataBytes + kMaxMcuBytes> data_;
};

}  // namespace eyespot::codec
