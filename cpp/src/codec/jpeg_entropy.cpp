#include "jpeg_entropy.hpp"

#include <algorithm>
#include <cstring>

namespace eyespot::codec {
namespace {

// A step through the positions of a block that leads out of it.
constexpr unsigned kNoCode = kBlockSize;
// A step begins below position 64, and takes one symbol, or a second one if still below 64.
constexpr std::size_t kPlaceCount = kBlockSize + kNoCode + 1;

// Where the position before k goes in a group. An end of block comes with a step of 1 and the value
// 0, and is stored like any other symbol, where there is a 0 already. What goes beyond the last
// position is an irregularity and may be stored anywhere.
constexpr std::array<std::uint16_t, kPlaceCount> kPlaces = [] {
  std::array<std::uint16_t, kPlaceCount> places{};
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::size_t natural = kNaturalOrder[std::min(i > 0 ? i - 1 : 0, kBlockSize - 1)];
    places[i] = static_cast<std::uint16_t>(natural / 8 * kGroupRow + natural % 8);
  }
  return places;
}();

struct Symbol {
  unsigned length = 0;  ///< bits of the code
  unsigned size = 0;    ///< bits of the value
  unsigned step = 0;    ///< to the position after it
  bool end = false;     ///< of the block
};

Symbol ac_symbol(unsigned length, std::uint8_t symbol) noexcept {
  const unsigned size = symbol & 15U;
  const unsigned run = symbol >> 4U;
  // As in libjpeg, the codes that only progressive scans use end a block, too.
  const bool end = size == 0 && run != 15;
  return {.length = length, .size = size, .step = end ? 1 : run + 1, .end = end};
}

std::uint64_t load_be64(const std::uint8_t* bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i) value = (value << 8U) | bytes[i];
  return value;
}

// The value of a symbol whose code of `length` bits the window begins with; `complement` is 63 less
// the value's bits. A value whose first bit is 0 is negative: the complement of its magnitude.
inline std::int32_t value_of(std::uint64_t window, unsigned length, unsigned complement) noexcept {
  const std::uint64_t value = window << (length & 63U);
  const std::uint64_t negative = (value >> 63U) - 1;
  const std::uint64_t magnitude = ((value ^ negative) >> 1U) >> (complement & 63U);
  return static_cast<std::int32_t>((magnitude ^ negative) - negative);
}

inline std::uint32_t byte_of(std::uint64_t step, unsigned index) noexcept {
  return static_cast<std::uint32_t>(step >> (8 * index)) & 255U;
}

// Calls set(prefix, length, symbol) for each prefix of kBits bits that begins with a code.
template <unsigned kBits, typename Set>
void for_each_prefix(const HuffmanCode& source, const Set& set) noexcept {
  std::size_t prefix = 0;
  std::size_t index = 0;
  for (unsigned length = 1; length <= kBits; ++length) {
    for (unsigned i = 0; i < source.counts[length - 1]; ++i, ++index) {
      const std::size_t end = prefix + (std::size_t{1} << (kBits - length));
      for (; prefix < end; ++prefix) set(prefix, length, source.symbols[index]);
    }
  }
}

}  // namespace

bool CanonicalCode::build(const HuffmanCode& code) noexcept {
  symbols_ = code.symbols;
  std::int32_t next = 0;
  std::int32_t index = 0;
  for (unsigned length = 1; length <= 16; ++length) {
    const std::int32_t count = code.counts[length - 1];
    offset_[length] = index - next;
    last_[length] = count > 0 ? next + count - 1 : -1;
    next += count;
    index += count;
    // No code may be all ones.
    if (next >= std::int32_t{1} << length) return false;
    next *= 2;
  }
  return true;
}

unsigned CanonicalCode::find(std::uint64_t window, unsigned shorter,
                             std::uint8_t& symbol) const noexcept {
  for (unsigned length = shorter + 1; length <= 16; ++length) {
    const auto code = static_cast<std::int32_t>(window >> (64 - length));
    if (code > last_[length]) continue;
    // Not below the first code of this length, or a shorter one would have been found.
    symbol = symbols_[static_cast<std::size_t>(code + offset_[length]) % symbols_.size()];
    return length;
  }
  return 0;
}

