#pragma once

#include "eyespot/codec.hpp"
#include "eyespot/ops.hpp"
#include "eyespot/preprocess.hpp"
#include "eyespot/types.hpp"

namespace eyespot::detail {

/// An EXIF orientation as exchange of axes, then mirroring of the upright axes.
struct Turn {
  bool swap_axes = false;
  bool flip_x = false;
  bool flip_y = false;
};
[[nodiscard]] Turn turn_of(Orientation orientation) noexcept;

/// Where a model input's pixels come from.
struct Plan {
  Box box;      ///< in stored coordinates
  Size target;  ///< what `box` is resized to, before it is turned upright
  Rect placed;  ///< where the turned pixels lie in the model input; the rest is background
};

/// The one place of the crop policies' geometry.
[[nodiscard]] Plan make_plan(Size stored, Orientation orientation, Size size, CropPolicy crop);

}  // namespace eyespot::detail
