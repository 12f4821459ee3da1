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

constexpr std::uint8_t kGrey = 0;
constexpr std::uint8_t kColour = 2;
constexpr std::uint8_t kPalette = 3;
constexpr std::uint8_t kGreyAlpha = 4;
constexpr std::uint8_t kColourAlpha = 6;

std::size_t channels_of(std::uint8_t colour_type) {
  switch (colour_type) {
    case kColour: return 3;
    case kGreyAlpha: return 2;
    case kColourAlpha: return 4;
    default: return 1;
  }
}

/// Rows as PNG stores them, of busy samples at the bit depth.
Buffer stored_rows(Size size, const PngOptions& options) {
  const std::size_t samples = size.width * channels_of(options.colour_type);
  const Buffer source = picture(size, channels_of(options.colour_type));
  const std::size_t row_bytes = (samples * options.bit_depth + 7) / 8;
  Buffer rows(row_bytes * size.height);
  for (std::uint32_t y = 0; y < size.height; ++y) {
    for (std::size_t i = 0; i < samples; ++i) {
      const std::uint8_t value = source[y * samples + i];
      std::uint8_t* row = rows.data() + y * row_bytes;
      if (options.bit_depth == 16) {
        row[2 * i] = value;
        row[2 * i + 1] = static_cast<std::uint8_t>(~value);  // rounding would show
      } else {
        const std::size_t bit = i * options.bit_depth;
        const unsigned shift = 8U - options.bit_depth - static_cast<unsigned>(bit % 8);
        row[bit / 8] = static_cast<std::uint8_t>(row[bit / 8] |
                                                 ((value >> (8U - options.bit_depth)) << shift));
      }
    }
  }
  return rows;
}

Buffer make(Size size, const PngOptions& options) {
  return encode_png(size, options, stored_rows(size, options));
}

std::unique_ptr<CollectSink> collect(const Buffer& png, const DecodeRequest& request) {
  auto sink = std::make_unique<CollectSink>();
  decode_rows(png, probe(png, "test"), request, {}, *sink, "test");
  return sink;
}

struct Kind {
  std::uint8_t colour_type;
  std::uint8_t bit_depth;
};
constexpr Kind kKinds[] = {{kGrey, 1},       {kGrey, 2},        {kGrey, 4},        {kGrey, 8},
                           {kGrey, 16},      {kColour, 8},      {kColour, 16},     {kPalette, 1},
                           {kPalette, 2},    {kPalette, 4},     {kPalette, 8},     {kGreyAlpha, 8},
                           {kGreyAlpha, 16}, {kColourAlpha, 8}, {kColourAlpha, 16}};

}  // namespace

