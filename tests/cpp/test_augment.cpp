// Random numbers by position, plans and variants.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "eyespot/augment.hpp"
#include "eyespot/error.hpp"
#include "eyespot/random.hpp"
#include "runtime/simd.hpp"

namespace eyespot {
namespace {

TEST_CASE("Philox gives the answers that its authors publish") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        PhiloxBlock{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U});
  constexpr std::uint32_t kOnes = 0xffffffffU;
  CHECK(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}) ==
        PhiloxBlock{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU});
  CHECK(philox({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}) ==
        PhiloxBlock{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U});
}

std::uint64_t key_of(std::string_view text) {
  const std::vector<std::uint8_t> bytes(text.begin(), text.end());
  return content_key(bytes);
}

TEST_CASE("the content key is XXH64") {
  CHECK(key_of("") == 0xEF46DB3751D8E999U);
  CHECK(key_of("a") == 0xD24EC4F1A98C6E5BU);
  CHECK(key_of("abc") == 0x44BC2CF5AD770999U);
  CHECK(key_of("Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1U);
}

TEST_CASE("streams are uniform, and differ by seed, content, variant and purpose") {
  const RandomStream stream(1, 2, 3, 4);
  constexpr int kCount = 100'000;
  double sum = 0;
  double squares = 0;
  double products = 0;
  for (int i = 0; i < kCount; ++i) {
    const double value = stream.uniform(static_cast<std::uint64_t>(i));
    REQUIRE(value >= 0);
    REQUIRE(value < 1);
    sum += value;
    squares += value * value;
    products += value * stream.uniform(static_cast<std::uint64_t>(i) + 1);
  }
  CHECK(sum / kCount == doctest::Approx(0.5).epsilon(0.01));
  CHECK(squares / kCount == doctest::Approx(1.0 / 3).epsilon(0.015));
  CHECK(products / kCount == doctest::Approx(0.25).epsilon(0.015));
  std::set<std::uint64_t> seen;
  for (std::uint32_t i = 0; i < 16; ++i) {
    seen.insert(RandomStream(i & 1U, i >> 1U & 1U, i >> 2U & 1U, i >> 3U & 1U).bits(0));
  }
  CHECK(seen.size() == 16);
}

AugmentPlan everything() {
  AugmentPlan plan;
  plan.crop = CropChoice{};
  plan.rotation = AmountChoice{.range = {.low = -15, .high = 15}};
  plan.blur = AmountChoice{.range = {.low = 0.3, .high = 1.5}};
  plan.exposure = AmountChoice{.range = {.low = -1, .high = 1}};
  plan.noise = AmountChoice{.range = {.low = 1, .high = 10}};
  plan.flip = FlipChoice{};
  return plan;
}

TEST_CASE("copies multiply up to the cap, later options first to shrink") {
  AugmentPlan plan = everything();
  CHECK(variant_count(plan) == 64);
  plan.max_copies = 1000;
  CHECK(variant_count(plan) == 768);  // 4^4, and then 3 for noise, 1 for flip
  plan.copies = 7;
  CHECK(variant_count(plan) == 7);
  CHECK(variant_count(AugmentPlan{}) == 0);
}

TEST_CASE("a variant follows from seed, content and index") {
  const AugmentPlan plan = everything();
  CHECK(sample(plan, 1, 2, 3) == sample(plan, 1, 2, 3));
  CHECK(sample(plan, 1, 2, 3) != sample(plan, 1, 2, 4));
  CHECK(sample(plan, 1, 2, 3) != sample(plan, 1, 3, 3));
  CHECK(sample(plan, 1, 2, 3) != sample(plan, 2, 2, 3));
  CHECK(sample(plan, 1, 2, kOriginal) == Variant{});
}

TEST_CASE("what is out of range is refused by name") {
  const auto refused = [](auto change, std::string_view option) {
    AugmentPlan plan = everything();
    change(plan);
    try {
      check(plan);
    } catch (const Error& error) {
      return error.code() == ErrorCode::invalid_argument && error.source() == option;
    }
    return false;
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  CHECK(refused([](AugmentPlan& plan) { plan.crop->area = {.low = 0.9, .high = 0.5}; }, "crop"));
  CHECK(refused([](AugmentPlan& plan) { plan.crop->area = {.low = 0, .high = 0.5}; }, "crop"));
  CHECK(refused([](AugmentPlan& plan) { plan.blur->range = {.low = -1, .high = 0.5}; }, "blur"));
  CHECK(refused([](AugmentPlan& plan) { plan.blur->range = {.low = kNan, .high = 1}; }, "blur"));
  CHECK(refused([](AugmentPlan& plan) { plan.noise->probability = kNan; }, "noise"));
  CHECK(refused([](AugmentPlan& plan) { plan.flip->copies = 0; }, "flip"));
  CHECK(refused([](AugmentPlan& plan) { plan.order[0] = AugmentOp::flip; }, "order"));
  CHECK(refused([](AugmentPlan& plan) { plan.max_copies = 0; }, "max_copies"));
  CHECK_NOTHROW(check(everything()));
}

TEST_CASE("variants of every size give the same bytes on every SIMD target") {
  AugmentPlan plan = everything();
  plan.copies = 3;
  for (const Size size : {Size{1, 1}, Size{1, 30}, Size{37, 2}, Size{90, 70}, Size{300, 200}}) {
    CAPTURE(size.width);
    Image image(size);
    const MutableImageView pixels = image.mutable_view();
    for (std::size_t i = 0; i < image.stride() * size.height; ++i) {
      pixels.data[i] = static_cast<std::uint8_t>(i * i % 251);
    }
    for (std::int64_t index = kOriginal; index < 3; ++index) {
      const Variant variant = sample(plan, 5, 6, index);
      std::vector<std::vector<std::uint8_t>> results;
      for (const std::string_view target : detail::simd_targets()) {
        detail::force_simd_target(target);
        Image out({64, 48});
        AugmentScratch scratch;
        apply(image.view(), variant, {}, out.mutable_view(), scratch);
        const std::uint8_t* data = out.view().data;
        results.emplace_back(data, data + out.stride() * 48);
      }
      detail::force_simd_target("");
      for (const auto& result : results) CHECK(result == results.front());
    }
  }
}

TEST_CASE("apply refuses what it cannot fill") {
  AugmentScratch scratch;
  const Image in({4, 4});
  const Image grey({4, 4}, 1);
  Image out({4, 4});
  CHECK_THROWS_AS(apply(grey.view(), {}, {}, out.mutable_view(), scratch), Error);
  CHECK_THROWS_AS(apply({}, {}, {}, out.mutable_view(), scratch), Error);
  MutableImageView gaps = out.mutable_view();
  gaps.size.width = 3;
  CHECK_THROWS_AS(apply(in.view(), {}, {}, gaps, scratch), Error);
  Variant variant;
  variant.blur_sigma_px = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(apply(in.view(), variant, {}, out.mutable_view(), scratch), Error);
}

}  // namespace
}  // namespace eyespot
