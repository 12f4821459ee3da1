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

/// The format by content, from the first bytes; a file's name plays no part.
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
  std::uint64_t max_bytes = std::uint64_t{1} << 30U;
};

/// The pixel region and scale that the caller is going to use, in stored (unrotated) coordinates.
struct DecodeRequest {
  /// Part of the stored image that is needed; width or height 0 means all of it. The codec may
  /// deliver more around it, never less.
  Rect region{};
  /// The region will be resized to this size, so a JPEG may be decoded at 1/2, 1/4 or 1/8 while the
  /// scaled region stays at least this large on both sides. {0, 0}: full scale only.
  Size target{};
  /// Colour behind transparent pixels (sRGB); white unless told otherwise. Compositing is done on
  /// the stored samples, as browsers and Pillow do, not in linear light.
  std::array<std::uint8_t, 3> background{255, 255, 255};
  /// Allows the codec to deliver what the file stores instead of RGB: Y, Cb, Cr planes or a single
  /// grey plane.
  bool allow_planes = false;
};

/// What the delivered samples are.
enum class RowLayout : std::uint8_t {
  rgb,    ///< one plane, three interleaved samples a pixel
  grey,   ///< one plane, one sample a pixel: R = G = B. Only with allow_planes
  ycbcr,  ///< three planes Y, Cb, Cr (BT.601, full range, as JFIF). Only with allow_planes
};

/// What a RowSink is about to receive: the delivered part of the stored image at the chosen scale.
struct RowStream {
  /// Size of the whole stored image at the chosen scale: ceil(stored / 2^scale_log2). Scaled pixel
  /// i covers stored pixels [i * 2^scale_log2, (i + 1) * 2^scale_log2), the last one perhaps less.
  Size scaled_size;
  unsigned scale_log2 = 0;
  /// The part that is delivered, in scaled coordinates; it contains the requested region.
  Rect delivered;
  RowLayout layout = RowLayout::rgb;
  /// Plane 0 is delivered.width x delivered.height. Sample i of plane k covers the scaled pixels
  /// from delivered.x + i / scale_x to delivered.x + (i + 1) / scale_x; likewise down. `delivered`
  /// is cut so that every plane starts with a whole sample; the last sample may reach past the edge
  /// of the image, which is why `size` is ceil(delivered * scale).
  struct Plane {
    Size size;             ///< pixels (rgb) or samples of the delivered part
    double scale_x = 1.0;  ///< samples of this plane per scaled pixel: 0.5 for 4:2:0 chroma
    double scale_y = 1.0;
  };
  std::array<Plane, 3> planes;
  std::size_t plane_count = 1;
};

/// Receives rows top to bottom while the codec still works, so that a large photo never exists in
/// memory. Rows of different planes may interleave; within a plane they come in order, once each.
/// Either function may throw; the decoder then frees what it holds and lets the exception through.
class RowSink {
 public:
  RowSink() = default;
  RowSink(const RowSink&) = delete;
  RowSink& operator=(const RowSink&) = delete;
  virtual ~RowSink() = default;
  /// Once, before the first row. Every bound of DecodeLimits has been checked by then.
  virtual void begin(const RowStream& stream) = 0;
  /// Row `y` (from 0) of `plane`: 3 * width samples for rgb, width samples for the others, with
  /// width that of the plane. Valid during the call only.
  virtual void row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) = 0;
};

/// Reads the header only: the format by content, the size, the EXIF orientation (1 when the tag is
/// missing, broken or out of range). Costs microseconds. `source` names the file in errors.
/// Throws Error(unsupported_format) for a format, or a variant of one, that the core does not
/// decode, Error(corrupt_image) for a header that is broken or cut short. Safe from many threads,
/// as is everything in this file.
[[nodiscard]] ImageInfo probe(std::span<const std::uint8_t> bytes, std::string_view source);

/// Decodes into `sink`, row by row, in stored orientation. `info` is what probe() said of the same
/// bytes. Throws Error(unsupported_format, corrupt_image, limit_exceeded), Error(invalid_argument)
/// for a region outside the image; rows already delivered are then worthless.
///
/// Colour. 8-bit sRGB as stored: ICC profiles and gamma chunks are not applied. CMYK and YCCK JPEGs
/// are taken as inverted (the convention of Adobe, whose files they are, and of Pillow) and turned
/// into RGB without a profile. 16-bit PNG samples keep their high byte, as libpng's strip_16 and
/// Pillow do for colour. Alpha is composited on request.background, rounded to nearest.
///
/// Truncation. A file that ends before its image does is corrupt_image, whatever part was asked
/// for. What lies below the region is not decoded when the end of the image can be seen to be there
/// (JPEG: an EOI marker; PNG: the IEND chunk; WebP: the length in the RIFF header); otherwise it is
/// decoded after all, and passes if every pixel is there (a JPEG or PNG without its end marker, as
/// in Pillow). Damage below the region goes unseen. Data errors that JPEG decoders patch up (a bad
/// Huffman code, a wrong restart marker) are tolerated, as in Pillow; running out of data is not.
///
/// Memory. max_pixels is checked against the stored size; max_bytes against what the codec will
/// hold: the coefficients of a JPEG with several scans, the canvas of a WebP or of an interlaced
/// PNG, row buffers. A JPEG of more than 500 scans is refused with limit_exceeded.
void decode_rows(std::span<const std::uint8_t> bytes, const ImageInfo& info,
                 const DecodeRequest& request, const DecodeLimits& limits, RowSink& sink,
                 std::string_view source);

struct DecodeOptions {
  DecodeLimits limits{};
  std::array<std::uint8_t, 3> background{255, 255, 255};  ///< behind transparent pixels
  bool apply_orientation = true;                          ///< turn upright as EXIF says
};

/// The whole image as 8-bit RGB, upright unless told otherwise. max_bytes covers the result and the
/// codec's working memory. Same errors as probe() and decode_rows().
[[nodiscard]] Image decode(std::span<const std::uint8_t> bytes, const DecodeOptions& options,
                           std::string_view source);

}  // namespace eyespot
