#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "codec_images.hpp"
#include "eyespot/codec.hpp"

using namespace eyespot;
using namespace eyespot::test;
using Colour = JpegOptions::Colour;

namespace {

constexpr DecodeLimits kLimits;

std::unique_ptr<CollectSink> collect(const Buffer& jpeg, const DecodeRequest& request) {
  auto sink = std::make_unique<CollectSink>();
  decode_rows(jpeg, probe(jpeg, "test"), request, kLimits, *sink, "test");
  return sink;
}

/// A request that makes the codec decode `region` of an image of `size` at 1 / 2^scale.
DecodeRequest at_scale(Rect region, Size size, unsigned scale, bool planes) {
  const bool all = region.width == 0;
  const Size used = all ? size : Size{.width = region.width, .height = region.height};
  return {.region = region,
          .target = {.width = used.width >> scale, .height = used.height >> scale},
          .background = {255, 255, 255},
          .allow_planes = planes};
}

/// Compares the part that one stream delivered with the same part of a whole decode.
void check_part(const CollectSink& part, const CollectSink& whole) {
  REQUIRE(part.complete());
  REQUIRE(whole.complete());
  REQUIRE(part.stream().layout == whole.stream().layout);
  REQUIRE(part.stream().scaled_size == whole.stream().scaled_size);
  REQUIRE(whole.stream().delivered.x == 0);
  const std::size_t samples = part.stream().layout == RowLayout::rgb ? 3 : 1;
  for (std::size_t k = 0; k < part.stream().plane_count; ++k) {
    const RowStream::Plane& plane = part.stream().planes.at(k);
    const auto left = static_cast<std::size_t>(part.stream().delivered.x * plane.scale_x) * samples;
    const auto top = static_cast<std::size_t>(part.stream().delivered.y * plane.scale_y);
    const std::size_t row = part.row_bytes(k);
    std::size_t wrong = 0;
    for (std::size_t y = 0; y < plane.size.height; ++y) {
      const std::uint8_t* a = part.samples(k).data() + y * row;
      const std::uint8_t* b = whole.samples(k).data() + (top + y) * whole.row_bytes(k) + left;
      wrong += std::equal(a, a + row, b) ? 0 : 1;
    }
    CAPTURE(k);
    CHECK(wrong == 0);
  }
}

struct Variant {
  std::string_view name;
  JpegOptions options;
};

constexpr Variant kVariants[] = {
    {"4:4:4", {.luma_h = 1, .luma_v = 1}},
    {"4:2:2", {.luma_h = 2, .luma_v = 1}},
    {"4:4:0", {.luma_h = 1, .luma_v = 2}},
    {"4:2:0", {.luma_h = 2, .luma_v = 2}},
    {"4:1:1", {.luma_h = 4, .luma_v = 1}},
    {"4:1:0", {.luma_h = 4, .luma_v = 2}},
    {"grey", {.colour = Colour::grey}},
    {"rgb", {.colour = Colour::rgb}},
    {"cmyk", {.colour = Colour::cmyk}},
    {"ycck 4:2:0", {.colour = Colour::ycck, .luma_h = 2, .luma_v = 2}},
    {"progressive 4:2:0", {.luma_h = 2, .luma_v = 2, .progressive = true}},
    {"progressive 4:2:2", {.luma_h = 2, .luma_v = 1, .progressive = true}},
    {"separate scans 4:2:0", {.luma_h = 2, .luma_v = 2, .separate_scans = true}},
    {"restarts 4:2:0", {.luma_h = 2, .luma_v = 2, .restart_rows = 1}},
    {"arithmetic 4:2:0", {.luma_h = 2, .luma_v = 2, .arithmetic = true}},
};

}  // namespace

