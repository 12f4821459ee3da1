// eyespot's own JPEG decoder against libjpeg-turbo: the same samples, bit for bit, of whatever it
// decodes, and the same verdict with the two of them as with libjpeg-turbo alone.

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "codec/formats.hpp"
#include "codec_images.hpp"
#include "eyespot/codec.hpp"
#include "runtime/simd.hpp"

using namespace eyespot;
using namespace eyespot::test;
using Colour = JpegOptions::Colour;

namespace {

constexpr DecodeLimits kLimits;

/// What a decoder makes of a file: rows, or an error.
struct Outcome {
  bool taken = true;  ///< false when decode_baseline_jpeg() left the file alone
  std::string error;
  CollectSink sink;

  bool operator==(const Outcome& other) const {
    if (error != other.error) return false;
    if (!error.empty()) return true;
    const RowStream& a = sink.stream();
    const RowStream& b = other.sink.stream();
    bool equal = a.layout == b.layout && a.scaled_size == b.scaled_size &&
                 a.delivered.x == b.delivered.x && a.delivered.y == b.delivered.y &&
                 a.plane_count == b.plane_count && sink.complete() && other.sink.complete();
    for (std::size_t k = 0; k < a.plane_count && equal; ++k) {
      equal =
          a.planes.at(k).size == b.planes.at(k).size && sink.samples(k) == other.sink.samples(k);
    }
    return equal;
  }
};

enum class With : std::uint8_t { own, library, both };

std::unique_ptr<Outcome> outcome(With with, const Buffer& jpeg, const DecodeRequest& request,
                                 const DecodeLimits& limits = kLimits) {
  auto result = std::make_unique<Outcome>();
  try {
    const ImageInfo info = probe(jpeg, "test");
    const codec::DecodeJob job{.bytes = jpeg,
                               .info = info,
                               .request = request,
                               .limits = limits,
                               .sink = result->sink,
                               .source = "test"};
    switch (with) {
      case With::own: result->taken = codec::decode_baseline_jpeg(job); break;
      case With::library: codec::decode_jpeg_with_library(job); break;
      case With::both: codec::decode_jpeg(job); break;
    }
  } catch (const Error& error) {
    result->error = std::string(error_code_name(error.code())) + ": " + error.message();
  }
  return result;
}

bool is_taken(const Buffer& jpeg) {
  return outcome(With::own, jpeg, {})->taken;
}

/// Whether the decoder takes the file, and gives what libjpeg-turbo gives.
bool same(const Buffer& jpeg, const DecodeRequest& request) {
  const auto own = outcome(With::own, jpeg, request);
  return own->taken && *own == *outcome(With::library, jpeg, request);
}

DecodeRequest at_scale(Rect region, Size size, unsigned scale, bool planes) {
  const bool all = region.width == 0;
  const Size used = all ? size : Size{.width = region.width, .height = region.height};
  const Size target{.width = std::max(used.width >> scale, 1U),
                    .height = std::max(used.height >> scale, 1U)};
  return {.region = region,
          .target = scale == 0 ? Size{} : target,
          .background = {255, 255, 255},
          .allow_planes = planes};
}

struct Variant {
  std::string_view name;
  JpegOptions options;
};

constexpr Variant kVariants[] = {
    {"4:4:4", {.luma_h = 1, .luma_v = 1}}, {"4:2:2", {.luma_h = 2, .luma_v = 1}},
    {"4:4:0", {.luma_h = 1, .luma_v = 2}}, {"4:2:0", {.luma_h = 2, .luma_v = 2}},
    {"grey", {.colour = Colour::grey}},    {"grey 2 x 2", {.colour = Colour::grey, .luma_h = 2}},
};

/// An image, as one that the options alone would give has few of the large coefficients.
Buffer encode(Size size, JpegOptions options, std::uint32_t salt) {
  constexpr std::array kQualities{100, 93, 75, 30, 5, 98};
  options.quality = kQualities.at(salt % kQualities.size());
  options.own_codes = salt % 4 == 1;
  options.restart_rows = salt % 5 == 2 ? 1 : 0;
  return encode_jpeg(size, options);
}

void mutate(Buffer& bytes, std::minstd_rand& random) {
  for (auto changes = 1 + random() % 3; changes > 0; --changes) {
    const std::size_t at = 2 + random() % (bytes.size() - 2);
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    switch (random() % 8) {
      case 0: bytes.erase(here); break;
      case 1: bytes.insert(here, static_cast<std::uint8_t>(random())); break;
      case 2: bytes[at] = 0xFF; break;
      case 3: bytes[at] ^= static_cast<std::uint8_t>(1U << random() % 8); break;
      default: bytes[at] = static_cast<std::uint8_t>(random()); break;
    }
  }
}

Buffer without(const Buffer& bytes, std::size_t at, std::size_t count) {
  Buffer rest = bytes;
  const auto from = rest.begin() + static_cast<std::ptrdiff_t>(at);
  rest.erase(from, from + static_cast<std::ptrdiff_t>(count));
  return rest;
}

Buffer with(const Buffer& bytes, std::size_t at, const Buffer& inserted) {
  Buffer more = bytes;
  more.insert(more.begin() + static_cast<std::ptrdiff_t>(at), inserted.begin(), inserted.end());
  return more;
}

std::size_t marker_at(const Buffer& jpeg, std::uint8_t marker) {
  for (std::size_t i = 0; i + 1 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xFF && jpeg[i + 1] == marker) return i;
  }
  throw std::logic_error("no such marker");
}

}  // namespace

