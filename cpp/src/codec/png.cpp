#include <spng.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "formats.hpp"

namespace eyespot::codec {
namespace {

struct ContextDeleter {
  void operator()(spng_ctx* context) const noexcept { spng_ctx_free(context); }
};

/// Hands libspng the needed chunks and nothing else.
struct ChunkReader {
  Bytes bytes;
  std::vector<PngChunks::Range> ranges;
  std::size_t range = 0;
  std::size_t offset = 0;

  static int read(spng_ctx* /*context*/, void* user, void* to, std::size_t length) noexcept {
    auto& self = *static_cast<ChunkReader*>(user);
    auto* out = static_cast<std::uint8_t*>(to);
    while (length > 0) {
      if (self.range == self.ranges.size()) return SPNG_IO_EOF;
      const PngChunks::Range& current = self.ranges[self.range];
      const std::size_t count = std::min(length, current.length - self.offset);
      std::memcpy(out, self.bytes.data() + current.offset + self.offset, count);
      out += count;
      length -= count;
      self.offset += count;
      if (self.offset == current.length) {
        ++self.range;
        self.offset = 0;
      }
    }
    return 0;
  }
};

[[noreturn]] void fail_spng(int error, std::string_view source) {
  switch (error) {
    case SPNG_EMEM: throw std::bad_alloc();
    case SPNG_EOF:
    case SPNG_IO_EOF:
    case SPNG_EIDAT_TOO_SHORT:
      fail(ErrorCode::corrupt_image, source, "PNG ends before its image is complete");
    default:
      fail(ErrorCode::corrupt_image, source,
           std::string("PNG cannot be decoded: ") + spng_strerror(error));
  }
}

void check(int error, std::string_view source) {
  if (error != SPNG_OK) fail_spng(error, source);
}

std::uint32_t channels_of(std::uint8_t colour_type) noexcept {
  switch (colour_type) {
    case SPNG_COLOR_TYPE_GRAYSCALE: return 1;
    case SPNG_COLOR_TYPE_GRAYSCALE_ALPHA: return 2;
    case SPNG_COLOR_TYPE_TRUECOLOR_ALPHA: return 4;
    default: return 3;
  }
}

/// One PNG on its way to a sink.
class PngDecoder {
 public:
  explicit PngDecoder(const DecodeJob& job)
      : job_(job), chunks_(read_png_chunks(job.bytes, job.source)) {
    check_size(chunks_.size, job);
    reader_.bytes = job.bytes;
    reader_.ranges = chunks_.needed;
    context_.reset(spng_ctx_new(0));
    if (!context_) throw std::bad_alloc();
    check(spng_set_png_stream(context_.get(), ChunkReader::read, &reader_), job.source);
    spng_ihdr header{};
    check(spng_get_ihdr(context_.get(), &header), job.source);
    has_alpha_ = job.info.has_alpha;
    // libspng narrows grey only up to 8 bits.
    grey_ = job.request.allow_planes && !has_alpha_ &&
            chunks_.colour_type == SPNG_COLOR_TYPE_GRAYSCALE && chunks_.bit_depth <= 8;
  }

  void run() {
    RowStream stream = plan_rows(job_.info, job_.request, 0);
    stream.layout = grey_ ? RowLayout::grey : RowLayout::rgb;
    region_ = stream.delivered;
    const std::size_t row_bytes = checked_mul(chunks_.size.width, samples(), "PNG row");
    // libspng keeps two rows of its own, of up to 8 bytes a pixel.
    const std::uint64_t rows = chunks_.interlaced ? chunks_.size.height : 1;
    check_bytes(row_bytes * rows + std::uint64_t{chunks_.size.width} * 16, job_.limits,
                "rows of a PNG", job_.source);
    composited_.resize(has_alpha_ ? std::size_t{region_.width} * 3 : 0);

    if (chunks_.interlaced) {
      deliver_interlaced(stream, row_bytes);
    } else {
      deliver_rows(stream, row_bytes);
    }
  }

 private:
  [[nodiscard]] std::size_t samples() const noexcept { return has_alpha_ ? 4 : (grey_ ? 1 : 3); }
  [[nodiscard]] int format() const noexcept {
    return has_alpha_ ? SPNG_FMT_RGBA8 : (grey_ ? SPNG_FMT_G8 : SPNG_FMT_RGB8);
  }

  void deliver(std::uint32_t y, const std::uint8_t* row) {
    if (y < region_.y || y - region_.y >= region_.height) return;
    const std::uint8_t* from = row + region_.x * samples();
    if (has_alpha_) {
      composite_row(from, region_.width, job_.request.background, composited_.data());
      from = composited_.data();
    }
    job_.sink.row(0, y - region_.y, from);
  }

  void deliver_rows(const RowStream& stream, std::size_t row_bytes) {
    check(spng_decode_image(context_.get(), nullptr, 0, format(),
                            SPNG_DECODE_TRNS | SPNG_DECODE_PROGRESSIVE),
          job_.source);
    std::vector<std::uint8_t> row(row_bytes);
    job_.sink.begin(stream);
    // Below the region nothing is needed, if the file shows that its image is whole.
    const std::uint32_t end = chunks_.ended ? region_.y + region_.height : chunks_.size.height;
    for (std::uint32_t y = 0; y < end; ++y) {
      const int error = spng_decode_row(context_.get(), row.data(), row.size());
      const bool last = y + 1 == chunks_.size.height;
      if (error != SPNG_OK && !(last && error == SPNG_EOI)) fail_spng(error, job_.source);
      deliver(y, row.data());
    }
  }

  void deliver_interlaced(const RowStream& stream, std::size_t row_bytes) {
    std::vector<std::uint8_t> canvas(checked_mul(row_bytes, chunks_.size.height, "PNG canvas"));
    check(
        spng_decode_image(context_.get(), canvas.data(), canvas.size(), format(), SPNG_DECODE_TRNS),
        job_.source);
    job_.sink.begin(stream);
    for (std::uint32_t y = region_.y; y < region_.y + region_.height; ++y) {
      deliver(y, canvas.data() + y * row_bytes);
    }
  }

  const DecodeJob& job_;
  PngChunks chunks_;
  ChunkReader reader_{};
  std::unique_ptr<spng_ctx, ContextDeleter> context_;
  bool has_alpha_ = false;
  bool grey_ = false;
  Rect region_;
  std::vector<std::uint8_t> composited_;
};

}  // namespace

ImageInfo probe_png(Bytes bytes, std::string_view source) {
  const PngChunks chunks = read_png_chunks(bytes, source);
  constexpr std::uint32_t kMaxSide = 0x7FFFFFFF;
  const Size size = chunks.size;
  if (size.width == 0 || size.height == 0 || size.width > kMaxSide || size.height > kMaxSide) {
    fail(ErrorCode::corrupt_image, source,
         "PNG of " + std::to_string(size.width) + " x " + std::to_string(size.height) + " px");
  }
  const bool alpha_stored = (chunks.colour_type & 4U) != 0;
  return {.format = ImageFormat::png,
          .stored_size = size,
          .orientation = chunks.orientation,
          .channels = channels_of(chunks.colour_type),
          .bit_depth = chunks.bit_depth,
          .has_alpha = alpha_stored || chunks.has_transparency,
          .animated = chunks.animated};
}

void decode_png(const DecodeJob& job) {
  PngDecoder(job).run();
}

}  // namespace eyespot::codec
