#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

// Random numbers by position instead of by turn: the i-th number of a stream is a function of the
// stream's key and i. There is no generator to share or to advance, so what is drawn does not
// depend on threads, batches or order.

namespace eyespot {

using PhiloxBlock = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

inline constexpr int kPhiloxRounds = 10;
inline constexpr PhiloxKey kPhiloxMultipliers{0xD2511F53U, 0xCD9E8D57U};
inline constexpr PhiloxKey kPhiloxKeySteps{0x9E3779B9U, 0xBB67AE85U};

/// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
/// 2011, section 3.3): four words that depend on counter and key as if at random. Tested against
/// the known answers that its authors publish with Random123.
[[nodiscard]] constexpr PhiloxBlock philox(PhiloxBlock counter, PhiloxKey key) noexcept {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const std::uint64_t product0 = std::uint64_t{kPhiloxMultipliers[0]} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kPhiloxMultipliers[1]} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32U) ^ counter[1] ^ key[0],
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32U) ^ counter[3] ^ key[1],
               static_cast<std::uint32_t>(product0)};
    key = {key[0] + kPhiloxKeySteps[0], key[1] + kPhiloxKeySteps[1]};
  }
  return counter;
}

/// A 64-bit value as two words, the lower one first.
[[nodiscard]] constexpr std::array<std::uint32_t, 2> words(std::uint64_t value) noexcept {
  return {static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32U)};
}

/// The numbers of one purpose (such as "the rotation") in one variant of one image, for one seed.
/// A value; safe to copy and to use from many threads.
class RandomStream {
 public:
  /// `content` tells the image (see content_key()). Streams that differ in any of the four are
  /// independent.
  constexpr RandomStream(std::uint64_t seed, std::uint64_t content, std::uint32_t variant,
                         std::uint32_t purpose) noexcept
      : variant_(variant), purpose_(purpose) {
    const auto [low, high] = words(content);
    const PhiloxBlock mixed = philox({low, high, 0, 0}, words(seed));
    key_ = {mixed[0], mixed[1]};
  }

  /// The i-th block of four words.
  [[nodiscard]] constexpr PhiloxBlock block(std::uint64_t i) const noexcept {
    const auto [low, high] = words(i);
    return philox({low, high, variant_, purpose_}, key_);
  }
  /// The i-th 64 bits.
  [[nodiscard]] constexpr std::uint64_t bits(std::uint64_t i) const noexcept {
    const PhiloxBlock four = block(i / 2);
    const std::size_t at = i % 2 * 2;
    return (std::uint64_t{four[at + 1]} << 32U) | four[at];
  }
  /// The i-th number, uniform in [0, 1): a multiple of 2^-53.
  [[nodiscard]] constexpr double uniform(std::uint64_t i) const noexcept {
    return static_cast<double>(bits(i) >> 11U) * 0x1p-53;
  }

 private:
  PhiloxKey key_{};
  std::uint32_t variant_;
  std::uint32_t purpose_;
};

/// A digest of bytes, to tell images apart by their content: XXH64 with seed 0 (Collet's published
/// specification). Not for use against an adversary.
[[nodiscard]] std::uint64_t content_key(std::span<const std::uint8_t> bytes) noexcept;

}  // namespace eyespot