TEST_CASE("a region holds the same pixels as the whole image, in every sampling and scale") {
  constexpr Size kSize{.width = 203, .height = 149};
  std::minstd_rand random(7);
  for (const Variant& variant : kVariants) {
    const Buffer jpeg = encode_jpeg(kSize, variant.options);
    for (const bool planes : {false, true}) {
      for (unsigned scale = 0; scale <= 3; ++scale) {
        const auto whole = collect(jpeg, at_scale({}, kSize, scale, planes));
        REQUIRE(whole->stream().scale_log2 == scale);
        for (int trial = 0; trial < 24; ++trial) {
          const std::uint32_t width = 8 + static_cast<std::uint32_t>(random() % 190);
          const std::uint32_t height = 8 + static_cast<std::uint32_t>(random() % 140);
          const Rect region{.x = static_cast<std::uint32_t>(random() % (kSize.width - width + 1)),
                            .y = static_cast<std::uint32_t>(random() % (kSize.height - height + 1)),
                            .width = width,
                            .height = height};
          CAPTURE(std::string(variant.name));
          CAPTURE(planes);
          CAPTURE(scale);
          CAPTURE(region.x);
          CAPTURE(region.y);
          CAPTURE(region.width);
          CAPTURE(region.height);
          const auto part = collect(jpeg, at_scale(region, kSize, scale, planes));
          const Rect got = part->stream().delivered;
          CHECK(got.x <= region.x >> scale);
          CHECK(got.y <= region.y >> scale);
          CHECK(((got.x + got.width) << scale) >= region.x + region.width);
          CHECK(((got.y + got.height) << scale) >= region.y + region.height);
          check_part(*part, *whole);
        }
      }
    }
  }
}

