#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../ops/geometry.hpp"
#include "../ops/pack.hpp"
#include "eyespot/augment.hpp"
#include "eyespot/error.hpp"
#include "eyespot/random.hpp"
#include "stages.hpp"

namespace eyespot {

AugmentScratch::AugmentScratch() : impl_(std::make_unique<Impl>()) {}
AugmentScratch::~AugmentScratch() = default;
AugmentScratch::AugmentScratch(AugmentScratch&&) noexcept = default;
AugmentScratch& AugmentScratch::operator=(AugmentScratch&&) noexcept = default;

namespace detail {
namespace {

constexpr std::size_t kRgb = 3;

bool is_geometry(AugmentOp op) {
  return op == AugmentOp::crop || op == AugmentOp::rotation || op == AugmentOp::flip;
}

// Whether the variant does this at all.
bool is_active(const Variant& variant, AugmentOp op) {
  switch (op) {
    case AugmentOp::crop: return variant.crop;
    case AugmentOp::rotation: return variant.rotation_deg != 0;
    case AugmentOp::blur: return variant.blur_sigma_px > 0;
    case AugmentOp::exposure: return variant.exposure_stops != 0;
    case AugmentOp::noise: return variant.noise_sigma > 0;
    case AugmentOp::flip: return variant.flip_horizontal || variant.flip_vertical;
  }
  return false;
}

// Cosine and sine, exact at quarter turns.
std::pair<double, double> direction(double degrees) {
  const double quarters = std::round(degrees / 90);
  const double rest = (degrees - 90 * quarters) * std::numbers::pi / 180;
  const double cosine = std::cos(rest);
  const double sine = std::sin(rest);
  switch (((static_cast<int>(quarters) % 4) + 4) % 4) {
    case 1: return {-sine, cosine};
    case 2: return {-cosine, -sine};
    case 3: return {sine, -cosine};
    default: return {cosine, sine};
  }
}

Affine rotation_about_center(double degrees, Size size) {
  const auto [cosine, sine] = direction(degrees);
  const double x = size.width / 2.0;
  const double y = size.height / 2.0;
  // Counter-clockwise as seen, with y downwards.
  return {.xx = cosine,
          .xy = -sine,
          .yx = sine,
          .yy = cosine,
          .x0 = x - cosine * x + sine * y,
          .y0 = y - sine * x - cosine * y};
}

Affine flip_map(const Variant& variant, Size size) {
  Affine map;
  if (variant.flip_horizontal) {
    map.xx = -1;
    map.x0 = size.width;
  }
  if (variant.flip_vertical) {
    map.yy = -1;
    map.y0 = size.height;
  }
  return map;
}

// The crop within `room`, the part of the frame, or around it, that it may lie in. The frame, of
// the target's size, is what is seen without a crop.
Affine crop_map(const Variant& variant, const Box& room, Size frame) {
  double width = frame.width * std::sqrt(variant.crop_area * variant.crop_aspect);
  double height = frame.height * std::sqrt(variant.crop_area / variant.crop_aspect);
  const double fits = std::min({1.0, room.width / width, room.height / height});
  width *= fits;
  height *= fits;
  return {.xx = width / frame.width,
          .xy = 0,
          .yx = 0,
          .yy = height / frame.height,
          .x0 = room.x + variant.crop_x * (room.width - width),
          .y0 = room.y + variant.crop_y * (room.height - height)};
}

Box whole(Size size) {
  return {.x = 0,
          .y = 0,
          .width = static_cast<double>(size.width),
          .height = static_cast<double>(size.height)};
}

// The box of the photo that is seen without a crop; with CropPolicy::fit, beyond the photo.
Box seen_box(Size photo, Size target, CropPolicy policy) {
  if (policy != CropPolicy::fit) {
    return make_plan(photo, Orientation::top_left, target, policy).box;
  }
  const double step = std::max(static_cast<double>(photo.width) / target.width,
                               static_cast<double>(photo.height) / target.height);
  const double width = step * target.width;
  const double height = step * target.height;
  return {.x = (photo.width - width) / 2,
          .y = (photo.height - height) / 2,
          .width = width,
          .height = height};
}

// The photo's box in the frame that shows `seen`.
Box room_of(Size photo, const Box& seen, Size frame) {
  const double x = frame.width / seen.width;
  const double y = frame.height / seen.height;
  return {.x = -seen.x * x, .y = -seen.y * y, .width = photo.width * x, .height = photo.height * y};
}

// Rounding may put an edge an ulp outside.
Box inside(Box box, Size size) {
  box.x = std::max(box.x, 0.0);
  box.y = std::max(box.y, 0.0);
  box.width = std::min(box.width, size.width - box.x);
  box.height = std::min(box.height, size.height - box.y);
  return box;
}

// Rows of a target that show [0, size) of the photo when the target shows [begin, begin + length).
std::pair<std::uint32_t, std::uint32_t> shown(double begin, double length, std::uint32_t size,
                                              std::uint32_t target) {
  const double step = length / target;
  const auto place = [&](double position) {
    return static_cast<std::uint32_t>(
        std::clamp(std::round((position - begin) / step), 0.0, static_cast<double>(target)));
  };
  const std::uint32_t first = place(0);
  return {first, place(size) - first};
}

// A crop of a letterbox, unturned: bars of background, and a resized part of the photo.
void render_letterbox(const Photo& photo, const Affine& map, const std::optional<Rect>& placed,
                      const std::array<std::uint8_t, 3>& background, MutableImageView out,
                      ResizeScratch& scratch) {
  fill(out, background);
  Box box = bounds(map, out.size);
  Rect rect;
  if (placed) {
    rect = *placed;
    box = whole(photo.size);
  } else {
    std::tie(rect.x, rect.width) = shown(box.x, box.width, photo.size.width, out.size.width);
    std::tie(rect.y, rect.height) = shown(box.y, box.height, photo.size.height, out.size.height);
    const double right = std::min<double>(box.x + box.width, photo.size.width);
    const double bottom = std::min<double>(box.y + box.height, photo.size.height);
    box.x = std::max(box.x, 0.0);
    box.y = std::max(box.y, 0.0);
    box.width = right - box.x;
    box.height = bottom - box.y;
  }
  if (rect.width > 0 && rect.height > 0 && box.width > 0 && box.height > 0) {
    const MutableImageView part{
        out.row(rect.y) + rect.x * kRgb, {rect.width, rect.height}, kRgb, out.stride};
    resize_box(photo, inside(box, photo.size), part, scratch);
  }
  flip(out, map.xx < 0, map.yy < 0, scratch.row);
}

// Exposure and noise on bytes in a row, a whole number of noise groups at a time.
class Pointwise {
 public:
  void add(const Variant& variant, AugmentOp op) {
    if (op == AugmentOp::exposure) table_ = exposure_table(variant.exposure_stops);
    if (op == AugmentOp::noise) {
      key_ = words(variant.noise_seed);
      sigma_ = static_cast<float>(variant.noise_sigma);
    }
    ops_.push_back(op);
  }
  // Bytes up to `ready` are there; `last` when no more will come.
  void advance(std::uint8_t* bytes, std::size_t ready, bool last) {
    const std::size_t until = last ? ready : ready / kNoiseGroup * kNoiseGroup;
    for (const AugmentOp op : ops_) {
      if (op == AugmentOp::exposure) {
        kernels_.look_up(bytes + done_, until - done_, table_.data());
      } else {
        kernels_.add_noise(bytes + done_, until - done_, done_ / kNoiseGroup, key_, sigma_);
      }
    }
    done_ = until;
  }
  [[nodiscard]] bool empty() const noexcept { return ops_.empty(); }

