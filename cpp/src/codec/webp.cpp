#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "exif.hpp"
#include "formats.hpp"

namespace eyespot::codec {
namespace {

struct DemuxDeleter {
  void operator()(WebPDemuxer* demuxer) const noexcept { WebPDemuxDelete(demuxer); }
};

/// The container: canvas, flags, first frame, EXIF.
class Container {
 public:
  Container(Bytes bytes, std::string_view source) : source_(source) {
    constexpr std::size_t kRiffHeader = 12;
    if (!has(bytes, 0, kRiffHeader) || read_le32(bytes, 4) > bytes.size() - 8) {
      fail(ErrorCode::corrupt_image, source,
           "WebP ends after " + std::to_string(bytes.size()) + " bytes, before its image does");
    }
    const WebPData data{.bytes = bytes.data(), .size = bytes.size()};
    demuxer_.reset(WebPDemux(&data));
    if (!demuxer_) fail(ErrorCode::corrupt_image, source, "WebP container is broken");
    if (WebPDemuxGetFrame(demuxer_.get(), 1, &frame_) == 0) {
      fail(ErrorCode::corrupt_image, source, "WebP has no image");
    }
  }
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;
  ~Container() { WebPDemuxReleaseIterator(&frame_); }

  [[nodiscard]] Size canvas() const noexcept {
    return {.width = WebPDemuxGetI(demuxer_.get(), WEBP_FF_CANVAS_WIDTH),
            .height = WebPDemuxGetI(demuxer_.get(), WEBP_FF_CANVAS_HEIGHT)};
  }
  [[nodiscard]] bool animated() const noexcept {
    return (WebPDemuxGetI(demuxer_.get(), WEBP_FF_FORMAT_FLAGS) & ANIMATION_FLAG) != 0;
  }
  /// Where the first frame lies on the canvas.
  [[nodiscard]] Rect frame_rect() const noexcept {
    return {.x = static_cast<std::uint32_t>(frame_.x_offset),
            .y = static_cast<std::uint32_t>(frame_.y_offset),
            .width = static_cast<std::uint32_t>(frame_.width),
            .height = static_cast<std::uint32_t>(frame_.height)};
  }
  [[nodiscard]] bool covers_canvas() const noexcept {
    const Size size = canvas();
    return frame_rect() == Rect{.x = 0, .y = 0, .width = size.width, .height = size.height};
  }
  [[nodiscard]] bool has_alpha() const noexcept {
    return frame_.has_alpha != 0 || !covers_canvas();
  }
  [[nodiscard]] const WebPData& fragment() const noexcept { return frame_.fragment; }

  [[nodiscard]] Orientation orientation() const {
    WebPChunkIterator chunk{};
    if (WebPDemuxGetChunk(demuxer_.get(), "EXIF", 1, &chunk) == 0) return Orientation::top_left;
    const Orientation value = exif_orientation({chunk.chunk.bytes, chunk.chunk.size});
    WebPDemuxReleaseChunkIterator(&chunk);
    return value;
  }

 private:
  std::string_view source_;
  std::unique_ptr<WebPDemuxer, DemuxDeleter> demuxer_;
  WebPIterator frame_{};
};

// `needed`: the most that libwebp takes for these pixels. A broken alpha plane is "out of memory"
// to libwebp 1.5; it is to us when there is no such memory.
[[noreturn]] void fail_status(VP8StatusCode status, std::size_t needed, std::string_view source) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      if (needed > 0) {
        const auto block = std::make_unique_for_overwrite<std::uint8_t[]>(needed);
        *static_cast<volatile std::uint8_t*>(block.get()) = 0;  // or a compiler leaves it out
      }
      fail(ErrorCode::corrupt_image, source, "WebP bitstream is broken");
    case VP8_STATUS_NOT_ENOUGH_DATA:
      fail(ErrorCode::corrupt_image, source, "WebP ends before its image is complete");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      fail(ErrorCode::unsupported_format, source, "WebP variant that libwebp does not decode");
    default: fail(ErrorCode::corrupt_image, source, "WebP bitstream is broken");
  }
}

/// The part of `frame` that lies in `region`, in frame coordinates; widths are 0 when none does.
Rect overlap(const Rect& region, const Rect& frame) noexcept {
  const std::uint32_t left = std::max(region.x, frame.x);
  const std::uint32_t top = std::max(region.y, frame.y);
  const std::uint32_t right = std::min(region.x + region.width, frame.x + frame.width);
  const std::uint32_t bottom = std::min(region.y + region.height, frame.y + frame.height);
  if (left >= right || top >= bottom) return {};
  return {.x = left - frame.x, .y = top - frame.y, .width = right - left, .height = bottom - top};
}

/// Pixels of one frame's part.
struct Pixels {
  Rect part;  ///< in frame coordinates
  std::size_t stride = 0;
  std::vector<std::uint8_t> samples;
};

