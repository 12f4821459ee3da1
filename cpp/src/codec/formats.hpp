#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bytes.hpp"
#include "eyespot/codec.hpp"

// What the three decoders share, and the two functions that each of them has.
namespace eyespot::codec {

[[nodiscard]] ImageInfo probe_jpeg(Bytes bytes, std::string_view source);
[[nodiscard]] ImageInfo probe_png(Bytes bytes, std::string_view source);
[[nodiscard]] ImageInfo probe_webp(Bytes bytes, std::string_view source);

/// The region has been checked against the stored size, and the size against max_pixels, by the
/// caller, both by `info`; a decoder checks that its own header agrees with `info`.
struct DecodeJob {
  Bytes bytes;
  const ImageInfo& info;
  const DecodeRequest& request;
  const DecodeLimits& limits;
  RowSink& sink;
  std::string_view source;
};
void decode_jpeg(const DecodeJob& job);
/// With libjpeg-turbo: what decode_jpeg() does with whatever is not for decode_baseline_jpeg().
void decode_jpeg_with_library(const DecodeJob& job);
/// eyespot's own decoder, for plain baseline JPEGs: the same stream and samples as libjpeg-turbo's,
/// bit for bit, in less time. False when the file is of another kind, or when anything about it is
/// irregular: then libjpeg-turbo has to tell what the file is worth, and `job.sink` may have had
/// some of its rows.
[[nodiscard]] bool decode_baseline_jpeg(const DecodeJob& job);
void decode_png(const DecodeJob& job);
void decode_webp(const DecodeJob& job);

[[noreturn]] inline void fail(ErrorCode code, std::string_view source, std::string message) {
  throw Error(code, std::string(source), std::move(message));
}

/// Throws Error(limit_exceeded) when `needed` bytes for `what` are more than max_bytes.
void check_bytes(std::uint64_t needed, const DecodeLimits& limits, std::string_view what,
                 std::string_view source);

/// Throws Error(corrupt_image) when a decoder finds another size than `info` says.
void check_size(Size found, const DecodeJob& job);

/// The region to deliver when the image is decoded at 1/2^scale_log2, in scaled coordinates.
[[nodiscard]] RowStream plan_rows(const ImageInfo& info, const DecodeRequest& request,
                                  unsigned scale_log2);

[[nodiscard]] constexpr std::uint32_t ceil_div(std::uint32_t value, std::uint32_t by) noexcept {
  return value / by + (value % by != 0 ? 1 : 0);
}

/// How one plane's samples lie over the pixels, at the chosen scale.
struct PlaneSteps {
  std::uint32_t x = 1;  ///< pixels a sample
  std::uint32_t y = 1;
};
/// Turns `stream` into one of three planes, and widens the delivered part to whole samples of each.
void plan_planes(RowStream& stream, const std::array<PlaneSteps, 3>& steps);

/// What decoding a JPEG row by row is charged for: rows of MCUs, of which upsampling wants more
/// than one at a time, upsampled and converted rows, tables. `samples`: those of a row of MCUs.
[[nodiscard]] constexpr std::uint64_t jpeg_row_bytes(std::uint64_t samples,
                                                     std::uint32_t output_width) noexcept {
  return samples * 4 + std::uint64_t{output_width} * 4 * 16 + (std::uint64_t{128} << 10U);
}

/// The largest k <= 3 for which region / 2^k is still at least `target` on both sides.
[[nodiscard]] unsigned choose_scale(const ImageInfo& info, const DecodeRequest& request) noexcept;

/// RGBA over an opaque colour: (c * a + b * (255 - a)) / 255, to nearest.
void composite_row(const std::uint8_t* rgba, std::uint32_t width,
                   const std::array<std::uint8_t, 3>& background, std::uint8_t* rgb) noexcept;

/// What the markers of a JPEG say up to its frame header.
struct JpegHeader {
  Size size;
  std::uint32_t channels = 0;
  std::uint32_t precision = 0;
  std::uint8_t frame_marker = 0;  ///< SOF0 (0xC0) to SOF15
  Orientation orientation = Orientation::top_left;
};
[[nodiscard]] JpegHeader read_jpeg_header(Bytes bytes, std::string_view source);

/// The chunks of a PNG that a decoder needs. Ancillary ones other than tRNS are left out, so no
/// colour profile or text, however large or broken, ever reaches the library.
struct PngChunks {
  struct Range {
    std::size_t offset;
    std::size_t length;
  };
  std::vector<Range> needed;  ///< signature, IHDR, PLTE, tRNS, IDAT, IEND: each whole, with its CRC
  Size size;
  std::uint8_t bit_depth = 0;
  std::uint8_t colour_type = 0;
  bool interlaced = false;
  bool has_transparency = false;  ///< a tRNS chunk
  bool animated = false;
  bool ended = false;  ///< the IEND chunk is there
  Orientation orientation = Orientation::top_left;
};
[[nodiscard]] PngChunks read_png_chunks(Bytes bytes, std::string_view source);

}  // namespace eyespot::codec
