#include "decode_all.hpp"

#include <array>
#include <cstdlib>
#include <span>

namespace eyespot::fuzz {
namespace {

// Small enough that a hostile header costs no time.
constexpr DecodeLimits kLimits{.max_pixels = std::uint64_t{1} << 21U,
                               .max_bytes = std::uint64_t{1} << 26U};

void require(bool holds) {
  if (!holds) std::abort();
}

/// Reads every sample, and checks that rows come once each, in order.
class CheckSink final : public RowSink {
 public:
  void begin(const RowStream& stream) override {
    require(stream.plane_count == (stream.layout == RowLayout::ycbcr ? 3U : 1U));
    require(stream.delivered.x + stream.delivered.width <= stream.scaled_size.width);
    require(stream.delivered.y + stream.delivered.height <= stream.scaled_size.height);
    stream_ = stream;
  }
  void row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) override {
    require(plane < stream_.plane_count && y == rows_.at(plane));
    ++rows_.at(plane);
    const std::size_t channels = stream_.layout == RowLayout::rgb ? 3 : 1;
    for (std::size_t i = 0; i < stream_.planes.at(plane).size.width * channels; ++i) {
      sum_ = sum_ * 31 + samples[i];
    }
  }
  void check_complete() const {
    for (std::size_t k = 0; k < stream_.plane_count; ++k) {
      require(rows_.at(k) == stream_.planes.at(k).size.height);
    }
  }

 private:
  RowStream stream_;
  std::array<std::uint32_t, 3> rows_{};
  std::uint64_t sum_ = 0;  // keeps the reads alive
};

void try_rows(std::span<const std::uint8_t> bytes, const ImageInfo& info,
              const DecodeRequest& request) {
  CheckSink sink;
  try {
    decode_rows(bytes, info, request, kLimits, sink, "fuzz");
  } catch (const Error&) {
    return;
  }
  sink.check_complete();
}

}  // namespace

void decode_all(ImageFormat format, const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> bytes(data, size);
  if (sniff(bytes) != format) return;
  ImageInfo info;
  try {
    info = probe(bytes, "fuzz");
    const Image upright = decode(bytes, {.limits = kLimits}, "fuzz");
    require(upright.size() == info.size());
  } catch (const Error&) {
    if (info.format == ImageFormat::unknown) return;  // the header was refused
  }
  const Size stored = info.stored_size;
  // A part that depends on the input, so that different inputs cut differently.
  const auto salt = static_cast<std::uint32_t>(size);
  Rect region{.x = salt % stored.width, .y = salt / 3 % stored.height};
  region.width = 1 + (stored.width - region.x - 1) / 2;
  region.height = 1 + (stored.height - region.y - 1) / 2;
  for (const bool planes : {false, true}) {
    try_rows(bytes, info, {.region = {}, .target = {}, .allow_planes = planes});
    try_rows(bytes, info, {.region = region, .target = {}, .allow_planes = planes});
    try_rows(bytes, info,
             {.region = region, .target = {.width = 3, .height = 3}, .allow_planes = planes});
  }
}

}  // namespace eyespot::fuzz