bool DcTable::build(const HuffmanCode& source) noexcept {
  if (source == built) return true;
  built = {};
  if (!code.build(source)) return false;
  constexpr std::uint8_t kMaxSize = 15;
  if (std::ranges::any_of(source.symbols, [](std::uint8_t s) { return s > kMaxSize; })) {
    return false;
  }
  steps.fill(0);
  for_each_prefix<kLookupBits>(
      source, [this](std::size_t prefix, unsigned length, std::uint8_t symbol) {
        steps[prefix] = static_cast<std::uint16_t>((unsigned{symbol} << 8U) | (length + symbol));
      });
  built = source;
  return true;
}

bool AcTable::build(const HuffmanCode& source) noexcept {
  if (source == built) return true;
  built = {};
  if (!code.build(source)) return false;
  // As single symbols first.
  steps.fill(0);
  for_each_prefix<kLookupBits>(
      source, [this](std::size_t prefix, unsigned length, std::uint8_t symbol) {
        const Symbol s = ac_symbol(length, symbol);
        steps[prefix] = (length + s.size) | std::uint64_t{length} << 8U |
                        std::uint64_t{63 - s.size} << 16U | std::uint64_t{s.step} << 24U |
                        std::uint64_t{s.step} << 32U | (s.end ? kEnd : 0);
      });
  const auto singles = steps;
  for (std::size_t prefix = 0; prefix < steps.size(); ++prefix) {
    const std::uint64_t first = singles[prefix];
    const unsigned total = byte_of(first, 0);
    if (first == 0 || (first & kEnd) != 0 || total >= kLookupBits) continue;
    const std::size_t rest = (prefix << total) % steps.size();
    const std::uint64_t second = singles[rest];
    const unsigned both = total + byte_of(second, 0);
    if (second == 0 || both > kLookupBits) continue;
    const std::uint64_t window = std::uint64_t{rest} << (64 - kLookupBits);
    const std::int32_t value = value_of(window, byte_of(second, 1), byte_of(second, 2));
    const std::uint64_t step = byte_of(first, 3) + byte_of(second, 3);
    steps[prefix] = both | (first & 0xFFFFFF00U) | step << 32U |
                    std::uint64_t{static_cast<std::uint16_t>(value)} << 40U | (second & kEnd);
  }
  built = source;
  return true;
}

bool EntropyDecoder::start(Bytes bytes, const BaselineFrame& frame) noexcept {
  bytes_ = bytes;
  at_ = frame.scan;
  final_ = false;
  regular_ = true;
  end_ = data_.data();
  cursor_ = {.next = end_};
  block_count_ = 0;
  predictors_ = {};
  restart_interval_ = frame.restart_interval;
  until_restart_ = restart_interval_;
  next_restart_ = 0;
  std::uint8_t row = 0;
  for (std::size_t c = 0; c < frame.component_count; ++c) {
    const BaselineFrame::Component& component = frame.components[c];
    DcTable& dc = dc_.at(component.dc);
    AcTable& ac = ac_.at(component.ac);
    if (!dc.build(frame.dc_codes.at(component.dc))) return false;
    if (!ac.build(frame.ac_codes.at(component.ac))) return false;
    for (std::uint32_t y = 0; y < component.v; ++y, ++row) {
      for (std::uint32_t x = 0; x < component.h; ++x) {
        blocks_.at(block_count_++) = {.dc = &dc,
                                      .ac = &ac,
                                      .component = static_cast<std::uint8_t>(c),
                                      .row = row,
                                      .x = static_cast<std::uint8_t>(x),
                                      .step = static_cast<std::uint8_t>(component.h)};
      }
    }
  }
  return true;
}

