// eyespot's own JPEG decoder against libjpeg-turbo: what the one takes, the other must give, too.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "formats.hpp"

namespace eyespot::fuzz {
namespace {

constexpr DecodeLimits kLimits{.max_pixels = std::uint64_t{1} << 18U,
                               .max_bytes = std::uint64_t{1} << 26U};

class KeepSink final : public RowSink {
 public:
  void begin(const RowStream& stream) override { stream_ = stream; }
  void row(std::size_t plane, std::uint32_t /*y*/, const std::uint8_t* samples) override {
    const std::size_t channels = stream_.layout == RowLayout::rgb ? 3 : 1;
    std::vector<std::uint8_t>& to = samples_.at(plane);
    to.insert(to.end(), samples, samples + stream_.planes.at(plane).size.width * channels);
  }
  [[nodiscard]] const auto& samples() const noexcept { return samples_; }

 private:
  RowStream stream_;
  std::array<std::vector<std::uint8_t>, 3> samples_;
};

struct Outcome {
  bool taken = true;
  std::string error;
  KeepSink sink;
};

template <typename Decode>
void run(Outcome& outcome, const Decode& decode) {
  try {
    outcome.taken = decode(outcome.sink);
  } catch (const Error& error) {
    outcome.error = error.message();
  }
}

void compare(std::span<const std::uint8_t> bytes, const ImageInfo& info,
             const DecodeRequest& request) {
  const auto job = [&](RowSink& sink) {
    return codec::DecodeJob{.bytes = bytes,
                            .info = info,
                            .request = request,
                            .limits = kLimits,
                            .sink = sink,
                            .source = "fuzz"};
  };
  Outcome own;
  run(own, [&](RowSink& sink) { return codec::decode_baseline_jpeg(job(sink)); });
  if (!own.taken) return;
  Outcome library;
  run(library, [&](RowSink& sink) {
    codec::decode_jpeg_with_library(job(sink));
    return true;
  });
  if (own.error != library.error) std::abort();
  if (own.error.empty() && own.sink.samples() != library.sink.samples()) std::abort();
}

}  // namespace
}  // namespace eyespot::fuzz

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace eyespot;
  const std::span<const std::uint8_t> bytes(data, size);
  if (sniff(bytes) != ImageFormat::jpeg) return 0;
  ImageInfo info;
  try {
    info = probe(bytes, "fuzz");
  } catch (const Error&) {
    return 0;
  }
  if (pixel_count(info.stored_size) > fuzz::kLimits.max_pixels) return 0;
  const auto salt = static_cast<std::uint32_t>(size);
  Rect region{.x = salt % info.stored_size.width, .y = salt / 3 % info.stored_size.height};
  region.width = info.stored_size.width - region.x;
  region.height = 1 + (info.stored_size.height - region.y - 1) / 2;
  const Size small{.width = 1 + region.width / (2 + salt % 7), .height = 1};
  for (const bool planes : {false, true}) {
    fuzz::compare(bytes, info, {.region = {}, .target = {}, .allow_planes = planes});
    fuzz::compare(bytes, info, {.region = region, .target = small, .allow_planes = planes});
  }
  return 0;
}
