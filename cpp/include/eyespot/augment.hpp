#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "eyespot/image.hpp"
#include "eyespot/ops.hpp"
#include "eyespot/preprocess.hpp"
#include "eyespot/types.hpp"

// Variants of images: what may be done (AugmentPlan), what is done to one copy (Variant), and doing
// it. Everything random is a function of (seed, content key, variant's index), so any variant can
// be made alone, by any thread, in any order.

namespace eyespot {

enum class AugmentOp : std::uint8_t { crop, rotation, blur, exposure, noise, flip };
inline constexpr std::size_t kAugmentOps = 6;
using AugmentOrder = std::array<AugmentOp, kAugmentOps>;
/// Create ML's order.
inline constexpr AugmentOrder kAugmentOrder{AugmentOp::crop,  AugmentOp::rotation,
                                            AugmentOp::blur,  AugmentOp::exposure,
                                            AugmentOp::noise, AugmentOp::flip};
[[nodiscard]] std::string_view augment_op_name(AugmentOp op) noexcept;

/// low <= value <= high.
struct Range {
  double low = 0;
  double high = 0;

  friend bool operator==(const Range&, const Range&) = default;
};

/// Random resized crop. The crop has the shape of the model's input times `aspect` and is stretched
/// to it.
struct CropChoice {
  /// Of the area that the model sees without a crop; 0 < area <= 1.
  Range area{.low = 0.5, .high = 1.0};
  /// Width / height relative to the input's shape; drawn log-uniformly; > 0.
  Range aspect{.low = 0.8, .high = 1.25};
  double probability = 1;
  std::uint32_t copies = 4;
};

/// One number drawn uniformly: degrees counter-clockwise (-360 to 360), sigma in pixels of the
/// result (0 and up), stops (-16 to 16), or sigma in grey levels (0 to 1000).
struct AmountChoice {
  Range range;
  double probability = 1;
  std::uint32_t copies = 4;
};

/// One of the kinds that are allowed, with equal chances.
struct FlipChoice {
  bool horizontal = true;
  bool vertical = true;
  bool both = true;  ///< horizontal and vertical at once, a half turn
  double probability = 1;
  std::uint32_t copies = 3;
};

/// Where a rotation looks beyond the image.
enum class Edges : std::uint8_t {
  mirror,  ///< the image mirrored, without repeating its border pixels
  fill,    ///< one colour
};

/// What may be done to images. Options that are absent do nothing.
///
/// Without `copies`, options multiply as in Create ML: going through `order`, option i has
/// min(copies_i, floor(max_copies / product so far)) values, and there is one variant for each
/// combination. A variant's index, as digits of that mixed radix (the first option is the most
/// significant), says which part of each range the variant takes: an option of 4 values draws from
/// the first, second, third or last quarter of its range, so that the copies cover it. With
/// `copies`, there are that many variants, each drawn from the whole ranges.
struct AugmentPlan {
  std::optional<CropChoice> crop;
  std::optional<AmountChoice> rotation;
  std::optional<AmountChoice> blur;
  std::optional<AmountChoice> exposure;
  std::optional<AmountChoice> noise;
  std::optional<FlipChoice> flip;
  AugmentOrder order = kAugmentOrder;
  std::optional<std::uint32_t> copies;
  std::uint32_t max_copies = 100;
  Edges edges = Edges::mirror;
  std::array<std::uint8_t, 3> fill{255, 255, 255};  ///< of Edges::fill
};

/// Throws Error(invalid_argument) that names the option when a range is reversed, not finite or out
/// of bounds, a probability is outside [0, 1], or `order` is not a permutation.
void check(const AugmentPlan& plan);

/// Number of variants an image gets.
[[nodiscard]] std::uint32_t variant_count(const AugmentPlan& plan);

/// What is done to one copy, as plain values: enough to do it again without plan or seed. The
/// default does nothing but what preprocess() does.
struct Variant {
  AugmentOrder order = kAugmentOrder;
  bool crop = false;
  double crop_area = 1;    ///< see CropChoice
  double crop_aspect = 1;  ///< see CropChoice
  double crop_x = 0.5;     ///< place within the room that the crop leaves: 0 left, 1 right
  double crop_y = 0.5;
  double rotation_deg = 0;  ///< counter-clockwise
  double blur_sigma_px = 0;
  double exposure_stops = 0;
  double noise_sigma = 0;        ///< grey levels
  std::uint64_t noise_seed = 0;  ///< which noise
  bool flip_horizontal = false;
  bool flip_vertical = false;
  Edges edges = Edges::mirror;
  std::array<std::uint8_t, 3> fill{255, 255, 255};