 private:
  const AugmentKernels& kernels_ = augment_kernels();
  std::vector<AugmentOp> ops_;
  std::array<std::uint8_t, 256> table_{};
  PhiloxKey key_{};
  float sigma_ = 0;
  std::size_t done_ = 0;
};

// Blur or nothing, then the pointwise steps, band by band while the rows are in the cache.
void finish(ImageView in, double sigma_px, Pointwise& pointwise, MutableImageView out, Blur& blur) {
  const std::size_t height = out.size.height;
  if (sigma_px <= 0) {
    pointwise.advance(out.data, height * out.stride, true);
    return;
  }
  blur.begin(in, sigma_px);
  for (std::size_t y = 0; y < height; ++y) {
    blur.row(y, out.row(y));
    if (!pointwise.empty()) {
      pointwise.advance(out.data, (y + 1) * out.stride, y + 1 == height);
    }
  }
}

}  // namespace

Geometry plan_geometry(const Variant& variant, Size photo, Size target,
                       const ApplyOptions& options) {
  const Box seen = seen_box(photo, target, options.crop);
  Geometry plan;
  plan.surround = {.edges = variant.edges, .fill = variant.fill};
  if (options.crop == CropPolicy::fit) {
    plan.surround = {.edges = Edges::fill, .fill = options.background};
  }
  plan.first = {.xx = seen.width / target.width,
                .xy = 0,
                .yx = 0,
                .yy = seen.height / target.height,
                .x0 = seen.x,
                .y0 = seen.y};
  bool plain = true;      // nothing but flips so far
  bool finished = false;  // some step works on finished pixels already, and then geometry does
  bool again = false;
  for (const AugmentOp op : variant.order) {
    if (!is_active(variant, op)) continue;
    if (!is_geometry(op)) {
      finished = true;
      continue;
    }
    if (op == AugmentOp::flip) {
      if (!again) plan.first = plan.first * flip_map(variant, target);
      continue;
    }
    again = again || finished;
    if (again) continue;
    if (op == AugmentOp::crop) {
      const Box room =
          plain && options.crop != CropPolicy::fit ? room_of(photo, seen, target) : whole(target);
      plan.first = plan.first * crop_map(variant, room, target);
    } else {
      plan.first = plan.first * rotation_about_center(variant.rotation_deg, target);
    }
    plain = false;
  }
  if (options.crop == CropPolicy::fit && plain) {
    plan.letterbox = make_plan(photo, Orientation::top_left, target, options.crop).placed;
  }
  return plan;
}

std::vector<Step> plan_steps(const Variant& variant, Size target) {
  std::vector<Step> steps;
  bool again = false;  // geometry after the first finished pixels
  for (const AugmentOp op : variant.order) {
    if (!is_active(variant, op)) continue;
    if (!is_geometry(op)) {
      steps.push_back({.op = op, .map = {}});
      continue;
    }
    if (steps.empty() || (op == AugmentOp::flip && !again)) continue;  // part of the first map
    again = true;
    Affine map;
    if (op == AugmentOp::flip) {
      map = flip_map(variant, target);
    } else if (op == AugmentOp::crop) {
      map = crop_map(variant, whole(target), target);
    } else {
      map = rotation_about_center(variant.rotation_deg, target);
    }
    if (is_geometry(steps.back().op)) {
      steps.back().map = steps.back().map * map;
    } else {
      steps.push_back({.op = AugmentOp::crop, .map = map});
    }
  }
  return steps;
}

void check(const Variant& variant) {
  const auto within = [](double value, double low, double high) {
    return value >= low && value <= high;
  };
  const bool good = within(variant.crop_area, 1e-12, 1) && within(variant.crop_aspect, 1e-3, 1e3) &&
                    within(variant.crop_x, 0, 1) && within(variant.crop_y, 0, 1) &&
                    within(variant.rotation_deg, -360, 360) &&
                    within(variant.blur_sigma_px, 0, 1e9) &&
                    within(variant.exposure_stops, -16, 16) && within(variant.noise_sigma, 0, 1000);
  bool ordered = true;
  for (std::size_t i = 0; i < kAugmentOps; ++i) {
    ordered = ordered && std::ranges::count(variant.order, static_cast<AugmentOp>(i)) == 1;
  }
  if (good && ordered) return;
  throw Error(ErrorCode::invalid_argument, "variant",
              good ? "order must hold each option once"
                   : "a value is out of range; allowed are crop_area above 0 to 1, crop_aspect "
                     "0.001 to 1000, crop_x and crop_y 0 to 1, rotation_deg -360 to 360, "
                     "blur_sigma_px 0 to 1e9, exposure_stops -16 to 16, noise_sigma 0 to 1000");
}

void render(const Photo& photo, const Variant& variant, const ApplyOptions& options,
            MutableImageView out, AugmentScratch::Impl& scratch) {
  const Geometry geometry = plan_geometry(variant, photo.size, out.size, options);
  const std::vector<Step> steps = plan_steps(variant, out.size);
  const std::size_t stride = std::size_t{out.size.width} * kRgb;
  // Blur and geometry cannot work in place: `current` and `other` change roles at each of those
  // steps, and begin such that the last result lies in `out`.
  MutableImageView current = out;
  const auto exchanges = std::ranges::count_if(steps, [](const Step& step) {
    return step.op == AugmentOp::blur || step.op == AugmentOp::crop;
  });
  MutableImageView other = out;
  if (exchanges > 0) other.data = scratch.spare.reserve(stride * out.size.height);
  if (exchanges % 2 == 1) std::swap(current, other);

  if (options.crop == CropPolicy::fit && geometry.first.is_box()) {
    render_letterbox(photo, geometry.first, geometry.letterbox, options.background, current,
                     scratch.resize);
  } else {
    resample(photo, geometry.first, geometry.surround, current, scratch.resize);
  }
  for (std::size_t i = 0; i < steps.size();) {
    if (steps[i].op == AugmentOp::crop) {
      resample(whole_photo(current, options.resample), steps[i].map, geometry.surround, other,
               scratch.resize);
      std::swap(current, other);
      ++i;
      continue;
    }
    const bool blurs = steps[i].op == AugmentOp::blur;
    if (blurs) ++i;
    Pointwise pointwise;
    for (; i < steps.size() &&
           (steps[i].op == AugmentOp::exposure || steps[i].op == AugmentOp::noise);
         ++i) {
      pointwise.add(variant, steps[i].op);
    }
    finish(current, blurs ? variant.blur_sigma_px : 0, pointwise, blurs ? other : current,
           scratch.blur);
    if (blurs) std::swap(current, other);
  }
}

}  // namespace detail

void apply(ImageView in, const Variant& variant, const ApplyOptions& options, MutableImageView out,
           AugmentScratch& scratch) {
  const auto fail = [](const std::string& message) {
    throw Error(ErrorCode::invalid_argument, "augment", message);
  };
  constexpr std::uint32_t kMaxSide = 16384;
  if (in.channels != detail::kRgb || out.channels != detail::kRgb) {
    fail(std::to_string(in.channels) + " channels; needed are 3, red, green and blue");
  }
  if (pixel_count(in.size) == 0 || pixel_count(out.size) == 0 || out.size.width > kMaxSide ||
      out.size.height > kMaxSide) {
    fail(std::to_string(in.size.width) + " x " + std::to_string(in.size.height) + " px to " +
         std::to_string(out.size.width) + " x " + std::to_string(out.size.height) +
         " px; sides must be at least 1, those of the result at most " + std::to_string(kMaxSide));
  }
  if (out.stride != std::size_t{out.size.width} * detail::kRgb) {
    fail("the rows of the result must not have gaps");
  }
  detail::check(variant);
  detail::render(detail::whole_photo(in, options.resample), variant, options, out, scratch.impl());
}

}  // namespace eyespot
