#include "eyespot/codec.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "formats.hpp"

namespace eyespot {
namespace codec {

void check_bytes(std::uint64_t needed, const DecodeLimits& limits, std::string_view what,
                 std::string_view source) {
  if (needed > limits.max_bytes) {
    fail(ErrorCode::limit_exceeded, source,
         std::string(what) + " need " + std::to_string(needed) + " bytes, more than max_bytes " +
             std::to_string(limits.max_bytes));
  }
}

void check_size(Size found, const DecodeJob& job) {
  if (found != job.info.stored_size) {
    fail(ErrorCode::corrupt_image, job.source,
         "the decoder finds " + std::to_string(found.width) + " x " + std::to_string(found.height) +
             " px where the header says " + std::to_string(job.info.stored_size.width) + " x " +
             std::to_string(job.info.stored_size.height));
  }
}

namespace {

Rect whole(Size size) noexcept {
  return {.x = 0, .y = 0, .width = size.width, .height = size.height};
}

Rect region_of(const ImageInfo& info, const DecodeRequest& request) noexcept {
  const bool all = request.region.width == 0 || request.region.height == 0;
  return all ? whole(info.stored_size) : request.region;
}

constexpr std::uint32_t ceil_shift(std::uint32_t value, unsigned shift) noexcept {
  return static_cast<std::uint32_t>((std::uint64_t{value} + (1U << shift) - 1) >> shift);
}

}  // namespace

unsigned choose_scale(const ImageInfo& info, const DecodeRequest& request) noexcept {
  if (request.target.width == 0 || request.target.height == 0) return 0;
  const Rect region = region_of(info, request);
  unsigned scale = 3;
  while (scale > 0 && ((region.width >> scale) < request.target.width ||
                       (region.height >> scale) < request.target.height)) {
    --scale;
  }
  return scale;
}

RowStream plan_rows(const ImageInfo& info, const DecodeRequest& request, unsigned scale_log2) {
  const Rect region = region_of(info, request);
  const Rect scaled{
      .x = region.x >> scale_log2,
      .y = region.y >> scale_log2,
      .width = ceil_shift(region.x + region.width, scale_log2) - (region.x >> scale_log2),
      .height = ceil_shift(region.y + region.height, scale_log2) - (region.y >> scale_log2)};
  RowStream stream;
  stream.scaled_size = {.width = ceil_shift(info.stored_size.width, scale_log2),
                        .height = ceil_shift(info.stored_size.height, scale_log2)};
  stream.scale_log2 = scale_log2;
  stream.delivered = scaled;
  stream.planes[0].size = {.width = scaled.width, .height = scaled.height};
  return stream;
}

void plan_planes(RowStream& stream, const std::array<PlaneSteps, 3>& steps) {
  std::uint32_t grid_x = 1;
  std::uint32_t grid_y = 1;
  for (const PlaneSteps& step : steps) {
    grid_x = std::lcm(grid_x, step.x);
    grid_y = std::lcm(grid_y, step.y);
  }
  Rect& part = stream.delivered;
  const std::uint32_t right =
      std::min(ceil_div(part.x + part.width, grid_x) * grid_x, stream.scaled_size.width);
  const std::uint32_t bottom =
      std::min(ceil_div(part.y + part.height, grid_y) * grid_y, stream.scaled_size.height);
  part.x -= part.x % grid_x;
  part.y -= part.y % grid_y;
  part.width = right - part.x;
  part.height = bottom - part.y;
  stream.layout = RowLayout::ycbcr;
  stream.plane_count = steps.size();
  for (std::size_t k = 0; k < steps.size(); ++k) {
    stream.planes[k] = {.size = {.width = ceil_div(part.width, steps[k].x),
                                 .height = ceil_div(part.height, steps[k].y)},
                        .scale_x = 1.0 / steps[k].x,
                        .scale_y = 1.0 / steps[k].y};
  }
}

void composite_row(const std::uint8_t* rgba, std::uint32_t width,
                   const std::array<std::uint8_t, 3>& background, std::uint8_t* rgb) noexcept {
  for (std::uint32_t x = 0; x < width; ++x, rgba += 4, rgb += 3) {
    const std::uint32_t alpha = rgba[3];
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint32_t sum = rgba[c] * alpha + background[c] * (255 - alpha) + 128;
      rgb[c] = static_cast<std::uint8_t>((sum + (sum >> 8U)) >> 8U);
    }
  }
}

namespace {

/// Fills an upright Image from stored rows.
class ImageSink final : public RowSink {
 public:
  explicit ImageSink(Orientation orientation) noexcept : orientation_(orientation) {}

  void begin(const RowStream& stream) override {
    stored_ = stream.planes[0].size;
    const bool turned = swaps_axes(orientation_);
    image_ = Image(turned ? Size{.width = stored_.height, .height = stored_.width} : stored_);
    out_ = image_.mutable_view();
    if (turned)
      strip_.resize(checked_mul(stored_.width, std::size_t{kStripRows} * 3, "orientation strip"));
  }

  void row(std::size_t /*plane*/, std::uint32_t y, const std::uint8_t* samples) override {
    const std::uint32_t from_end = stored_.height - 1 - y;
    switch (orientation_) {
      case Orientation::top_left: copy(samples, y); break;
      case Orientation::top_right: copy_mirrored(samples, y); break;
      case Orientation::bottom_right: copy_mirrored(samples, from_end); break;
      case Orientation::bottom_left: copy(samples, from_end); break;
      default: gather(samples, y); break;
    }
  }

  [[nodiscard]] Image take() noexcept { return std::move(image_); }

 private:
  // Rows that become columns are collected, so that each output row is written in runs.
  static constexpr std::uint32_t kStripRows = 32;