void EntropyDecoder::fill() noexcept {
  const std::size_t rest = cursor_.next < end_ ? static_cast<std::size_t>(end_ - cursor_.next) : 0;
  std::memmove(data_.data(), cursor_.next, rest);
  cursor_.next = data_.data();
  std::size_t filled = rest;
  while (filled < kDataBytes && !final_) {
    const std::size_t room = std::min(kDataBytes - filled, bytes_.size() - at_);
    const std::uint8_t* from = bytes_.data() + at_;
    const void* stop = room > 0 ? std::memchr(from, 0xFF, room) : nullptr;
    const std::size_t plain =
        stop != nullptr ? static_cast<std::size_t>(static_cast<const std::uint8_t*>(stop) - from)
                        : room;
    if (plain > 0) std::memcpy(data_.data() + filled, from, plain);
    filled += plain;
    at_ += plain;
    if (stop != nullptr && has(bytes_, at_, 2) && bytes_[at_ + 1] == 0) {
      data_[filled++] = 0xFF;  // within the room, as is whatever stopped the search
      at_ += 2;
    } else if (stop != nullptr || at_ == bytes_.size()) {
      final_ = true;
    }
  }
  end_ = data_.data() + filled;
  std::memset(data_.data() + filled, 0, kMaxMcuBytes);
}

template <Keep kKeep>
inline unsigned EntropyDecoder::decode_block(Cursor& cursor, const McuBlock& block,
                                             std::int32_t& predictor, std::int16_t* coefficients,
                                             bool& regular) noexcept {
  std::uint64_t bits = cursor.bits;
  unsigned count = cursor.count;
  const std::uint8_t* next = cursor.next;
  // At least 56 bits after this; a symbol has at most 31.
  const auto refill = [&] {
    bits |= load_be64(next) >> count;
    next += (63 - count) >> 3U;
    count |= 56U;
  };
  const auto consume = [&](unsigned n) {
    bits <<= n & 63U;
    count -= n;
  };

  refill();
  unsigned total = block.dc->steps[bits >> (64 - DcTable::kLookupBits)];
  unsigned size = total >> 8U;
  total &= 255U;
  if (total == 0) {
    std::uint8_t symbol = 0;
    const unsigned length = block.dc->code.find(bits, DcTable::kLookupBits, symbol);
    regular = regular && length != 0;
    size = symbol;
    total = length + size;
  }
  predictor += value_of(bits, total - size, 63 - size);
  consume(total);
  regular = regular && predictor >= -32768 && predictor <= 32767;
  if constexpr (kKeep != Keep::nothing) coefficients[0] = static_cast<std::int16_t>(predictor);

  std::uint32_t k = 1;
  const auto store = [&](std::uint32_t after, std::int32_t value) {
    if constexpr (kKeep == Keep::all) {
      coefficients[kPlaces[after]] = static_cast<std::int16_t>(value);
    }
  };
  // One or two symbols of at most 10 bits together, or one that is longer: then, after a refill,
  // there are bits for another step again. False when the block is complete.
  bool ended = false;
  const auto step = [&](bool refill_after) {
    const std::uint64_t found = block.ac->steps[bits >> (64 - AcTable::kLookupBits)];
    if (found == 0) [[unlikely]] {
      std::uint8_t symbol = 0;
      const unsigned length = block.ac->code.find(bits, AcTable::kLookupBits, symbol);
      const Symbol s =
          length != 0 ? ac_symbol(length, symbol) : Symbol{.length = 1, .step = kNoCode + 1};
      k += s.step;
      store(k, value_of(bits, s.length, 63 - s.size));
      consume(s.length + s.size);
      if (refill_after) refill();
      ended = s.end;
      return !s.end && k < kBlockSize;
    }
    const std::int32_t value = value_of(bits, byte_of(found, 1), byte_of(found, 2));
    const std::uint32_t first = k + byte_of(found, 3);
    if (first >= kBlockSize) [[unlikely]] {
      // The block is full; the second symbol, if there is one, is not its own.
      consume(byte_of(found, 1) + 63 - byte_of(found, 2));
      store(first, value);
      k = first;
      return false;
    }
    k += byte_of(found, 4);
    consume(byte_of(found, 0));
    store(k, static_cast<std::int16_t>(found >> 40U));
    store(first, value);  // in the same place when there is no second symbol
    // What follows is hardest to predict, so it had better not depend on k.
    ended = (found & AcTable::kEnd) != 0;
    return !ended && k < kBlockSize;
  };
  do {
    refill();
  } while (step(true) && step(false));
  cursor = {.bits = bits, .count = count, .next = next};
  regular = regular && (ended || k == kBlockSize);
  return ended ? k - 2 : kBlockSize - 1;
}

