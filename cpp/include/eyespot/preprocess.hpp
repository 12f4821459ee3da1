#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "eyespot/codec.hpp"
#include "eyespot/image.hpp"
#include "eyespot/ops.hpp"
#include "eyespot/types.hpp"

// The single definition of what a model sees: from an image file's bytes, or from decoded pixels,
// to the numbers of one model input. Training, prediction and export all go through here.

namespace eyespot {

/// How an image of one shape becomes an input of another.
enum class CropPolicy : std::uint8_t {
  center_crop,  ///< the largest centred rectangle of the target's shape; the rest is cut off
  fit,          ///< the whole image, centred on the background colour (letterbox)
  stretch,      ///< the whole image, each axis scaled on its own
};

enum class PixelType : std::uint8_t { uint8, float32 };

/// Order of one image's axes: height, width, channels or channels, height, width.
enum class Layout : std::uint8_t { nhwc, nchw };

/// What a model wants to see.
///
/// The upright image (EXIF orientation applied) is cropped to the policy's box and resized in ONE
/// antialiased step, `Box` edges being sub-pixel, so a crop never costs a second resampling. Then
/// float32 value = (level * scale - mean[c]) / std[c], computed as
/// level * float(scale / std[c]) + float(-mean[c] / std[c]), c being the output's channel (0 is
/// blue when `bgr`); uint8 values are the levels.
struct PixelSpec {
  Size size{224, 224};
  CropPolicy crop = CropPolicy::center_crop;
  Resample resample = Resample::bilinear;
  PixelType dtype = PixelType::float32;
  Layout layout = Layout::nchw;
  float scale = 1.0F / 255;
  std::array<float, 3> mean{0, 0, 0};
  std::array<float, 3> std{1, 1, 1};
  bool bgr = false;  ///< order of the output's channels, and so of mean and std
  /// Letterbox bars, and what lies behind transparent pixels.
  std::array<std::uint8_t, 3> background{255, 255, 255};
  /// Resize a JPEG's Y, Cb and Cr as stored and convert the few pixels that are left, instead of
  /// resizing RGB. Off, because it measured no faster (libjpeg-turbo converts colours at next to no
  /// cost) and strays further from a plain resize of the decoded photo: chroma goes through one
  /// triangle instead of two filters, and colours out of gamut are clamped after the resize.
  bool planes = false;
  DecodeLimits limits;
};

/// Bytes of one model input. Throws Error(invalid_argument) when a field of `spec` is out of range:
/// sides 1 to 16384, finite numbers, std not 0.
[[nodiscard]] std::size_t pixel_bytes(const PixelSpec& spec);

/// Working memory that successive calls reuse; one for each thread, owned by the caller. Results do
/// not depend on it. It grows to the widest image seen, not to the largest.
class PreprocessScratch {
 public:
  PreprocessScratch();
  ~PreprocessScratch();
  PreprocessScratch(PreprocessScratch&&) noexcept;
  PreprocessScratch& operator=(PreprocessScratch&&) noexcept;

  struct Impl;
  [[nodiscard]] Impl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Image file to model input: probe, check the limits, decode no more and no larger than needed
/// (region; JPEG scales 1/4 and 1/8 while both sides stay at least the target's, but not 1/2, which
/// hardly saves time and costs sharpness), resize while the rows arrive, turn upright, pack. `out`
/// has pixel_bytes(spec) bytes, aligned for its type, and holds rubbish after an error. A pure
/// function of bytes and spec; safe from many threads with a scratch each. Throws Error as probe()
/// and decode_rows() do, and as pixel_bytes() does. limits.max_bytes bounds the codec's memory and
/// that of the rows to be resized, each on its own; memory that only `spec.size` determines is not
/// counted.
void load_pixels(std::span<const std::uint8_t> bytes, const PixelSpec& spec, void* out,
                 std::string_view source, PreprocessScratch& scratch);

/// The same from upright RGB pixels (3 channels). Equal to load_pixels() of a losslessly stored
/// image, and of a JPEG that load_pixels() decodes at full scale.
void preprocess(ImageView image, const PixelSpec& spec, void* out, PreprocessScratch& scratch);

}  // namespace eyespot
