#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "formats.hpp"
#include "jpeg_entropy.hpp"
#include "jpeg_frame.hpp"
#include "jpeg_kernels.hpp"

// The common JPEG, as cameras and web sites make it, decoded without libjpeg-turbo and faster, to
// the same samples. It leaves alone whatever is not common or not in order; see
// read_baseline_frame() and EntropyDecoder for what that means.
namespace eyespot::codec {
namespace {

// Upsampling looks at one neighbour of a chroma sample. Two chroma samples are four pixels.
constexpr std::uint32_t kMargin = 4;
// MCUs are decoded a few at a time, so that their coefficients are still in the L1 cache when they
// are transformed.
constexpr std::uint32_t kChunkBlocks = 16;
constexpr std::size_t kChunkGroups = kChunkBlocks / kGroupBlocks;

/// What takes no less memory for a small image than for a large one: 73 KiB.
struct Scratch {
  struct Row {
    alignas(64) std::array<std::int16_t, kChunkGroups * kGroupSize> coefficients;
    std::array<std::uint8_t, kChunkBlocks> last;
  };
  EntropyDecoder entropy;
  std::array<Row, std::tuple_size_v<EntropyDecoder::BlockRows>> rows;
  std::array<Dequantizer, 3> dequantizers;
};

/// A thread's scratch memory, for as long as one decode takes. Fresh memory for each image would
/// cost a page fault every 4 KiB.
class ScratchLease {
 public:
  ScratchLease() : scratch_(std::move(idle())) {
    if (!scratch_) scratch_ = std::make_unique<Scratch>();
  }
  ScratchLease(const ScratchLease&) = delete;
  ScratchLease& operator=(const ScratchLease&) = delete;
  ~ScratchLease() { idle() = std::move(scratch_); }
  [[nodiscard]] Scratch& operator*() const noexcept { return *scratch_; }

 private:
  static std::unique_ptr<Scratch>& idle() {
    thread_local std::unique_ptr<Scratch> scratch;
    return scratch;
  }
  std::unique_ptr<Scratch> scratch_;
};

/// A component's samples: a row of MCUs, and the last row of the one before.
class Plane {
 public:
  std::uint32_t side = 8;  ///< samples of a scaled block
  unsigned side_log2 = 3;
  std::uint32_t h = 1;  ///< blocks of an MCU
  std::uint32_t v = 1;
  PlaneSteps step;
  std::uint32_t width = 0;  ///< samples that lie in the image
  std::uint32_t height = 0;

  void allocate(std::uint32_t mcus_across) {
    // A group of blocks may reach past the last MCU, by less than kRowPadding.
    stride_ = std::size_t{mcus_across} * h * side + kRowPadding;
    samples_.resize(checked_mul(stride_, std::size_t{v} * side + 1, "JPEG plane") + kRowPadding);
  }
  /// Makes place for the rows from first_row().
  void advance(std::uint32_t mcu_row) noexcept {
    std::memcpy(samples_.data(), samples_.data() + std::size_t{v} * side * stride_, stride_);
    first_row_ = mcu_row * v * side;
  }
  /// y from first_row() - 1 to the end of the row of MCUs.
  [[nodiscard]] std::uint8_t* row(std::uint32_t y) noexcept {
    return samples_.data() + (std::size_t{y} + 1 - first_row_) * stride_;
  }
  [[nodiscard]] std::uint32_t first_row() const noexcept { return first_row_; }
  [[nodiscard]] std::size_t stride() const noexcept { return stride_; }

 private:
  std::size_t stride_ = 0;
  std::uint32_t first_row_ = 0;
  std::vector<std::uint8_t> samples_;
};

class BaselineDecoder {
 public:
  BaselineDecoder(const DecodeJob& job, const BaselineFrame& frame, Scratch& scratch)
      : job_(job),
        frame_(frame),
        scratch_(scratch),
        kernels_(jpeg_kernels()),
        scale_(choose_scale(job.info, job.request)),
        mcus_across_(ceil_div(frame.size.width, 8 * frame.max_h)),
        mcus_down_(ceil_div(frame.size.height, 8 * frame.max_v)) {}