TEST_CASE("every size, sampling and scale gives libjpeg-turbo's samples") {
  std::uint32_t salt = 0;
  for (const Variant& variant : kVariants) {
    for (std::uint32_t height = 1; height <= 40; ++height) {
      for (std::uint32_t width = 1; width <= 40; ++width) {
        const Size size{.width = width, .height = height};
        const Buffer jpeg = encode(size, variant.options, ++salt);
        const unsigned scale = (width + height) % 4;
        CAPTURE(std::string(variant.name));
        CAPTURE(width);
        CAPTURE(height);
        CAPTURE(scale);
        REQUIRE(same(jpeg, {}));
        REQUIRE(same(jpeg, at_scale({}, size, scale, width % 2 == 0)));
      }
    }
  }
}

TEST_CASE("regions of larger images, at every scale, as rows and as planes") {
  std::minstd_rand random(5);
  std::uint32_t salt = 0;
  for (const Variant& variant : kVariants) {
    for (int image = 0; image < 12; ++image) {
      const Size size{.width = 150 + static_cast<std::uint32_t>(random() % 200),
                      .height = 90 + static_cast<std::uint32_t>(random() % 150)};
      const Buffer jpeg = encode(size, variant.options, ++salt);
      for (int trial = 0; trial < 16; ++trial) {
        Rect region{.x = static_cast<std::uint32_t>(random() % size.width),
                    .y = static_cast<std::uint32_t>(random() % size.height)};
        region.width = 1 + static_cast<std::uint32_t>(random() % (size.width - region.x));
        region.height = 1 + static_cast<std::uint32_t>(random() % (size.height - region.y));
        if (trial == 0) region = {};
        const auto scale = static_cast<unsigned>(trial % 4);
        CAPTURE(std::string(variant.name));
        CAPTURE(scale);
        CAPTURE(region.x);
        CAPTURE(region.y);
        CAPTURE(region.width);
        CAPTURE(region.height);
        REQUIRE(same(jpeg, at_scale(region, size, scale, trial % 8 > 4)));
      }
    }
  }
}

TEST_CASE("more data than the decoder looks at a time, with and without restarts") {
  constexpr Size kSize{.width = 900, .height = 700};
  for (const int restart_rows : {0, 1, 7}) {
    const Buffer jpeg =
        encode_jpeg(kSize, {.luma_h = 2, .restart_rows = restart_rows, .quality = 100});
    REQUIRE(jpeg.size() > std::size_t{16} << 12U);
    CHECK(same(jpeg, {}));
    CHECK(same(jpeg, at_scale({.x = 300, .y = 200, .width = 100, .height = 500}, kSize, 2, false)));
  }
}

TEST_CASE("every SIMD target gives the same") {
  for (const std::string_view target : detail::simd_targets()) {
    detail::force_simd_target(target);
    CAPTURE(std::string(target));
    std::uint32_t salt = 0;
    for (const Variant& variant : kVariants) {
      CAPTURE(std::string(variant.name));
      constexpr Size kSize{.width = 117, .height = 75};
      for (unsigned scale = 0; scale < 4; ++scale) {
        CHECK(same(encode(kSize, variant.options, ++salt), at_scale({}, kSize, scale, false)));
      }
    }
  }
  detail::force_simd_target("");
}

