#include "geometry.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace eyespot::detail {
namespace {

// The upright box in the coordinates of the stored image.
Box to_stored(Box upright, Size upright_size, Turn turn) {
  if (turn.flip_x) upright.x = upright_size.width - upright.x - upright.width;
  if (turn.flip_y) upright.y = upright_size.height - upright.y - upright.height;
  if (turn.swap_axes) {
    std::swap(upright.x, upright.y);
    std::swap(upright.width, upright.height);
  }
  return upright;
}

std::uint32_t scaled_side(double side, double factor, std::uint32_t limit) {
  return static_cast<std::uint32_t>(
      std::clamp(std::round(side * factor), 1.0, static_cast<double>(limit)));
}

}  // namespace

Turn turn_of(Orientation orientation) noexcept {
  switch (orientation) {
    case Orientation::top_left: break;
    case Orientation::top_right: return {.swap_axes = false, .flip_x = true, .flip_y = false};
    case Orientation::bottom_right: return {.swap_axes = false, .flip_x = true, .flip_y = true};
    case Orientation::bottom_left: return {.swap_axes = false, .flip_x = false, .flip_y = true};
    case Orientation::left_top: return {.swap_axes = true, .flip_x = false, .flip_y = false};
    case Orientation::right_top: return {.swap_axes = true, .flip_x = true, .flip_y = false};
    case Orientation::right_bottom: return {.swap_axes = true, .flip_x = true, .flip_y = true};
    case Orientation::left_bottom: return {.swap_axes = true, .flip_x = false, .flip_y = true};
  }
  return {};
}

Plan make_plan(Size stored, Orientation orientation, Size size, CropPolicy crop) {
  const Turn turn = turn_of(orientation);
  const Size upright = turn.swap_axes ? Size{stored.height, stored.width} : stored;
  const double width = upright.width;
  const double height = upright.height;

  Box box{.x = 0, .y = 0, .width = width, .height = height};
  Rect placed{.x = 0, .y = 0, .width = size.width, .height = size.height};
  if (crop == CropPolicy::center_crop) {
    // One target pixel covers `step` source pixels both ways, as many as fit.
    const double step = std::min(width / size.width, height / size.height);
    box.width = std::min(width, step * size.width);
    box.height = std::min(height, step * size.height);
    box.x = (width - box.width) / 2;
    box.y = (height - box.height) / 2;
  } else if (crop == CropPolicy::fit) {
    const double factor = std::min(size.width / width, size.height / height);
    placed.width = scaled_side(width, factor, size.width);
    placed.height = scaled_side(height, factor, size.height);
    placed.x = (size.width - placed.width) / 2;
    placed.y = (size.height - placed.height) / 2;
  }
  const Size target =
      turn.swap_axes ? Size{placed.height, placed.width} : Size{placed.width, placed.height};
  return {.box = to_stored(box, upright, turn), .target = target, .placed = placed};
}

}  // namespace eyespot::detail