  [[nodiscard]] bool decode() {
    stream_ = plan_rows(job_.info, job_.request, scale_);
    if (!plan_components()) return false;
    check_memory();
    if (!scratch_.entropy.start(job_.bytes, frame_)) return false;
    allocate();
    job_.sink.begin(stream_);

    const Rect& part = stream_.delivered;
    const std::uint32_t first_needed = part.y - std::min(part.y, kMargin);
    const std::uint32_t mcu_height = frame_.max_v * block_side();
    std::uint32_t mcu_row = 0;
    for (; mcu_row < mcus_down_ && next_row_ < part.y + part.height; ++mcu_row) {
      const std::uint32_t end = (mcu_row + 1) * mcu_height;
      if (end <= first_needed) {
        if (!scratch_.entropy.decode(mcus_across_, {}, {})) return false;
        continue;
      }
      if (!decode_mcu_row(mcu_row)) return false;
      const bool bottom = mcu_row + 1 == mcus_down_;
      if (stream_.layout == RowLayout::rgb) {
        deliver_rgb(bottom ? end : end - (interpolates_down_ ? 1 : 0));
      } else {
        deliver_planes(end);
      }
    }
    return mcu_row == mcus_down_ ? scratch_.entropy.at_end_of_image()
                                 : scratch_.entropy.end_marker_follows();
  }

 private:
  [[nodiscard]] std::uint32_t block_side() const noexcept { return 8U >> scale_; }
  [[nodiscard]] std::span<Plane> planes() noexcept {
    return std::span(planes_).first(frame_.component_count);
  }

  /// Scaled sizes as libjpeg chooses them: chroma of half size is scaled less where that spares
  /// the upsampling.
  [[nodiscard]] bool plan_components() {
    if (frame_.size != job_.info.stored_size) return false;
    std::array<PlaneSteps, 3> steps{};
    for (std::size_t c = 0; c < frame_.component_count; ++c) {
      const BaselineFrame::Component& component = frame_.components[c];
      Plane& plane = planes_[c];
      plane.h = component.h;
      plane.v = component.v;
      plane.side_log2 = 3 - scale_;
      while (plane.side_log2 < 3 &&
             frame_.max_h * block_side() % (plane.h << (plane.side_log2 + 1)) == 0 &&
             frame_.max_v * block_side() % (plane.v << (plane.side_log2 + 1)) == 0) {
        ++plane.side_log2;
      }
      plane.side = 1U << plane.side_log2;
      plane.step = {.x = frame_.max_h * block_side() / (plane.h * plane.side),
                    .y = frame_.max_v * block_side() / (plane.v * plane.side)};
      plane.width = ceil_div(frame_.size.width * plane.h * plane.side, frame_.max_h * 8);
      plane.height = ceil_div(frame_.size.height * plane.v * plane.side, frame_.max_v * 8);
      steps[c] = plane.step;
      plan_dequantizer(c);
    }
    if (job_.request.allow_planes && frame_.component_count == 1) {
      stream_.layout = RowLayout::grey;
    } else if (job_.request.allow_planes) {
      plan_planes(stream_, steps);
    }
    const Plane& chroma = planes_.back();
    // Libjpeg repeats samples instead at 1/8, and when there are too few of them.
    interpolates_ = block_side() > 1 && (chroma.step.x == 1 || chroma.width > 2);
    interpolates_down_ = frame_.component_count == 3 && interpolates_ && chroma.step.y == 2;
    next_row_ = stream_.delivered.y;
    return true;
  }

  void plan_dequantizer(std::size_t c) {
    const auto& table = frame_.quantization.at(frame_.components.at(c).quantization).steps;
    const std::uint32_t side = planes_.at(c).side;
    for (std::size_t i = 0; i < kBlockSize; ++i) {
      const auto used = [side](std::size_t at) {
        return side == 8 || at == 0 || (side == 4 && at != 4) || (side == 2 && at % 2 == 1);
      };
      const bool needed = side == 1 ? i == 0 : used(i / 8) && used(i % 8);
      Dequantizer& dequantizer = scratch_.dequantizers.at(c);
      dequantizer.steps[i] = needed ? table[i] : std::int16_t{0};
      dequantizer.limits[i] =
          needed ? static_cast<std::uint16_t>(kMaxDequantized / table[i]) : std::uint16_t{0xFFFF};
    }
  }