TEST_CASE("a file cut short anywhere gets libjpeg-turbo's verdict") {
  constexpr Size kSize{.width = 40, .height = 36};
  for (const Variant& variant : kVariants) {
    const Buffer jpeg = encode_jpeg(kSize, variant.options);
    for (std::size_t cut = 3; cut < jpeg.size(); ++cut) {
      const Buffer part(jpeg.begin(), jpeg.begin() + static_cast<std::ptrdiff_t>(cut));
      CAPTURE(std::string(variant.name));
      CAPTURE(cut);
      const DecodeRequest top{.region = {.x = 8, .y = 0, .width = 16, .height = 9}, .target = {}};
      CHECK(*outcome(With::both, part, {}) == *outcome(With::library, part, {}));
      CHECK(*outcome(With::both, part, top) == *outcome(With::library, part, top));
    }
    CHECK(is_taken(jpeg));
  }
}

TEST_CASE("damaged files get libjpeg-turbo's verdict, and its pixels where it shows any") {
  std::minstd_rand random(17);
  constexpr Size kSize{.width = 53, .height = 37};
  std::size_t taken = 0;
  std::size_t shown = 0;
  std::size_t refused = 0;
  for (const Variant& variant : kVariants) {
    for (std::uint32_t salt = 0; salt < 6; ++salt) {
      const Buffer jpeg = encode(kSize, variant.options, salt);
      for (int mutant = 0; mutant < 150; ++mutant) {
        Buffer broken = jpeg;
        mutate(broken, random);
        const DecodeRequest request =
            at_scale({}, kSize, static_cast<unsigned>(mutant % 4), mutant % 5 == 0);
        const auto library = outcome(With::library, broken, request);
        CAPTURE(std::string(variant.name));
        CAPTURE(salt);
        CAPTURE(mutant);
        REQUIRE(*outcome(With::both, broken, request) == *library);
        const auto own = outcome(With::own, broken, request);
        if (own->taken) CHECK(*own == *library);
        taken += own->taken ? 1 : 0;
        shown += !own->taken && library->error.empty() ? 1 : 0;
        refused += library->error.empty() ? 0 : 1;
      }
    }
  }
  // All three happen often enough for this to mean something.
  CHECK(taken > 200);
  CHECK(shown > 200);
  CHECK(refused > 200);
}

TEST_CASE("what is not the common case is left alone") {
  constexpr Size kSize{.width = 40, .height = 32};
  const auto left = [&](const JpegOptions& options) {
    return !is_taken(encode_jpeg(kSize, options));
  };
  CHECK(left({.luma_h = 4}));
  CHECK(left({.colour = Colour::rgb}));
  CHECK(left({.colour = Colour::cmyk}));
  CHECK(left({.colour = Colour::ycck}));
  CHECK(left({.progressive = true}));
  CHECK(left({.arithmetic = true}));
  CHECK(left({.separate_scans = true}));
  CHECK_FALSE(left({.own_codes = true, .orientation = 6}));
}

TEST_CASE("irregular markers are left to libjpeg-turbo") {
  constexpr Size kSize{.width = 40, .height = 32};
  const Buffer jpeg = encode_jpeg(kSize, {.restart_rows = 1});
  REQUIRE(is_taken(jpeg));
  const std::size_t restart = marker_at(jpeg, 0xD1);
  const std::size_t scan = marker_at(jpeg, 0xDA);
  const std::size_t tables = marker_at(jpeg, 0xDB);
  Buffer wrong_restart = jpeg;
  wrong_restart[restart + 1] = 0xD3;
  const Buffer cases[] = {
      wrong_restart,
      without(jpeg, restart, 2),
      with(jpeg, restart, {0x12, 0x34}),          // bytes too many before a restart
      with(jpeg, jpeg.size() - 2, {0x12, 0x34}),  // and before the end
      with(jpeg, jpeg.size() - 2, {0xFF}),        // fill bytes
      with(jpeg, tables, {0xFF}),
      with(jpeg, tables, {0x00}),
      with(jpeg, scan, {0xFF, 0xDC, 0, 4, 0, 32}),  // DNL
      without(jpeg, jpeg.size() - 2, 2),
      with(jpeg, jpeg.size() - 2, {0xFF, 0xD0}),
  };
  for (const Buffer& irregular : cases) {
    CAPTURE(&irregular - cases);
    CHECK_FALSE(is_taken(irregular));
    CHECK(*outcome(With::both, irregular, {}) == *outcome(With::library, irregular, {}));
  }
  CHECK(is_taken(with(jpeg, jpeg.size(), {1, 2, 3})));  // whatever follows the image
}

