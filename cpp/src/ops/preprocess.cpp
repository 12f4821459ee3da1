#include "eyespot/preprocess.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "aligned.hpp"
#include "eyespot/error.hpp"
#include "geometry.hpp"
#include "kernels.hpp"
#include "pack.hpp"
#include "stream_resizer.hpp"

namespace eyespot {

struct PreprocessScratch::Impl {
  detail::WeightCache weights;
  std::array<detail::StreamResizer, 3> resizers;
  detail::AlignedBuffer<std::int16_t> rgb_columns;
  detail::AlignedBuffer<std::uint8_t> stored;   // the small image as stored, when it must be turned
  detail::AlignedBuffer<std::uint8_t> upright;  // the small image, when it must be packed
  detail::AlignedBuffer<std::uint8_t> rows;
};

PreprocessScratch::PreprocessScratch() : impl_(std::make_unique<Impl>()) {}
PreprocessScratch::~PreprocessScratch() = default;
PreprocessScratch::PreprocessScratch(PreprocessScratch&&) noexcept = default;
PreprocessScratch& PreprocessScratch::operator=(PreprocessScratch&&) noexcept = default;

namespace {

using detail::kBlockRows;
using detail::Kernels;
using detail::Plan;

constexpr std::size_t kRgb = 3;
constexpr std::uint32_t kMaxSide = 16384;

void check(const PixelSpec& spec) {
  const auto fail = [](const std::string& message) {
    throw Error(ErrorCode::invalid_argument, "PixelSpec", message);
  };
  for (const std::uint32_t side : {spec.size.width, spec.size.height}) {
    if (side < 1 || side > kMaxSide) {
      fail("side is " + std::to_string(side) + "; allowed are 1 to " + std::to_string(kMaxSide));
    }
  }
  bool finite = std::isfinite(spec.scale);
  bool divisible = true;
  for (std::size_t c = 0; c < kRgb; ++c) {
    finite = finite && std::isfinite(spec.mean[c]) && std::isfinite(spec.std[c]);
    divisible = divisible && spec.std[c] != 0;
  }
  if (!finite) fail("scale, mean and std must be finite");
  if (!divisible) fail("std must not be 0");
}

// Receives decoded rows, resizes and converts them, and writes rows of RGB bytes.
class PixelSink final : public RowSink {
 public:
  PixelSink(const Plan& plan, const PixelSpec& spec, const Kernels& kernels,
            PreprocessScratch::Impl& scratch, MutableImageView out, std::string_view source)
      : plan_(plan),
        spec_(spec),
        kernels_(kernels),
        scratch_(scratch),
        out_(out),
        source_(source) {}

  void begin(const RowStream& stream) override {
    layout_ = stream.layout;
    plane_count_ = stream.plane_count;
    const double shrink = std::ldexp(1.0, -static_cast<int>(stream.scale_log2));
    const std::size_t channels = layout_ == RowLayout::rgb ? kRgb : 1;
    std::size_t bytes = 0;
    for (std::size_t p = 0; p < plane_count_; ++p) {
      const RowStream::Plane& plane = stream.planes[p];
      const std::size_t needed = scratch_.resizers[p].plan(
          {.in_size = plane.size.width,
           .begin = (plan_.box.x * shrink - stream.delivered.x) * plane.scale_x,
           .length = plan_.box.width * shrink * plane.scale_x,
           .out_size = plan_.target.width,
           .resample = spec_.resample,
           .bits = 0},
          {.in_size = plane.size.height,
           .begin = (plan_.box.y * shrink - stream.delivered.y) * plane.scale_y,
           .length = plan_.box.height * shrink * plane.scale_y,
           .out_size = plan_.target.height,
           .resample = spec_.resample,
           .bits = 0},
          channels, kernels_, scratch_.weights);
      bytes = checked_add(bytes, needed, "resize");
    }
    check_bytes(bytes);
    if (layout_ == RowLayout::rgb) {
      scratch_.resizers[0].begin(out_);
    } else {
      for (std::size_t p = 0; p < plane_count_; ++p) scratch_.resizers[p].begin();
      scratch_.rgb_columns.reserve(kBlockRows * detail::padded(kRgb * plan_.target.width));
    }
  }