  void copy(const std::uint8_t* samples, std::uint32_t y) noexcept {
    std::memcpy(out_.row(y), samples, out_.stride);
  }

  void copy_mirrored(const std::uint8_t* samples, std::uint32_t y) noexcept {
    std::uint8_t* to = out_.row(y) + std::size_t{stored_.width} * 3;
    for (std::uint32_t x = 0; x < stored_.width; ++x, samples += 3) {
      to -= 3;
      std::memcpy(to, samples, 3);
    }
  }

  void gather(const std::uint8_t* samples, std::uint32_t y) noexcept {
    const std::uint32_t slot = y % kStripRows;
    const std::size_t row_bytes = std::size_t{stored_.width} * 3;
    std::memcpy(strip_.data() + slot * row_bytes, samples, row_bytes);
    if (slot + 1 == kStripRows || y + 1 == stored_.height) write_strip(y - slot, slot + 1);
  }

  /// Stored row y becomes output column y, or the y-th from the right; stored column x becomes
  /// output row x, or the x-th from the bottom.
  void write_strip(std::uint32_t first, std::uint32_t count) noexcept {
    const bool from_right =
        orientation_ == Orientation::right_top || orientation_ == Orientation::right_bottom;
    const bool from_bottom =
        orientation_ == Orientation::right_bottom || orientation_ == Orientation::left_bottom;
    const std::size_t row_bytes = std::size_t{stored_.width} * 3;
    for (std::uint32_t x = 0; x < stored_.width; ++x) {
      std::uint8_t* to = out_.row(from_bottom ? stored_.width - 1 - x : x);
      const std::uint8_t* from = strip_.data() + std::size_t{x} * 3;
      for (std::uint32_t i = 0; i < count; ++i, from += row_bytes) {
        const std::size_t column = from_right ? stored_.height - 1 - (first + i) : first + i;
        std::memcpy(to + column * 3, from, 3);
      }
    }
  }

  Orientation orientation_;
  Size stored_;
  Image image_;
  MutableImageView out_;
  std::vector<std::uint8_t> strip_;
};

void check_pixels(const ImageInfo& info, const DecodeLimits& limits, std::string_view source) {
  if (pixel_count(info.stored_size) > limits.max_pixels) {
    fail(ErrorCode::limit_exceeded, source,
         std::to_string(info.stored_size.width) + " x " + std::to_string(info.stored_size.height) +
             " px exceeds max_pixels " + std::to_string(limits.max_pixels));
  }
}

void check_region(const ImageInfo& info, const Rect& region, std::string_view source) {
  const Size size = info.stored_size;
  const bool inside = region.x <= size.width && region.width <= size.width - region.x &&
                      region.y <= size.height && region.height <= size.height - region.y;
  if (!inside) {
    fail(ErrorCode::invalid_argument, source,
         "region " + std::to_string(region.width) + " x " + std::to_string(region.height) +
             " at (" + std::to_string(region.x) + ", " + std::to_string(region.y) +
             ") reaches outside " + std::to_string(size.width) + " x " +
             std::to_string(size.height) + " px");
  }
}

[[noreturn]] void fail_unsupported(ImageFormat format, std::size_t size, std::string_view source) {
  if (size == 0) fail(ErrorCode::corrupt_image, source, "the file is empty");
  if (format == ImageFormat::unknown) {
    fail(ErrorCode::unsupported_format, source,
         "not an image of a known format; the core decodes jpeg, png and webp");
  }
  fail(ErrorCode::unsupported_format, source,
       std::string(image_format_name(format)) +
           " is not decoded by the core, which reads jpeg, png and webp");
}

}  // namespace
}  // namespace codec

ImageInfo probe(std::span<const std::uint8_t> bytes, std::string_view source) {
  const ImageFormat format = sniff(bytes);
  switch (format) {
    case ImageFormat::jpeg: return codec::probe_jpeg(bytes, source);
    case ImageFormat::png: return codec::probe_png(bytes, source);
    case ImageFormat::webp: return codec::probe_webp(bytes, source);
    default: codec::fail_unsupported(format, bytes.size(), source);
  }
}

void decode_rows(std::span<const std::uint8_t> bytes, const ImageInfo& info,
                 const DecodeRequest& request, const DecodeLimits& limits, RowSink& sink,
                 std::string_view source) {
  codec::check_pixels(info, limits, source);
  codec::check_region(info, request.region, source);
  const codec::DecodeJob job{.bytes = bytes,
                             .info = info,
                             .request = request,
                             .limits = limits,
                             .sink = sink,
                             .source = source};
  switch (info.format) {
    case ImageFormat::jpeg: codec::decode_jpeg(job); break;
    case ImageFormat::png: codec::decode_png(job); break;
    case ImageFormat::webp: codec::decode_webp(job); break;
    default: codec::fail_unsupported(info.format, bytes.size(), source);
  }
}

Image decode(std::span<const std::uint8_t> bytes, const DecodeOptions& options,
             std::string_view source) {
  const ImageInfo info = probe(bytes, source);
  codec::check_pixels(info, options.limits, source);
  const std::uint64_t pixels = pixel_count(info.stored_size) * 3;
  codec::check_bytes(pixels, options.limits, "pixels", source);
  DecodeLimits rest = options.limits;
  rest.max_bytes -= pixels;
  const DecodeRequest request{
      .region = {}, .target = {}, .background = options.background, .allow_planes = false};
  codec::ImageSink sink(options.apply_orientation ? info.orientation : Orientation::top_left);
  decode_rows(bytes, info, request, rest, sink, source);
  return sink.take();
}

}  // namespace eyespot