TEST_CASE("every colour type and bit depth decodes to the samples that were stored") {
  constexpr Size kSize{.width = 21, .height = 13};
  for (const Kind& kind : kKinds) {
    for (const bool interlaced : {false, true}) {
      const PngOptions options{
          .colour_type = kind.colour_type, .bit_depth = kind.bit_depth, .interlaced = interlaced};
      CAPTURE(int{kind.colour_type});
      CAPTURE(int{kind.bit_depth});
      CAPTURE(interlaced);
      const Buffer png = make(kSize, options);
      const Image image = decode(png, {}, "kind");
      REQUIRE(image.size() == kSize);
      if (kind.colour_type == kPalette) continue;  // compared with Pillow in tests/parity
      const std::size_t channels = channels_of(kind.colour_type);
      const Buffer source = picture(kSize, channels);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < std::size_t{kSize.width} * kSize.height; ++i) {
        for (std::size_t c = 0; c < 3; ++c) {
          unsigned value = source[i * channels + (channels >= 3 ? c : 0)];
          if (kind.bit_depth < 8) {
            value >>= 8U - kind.bit_depth;
            value *= 255U / ((1U << kind.bit_depth) - 1U);
          }
          if (channels % 2 == 0) {
            const unsigned alpha = source[i * channels + channels - 1];
            value = (value * alpha + 255 * (255 - alpha) + 127) / 255;
          }
          wrong += image.view().data[i * 3 + c] == value ? 0 : 1;
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("a region of a PNG holds the same pixels as the whole image") {
  constexpr Size kSize{.width = 61, .height = 47};
  std::minstd_rand random(3);
  for (const Kind& kind : kKinds) {
    for (const bool interlaced : {false, true}) {
      const Buffer png = make(
          kSize,
          {.colour_type = kind.colour_type, .bit_depth = kind.bit_depth, .interlaced = interlaced});
      const auto whole = collect(png, {});
      for (int trial = 0; trial < 8; ++trial) {
        const std::uint32_t width = 1 + static_cast<std::uint32_t>(random() % kSize.width);
        const std::uint32_t height = 1 + static_cast<std::uint32_t>(random() % kSize.height);
        const Rect region{.x = static_cast<std::uint32_t>(random() % (kSize.width - width + 1)),
                          .y = static_cast<std::uint32_t>(random() % (kSize.height - height + 1)),
                          .width = width,
                          .height = height};
        const auto part = collect(png, {.region = region, .target = {.width = 1, .height = 1}});
        REQUIRE(part->complete());
        CHECK(part->stream().delivered == region);
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

TEST_CASE("grey comes as one plane when that is allowed, with the same values") {
  const Buffer png = make({.width = 20, .height = 10}, {.colour_type = kGrey, .bit_depth = 4});
  const auto grey = collect(png, {.region = {}, .target = {}, .allow_planes = true});
  const auto rgb = collect(png, {});
  REQUIRE(grey->stream().layout == RowLayout::grey);
  REQUIRE(rgb->stream().layout == RowLayout::rgb);
  for (std::size_t i = 0; i < grey->samples(0).size(); ++i) {
    REQUIRE(grey->samples(0)[i] == rgb->samples(0)[3 * i + 1]);
  }
}

TEST_CASE("transparent pixels take the background's colour") {
  const Size size{.width = 2, .height = 1};
  const Buffer rgba{10, 20, 30, 0, 200, 100, 50, 128};
  const Buffer png = encode_png(size, {.colour_type = kColourAlpha}, rgba);
  const Image white = decode(png, {}, "alpha");
  CHECK(white.view().data[0] == 255);
  CHECK(white.view().data[3] == (200 * 128 + 255 * 127 + 127) / 255);
  const Image red = decode(png, {.background = {255, 0, 0}}, "alpha");
  CHECK(red.view().data[0] == 255);
  CHECK(red.view().data[1] == 0);
  const Buffer palette =
      encode_png({.width = 3, .height = 1},
                 {.colour_type = kPalette, .bit_depth = 8, .transparency = true}, {0, 1, 2});
  CHECK(probe(palette, "palette").has_alpha);
  const Image on_black = decode(palette, {.background = {0, 0, 0}}, "palette");
  CHECK(on_black.view().data[1] == 0);            // entry 0 is clear
  CHECK(on_black.view().data[2 * 3 + 1] == 233);  // entry 2 is opaque
}

TEST_CASE("a PNG cut short anywhere is refused, by a part of it as by the whole") {
  const DecodeRequest top{.region = {.x = 2, .y = 0, .width = 8, .height = 3}, .target = {}};
  for (const bool interlaced : {false, true}) {
    const Buffer png = make({.width = 24, .height = 20}, {.interlaced = interlaced});
    for (std::size_t cut = 0; cut < png.size(); ++cut) {
      const Buffer part(png.begin(), png.begin() + static_cast<std::ptrdiff_t>(cut));
      CAPTURE(interlaced);
      CAPTURE(cut);
      CAPTURE(png.size());
      const std::string whole = error_of([&] { (void)collect(part, {}); });
      CHECK(error_of([&] { (void)collect(part, top); }) == whole);
      if (cut > 0 && cut < 8) {
        CHECK(whole == "unsupported_format");
      } else if (cut + 24 < png.size()) {  // IEND, and the checksums before it
        CHECK(whole == "corrupt_image");
      } else {
        CHECK((whole.empty() || whole == "corrupt_image"));
      }
    }
  }
}

TEST_CASE("bytes turned over one by one never crash the decoder") {
  for (const Kind& kind : kKinds) {
    const Buffer png = make({.width = 12, .height = 9}, {.colour_type = kind.colour_type,
                                                         .bit_depth = kind.bit_depth,
                                                         .interlaced = kind.bit_depth == 8});
    for (std::size_t at = 8; at < png.size(); ++at) {
      Buffer broken = png;
      broken[at] ^= 0x55;
      const std::string error = error_of([&] { (void)collect(broken, {}); });
      CHECK((error.empty() || error == "corrupt_image" || error == "unsupported_format" ||
             error == "limit_exceeded"));
    }
  }
}

TEST_CASE("an interlaced PNG needs its canvas, a plain one only rows") {
  constexpr Size kSize{.width = 512, .height = 512};
  const DecodeLimits limits{.max_bytes = 100'000};
  for (const bool interlaced : {false, true}) {
    const Buffer png = make(kSize, {.interlaced = interlaced});
    CollectSink sink;
    CHECK(error_of([&] { decode_rows(png, probe(png, "p"), {}, limits, sink, "p"); }) ==
          (interlaced ? "limit_exceeded" : ""));
  }
}