std::size_t EntropyDecoder::run(std::size_t first, std::size_t end, const BlockRows& rows,
                                const std::array<Keep, 3>& keep) noexcept {
  Cursor cursor = cursor_;
  std::array<std::int32_t, 3> predictors = predictors_;
  bool regular = true;
  std::size_t mcu = first;
  for (; mcu < end && regular; ++mcu) {
    if (!final_ && end_ - cursor.next < static_cast<std::ptrdiff_t>(kMaxMcuBytes)) break;
    for (std::size_t b = 0; b < block_count_; ++b) {
      const McuBlock& block = blocks_[b];
      std::int32_t& predictor = predictors[block.component];
      const Keep what = keep[block.component];
      if (what == Keep::nothing) {
        decode_block<Keep::nothing>(cursor, block, predictor, nullptr, regular);
        continue;
      }
      const BlockRow& row = rows[block.row];
      const std::size_t x = mcu * block.step + block.x;
      std::int16_t* coefficients =
          row.coefficients + x / kGroupBlocks * kGroupSize + x % kGroupBlocks * 8;
      if (what == Keep::dc) {
        decode_block<Keep::dc>(cursor, block, predictor, coefficients, regular);
      } else {
        row.last[x] = static_cast<std::uint8_t>(
            decode_block<Keep::all>(cursor, block, predictor, coefficients, regular));
      }
    }
    // What has been consumed was there.
    regular = regular && cursor.next - cursor.count / 8 <= end_;
  }
  cursor_ = cursor;
  predictors_ = predictors;
  regular_ = regular;
  return mcu - first;
}

bool EntropyDecoder::decode(std::size_t count, const BlockRows& rows,
                            const std::array<Keep, 3>& keep) noexcept {
  std::size_t done = 0;
  while (done < count && regular_) {
    std::size_t end = count;
    if (restart_interval_ > 0) {
      if (until_restart_ == 0 && !restart()) return false;
      end = std::min(count, done + until_restart_);
    }
    if (!final_ && end_ - cursor_.next < static_cast<std::ptrdiff_t>(kMaxMcuBytes)) fill();
    const std::size_t got = run(done, end, rows, keep);
    done += got;
    until_restart_ -= restart_interval_ > 0 ? got : 0;
  }
  return regular_;
}

bool EntropyDecoder::is_exhausted() const noexcept {
  return final_ && end_ - (cursor_.next - cursor_.count / 8) <= 0;
}

std::uint8_t EntropyDecoder::marker() const noexcept {
  return has(bytes_, at_, 2) && bytes_[at_] == 0xFF ? bytes_[at_ + 1] : 0;
}

bool EntropyDecoder::restart() noexcept {
  constexpr unsigned kRst0 = 0xD0;
  if (!final_) fill();
  if (!is_exhausted() || marker() != kRst0 + next_restart_) return false;
  at_ += 2;
  final_ = false;
  end_ = data_.data();
  cursor_ = {.next = end_};
  predictors_ = {};
  next_restart_ = static_cast<std::uint8_t>((next_restart_ + 1U) % 8);
  until_restart_ = restart_interval_;
  return true;
}

bool EntropyDecoder::at_end_of_image() noexcept {
  constexpr std::uint8_t kEoi = 0xD9;
  if (!final_) fill();
  return is_exhausted() && marker() == kEoi;
}

bool EntropyDecoder::end_marker_follows() const noexcept {
  return has_end_of_image(bytes_.subspan(at_));
}

}  // namespace eyespot::codec