  void check_memory() {
    std::uint64_t samples = 0;
    for (const Plane& plane : planes()) {
      samples += std::uint64_t{mcus_across_} * plane.h * plane.v * kBlockSize;
    }
    check_bytes(jpeg_row_bytes(samples, stream_.scaled_size.width), job_.limits, "rows of a JPEG",
                job_.source);
  }

  void allocate() {
    const Rect& part = stream_.delivered;
    const std::uint32_t left = part.x - std::min(part.x, kMargin);
    const std::uint32_t right = std::min(part.x + part.width + kMargin, stream_.scaled_size.width);
    const std::uint32_t mcu_width = frame_.max_h * block_side();
    first_mcu_ = left / mcu_width;
    end_mcu_ = std::min(ceil_div(right, mcu_width), mcus_across_);
    for (Plane& plane : planes()) plane.allocate(mcus_across_);
    if (stream_.layout != RowLayout::rgb) return;
    const std::size_t room = std::size_t{part.width} + 2 * kRowPadding;
    rgb_.resize(3 * room);
    if (frame_.component_count == 1) return;
    sums_.resize(room);
    for (auto& row : chroma_) row.resize(room);
  }

  [[nodiscard]] bool decode_mcu_row(std::uint32_t mcu_row) {
    EntropyDecoder& entropy = scratch_.entropy;
    for (Plane& plane : planes()) plane.advance(mcu_row);
    EntropyDecoder::BlockRows rows;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i] = {scratch_.rows[i].coefficients.data(), scratch_.rows[i].last.data()};
    }
    std::array<Keep, 3> keep{};
    for (std::size_t c = 0; c < frame_.component_count; ++c) {
      keep[c] = planes_[c].side == 1 ? Keep::dc : Keep::all;
    }
    if (first_mcu_ > 0 && !entropy.decode(first_mcu_, {}, {})) return false;
    const std::uint32_t chunk = kChunkBlocks / frame_.max_h;
    for (std::uint32_t mcu = first_mcu_; mcu < end_mcu_; mcu += chunk) {
      const std::uint32_t count = std::min(chunk, end_mcu_ - mcu);
      clear_blocks(count);
      if (!entropy.decode(count, rows, keep) || !transform(mcu, count)) return false;
    }
    const std::uint32_t rest = mcus_across_ - end_mcu_;
    return rest == 0 || entropy.decode(rest, {}, {});
  }

  /// Calls visit(row, component, y) for each row of blocks that an MCU has.
  template <typename Visit>
  void for_each_row(const Visit& visit) {
    std::size_t i = 0;
    for (std::size_t c = 0; c < frame_.component_count; ++c) {
      for (std::uint32_t y = 0; y < planes_[c].v; ++y) visit(scratch_.rows[i++], c, y);
    }
  }

  void clear_blocks(std::uint32_t mcus) {
    for_each_row([&](Scratch::Row& row, std::size_t c, std::uint32_t /*y*/) {
      const std::size_t groups = ceil_div(mcus * planes_[c].h, kGroupBlocks);
      std::fill_n(row.coefficients.begin(), groups * kGroupSize, std::int16_t{0});
      row.last.fill(0);
    });
  }

  [[nodiscard]] bool transform(std::uint32_t mcu, std::uint32_t count) {
    bool inside = true;
    for_each_row([&](Scratch::Row& row, std::size_t c, std::uint32_t y) {
      Plane& plane = planes_[c];
      std::uint8_t* out =
          plane.row(plane.first_row() + y * plane.side) + std::size_t{mcu} * plane.h * plane.side;
      inside = kernels_.inverse_dct.at(plane.side_log2)(
                   row.coefficients.data(), scratch_.dequantizers[c], row.last.data(),
                   ceil_div(count * plane.h, kGroupBlocks), out, plane.stride()) &&
               inside;
    });
    return inside;
  }

  /// Rows of pixels above `end`.
  void deliver_rgb(std::uint32_t end) {
    const Rect& part = stream_.delivered;
    for (; next_row_ < std::min(end, part.y + part.height); ++next_row_) {
      const std::uint8_t* luma = planes_[0].row(next_row_) + part.x;
      if (frame_.component_count == 1) {
        kernels_.grey_to_rgb(luma, part.width, rgb_.data());
      } else {
        kernels_.ycc_to_rgb(luma, upsampled(planes_[1], chroma_[0]),
                            upsampled(planes_[2], chroma_[1]), part.width, rgb_.data());
      }
      job_.sink.row(0, next_row_ - part.y, rgb_.data());
    }
  }