  void row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) override {
    scratch_.resizers[plane].row(y, samples);
    if (layout_ == RowLayout::rgb) return;
    std::size_t ready = scratch_.resizers[0].blocks_done();
    for (std::size_t p = 1; p < plane_count_; ++p) {
      ready = std::min(ready, scratch_.resizers[p].blocks_done());
    }
    for (; stored_ < ready; ++stored_) store(stored_);
  }

  [[nodiscard]] bool complete() const noexcept {
    for (std::size_t p = 0; p < plane_count_; ++p) {
      if (!scratch_.resizers[p].complete()) return false;
    }
    return plane_count_ > 0;
  }

 private:
  void check_bytes(std::size_t needed) const {
    if (needed <= spec_.limits.max_bytes) return;
    throw Error(ErrorCode::limit_exceeded, std::string(source_),
                std::to_string(needed) + " bytes for rows to be resized exceed max_bytes " +
                    std::to_string(spec_.limits.max_bytes));
  }

  // A block of the planes, in colour.
  void store(std::size_t b) {
    const std::size_t width = plan_.target.width;
    const std::int16_t* columns = scratch_.resizers[0].block(b);
    std::int16_t* rgb = scratch_.rgb_columns.data();
    if (layout_ == RowLayout::ycbcr) {
      kernels_.ycc_to_rgb(columns, scratch_.resizers[1].block(b), scratch_.resizers[2].block(b),
                          width, rgb);
    } else {
      kernels_.grey_to_rgb(columns, width, rgb);
    }
    const std::size_t row = b * kBlockRows;
    const std::size_t count = std::min(kBlockRows, plan_.target.height - row);
    kernels_.store_rows(rgb, width * kRgb, count, out_.row(row), out_.stride);
  }

  const Plan& plan_;
  const PixelSpec& spec_;
  const Kernels& kernels_;
  PreprocessScratch::Impl& scratch_;
  MutableImageView out_;
  std::string_view source_;
  RowLayout layout_ = RowLayout::rgb;
  std::size_t plane_count_ = 0;
  std::size_t stored_ = 0;
};

// Whole pixels of the stored image that the resize may read, chroma planes of half size included.
Rect region_of(const Plan& plan, Resample resample, Size stored) {
  const auto interval = [resample](double begin, double length, std::uint32_t target,
                                   std::uint32_t limit) {
    const double margin = 2 * detail::filter_support(length, target, resample) + 1;
    const double low = std::max(0.0, std::floor(begin - margin));
    const double high = std::min<double>(limit, std::ceil(begin + length + margin));
    return std::array{static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(high - low)};
  };
  const auto [x, width] = interval(plan.box.x, plan.box.width, plan.target.width, stored.width);
  const auto [y, height] = interval(plan.box.y, plan.box.height, plan.target.height, stored.height);
  return {x, y, width, height};
}

// The size that the region, a little larger than the box, has when the box has its target size.
std::uint32_t region_target(std::uint32_t region, double box, std::uint32_t target) {
  return static_cast<std::uint32_t>(std::ceil(target * (region / box)));
}

// Where the resizer writes, and the steps from there to the model's numbers.
class Output {
 public:
  Output(const PixelSpec& spec, const Plan& plan, Orientation orientation, const Kernels& kernels,
         PreprocessScratch::Impl& scratch, void* out)
      : spec_(spec), orientation_(orientation), kernels_(kernels), scratch_(scratch), out_(out) {
    const std::size_t stride = std::size_t{spec.size.width} * kRgb;
    scratch_.rows.reserve(stride);
    auto* pixels = detail::is_plain_rgb(spec) ? static_cast<std::uint8_t*>(out)
                                              : scratch_.upright.reserve(stride * spec.size.height);
    upright_ = {pixels, spec.size, kRgb, stride};
    placed_ = {pixels + plan.placed.y * stride + plan.placed.x * kRgb,
               {plan.placed.width, plan.placed.height},
               kRgb,
               stride};
    target_ = placed_;
    if (orientation != Orientation::top_left) {
      const std::size_t turned_stride = std::size_t{plan.target.width} * kRgb;
      target_ = {scratch_.stored.reserve(turned_stride * plan.target.height), plan.target, kRgb,
                 turned_stride};
    }
    if (placed_.size != spec.size) detail::fill(upright_, spec.background);
  }

