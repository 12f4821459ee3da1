#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "eyespot/error.hpp"
#include "eyespot/ops.hpp"
#include "kernels.hpp"
#include "stream_resizer.hpp"

namespace eyespot {
namespace {

std::string text(Size size) {
  return std::to_string(size.width) + " x " + std::to_string(size.height);
}

void check(const ImageView& in, const Box& box, const MutableImageView& out) {
  const auto fail = [](const std::string& message) {
    throw Error(ErrorCode::invalid_argument, "resize", message);
  };
  if (in.channels < 1 || in.channels > 4 || out.channels != in.channels) {
    fail(std::to_string(in.channels) + " channels to " + std::to_string(out.channels) +
         "; allowed are 1 to 4, the same number on both sides");
  }
  if (pixel_count(in.size) == 0 || pixel_count(out.size) == 0) {
    fail(text(in.size) + " px to " + text(out.size) + " px; both sides must be at least 1");
  }
  // Written so that NaN fails.
  const bool inside = box.x >= 0 && box.y >= 0 && box.width > 0 && box.height > 0 &&
                      box.x + box.width <= in.size.width && box.y + box.height <= in.size.height;
  if (!inside) {
    fail("box (" + std::to_string(box.x) + ", " + std::to_string(box.y) + ") + " +
         std::to_string(box.width) + " x " + std::to_string(box.height) + " is not inside the " +
         text(in.size) + " px image");
  }
}

}  // namespace

void resize(ImageView in, const Box& box, Resample resample, MutableImageView out) {
  check(in, box, out);
  const detail::Kernels& kernels = detail::kernels();
  detail::WeightCache weights;
  detail::StreamResizer resizer;
  (void)resizer.plan({in.size.width, box.x, box.width, out.size.width, resample, 0},
                     {in.size.height, box.y, box.height, out.size.height, resample, 0}, in.channels,
                     kernels, weights);
  resizer.begin(out);
  for (std::uint32_t y = resizer.first_row(); y <= resizer.last_row(); ++y) {
    resizer.row(y, in.row(y));
  }
}

}  // namespace eyespot
