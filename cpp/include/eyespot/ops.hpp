#pragma once

#include <cstdint>

#include "eyespot/image.hpp"
#include "eyespot/types.hpp"

namespace eyespot {

/// The interpolation kernel. When an image gets smaller its support is scaled by the ratio, so that
/// every source pixel counts (antialiasing), as in Pillow since 2.7.
enum class Resample : std::uint8_t {
  bilinear,  ///< triangle, support 1
  bicubic,   ///< Catmull-Rom (a = -0.5), support 2
};

/// A rectangle with sub-pixel edges: pixel i covers [i, i + 1).
struct Box {
  double x = 0;
  double y = 0;
  double width = 0;
  double height = 0;

  friend bool operator==(const Box&, const Box&) = default;
};

/// Resizes the part of `in` that `box` names to the size of `out`; the kernel may read beyond the
/// box, but not beyond the image. 1 to 4 interleaved channels, each resized on its own, so alpha
/// must be composited before. `in` and `out` must not overlap and have the same channel count.
/// Same bits on every SIMD target; within 1 grey level of Pillow's
/// `resize(size, resample, box=box)`, because the sums are rounded to 1/64 grey level between the
/// passes where Pillow rounds to whole ones (2 levels when a side shrinks more than about 100
/// times, as thousands of rounded products are then summed, and beyond 128 times a box filter goes
/// first). Safe from many threads. Throws Error(invalid_argument) for an empty size, another
/// channel count, or a box outside the image.
void resize(ImageView in, const Box& box, Resample resample, MutableImageView out);

}  // namespace eyespot
