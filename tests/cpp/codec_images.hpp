#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "eyespot/codec.hpp"
#include "eyespot/image.hpp"

// Images for the codec tests, made by the formats' own encoders.
namespace eyespot::test {

using Buffer = std::vector<std::uint8_t>;

/// Samples of a busy but smooth picture, so that every coefficient and chroma edge matters.
[[nodiscard]] Buffer picture(Size size, std::size_t channels);

struct JpegOptions {
  enum class Colour : std::uint8_t { grey, ycbcr, rgb, cmyk, ycck } colour = Colour::ycbcr;
  int luma_h = 1;  ///< sampling factors of the first component; the others have 1 x 1
  int luma_v = 1;
  bool progressive = false;
  bool own_codes = false;  ///< Huffman codes made for the image instead of the usual ones
  bool arithmetic = false;
  bool separate_scans = false;  ///< one scan a component: several scans without progression
  int restart_rows = 0;
  int quality = 90;
  int orientation = 0;  ///< 0: no EXIF block
};
[[nodiscard]] Buffer encode_jpeg(Size size, const JpegOptions& options);

/// The whole JPEG at 1 / 2^scale_log2 as interleaved YCbCr, chroma repeated instead of
/// interpolated, straight from libjpeg: the reference for planes.
[[nodiscard]] Buffer decode_ycbcr(const Buffer& jpeg, unsigned scale_log2);

struct PngOptions {
  std::uint8_t colour_type = 2;
  std::uint8_t bit_depth = 8;
  bool interlaced = false;
  bool transparency = false;  ///< adds a tRNS chunk
  int orientation = 0;
};
/// `samples`: rows as PNG stores them (packed bits, big-endian 16-bit).
[[nodiscard]] Buffer encode_png(Size size, const PngOptions& options, const Buffer& samples);

/// channels 3 or 4; quality < 0 is lossless.
[[nodiscard]] Buffer encode_webp(Size size, std::size_t channels, const Buffer& samples,
                                 float quality);
/// An extended WebP: EXIF orientation, and an animation when `frame` is not the whole canvas.
struct WebpContainer {
  Size canvas{};
  Rect frame{};
  bool animated = false;
  bool alpha = false;
  int orientation = 0;
};
[[nodiscard]] Buffer wrap_webp(const Buffer& simple, const WebpContainer& container);

/// A TIFF structure with one directory entry, the orientation.
[[nodiscard]] Buffer exif_block(int orientation, bool big_endian);

/// Keeps every row.
class CollectSink final : public RowSink {
 public:
  void begin(const RowStream& stream) override;
  void row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) override;

  [[nodiscard]] const RowStream& stream() const noexcept { return stream_; }
  [[nodiscard]] const Buffer& samples(std::size_t plane) const { return samples_.at(plane); }
  [[nodiscard]] std::size_t row_bytes(std::size_t plane) const;
  /// True when each plane got each of its rows once, in order.
  [[nodiscard]] bool complete() const;

 private:
  RowStream stream_;
  std::array<Buffer, 3> samples_;
  std::array<std::uint32_t, 3> rows_{};
  bool in_order_ = true;
};

/// The code of the error that `call` throws, or "" when it throws none.
template <typename Call>
[[nodiscard]] std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return std::string(error_code_name(error.code()));
  }
  return "";
}

}  // namespace eyespot::test
