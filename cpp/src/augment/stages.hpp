#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "../ops/aligned.hpp"
#include "../ops/stream_resizer.hpp"
#include "eyespot/augment.hpp"
#include "eyespot/image.hpp"
#include "kernels.hpp"

// The steps that apply() is made of.
namespace eyespot::detail {

/// Target position to source position, both continuous (pixel i covers [i, i + 1)):
/// source.x = xx * x + xy * y + x0.
struct Affine {
  double xx = 1;
  double xy = 0;
  double yx = 0;
  double yy = 1;
  double x0 = 0;
  double y0 = 0;

  /// Only stretched and mirrored, neither turned nor sheared.
  [[nodiscard]] bool is_box() const noexcept { return xy == 0 && yx == 0; }
};

/// The map that goes through `inner` first.
[[nodiscard]] Affine operator*(const Affine& outer, const Affine& inner) noexcept;

/// The smallest box around the image of a target of this size.
[[nodiscard]] Box bounds(const Affine& map, Size target) noexcept;

/// Decoded pixels and where they lie in the upright photo: pixel (i, j) of `pixels` is pixel
/// (part_x + i, part_y + j) of the whole scaled image, and position p of the photo is position
/// (p + offset) * shrink of that. All that is read of the photo must be there, with a margin for
/// the filters.
struct Photo {
  ImageView pixels;
  Size size;  ///< of the photo, before scaling
  double shrink = 1;
  double offset_x = 0;
  double offset_y = 0;
  std::uint32_t part_x = 0;
  std::uint32_t part_y = 0;
  Size scaled_size;
  Resample resample = Resample::bilinear;  ///< how boxes of it are resized
};
/// Pixels that are the photo.
[[nodiscard]] Photo whole_photo(ImageView pixels, Resample resample) noexcept;

/// What lies beyond the photo.
struct Surround {
  Edges edges = Edges::mirror;
  std::array<std::uint8_t, 3> fill{};
};

/// From the photo to the pixels of the model's input, up to the first option that works on finished
/// pixels; then, if there are any, options of geometry that `order` puts behind one of those.
struct Geometry {
  Affine first;
  /// The part of the target that shows the photo, where the rest is a letterbox and nothing else is
  /// done.
  std::optional<Rect> letterbox;
  Surround surround;
};
[[nodiscard]] Geometry plan_geometry(const Variant& variant, Size photo, Size target,
                                     const ApplyOptions& options);

/// One step on finished pixels.
struct Step {
  AugmentOp op = AugmentOp::blur;  ///< blur, exposure or noise; crop: any geometry
  Affine map;
};
/// What follows Geometry::first, in order; options that change nothing are left out.
[[nodiscard]] std::vector<Step> plan_steps(const Variant& variant, Size target);

/// One variant of a photo, from decoded pixels.
void render(const Photo& photo, const Variant& variant, const ApplyOptions& options,
            MutableImageView out, AugmentScratch::Impl& scratch);

struct ResizeScratch {
  WeightCache weights;
  StreamResizer resizer;
  AlignedBuffer<std::uint8_t> pixels;
  AlignedBuffer<std::uint8_t> row;
};

/// Fills `out` by one resampling, or by two where that is better: see apply().
void resample(const Photo& photo, const Affine& map, const Surround& surround, MutableImageView out,
              ResizeScratch& scratch);

/// Resizes a box of the photo, given in its coordinates, as resize() does.
void resize_box(const Photo& photo, Box box, MutableImageView out, ResizeScratch& scratch);

/// Bilinear warp without antialiasing; sides of `in` and `out` up to 16384.
void warp(ImageView in, const Affine& map, const Surround& surround, MutableImageView out);

/// In place.
void flip(MutableImageView image, bool horizontal, bool vertical, AlignedBuffer<std::uint8_t>& row);

/// Blurs row by row, so that the next step can use a row while it is in the cache.
class Blur {
 public:
  /// `in` stays where it is until the last row() is done.
  void begin(ImageView in, double sigma_px);
  /// Row y of the blurred image; 3 * width bytes.
  void row(std::size_t y, std::uint8_t* out);

 private:
  template <typename Sample, typename Weight>
  void pass(std::size_t y, const std::vector<Weight>& down, const std::vector<Weight>& along,
            AlignedBuffer<Sample>& buffer, std::uint8_t* out);

  const AugmentKernels* kernels_ = nullptr;
  ImageView in_;
  bool wide_ = false;
  std::vector<std::int16_t> integer_down_;  ///< empty: this axis stays as it is
  std::vector<std::int16_t> integer_along_;
  std::vector<float> float_down_;
  std::vector<float> float_along_;
  std::vector<const std::uint8_t*> rows_;
  AlignedBuffer<std::int16_t> integers_;
  AlignedBuffer<float> floats_;
};

/// Weights of a Gaussian for an axis of `size` samples that is mirrored at both ends, the centre
/// first; they sum to 1, the others counted twice.
[[nodiscard]] std::vector<double> gaussian_filter(double sigma_px, std::size_t size);

/// Throws Error(invalid_argument) when a value of the variant is out of range.
void check(const Variant& variant);

/// The level that each level becomes when its light is multiplied by 2^stops.
[[nodiscard]] std::array<std::uint8_t, 256> exposure_table(double stops);

}  // namespace eyespot::detail

namespace eyespot {

struct AugmentScratch::Impl {
  detail::ResizeScratch resize;
  detail::Blur blur;
  detail::AlignedBuffer<std::uint8_t> decoded;
  detail::AlignedBuffer<std::uint8_t> upright;
  detail::AlignedBuffer<std::uint8_t> finished;
  detail::AlignedBuffer<std::uint8_t> spare;
  detail::AlignedBuffer<std::uint8_t> rows;
};

}  // namespace eyespot