/// libwebp crops from even coordinates, and its chroma upsampling looks at one neighbour, which the
/// edge of a crop lacks: two pixels more on every side give the pixels of a whole decode.
Rect widen(const Rect& wanted, const Rect& frame) noexcept {
  constexpr std::uint32_t kMargin = 2;
  const std::uint32_t left = (wanted.x - std::min(wanted.x, kMargin)) & ~1U;
  const std::uint32_t top = (wanted.y - std::min(wanted.y, kMargin)) & ~1U;
  const std::uint32_t right = std::min(wanted.x + wanted.width + kMargin, frame.width);
  const std::uint32_t bottom = std::min(wanted.y + wanted.height + kMargin, frame.height);
  return {.x = left, .y = top, .width = right - left, .height = bottom - top};
}

Pixels decode_part(const WebPData& fragment, const Rect& frame, const Rect& wanted, bool alpha,
                   const DecodeJob& job) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    fail(ErrorCode::unsupported_format, job.source, "libwebp of another ABI than it was built for");
  }
  const VP8StatusCode features = WebPGetFeatures(fragment.bytes, fragment.size, &config.input);
  if (features != VP8_STATUS_OK) fail_status(features, 0, job.source);
  if (std::cmp_not_equal(config.input.width, frame.width) ||
      std::cmp_not_equal(config.input.height, frame.height)) {
    fail(ErrorCode::corrupt_image, job.source, "WebP frame is not of the size its container says");
  }

  Pixels pixels;
  pixels.part = widen(wanted, frame);
  const Rect& part = pixels.part;
  if (part.width != frame.width || part.height != frame.height) {
    config.options.use_cropping = 1;
    config.options.crop_left = static_cast<int>(part.x);
    config.options.crop_top = static_cast<int>(part.y);
    config.options.crop_width = static_cast<int>(part.width);
    config.options.crop_height = static_cast<int>(part.height);
  }
  const std::size_t channels = alpha ? 4 : 3;
  pixels.stride = checked_mul(part.width, channels, "WebP row");
  const std::size_t size = checked_mul(pixels.stride, part.height, "WebP canvas");
  // Lossless images are decoded to 4 bytes a pixel inside libwebp, and so is an alpha plane.
  const std::uint64_t inside = std::uint64_t{frame.width} * frame.height * 4;
  check_bytes(size + inside, job.limits, "pixels of a WebP", job.source);
  pixels.samples.resize(size);

  config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = pixels.samples.data();
  config.output.u.RGBA.stride = static_cast<int>(pixels.stride);
  config.output.u.RGBA.size = size;
  const VP8StatusCode status = WebPDecode(fragment.bytes, fragment.size, &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) fail_status(status, inside, job.source);
  return pixels;
}

}  // namespace

ImageInfo probe_webp(Bytes bytes, std::string_view source) {
  const Container container(bytes, source);
  return {.format = ImageFormat::webp,
          .stored_size = container.canvas(),
          .orientation = container.orientation(),
          .channels = container.has_alpha() ? 4U : 3U,
          .bit_depth = 8,
          .has_alpha = container.has_alpha(),
          .animated = container.animated()};
}

void decode_webp(const DecodeJob& job) {
  const Container container(job.bytes, job.source);
  check_size(container.canvas(), job);
  const bool alpha = container.has_alpha();
  const RowStream stream = plan_rows(job.info, job.request, 0);
  const Rect region = stream.delivered;
  const Rect frame = container.frame_rect();
  const Rect wanted = overlap(region, frame);
  Pixels pixels;
  if (wanted.width > 0) {
    pixels = decode_part(container.fragment(), frame, wanted, alpha, job);
  }

  job.sink.begin(stream);
  if (!alpha) {
    for (std::uint32_t y = 0; y < region.height; ++y) {
      const std::size_t inner = std::size_t{wanted.y} - pixels.part.y + y;
      job.sink.row(0, y,
                   pixels.samples.data() + inner * pixels.stride +
                       std::size_t{wanted.x - pixels.part.x} * 3);
    }
    return;
  }
  // Outside its first frame an animation's canvas is transparent, as in libwebp's own animation
  // decoder; the background colour of the file is only a hint.
  std::vector<std::uint8_t> row(std::size_t{region.width} * 3);
  for (std::uint32_t y = 0; y < region.height; ++y) {
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = job.request.background[i % 3];
    const std::uint32_t canvas_y = region.y + y;
    if (wanted.width > 0 && canvas_y >= frame.y + wanted.y &&
        canvas_y < frame.y + wanted.y + wanted.height) {
      const std::size_t inner = std::size_t{canvas_y} - frame.y - pixels.part.y;
      composite_row(
          pixels.samples.data() + inner * pixels.stride + std::size_t{wanted.x - pixels.part.x} * 4,
          wanted.width, job.request.background,
          row.data() + std::size_t{frame.x + wanted.x - region.x} * 3);
    }
    job.sink.row(0, y, row.data());
  }
}

}  // namespace eyespot::codec