  /// The row of a chroma plane that belongs to the next row of pixels, from its first pixel on; in
  /// `buffer` or in the plane itself.
  const std::uint8_t* upsampled(Plane& plane, std::vector<std::uint8_t>& buffer) {
    const Rect& part = stream_.delivered;
    const PlaneSteps step = plane.step;
    const std::uint32_t y = next_row_ / step.y;
    const std::uint32_t first = part.x / step.x;
    const std::uint8_t* near = plane.row(y) + first;
    if (step.x == 1 && (step.y == 1 || !interpolates_)) return near;
    const std::uint32_t count = (part.x + part.width - 1) / step.x - first + 1;
    if (!interpolates_) {
      kernels_.double_row(near, count, buffer.data());
      return buffer.data() + part.x % step.x;
    }
    const std::uint8_t* far = near;
    if (step.y == 2) {
      const bool lower = next_row_ % 2 == 1;
      far = plane.row(lower ? std::min(y + 1, plane.height - 1) : y - std::min(y, 1U)) + first;
    }
    std::int16_t* sums = sums_.data() + kRowPadding / 2;
    if (step.x == 1) {
      kernels_.weigh_rows(near, far, count, sums);
      kernels_.narrow_row(sums, count, next_row_ % 2 == 1 ? 2 : 1, buffer.data());
      return buffer.data();
    }
    // With a neighbour on either side; there is none at the edges of the image.
    const std::uint32_t before = std::min(first, 1U);
    const std::uint32_t after = std::min(plane.width - first - count, 1U);
    kernels_.weigh_rows(near - before, far - before, before + count + after, sums - before);
    if (before == 0) sums[-1] = sums[0];
    if (after == 0) sums[count] = sums[count - 1];
    // Halves are rounded in turn up and down, or there would be a bias.
    const auto [even, odd] = step.y == 2 ? std::pair{8, 7} : std::pair{4, 8};
    kernels_.interpolate_row(sums, count, static_cast<std::int16_t>(even),
                             static_cast<std::int16_t>(odd), buffer.data());
    return buffer.data() + part.x % step.x;
  }

  /// All rows of samples of this row of MCUs; `end` is where its pixels end.
  void deliver_planes(std::uint32_t end) {
    const Rect& part = stream_.delivered;
    for (std::size_t c = 0; c < frame_.component_count; ++c) {
      Plane& plane = planes_[c];
      const std::uint32_t first = part.y / plane.step.y;
      const std::uint32_t last = first + stream_.planes.at(c).size.height;
      const std::uint32_t rows_end = plane.first_row() + plane.v * plane.side;
      for (std::uint32_t y = std::max(first, plane.first_row()); y < std::min(last, rows_end);
           ++y) {
        job_.sink.row(c, y - first, plane.row(y) + part.x / plane.step.x);
      }
    }
    next_row_ = end;
  }

  const DecodeJob& job_;
  const BaselineFrame& frame_;
  Scratch& scratch_;
  const JpegKernels& kernels_;
  unsigned scale_;
  std::uint32_t mcus_across_;
  std::uint32_t mcus_down_;
  RowStream stream_;
  std::array<Plane, 3> planes_;
  bool interpolates_ = false;
  bool interpolates_down_ = false;
  std::uint32_t next_row_ = 0;   ///< of pixels
  std::uint32_t first_mcu_ = 0;  ///< those of a row that are needed
  std::uint32_t end_mcu_ = 0;
  std::vector<std::uint8_t> rgb_;
  std::vector<std::int16_t> sums_;
  std::array<std::vector<std::uint8_t>, 2> chroma_;
};

}  // namespace

bool decode_baseline_jpeg(const DecodeJob& job) {
  const std::optional<BaselineFrame> frame = read_baseline_frame(job.bytes);
  if (!frame) return false;
  const ScratchLease scratch;
  return BaselineDecoder(job, *frame, *scratch).decode();
}

}  // namespace eyespot::codec
