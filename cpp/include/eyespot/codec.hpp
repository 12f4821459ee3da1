#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "eyespot/image.hpp"
#include "eyespot/types.hpp"

namespace eyespot {

/// Container formats that sniff() can name. The core decodes the first three; the rest are named so
/// that the error can say what the file is and which extra reads it.
enum class ImageFormat : std::uint8_t {
  unknown,
  jpeg,
  png,
  webp,
  gif,
  bmp,
  tiff,
  ico,
  heif,
  avif,
  jpeg2000,
  jpegxl,
  psd,
};
[[nodiscard]] std::string_view image_format_name(ImageFormat format) noexcept;

/// The format by content, from the first bytes; a file's name plays no part. Never throws.
[[nodiscard]] ImageFormat sniff(std::span<const std::uint8_t> bytes) noexcept;

/// EXIF orientation: how the stored pixels must be turned to stand upright. Values as in the tag.
enum class Orientation : std::uint8_t {
  top_left = 1,
  top_right,
  bottom_right,
  bottom_left,
  left_top,
  right_top,
  right_bottom,
  left_bottom,
};
/// True for the four orientations that exchange width and height.
[[nodiscard]] constexpr bool swaps_axes(Orientation orientation) noexcept {
  return static_cast<std::uint8_t>(orientation) >= 5;
}

/// What the header says, before any pixel is decoded.
struct ImageInfo {
  ImageFormat format = ImageFormat::unknown;
  Size stored_size;  ///< as stored, before orientation
  Orientation orientation = Orientation::top_left;
  std::uint32_t channels = 3;   ///< stored channels, alpha included
  std::uint32_t bit_depth = 8;  ///< bits a sample
  bool has_alpha = false;
  bool animated = false;  ///< only the first frame is decoded

  /// Size of the upright image.
  [[nodiscard]] Size size() const noexcept {
    return swaps_axes(orientation) ? Size{stored_size.height, stored_size.width} : stored_size;
  }
};

/// Bounds that are checked against the header before memory is taken.
struct DecodeLimits {
  /// Most pixels an image may have. The default is Pillow's decompression-bomb warning bound:
  /// 1 GiB / 4 / 3 pixels.
  std::uint64_t max_pixels = 89'478'485;
  /// Most bytes that decoding one image may hold at a time: pixels plus the codec's own working
  /// buffers (a progressive JPEG keeps all its coefficients).
  std::uint64_t max_bytes = std::uint64_t{1} << 30;
};

/// The pixel region and scale that the caller is going to use, in stored (unrotated) coordinates.
struct DecodeRequest {
  /// Part of the stored image that is needed; width 0 means all of it. The codec may deliver more.
  Rect region;
  /// The region will be resized to this size, so a JPEG may be decoded at 1/2, 1/4 or 1/8 while the
  /// scaled region stays at least this large on both sides. {0, 0}: full scale only.
  Size target;
  /// Colour behind transparent pixels (sRGB). Compositing is done on the stored samples, as
  /// browsers and Pillow do, not in linear light.
  std::array<std::uint8_t, 3> background{255, 255, 255};
  /// Allows the codec to deliver separate Y, Cb, Cr planes where the file stores them.
  bool allow_planes = false;
};

/// What a RowSink is about to receive: the delivered part of the stored image at the chosen scale.
struct RowStream {
  /// Size of the whole stored image at the chosen scale: ceil(stored / 2^scale_log2).
  Size scaled_size;
  unsigned scale_log2 = 0;
  /// The part that is delivered, in scaled coordinates; it contains the requested region.
  Rect delivered;
  /// One entry: interleaved RGB. Three entries: Y, Cb, Cr planes (JFIF full range), each with its
  /// own size; plane k covers the same area as plane 0, so its sampling is size_k / size_0.
  /// Rows of RGB are delivered.width wide and rows of planes are plane size wide.
  struct Plane {
    Size size;             ///< samples of the delivered part
    double scale_x = 1.0;  ///< samples of this plane per scaled pixel (0.5 for 4:2:0 chroma)
    double scale_y = 1.0;
  };
  std::array<Plane, 3> planes;
  std::size_t plane_count = 1;
};

/// Receives rows top to bottom while the codec still works, so that a large photo never exists in
/// memory. Rows of different planes may interleave; within a plane they come in order, once each.
class RowSink {
 public:
  virtual ~RowSink() = default;
  /// Once, before the first row.
  virtual void begin(const RowStream& stream) = 0;
  /// `samples` is valid during the call only.
  virtual void row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) = 0;
};

/// Reads the header only. `source` names the file in errors. Throws Error(unsupported_format,
/// corrupt_image).
[[nodiscard]] ImageInfo probe(std::span<const std::uint8_t> bytes, std::string_view source);

/// Decodes into `sink`, row by row, in stored orientation. Throws Error(unsupported_format,
/// corrupt_image, limit_exceeded); rows already delivered are then worthless.
void decode_rows(std::span<const std::uint8_t> bytes, const ImageInfo& info,
                 const DecodeRequest& request, const DecodeLimits& limits, RowSink& sink,
                 std::string_view source);

struct DecodeOptions {
  DecodeLimits limits;
  std::array<std::uint8_t, 3> background{255, 255, 255};
  bool apply_orientation = true;
};

/// The whole image as upright 8-bit RGB. Same errors as decode_rows().
[[nodiscard]] Image decode(std::span<const std::uint8_t> bytes, const DecodeOptions& options,
                           std::string_view source);

}  // namespace eyespot