TEST_CASE("planes are what the file stores, before upsampling and colour conversion") {
  constexpr Size kSize{.width = 101, .height = 67};
  for (const Variant& variant : kVariants) {
    if (variant.options.colour != Colour::ycbcr) continue;
    const Buffer jpeg = encode_jpeg(kSize, variant.options);
    for (unsigned scale = 0; scale <= 3; ++scale) {
      CAPTURE(std::string(variant.name));
      CAPTURE(scale);
      const auto planes = collect(jpeg, at_scale({}, kSize, scale, true));
      const RowStream& stream = planes->stream();
      REQUIRE(planes->complete());
      REQUIRE(stream.layout == RowLayout::ycbcr);
      REQUIRE(stream.plane_count == 3);
      const Buffer reference = decode_ycbcr(jpeg, scale);
      std::size_t wrong = 0;
      for (std::uint32_t y = 0; y < stream.scaled_size.height; ++y) {
        for (std::uint32_t x = 0; x < stream.scaled_size.width; ++x) {
          for (std::size_t k = 0; k < 3; ++k) {
            const auto px = static_cast<std::size_t>(x * stream.planes.at(k).scale_x);
            const auto py = static_cast<std::size_t>(y * stream.planes.at(k).scale_y);
            const std::uint8_t sample = planes->samples(k).at(py * planes->row_bytes(k) + px);
            const std::size_t at = (std::size_t{y} * stream.scaled_size.width + x) * 3 + k;
            wrong += sample == reference.at(at) ? 0 : 1;
          }
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("chroma planes of an odd-sized 4:2:0 image reach past its edge by half a sample") {
  const Buffer jpeg = encode_jpeg({.width = 33, .height = 17}, {.luma_h = 2, .luma_v = 2});
  const auto planes = collect(jpeg, {.region = {}, .target = {}, .allow_planes = true});
  CHECK(planes->stream().planes[0].size == Size{.width = 33, .height = 17});
  CHECK(planes->stream().planes[1].size == Size{.width = 17, .height = 9});
  CHECK(planes->stream().planes[1].scale_x == 0.5);
  CHECK(planes->stream().planes[2].scale_y == 0.5);
}

TEST_CASE("only what is YCbCr or grey comes as planes") {
  const DecodeRequest planes{.region = {}, .target = {}, .allow_planes = true};
  constexpr Size kSize{.width = 24, .height = 16};
  CHECK(collect(encode_jpeg(kSize, {.colour = Colour::grey}), planes)->stream().layout ==
        RowLayout::grey);
  CHECK(collect(encode_jpeg(kSize, {.colour = Colour::rgb}), planes)->stream().layout ==
        RowLayout::rgb);
  CHECK(collect(encode_jpeg(kSize, {.colour = Colour::cmyk}), planes)->stream().layout ==
        RowLayout::rgb);
  CHECK(collect(encode_jpeg(kSize, {}), {})->stream().layout == RowLayout::rgb);
}

TEST_CASE("the scale is the smallest one at which the region still holds the target") {
  const Buffer jpeg = encode_jpeg({.width = 400, .height = 300}, {});
  const auto scale_for = [&](Rect region, Size target) {
    return collect(jpeg, {.region = region, .target = target})->stream().scale_log2;
  };
  CHECK(scale_for({}, {.width = 50, .height = 37}) == 3);
  CHECK(scale_for({}, {.width = 51, .height = 37}) == 2);
  CHECK(scale_for({}, {.width = 50, .height = 38}) == 2);
  CHECK(scale_for({}, {.width = 200, .height = 150}) == 1);
  CHECK(scale_for({}, {.width = 224, .height = 100}) == 0);
  CHECK(scale_for({.x = 50, .y = 0, .width = 300, .height = 300}, {.width = 150, .height = 150}) ==
        1);
  CHECK(scale_for({}, {.width = 1000, .height = 1000}) == 0);
}

TEST_CASE("CMYK is taken as inverted ink, and a pure colour comes out pure") {
  // Adobe stores C = 255 - ink: all 255 is white paper.
  const Buffer jpeg = encode_jpeg({.width = 16, .height = 16}, {.colour = Colour::cmyk});
  const Image image = decode(jpeg, {}, "cmyk");
  CHECK(image.size() == Size{.width = 16, .height = 16});
  CHECK(image.channels() == 3);
  CHECK(probe(jpeg, "cmyk").channels == 4);
}

TEST_CASE("a JPEG cut short anywhere is refused, by a part of it as by the whole") {
  constexpr Size kSize{.width = 40, .height = 32};
  const DecodeRequest all;
  const DecodeRequest top{.region = {.x = 8, .y = 0, .width = 16, .height = 9}, .target = {}};
  const DecodeRequest top_planes{.region = top.region, .target = {}, .allow_planes = true};
  for (const Variant& variant : kVariants) {
    const Buffer jpeg = encode_jpeg(kSize, variant.options);
    for (std::size_t cut = 0; cut < jpeg.size(); ++cut) {
      // A copy of its own size, so that the address sanitizer sees any read past its end.
      const Buffer part(jpeg.begin(), jpeg.begin() + static_cast<std::ptrdiff_t>(cut));
      const std::string whole = error_of([&] { (void)collect(part, all); });
      CAPTURE(std::string(variant.name));
      CAPTURE(cut);
      CAPTURE(jpeg.size());
      CHECK(error_of([&] { (void)collect(part, top); }) == whole);
      CHECK(error_of([&] { (void)collect(part, top_planes); }) == whole);
      if (cut < 3) {
        CHECK(whole == (cut == 0 ? "corrupt_image" : "unsupported_format"));
      } else if (cut + 4 < jpeg.size()) {
        CHECK(whole == "corrupt_image");
      } else {
        CHECK((whole.empty() || whole == "corrupt_image"));  // the end marker alone may miss
      }
    }
  }
}

TEST_CASE("bytes turned over one by one never crash the decoder") {
  std::minstd_rand random(11);
  for (const Variant& variant : kVariants) {
    const Buffer jpeg = encode_jpeg({.width = 40, .height = 32}, variant.options);
    for (std::size_t at = 2; at < jpeg.size(); at += 3) {
      Buffer broken = jpeg;
      broken[at] = static_cast<std::uint8_t>(random());
      const DecodeRequest request{.region = {}, .target = {}, .allow_planes = at % 2 == 0};
      const std::string error = error_of([&] { (void)collect(broken, request); });
      CHECK((error.empty() || error == "corrupt_image" || error == "unsupported_format" ||
             error == "limit_exceeded"));
    }
  }
}

TEST_CASE("coefficients of a progressive JPEG count before they are allocated") {
  constexpr Size kSize{.width = 512, .height = 512};
  const Buffer baseline = encode_jpeg(kSize, {});
  const Buffer progressive = encode_jpeg(kSize, {.progressive = true});
  CollectSink sink;
  // 512 * 512 * 3 coefficients of 2 bytes are 1.5 MiB.
  const DecodeLimits limits{.max_bytes = std::uint64_t{1} << 20U};
  CHECK(error_of([&] {
          decode_rows(progressive, probe(progressive, "p"), {}, limits, sink, "p");
        }) == "limit_exceeded");
  CHECK(error_of([&] { decode_rows(baseline, probe(baseline, "b"), {}, limits, sink, "b"); }) ==
        "");
}

TEST_CASE("a JPEG of more scans than any real one is refused") {
  const Buffer jpeg = encode_jpeg({.width = 16, .height = 16}, {.separate_scans = true});
  // Repeat its last scan, header and data, again and again.
  std::size_t scan = 0;
  for (std::size_t i = 0; i + 1 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xFF && jpeg[i + 1] == 0xDA) scan = i;
  }
  const auto from = jpeg.begin() + static_cast<std::ptrdiff_t>(scan);
  Buffer many(jpeg.begin(), jpeg.end() - 2);
  for (int i = 0; i < 600; ++i) many.insert(many.end(), from, jpeg.end() - 2);
  many.insert(many.end(), {0xFF, 0xD9});
  CHECK(error_of([&] { (void)decode(many, {}, "many"); }) == "limit_exceeded");
}

TEST_CASE("variants that libjpeg-turbo lacks are named") {
  const auto message_of = [](Buffer jpeg, std::uint8_t marker, std::uint8_t precision) {
    for (std::size_t i = 0; i + 4 < jpeg.size(); ++i) {
      if (jpeg[i] == 0xFF && jpeg[i + 1] == 0xC0) {
        jpeg[i + 1] = marker;
        jpeg[i + 4] = precision;
        break;
      }
    }
    try {
      (void)probe(jpeg, "x.jpg");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::unsupported_format);
      return error.message();
    }
    return std::string();
  };
  const Buffer jpeg = encode_jpeg({.width = 16, .height = 16}, {});
  CHECK(message_of(jpeg, 0xC3, 8).find("lossless") != std::string::npos);
  CHECK(message_of(jpeg, 0xC5, 8).find("hierarchical") != std::string::npos);
  CHECK(message_of(jpeg, 0xC1, 12).find("12 bits") != std::string::npos);
  CHECK(message_of(jpeg, 0xC0, 8).empty());
}

TEST_CASE("an exception of the sink travels through the decoder, which frees what it holds") {
  class Thrower final : public RowSink {
   public:
    void begin(const RowStream& /*stream*/) override {}
    void row(std::size_t /*plane*/, std::uint32_t y, const std::uint8_t* /*row*/) override {
      if (y == 3) throw std::runtime_error("enough");
    }
  };
  const Buffer jpeg = encode_jpeg({.width = 64, .height = 64}, {.luma_h = 2, .luma_v = 2});
  for (const bool planes : {false, true}) {
    Thrower sink;
    CHECK_THROWS_AS(
        decode_rows(jpeg, probe(jpeg, "t"), {.region = {}, .target = {}, .allow_planes = planes},
                    kLimits, sink, "t"),
        std::runtime_error);
  }
}
