#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "eyespot/augment.hpp"
#include "eyespot/error.hpp"
#include "eyespot/random.hpp"

namespace eyespot {
namespace {

[[noreturn]] void fail(std::string_view option, const std::string& message) {
  throw Error(ErrorCode::invalid_argument, std::string(option), message);
}

std::string text(double value) {
  std::string digits = std::to_string(value);
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.ends_with('.')) digits.pop_back();
  return digits;
}

void check_range(std::string_view option, std::string_view name, const Range& range, double low,
                 double high, bool low_is_allowed) {
  const std::string found =
      std::string(name) + " is " + text(range.low) + " to " + text(range.high) + "; ";
  if (range.low > range.high) fail(option, found + "the lower end must come first");
  // Written so that NaN fails.
  const bool inside = (low_is_allowed ? range.low >= low : range.low > low) && range.high <= high;
  if (!inside) {
    fail(option, found + "allowed are " + (low_is_allowed ? "" : "more than ") + text(low) +
                     " to " + text(high));
  }
}

template <typename Choice>
void check_chance(std::string_view option, const Choice& choice) {
  if (!(choice.probability >= 0 && choice.probability <= 1)) {
    fail(option, "probability is " + text(choice.probability) + "; allowed are 0 to 1");
  }
  if (choice.copies < 1) fail(option, "copies is 0; needed is at least 1");
}

void check_amount(std::string_view option, std::string_view name,
                  const std::optional<AmountChoice>& choice, double low, double high) {
  if (!choice) return;
  check_range(option, name, choice->range, low, high, true);
  check_chance(option, *choice);
}

// Copies of an option as the plan asks for them; 1 for one that is absent.
std::uint32_t wanted_copies(const AugmentPlan& plan, AugmentOp op) {
  const auto of = [](const auto& choice) { return choice ? choice->copies : 1; };
  switch (op) {
    case AugmentOp::crop: return of(plan.crop);
    case AugmentOp::rotation: return of(plan.rotation);
    case AugmentOp::blur: return of(plan.blur);
    case AugmentOp::exposure: return of(plan.exposure);
    case AugmentOp::noise: return of(plan.noise);
    case AugmentOp::flip: return of(plan.flip);
  }
  return 1;
}

bool does_anything(const AugmentPlan& plan) {
  return plan.crop || plan.rotation || plan.blur || plan.exposure || plan.noise || plan.flip;
}

// Copies of each option, by option, after the cap.
struct Radix {
  std::array<std::uint32_t, kAugmentOps> copies{};
  std::uint32_t product = 1;
};

std::size_t at(AugmentOp op) {
  return static_cast<std::size_t>(op);
}

Radix radix_of(const AugmentPlan& plan) {
  Radix radix;
  for (const AugmentOp op : plan.order) {
    const std::uint32_t copies =
        plan.copies ? 1 : std::min(wanted_copies(plan, op), plan.max_copies / radix.product);
    radix.copies[at(op)] = std::max<std::uint32_t>(copies, 1);
    radix.product *= radix.copies[at(op)];
  }
  return radix;
}

// The numbers that one option of one variant draws: always the same ones for the same purpose, so
// that changing one option leaves the others as they were.
class Draw {
 public:
  Draw(const RandomStream& stream, std::uint32_t digit, std::uint32_t copies)
      : stream_(stream), digit_(digit), copies_(copies) {}

  [[nodiscard]] bool happens(double probability) const { return stream_.uniform(0) < probability; }
  // From the digit's part of the range.
  [[nodiscard]] double stratified(const Range& range) const {
    return between(range, (digit_ + stream_.uniform(1)) / copies_);
  }
  [[nodiscard]] double logarithmic(const Range& range, std::uint64_t i) const {
    const double value = range.low * std::pow(range.high / range.low, stream_.uniform(i));
    return std::clamp(value, range.low, range.high);
  }
  [[nodiscard]] double uniform(std::uint64_t i) const { return stream_.uniform(i); }
  [[nodiscard]] std::uint64_t bits(std::uint64_t i) const { return stream_.bits(i); }
  // One of `count`: the digit if there is one for each, else any.
  [[nodiscard]] std::size_t one_of(std::size_t count) const {
    if (copies_ == count) return digit_;
    return std::min(static_cast<std::size_t>(stream_.uniform(1) * static_cast<double>(count)),
                    count - 1);
  }

 private:
  static double between(const Range& range, double part) {
    return std::clamp(range.low + (range.high - range.low) * part, range.low, range.high);
  }

