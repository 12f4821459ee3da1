#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../ops/geometry.hpp"
#include "../ops/kernels.hpp"
#include "../ops/pack.hpp"
#include "../ops/weights.hpp"
#include "eyespot/augment.hpp"
#include "eyespot/codec.hpp"
#include "eyespot/error.hpp"
#include "eyespot/random.hpp"
#include "stages.hpp"

namespace eyespot {
namespace {

using detail::Photo;

constexpr std::size_t kRgb = 3;

ApplyOptions options_of(const PixelSpec& spec) {
  return {.crop = spec.crop, .resample = spec.resample, .background = spec.background};
}

// Keeps what is decoded.
class ImageSink final : public RowSink {
 public:
  ImageSink(detail::AlignedBuffer<std::uint8_t>& buffer, const DecodeLimits& limits,
            std::string_view source)
      : buffer_(buffer), limits_(limits), source_(source) {}

  void begin(const RowStream& stream) override {
    stream_ = stream;
    stride_ = checked_mul(stream.delivered.width, kRgb, "image row");
    const std::size_t bytes = checked_mul(stride_, stream.delivered.height, "image");
    if (bytes > limits_.max_bytes) {
      throw Error(ErrorCode::limit_exceeded, std::string(source_),
                  std::to_string(bytes) + " bytes of pixels for variants exceed max_bytes " +
                      std::to_string(limits_.max_bytes));
    }
    buffer_.reserve(bytes);
  }
  void row(std::size_t /*plane*/, std::uint32_t y, const std::uint8_t* samples) override {
    std::memcpy(buffer_.data() + y * stride_, samples, stride_);
    ++rows_;
  }

  [[nodiscard]] bool complete() const noexcept { return rows_ == stream_.delivered.height; }
  [[nodiscard]] const RowStream& stream() const noexcept { return stream_; }
  [[nodiscard]] ImageView image() const noexcept {
    return {buffer_.data(), {stream_.delivered.width, stream_.delivered.height}, kRgb, stride_};
  }

 private:
  detail::AlignedBuffer<std::uint8_t>& buffer_;
  const DecodeLimits& limits_;
  std::string_view source_;
  RowStream stream_;
  std::size_t stride_ = 0;
  std::uint32_t rows_ = 0;
};

// Width and height of the smallest crop that the plan may draw, as parts of what is seen without.
std::pair<double, double> smallest_crop(const AugmentPlan& plan) {
  if (!plan.crop) return {1, 1};
  const CropChoice& crop = *plan.crop;
  return {std::min(1.0, std::sqrt(crop.area.low * crop.aspect.low)),
          std::min(1.0, std::sqrt(crop.area.low / crop.aspect.high))};
}

// 2^k is what a JPEG is decoded smaller by. As in load_pixels(), 1/2 is not worth its softness. Not
// a matter of the variants at hand, whose bits must not depend on each other.
unsigned scale_for(const AugmentPlan& plan, Size upright, const PixelSpec& spec) {
  const Box seen = detail::make_plan(upright, Orientation::top_left, spec.size, spec.crop).box;
  const Rect placed =
      detail::make_plan(upright, Orientation::top_left, spec.size, spec.crop).placed;
  const auto [width, height] = smallest_crop(plan);
  const double ratio =
      std::min(seen.width * width / placed.width, seen.height * height / placed.height);
  if (ratio >= 8) return 3;
  return ratio >= 4 ? 2 : 0;
}

// Whole pixels of the upright photo that these variants read.
Rect region_of(std::span<const Variant> variants, Size upright, const PixelSpec& spec,
               unsigned scale_log2) {
  double left = upright.width;
  double top = upright.height;
  double right = 0;
  double bottom = 0;
  for (const Variant& variant : variants) {
    const detail::Geometry geometry =
        detail::plan_geometry(variant, upright, spec.size, options_of(spec));
    const Box box = detail::bounds(geometry.first, spec.size);
    // As load_pixels() does, and as much again for a warp's neighbours at the decoded scale.
    const auto margin = [&](double length, std::uint32_t target) {
      return 2 * detail::filter_support(length, target, spec.resample) + 1 +
             4 * std::ldexp(1.0, static_cast<int>(scale_log2)) + 2 * length / target;
    };
    const double margin_x = margin(box.width, spec.size.width);
    const double margin_y = margin(box.height, spec.size.height);
    left = std::min(left, box.x - margin_x);
    top = std::min(top, box.y - margin_y);
    right = std::max(right, box.x + box.width + margin_x);
    bottom = std::max(bottom, box.y + box.height + margin_y);
  }
  const auto interval = [](double low, double high, std::uint32_t limit) {
    const double begin = std::clamp(std::floor(low), 0.0, limit - 1.0);
    const double end = std::clamp(std::ceil(high), begin + 1, static_cast<double>(limit));
    return std::pair{static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end - begin)};
  };
  const auto [x, width] = interval(left, right, upright.width);
  const auto [y, height] = interval(top, bottom, upright.height);
  return {.x = x, .y = y, .width = width, .height = height};
}

// Both ways: an upright rectangle in stored coordinates, or the other way round with the stored
// size. `size` is that of the image which the result lies in.
Rect to_stored(Rect rect, Size upright, Orientation orientation) {
  const detail::Turn turn = detail::turn_of(orientation);
  if (turn.flip_x) rect.x = upright.width - rect.x - rect.width;
  if (turn.flip_y) rect.y = upright.height - rect.y - rect.height;
  if (turn.swap_axes) {
    std::swap(rect.x, rect.y);
    std::swap(rect.width, rect.height);
  }
  return rect;
}

Rect to_upright(Rect rect, Size upright, Orientation orientation) {
  const detail::Turn turn = detail::turn_of(orientation);
  if (turn.swap_axes) {
    std::swap(rect.x, rect.y);
    std::swap(rect.width, rect.height);
  }
  if (turn.flip_x) rect.x = upright.width - rect.x - rect.width;
  if (turn.flip_y) rect.y = upright.height - rect.y - rect.height;
  return rect;
}

Size turned(Size size, Orientation orientation) {
  return swaps_axes(orientation) ? Size{size.height, size.width} : size;
}

// The decoded pixels, turned upright, as a photo.
Photo upright_photo(const ImageSink& sink, const ImageInfo& info, Resample resample,
                    detail::AlignedBuffer<std::uint8_t>& buffer) {
  const RowStream& stream = sink.stream();
  Photo photo = detail::whole_photo(sink.image(), resample);
  photo.size = info.size();
  photo.shrink = std::ldexp(1.0, -static_cast<int>(stream.scale_log2));
  photo.scaled_size = turned(stream.scaled_size, info.orientation);
  if (info.orientation != Orientation::top_left) {
    const Size size = turned(photo.pixels.size, info.orientation);
    const std::size_t stride = std::size_t{size.width} * kRgb;
    const MutableImageView upright{buffer.reserve(stride * size.height), size, kRgb, stride};
    detail::orient(photo.pixels, info.orientation, upright);
    photo.pixels = upright;
  }
  const Rect part = to_upright(stream.delivered, photo.scaled_size, info.orientation);
  photo.part_x = part.x;
  photo.part_y = part.y;
  // The last scaled pixel may cover less than the others; a mirrored axis begins with it.
  const detail::Turn turn = detail::turn_of(info.orientation);
  const auto missing = [&photo](std::uint32_t scaled, std::uint32_t size) {
    return scaled / photo.shrink - size;
  };
  if (turn.flip_x) photo.offset_x = missing(photo.scaled_size.width, photo.size.width);
  if (turn.flip_y) photo.offset_y = missing(photo.scaled_size.height, photo.size.height);
  return photo;
}

std::vector<Variant> draw(const AugmentPlan& plan, std::uint64_t seed, std::uint64_t content,
                          std::span<const std::int64_t> indices) {
  std::vector<Variant> variants;
  variants.reserve(indices.size());
  for (const std::int64_t index : indices) variants.push_back(sample(plan, seed, content, index));
  return variants;
}

// Each variant in turn, rendered and packed.
void render_all(const Photo& photo, const PixelSpec& spec, std::span<const Variant> variants,
                void* out, AugmentScratch::Impl& scratch) {
  const std::size_t item = pixel_bytes(spec);
  const std::size_t stride = std::size_t{spec.size.width} * kRgb;
  const bool in_place = detail::is_plain_rgb(spec);
  scratch.rows.reserve(stride);
  auto* place = static_cast<std::uint8_t*>(out);
  for (const Variant& variant : variants) {
    std::uint8_t* const pixels =
        in_place ? place : scratch.finished.reserve(stride * spec.size.height);
    const MutableImageView image{pixels, spec.size, kRgb, stride};
    detail::render(photo, variant, options_of(spec), image, scratch);
    detail::pack(image, spec, detail::kernels(), scratch.rows.data(), place);
    place += item;
  }
}

}  // namespace