TEST_CASE("a Huffman table with more codes than there can be, or one of all ones, is refused") {
  const Buffer jpeg = encode_jpeg({.width = 24, .height = 16}, {.colour = Colour::grey});
  const std::size_t scan = marker_at(jpeg, 0xDA);
  const auto with_counts = [&](std::array<std::uint8_t, 3> counts) {
    Buffer table{0xFF, 0xC4, 0, 0, 0};
    table.insert(table.end(), counts.begin(), counts.end());
    table.insert(table.end(), 13, 0);
    for (const std::uint8_t count : counts) {
      for (std::uint8_t i = 0; i < count; ++i) table.push_back(i);
    }
    table[3] = static_cast<std::uint8_t>(table.size() - 2);
    return with(jpeg, scan, table);
  };
  for (const auto counts :
       {std::array<std::uint8_t, 3>{2, 0, 0}, {1, 2, 0}, {0, 5, 0}, {1, 1, 2}}) {
    CAPTURE(counts[0]);
    CAPTURE(counts[1]);
    const Buffer broken = with_counts(counts);
    CHECK_FALSE(is_taken(broken));
    CHECK(*outcome(With::both, broken, {}) == *outcome(With::library, broken, {}));
    CHECK(outcome(With::library, broken, {})->error.starts_with("corrupt_image"));
  }
  // One less is a code, and the image another one.
  const Buffer other = with_counts({1, 1, 1});
  CHECK(*outcome(With::both, other, {}) == *outcome(With::library, other, {}));
  CHECK(outcome(With::library, other, {})->error.empty());
}

TEST_CASE("three components are YCbCr or RGB by the same signs") {
  constexpr Size kSize{.width = 24, .height = 16};
  const Buffer jpeg = encode_jpeg(kSize, {});
  const std::size_t jfif = marker_at(jpeg, 0xE0);
  const Buffer bare = without(jpeg, jfif, 18);
  const auto with_ids = [&](std::array<std::uint8_t, 3> ids) {
    Buffer renamed = bare;
    const std::size_t frame = marker_at(renamed, 0xC0);
    const std::size_t scan = marker_at(renamed, 0xDA);
    for (std::size_t i = 0; i < 3; ++i) {
      renamed[frame + 10 + 3 * i] = renamed[scan + 5 + 2 * i] = ids.at(i);
    }
    return renamed;
  };
  const auto adobe = [&](std::uint8_t transform) {
    return with(bare, 2,
                {0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, transform});
  };
  CHECK(same(bare, {}));
  CHECK(same(with_ids({0, 1, 2}), {}));
  CHECK(same(adobe(1), {}));
  CHECK_FALSE(is_taken(with_ids({'R', 'G', 'B'})));
  CHECK_FALSE(is_taken(with_ids({1, 1, 2})));
  CHECK_FALSE(is_taken(adobe(0)));
  CHECK_FALSE(is_taken(adobe(2)));
}

TEST_CASE("memory is charged as libjpeg-turbo's is") {
  const Buffer jpeg = encode_jpeg({.width = 640, .height = 32}, {.luma_h = 2, .luma_v = 2});
  for (const std::uint64_t bytes : {std::uint64_t{1} << 12U, std::uint64_t{1} << 24U}) {
    const DecodeLimits limits{.max_bytes = bytes};
    const auto own = outcome(With::own, jpeg, {}, limits);
    CHECK(own->error.empty() == (bytes > 1U << 20U));
    CHECK(*own == *outcome(With::library, jpeg, {}, limits));
  }
}

TEST_CASE("a sink may decode another image, and may throw") {
  class Nested final : public RowSink {
   public:
    explicit Nested(const Buffer& jpeg) : jpeg_(jpeg) {}
    void begin(const RowStream& /*stream*/) override {}
    void row(std::size_t /*plane*/, std::uint32_t y, const std::uint8_t* /*row*/) override {
      if (y == 1) CHECK(same(jpeg_, {}));
      if (y == 3) throw std::runtime_error("enough");
    }

   private:
    const Buffer& jpeg_;
  };
  const Buffer jpeg = encode_jpeg({.width = 64, .height = 64}, {.luma_h = 2, .luma_v = 2});
  Nested sink(jpeg);
  CHECK_THROWS_AS(decode_rows(jpeg, probe(jpeg, "t"), {}, kLimits, sink, "t"), std::runtime_error);
  CHECK(same(jpeg, {}));
}