  const RandomStream& stream_;
  std::uint32_t digit_;
  std::uint32_t copies_;
};

void draw_flip(const FlipChoice& choice, const Draw& draw, Variant& variant) {
  struct Kind {
    bool horizontal = false;
    bool vertical = false;
  };
  std::array<Kind, 3> kinds;
  std::size_t count = 0;
  if (choice.horizontal) kinds[count++] = {.horizontal = true, .vertical = false};
  if (choice.vertical) kinds[count++] = {.horizontal = false, .vertical = true};
  if (choice.both) kinds[count++] = {.horizontal = true, .vertical = true};
  const Kind kind = kinds[draw.one_of(count)];
  variant.flip_horizontal = kind.horizontal;
  variant.flip_vertical = kind.vertical;
}

void draw_option(const AugmentPlan& plan, AugmentOp op, const Draw& draw, Variant& variant) {
  const auto amount = [&draw](const std::optional<AmountChoice>& choice, double& value) {
    if (choice && draw.happens(choice->probability)) value = draw.stratified(choice->range);
  };
  switch (op) {
    case AugmentOp::crop:
      if (!plan.crop || !draw.happens(plan.crop->probability)) return;
      variant.crop = true;
      variant.crop_area = draw.stratified(plan.crop->area);
      variant.crop_aspect = draw.logarithmic(plan.crop->aspect, 2);
      variant.crop_x = draw.uniform(3);
      variant.crop_y = draw.uniform(4);
      return;
    case AugmentOp::rotation: amount(plan.rotation, variant.rotation_deg); return;
    case AugmentOp::blur: amount(plan.blur, variant.blur_sigma_px); return;
    case AugmentOp::exposure: amount(plan.exposure, variant.exposure_stops); return;
    case AugmentOp::noise:
      amount(plan.noise, variant.noise_sigma);
      if (variant.noise_sigma > 0) variant.noise_seed = draw.bits(5);
      return;
    case AugmentOp::flip:
      if (plan.flip && draw.happens(plan.flip->probability)) draw_flip(*plan.flip, draw, variant);
      return;
  }
}

}  // namespace

std::string_view augment_op_name(AugmentOp op) noexcept {
  switch (op) {
    case AugmentOp::crop: return "crop";
    case AugmentOp::rotation: return "rotation";
    case AugmentOp::blur: return "blur";
    case AugmentOp::exposure: return "exposure";
    case AugmentOp::noise: return "noise";
    case AugmentOp::flip: return "flip";
  }
  return "";
}

void check(const AugmentPlan& plan) {
  if (plan.crop) {
    check_range("crop", "area", plan.crop->area, 0, 1, false);
    check_range("crop", "aspect", plan.crop->aspect, 0, 1000, false);
    check_chance("crop", *plan.crop);
  }
  check_amount("rotation", "degrees", plan.rotation, -360, 360);
  check_amount("blur", "sigma", plan.blur, 0, 1e9);
  check_amount("exposure", "stops", plan.exposure, -16, 16);
  check_amount("noise", "sigma", plan.noise, 0, 1000);
  if (plan.flip) {
    check_chance("flip", *plan.flip);
    if (!plan.flip->horizontal && !plan.flip->vertical && !plan.flip->both) {
      fail("flip", "no kind is allowed; needed is horizontal, vertical or both");
    }
  }
  for (std::size_t i = 0; i < kAugmentOps; ++i) {
    if (std::ranges::count(plan.order, static_cast<AugmentOp>(i)) != 1) {
      fail("order", "each option must be there once");
    }
  }
  if (plan.max_copies < 1) fail("max_copies", "0; needed is at least 1");
}

std::uint32_t variant_count(const AugmentPlan& plan) {
  if (!does_anything(plan)) return 0;
  return plan.copies ? *plan.copies : radix_of(plan).product;
}

Variant sample(const AugmentPlan& plan, std::uint64_t seed, std::uint64_t content,
               std::int64_t index) {
  Variant variant;
  variant.order = plan.order;
  variant.edges = plan.edges;
  variant.fill = plan.fill;
  if (index < 0) return variant;
  const Radix radix = radix_of(plan);
  std::uint32_t below = radix.product;  // combinations of the options that are still to come
  const auto number = static_cast<std::uint32_t>(index);
  for (const AugmentOp op : plan.order) {
    const std::uint32_t copies = radix.copies[at(op)];
    below /= copies;
    const RandomStream stream(seed, content, number, static_cast<std::uint32_t>(op));
    draw_option(plan, op, Draw(stream, number / below % copies, copies), variant);
  }
  return variant;
}

}  // namespace eyespot