  friend bool operator==(const Variant&, const Variant&) = default;
};

/// The index of the untouched copy, Variant{}.
inline constexpr std::int64_t kOriginal = -1;

/// Variant `index` (kOriginal, or 0 and up; also beyond variant_count(), for endless streams) of
/// the image with this content_key(). The plan must have passed check(). Depends on nothing else.
[[nodiscard]] Variant sample(const AugmentPlan& plan, std::uint64_t seed, std::uint64_t content,
                             std::int64_t index);

/// Working memory that successive calls reuse; one for each thread. Results do not depend on it.
class AugmentScratch {
 public:
  AugmentScratch();
  ~AugmentScratch();
  AugmentScratch(AugmentScratch&&) noexcept;
  AugmentScratch& operator=(AugmentScratch&&) noexcept;

  struct Impl;
  [[nodiscard]] Impl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// What the pixels become without an augmentation, as in PixelSpec.
struct ApplyOptions {
  CropPolicy crop = CropPolicy::center_crop;
  Resample resample = Resample::bilinear;
  std::array<std::uint8_t, 3> background{255, 255, 255};
};

/// Upright RGB pixels to one variant of the size of `out` (RGB; rows without gaps). They must not
/// overlap. Same bits on every SIMD target. Safe from many threads with a scratch each.
///
/// Geometry. Crop, rotation, flip and the resize to `out` become one affine map, and mostly one
/// resampling: without a rotation an antialiased resize() of the crop's box; with one, a bilinear
/// warp at 1/32768 of a pixel. Only where a rotated image also shrinks, by more than 1.25, does an
/// antialiased resize to its new scale come first, because a bilinear warp would alias. A rotated
/// crop looks beyond the crop's border where the photo goes on; `edges` counts only outside the
/// photo. What is seen without a crop is what preprocess() sees; CropPolicy::fit shows `background`
/// outside the photo, whatever `edges` says. Blur, exposure and noise are done to the resized
/// pixels. A flip commutes with them, and an option of geometry that comes after one of them in
/// `order` resamples the finished pixels once more.
///
/// Blur: a sampled Gaussian cut off at 3.25 sigma, edges mirrored; below 1 grey level from the
/// direct sum. Exposure: levels are taken as sRGB (IEC 61966-2-1), multiplied by 2^stops in linear
/// light, clipped, rounded. Noise: Gaussian (Box and Muller 1958) by Philox on 18 bits of radius
/// and 14 of angle, so never beyond 5.13 sigma; independent for each pixel and channel; rounded and
/// clipped.
///
/// Throws Error(invalid_argument) for an empty size, other channels than 3, or values out of range.
void apply(ImageView in, const Variant& variant, const ApplyOptions& options, MutableImageView out,
           AugmentScratch& scratch);

/// Bytes of an image file to several model inputs, one for each of `indices` (see sample()), one
/// after the other in `out` (pixel_bytes(spec) each). The file is decoded once, no larger than the
/// smallest crop that the plan may draw needs, and no more of it than these variants need. Each
/// result depends on bytes, spec, plan, seed and its index only; the content key is that of
/// `bytes`. The untouched copy equals load_pixels() unless small crops make it decode a JPEG at a
/// larger scale. Throws Error as load_pixels() does; limits.max_bytes also bounds the decoded
/// pixels.
void load_variants(std::span<const std::uint8_t> bytes, const PixelSpec& spec,
                   const AugmentPlan& plan, std::uint64_t seed,
                   std::span<const std::int64_t> indices, void* out, std::string_view source,
                   AugmentScratch& scratch);

/// The same from upright RGB pixels, with the content key told.
void preprocess_variants(ImageView image, const PixelSpec& spec, const AugmentPlan& plan,
                         std::uint64_t seed, std::uint64_t content,
                         std::span<const std::int64_t> indices, void* out, AugmentScratch& scratch);

}  // namespace eyespot