  [[nodiscard]] MutableImageView target() const noexcept { return target_; }

  void finish() {
    if (orientation_ != Orientation::top_left) detail::orient(target_, orientation_, placed_);
    detail::pack(upright_, spec_, kernels_, scratch_.rows.data(), out_);
  }

 private:
  const PixelSpec& spec_;
  Orientation orientation_;
  const Kernels& kernels_;
  PreprocessScratch::Impl& scratch_;
  void* out_;
  MutableImageView upright_;  // the whole model input as RGB bytes
  MutableImageView placed_;   // the part of it that is not letterbox
  MutableImageView target_;   // the same pixels as stored
};

}  // namespace

std::size_t pixel_bytes(const PixelSpec& spec) {
  check(spec);
  const std::size_t item = spec.dtype == PixelType::float32 ? sizeof(float) : 1;
  return std::size_t{spec.size.width} * spec.size.height * kRgb * item;
}

void load_pixels(std::span<const std::uint8_t> bytes, const PixelSpec& spec, void* out,
                 std::string_view source, PreprocessScratch& scratch) {
  check(spec);
  const Kernels& kernels = detail::kernels();
  const ImageInfo info = probe(bytes, source);
  const Plan plan = detail::make_plan(info.stored_size, info.orientation, spec.size, spec.crop);
  DecodeRequest request{.region = region_of(plan, spec.resample, info.stored_size),
                        .target = {},
                        .background = spec.background,
                        .allow_planes = spec.planes};
  // A decode at 1/2 saves little, as Huffman decoding is the most of it, and leaves a resize by
  // less than 2 with a box filter before it, which is 1 to 3 grey levels off.
  constexpr double kWorthScaling = 4;
  if (plan.box.width >= kWorthScaling * plan.target.width &&
      plan.box.height >= kWorthScaling * plan.target.height) {
    request.target = {region_target(request.region.width, plan.box.width, plan.target.width),
                      region_target(request.region.height, plan.box.height, plan.target.height)};
  }

  Output output(spec, plan, info.orientation, kernels, scratch.impl(), out);
  PixelSink sink(plan, spec, kernels, scratch.impl(), output.target(), source);
  decode_rows(bytes, info, request, spec.limits, sink, source);
  if (!sink.complete()) {
    throw Error(ErrorCode::corrupt_image, std::string(source), "the image data ends early");
  }
  output.finish();
}

void preprocess(ImageView image, const PixelSpec& spec, void* out, PreprocessScratch& scratch) {
  check(spec);
  if (image.channels != kRgb || pixel_count(image.size) == 0) {
    throw Error(ErrorCode::invalid_argument, "image",
                std::to_string(image.size.width) + " x " + std::to_string(image.size.height) +
                    " px of " + std::to_string(image.channels) +
                    " channels; needed is at least 1 x 1 px of 3 channels");
  }
  const Kernels& kernels = detail::kernels();
  const Plan plan = detail::make_plan(image.size, Orientation::top_left, spec.size, spec.crop);
  Output output(spec, plan, Orientation::top_left, kernels, scratch.impl(), out);
  PixelSink sink(plan, spec, kernels, scratch.impl(), output.target(), "image");
  RowStream stream;
  stream.scaled_size = image.size;
  stream.delivered = {0, 0, image.size.width, image.size.height};
  stream.planes[0].size = image.size;
  sink.begin(stream);
  for (std::uint32_t y = 0; y < image.size.height; ++y) sink.row(0, y, image.row(y));
  output.finish();
}

}  // namespace eyespot
