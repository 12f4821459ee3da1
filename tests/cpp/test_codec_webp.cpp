#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>

#include "codec_images.hpp"
#include "eyespot/codec.hpp"

using namespace eyespot;
using namespace eyespot::test;

namespace {

constexpr float kLossless = -1;

std::unique_ptr<CollectSink> collect(const Buffer& webp, const DecodeRequest& request) {
  auto sink = std::make_unique<CollectSink>();
  decode_rows(webp, probe(webp, "test"), request, {}, *sink, "test");
  return sink;
}

Buffer make(Size size, std::size_t channels, float quality) {
  return encode_webp(size, channels, picture(size, channels), quality);
}

/// Opaque and of one colour, so that what lies outside it stands out.
Buffer plain(Size size, std::uint8_t value) {
  Buffer rgba(std::size_t{size.width} * size.height * 4, value);
  for (std::size_t i = 3; i < rgba.size(); i += 4) rgba[i] = 255;
  return encode_webp(size, 4, rgba, kLossless);
}

}  // namespace

TEST_CASE("lossless WebP gives back the pixels, alpha composited") {
  constexpr Size kSize{.width = 37, .height = 23};
  const Buffer rgb = picture(kSize, 3);
  const Image opaque = decode(encode_webp(kSize, 3, rgb, kLossless), {}, "rgb");
  REQUIRE(opaque.size() == kSize);
  CHECK(std::equal(rgb.begin(), rgb.end(), opaque.view().data));

  Buffer rgba = picture(kSize, 4);
  const Image image = decode(encode_webp(kSize, 4, rgba, kLossless), {}, "rgba");
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < std::size_t{kSize.width} * kSize.height; ++i) {
    const unsigned alpha = rgba[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const unsigned value = (rgba[4 * i + c] * alpha + 255 * (255 - alpha) + 127) / 255;
      // The encoder may change what is fully transparent.
      wrong += image.view().data[3 * i + c] == value ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a region of a WebP holds the same pixels as the whole image") {
  constexpr Size kSize{.width = 85, .height = 66};
  std::minstd_rand random(5);
  for (const std::size_t channels : {3U, 4U}) {
    for (const float quality : {kLossless, 80.0F}) {
      const Buffer webp = make(kSize, channels, quality);
      const auto whole = collect(webp, {});
      for (int trial = 0; trial < 24; ++trial) {
        const std::uint32_t width = 1 + static_cast<std::uint32_t>(random() % kSize.width);
        const std::uint32_t height = 1 + static_cast<std::uint32_t>(random() % kSize.height);
        const Rect region{.x = static_cast<std::uint32_t>(random() % (kSize.width - width + 1)),
                          .y = static_cast<std::uint32_t>(random() % (kSize.height - height + 1)),
                          .width = width,
                          .height = height};
        const auto part = collect(webp, {.region = region, .target = {.width = 1, .height = 1}});
        REQUIRE(part->complete());
        CHECK(part->stream().delivered == region);
        CAPTURE(channels);
        CAPTURE(quality);
        CAPTURE(region.x);
        CAPTURE(region.y);
        CAPTURE(width);
        CAPTURE(height);
        std::size_t wrong = 0;
        for (std::uint32_t y = 0; y < height; ++y) {
          const std::uint8_t* a = part->samples(0).data() + y * part->row_bytes(0);
          const std::uint8_t* b = whole->samples(0).data() + (y + region.y) * whole->row_bytes(0) +
                                  std::size_t{region.x} * 3;
          wrong += std::equal(a, a + part->row_bytes(0), b) ? 0 : 1;
        }
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("the first frame of an animation lies on its canvas, the rest is background") {
  const Rect frame{.x = 4, .y = 6, .width = 10, .height = 8};
  const Buffer webp = wrap_webp(plain({.width = frame.width, .height = frame.height}, 90),
                                {.canvas = {.width = 32, .height = 20},
                                 .frame = frame,
                                 .animated = true,
                                 .alpha = true,
                                 .orientation = 6});
  const ImageInfo info = probe(webp, "animation");
  CHECK(info.animated);
  CHECK(info.stored_size == Size{.width = 32, .height = 20});
  CHECK(info.size() == Size{.width = 20, .height = 32});
  CHECK(info.orientation == Orientation::right_top);
  const auto whole = collect(webp, {.region = {}, .target = {}, .background = {1, 2, 3}});
  std::size_t inside = 0;
  for (std::uint32_t y = 0; y < 20; ++y) {
    for (std::uint32_t x = 0; x < 32; ++x) {
      const std::uint8_t* pixel = whole->samples(0).data() + (std::size_t{y} * 32 + x) * 3;
      const bool in_frame =
          x >= frame.x && x < frame.x + frame.width && y >= frame.y && y < frame.y + frame.height;
      inside += in_frame ? 1 : 0;
      REQUIRE(pixel[0] == (in_frame ? 90 : 1));
      REQUIRE(pixel[2] == (in_frame ? 90 : 3));
    }
  }
  CHECK(inside == 80);
  // A region outside the frame, and one across its corner.
  const auto outside =
      collect(webp, {.region = {.x = 20, .y = 0, .width = 5, .height = 20}, .target = {}});
  CHECK(std::ranges::all_of(outside->samples(0), [](std::uint8_t v) { return v == 255; }));
  const auto corner =
      collect(webp, {.region = {.x = 3, .y = 5, .width = 4, .height = 3}, .target = {}});
  CHECK(corner->samples(0)[0] == 255);
  CHECK(corner->samples(0)[15] == 90);
}

TEST_CASE("a WebP cut short anywhere is refused") {
  const Buffer simple = make({.width = 24, .height = 20}, 4, 80.0F);
  const Buffer extended =
      wrap_webp(simple, {.canvas = {.width = 24, .height = 20}, .alpha = true, .orientation = 3});
  for (const Buffer& webp : {simple, extended}) {
    REQUIRE(error_of([&] { (void)decode(webp, {}, "whole"); }) == "");
    for (std::size_t cut = 0; cut < webp.size(); ++cut) {
      const Buffer part(webp.begin(), webp.begin() + static_cast<std::ptrdiff_t>(cut));
      CAPTURE(cut);
      CHECK(error_of([&] { (void)decode(part, {}, "cut"); }) ==
            (cut > 0 && cut < 12 ? "unsupported_format" : "corrupt_image"));
    }
  }
}

TEST_CASE("bytes turned over one by one never crash the decoder") {
  for (const float quality : {kLossless, 60.0F}) {
    const Buffer webp = wrap_webp(make({.width = 24, .height = 20}, 4, quality),
                                  {.canvas = {.width = 40, .height = 30},
                                   .frame = {.x = 2, .y = 4, .width = 24, .height = 20},
                                   .animated = true,
                                   .alpha = true,
                                   .orientation = 8});
    REQUIRE(error_of([&] { (void)decode(webp, {}, "whole"); }) == "");
    for (std::size_t at = 4; at < webp.size(); ++at) {
      Buffer broken = webp;
      broken[at] ^= 0x55;
      const std::string error = error_of([&] { (void)decode(broken, {}, "broken"); });
      CHECK((error.empty() || error == "corrupt_image" || error == "unsupported_format" ||
             error == "limit_exceeded"));
    }
  }
}

TEST_CASE("the canvas of a WebP is bounded before it is allocated") {
  const Buffer webp = plain({.width = 256, .height = 256}, 9);
  CollectSink sink;
  CHECK(error_of([&] {
          decode_rows(webp, probe(webp, "w"), {}, {.max_bytes = 100'000}, sink, "w");
        }) == "limit_exceeded");
  CHECK(error_of([&] {
          decode_rows(webp, probe(webp, "w"), {}, {.max_pixels = 65'535}, sink, "w");
        }) == "limit_exceeded");
}
