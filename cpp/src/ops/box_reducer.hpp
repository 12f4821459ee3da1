#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace eyespot::detail {

/// Averages cells of `step_x` by `step_y` pixels, row by row: the first stage of a resize by so
/// large a ratio (a panorama to a thumbnail) that the 16-bit weights of the filter would vanish.
/// What is left for the filter is a ratio of 64 or more, next to which a box is narrow.
class BoxReducer {
 public:
  /// How many source samples to average into one, when `length` of them become `out_size`: 1 up
  /// to a ratio of 128.
  [[nodiscard]] static std::uint32_t step(double length, std::uint32_t out_size) noexcept;

  /// Returns how many bytes begin() is going to hold for rows of `width` pixels.
  [[nodiscard]] std::size_t plan(std::uint32_t width, std::size_t channels, std::uint32_t step_x,
                                 std::uint32_t step_y);
  void begin();
  [[nodiscard]] bool active() const noexcept { return step_x_ > 1 || step_y_ > 1; }
  [[nodiscard]] std::uint32_t step_y() const noexcept { return step_y_; }

  /// Adds a row of `width` pixels to the cells.
  void add(const std::uint8_t* row);
  /// The averages of the rows added since the last call, rounded to nearest.
  [[nodiscard]] const std::uint8_t* finish();

 private:
  std::uint32_t width_ = 0;
  std::size_t channels_ = 0;
  std::uint32_t step_x_ = 1;
  std::uint32_t step_y_ = 1;
  std::uint32_t rows_ = 0;
  std::size_t cells_ = 0;  ///< samples of a row of averages
  std::vector<std::uint64_t> sums_;
  std::vector<std::uint8_t> means_;
};

}  // namespace eyespot::detail