void load_variants(std::span<const std::uint8_t> bytes, const PixelSpec& spec,
                   const AugmentPlan& plan, std::uint64_t seed,
                   std::span<const std::int64_t> indices, void* out, std::string_view source,
                   AugmentScratch& scratch) {
  (void)pixel_bytes(spec);
  check(plan);
  if (indices.empty()) return;
  const ImageInfo info = probe(bytes, source);
  const Size upright = info.size();
  const std::vector<Variant> variants = draw(plan, seed, content_key(bytes), indices);
  const unsigned scale = scale_for(plan, upright, spec);
  const Rect region = region_of(variants, upright, spec, scale);
  DecodeRequest request{.region = to_stored(region, upright, info.orientation),
                        .target = {},
                        .background = spec.background,
                        .allow_planes = false};
  if (scale > 0) request.target = {request.region.width >> scale, request.region.height >> scale};
  AugmentScratch::Impl& memory = scratch.impl();
  ImageSink sink(memory.decoded, spec.limits, source);
  decode_rows(bytes, info, request, spec.limits, sink, source);
  if (!sink.complete()) {
    throw Error(ErrorCode::corrupt_image, std::string(source), "the image data ends early");
  }
  const Photo photo = upright_photo(sink, info, spec.resample, memory.upright);
  render_all(photo, spec, variants, out, memory);
}

void preprocess_variants(ImageView image, const PixelSpec& spec, const AugmentPlan& plan,
                         std::uint64_t seed, std::uint64_t content,
                         std::span<const std::int64_t> indices, void* out,
                         AugmentScratch& scratch) {
  (void)pixel_bytes(spec);
  check(plan);
  if (image.channels != kRgb || pixel_count(image.size) == 0) {
    throw Error(ErrorCode::invalid_argument, "image",
                std::to_string(image.size.width) + " x " + std::to_string(image.size.height) +
                    " px of " + std::to_string(image.channels) +
                    " channels; needed is at least 1 x 1 px of 3 channels");
  }
  const std::vector<Variant> variants = draw(plan, seed, content, indices);
  render_all(detail::whole_photo(image, spec.resample), spec, variants, out, scratch.impl());
}

}  // namespace eyespot
