// jpeglib.h needs size_t and FILE, which it does not include itself.
#include <csetjmp>
#include <cstddef>
#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "formats.hpp"

#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "eyespot needs libjpeg-turbo 2.1 or newer (another libjpeg.h was found first)"
#endif

namespace eyespot::codec {
namespace {

constexpr int kMaxScans = 500;  // as libjpeg-turbo's own fuzzers; real files have about ten
constexpr std::size_t kBatchBytes = std::size_t{128} << 10U;
constexpr std::uint32_t kMaxBatchRows = 64;
// Fancy upsampling looks at one neighbour of a chroma sample; a cropped decode has none at its
// sides. Two chroma samples are four pixels.
constexpr std::uint32_t kCropMargin = 4;

/// What libjpeg calls when it gives up. It must be the struct that cinfo.err points into.
struct ErrorManager {
  jpeg_error_mgr base;
  std::jmp_buf jump;
  enum class Cause : std::uint8_t { library, truncated, too_many_scans } cause;
};

[[noreturn]] void give_up(j_common_ptr cinfo, ErrorManager::Cause cause) {
  // base is the first member of a standard-layout struct, so its address is the struct's.
  auto* manager = reinterpret_cast<ErrorManager*>(cinfo->err);
  manager->cause = cause;
  // NOLINTNEXTLINE(modernize-avoid-setjmp-longjmp): the only way out of libjpeg; see guarded()
  std::longjmp(manager->jump, 1);
}

[[noreturn]] void on_error(j_common_ptr cinfo) {
  give_up(cinfo, ErrorManager::Cause::library);
}

void on_message(j_common_ptr cinfo, int level) {
  if (level < 0) ++cinfo->err->num_warnings;
}

void on_output(j_common_ptr /*cinfo*/) {}

// The source is the whole file, so being asked for more means that it is truncated.
boolean on_empty(j_decompress_ptr cinfo) {
  give_up(reinterpret_cast<j_common_ptr>(cinfo), ErrorManager::Cause::truncated);
}

void on_skip(j_decompress_ptr cinfo, long count) {
  if (count <= 0) return;
  const auto skipped = static_cast<std::size_t>(count);
  if (skipped > cinfo->src->bytes_in_buffer) on_empty(cinfo);
  cinfo->src->next_input_byte += skipped;
  cinfo->src->bytes_in_buffer -= skipped;
}

void on_source(j_decompress_ptr /*cinfo*/) {}

void on_progress(j_common_ptr cinfo) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(cinfo);
  if (decompress->input_scan_number > kMaxScans) {
    give_up(cinfo, ErrorManager::Cause::too_many_scans);
  }
}

std::uint32_t dct_width(const jpeg_component_info& component) noexcept {
#if JPEG_LIB_VERSION >= 70
  return static_cast<std::uint32_t>(component.DCT_h_scaled_size);
#else
  return static_cast<std::uint32_t>(component.DCT_scaled_size);
#endif
}

std::uint32_t dct_height(const jpeg_component_info& component) noexcept {
#if JPEG_LIB_VERSION >= 70
  return static_cast<std::uint32_t>(component.DCT_v_scaled_size);
#else
  return static_cast<std::uint32_t>(component.DCT_scaled_size);
#endif
}

/// Samples of one component that a row of MCUs holds, and how they lie over the pixels.
struct Sampling {
  std::uint32_t width = 0;  ///< allocated: whole MCUs
  std::uint32_t rows = 0;   ///< a row of MCUs
  PlaneSteps step;          ///< 0 when its samples do not cover whole pixels
};

// CMYK as Adobe stores it, inverted: C, M, Y and K are how much light is left.
void cmyk_row_to_rgb(const std::uint8_t* cmyk, std::uint32_t width, std::uint8_t* rgb) noexcept {
  for (std::uint32_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
    const std::uint32_t key = cmyk[3];
    for (std::size_t c = 0; c < 3; ++c) {
      // Pillow's arithmetic: key minus the rounded share of ink.
      const std::uint32_t ink = (255U - cmyk[c]) * key + 128;
      rgb[c] = static_cast<std::uint8_t>(key - ((ink + (ink >> 8U)) >> 8U));
    }
  }
}

/// One JPEG on its way to a sink.
class JpegDecoder {
 public:
  explicit JpegDecoder(const DecodeJob& job) : job_(job) {
    cinfo_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = on_error;
    error_.base.emit_message = on_message;
    error_.base.output_message = on_output;
    run([this] { jpeg_create_decompress(&cinfo_); });
    progress_.progress_monitor = on_progress;
    cinfo_.progress = &progress_;
    source_.next_input_byte = job.bytes.data();
    source_.bytes_in_buffer = job.bytes.size();
    source_.init_source = on_source;
    source_.fill_input_buffer = on_empty;
    source_.skip_input_data = on_skip;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = on_source;
    cinfo_.src = &source_;
  }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;
  ~JpegDecoder() { jpeg_destroy_decompress(&cinfo_); }

  void decode() {
    run([this] { (void)jpeg_read_header(&cinfo_, TRUE); });
    check_size({.width = cinfo_.image_width, .height = cinfo_.image_height}, job_);
    const unsigned scale = choose_scale(job_.info, job_.request);
    choose_output(scale);
    run([this] { jpeg_calc_output_dimensions(&cinfo_); });
    RowStream stream = plan_rows(job_.info, job_.request, scale);
    check_memory();
    if (can_deliver_planes()) {
      cinfo_.raw_data_out = TRUE;
      deliver_planes(stream);
    } else {
      if (cinfo_.out_color_space == JCS_GRAYSCALE) stream.layout = RowLayout::grey;
      deliver_rows(stream);
    }
  }

 private:
  /// Calls libjpeg; false when it gave up by longjmp, which skips destructors: `call` must hold
  /// nothing that has one, and must not throw.
  template <typename Call>
  [[nodiscard]] bool guarded(Call call) {
    static_assert(std::is_trivially_destructible_v<Call>);
    // NOLINTNEXTLINE(modernize-avoid-setjmp-longjmp): libjpeg reports errors in no other way
    if (setjmp(error_.jump) != 0) return false;
    call();
    return true;
  }

  template <typename Call>
  void run(Call call) {
    if (!guarded(call)) fail_library();
  }

  [[noreturn]] void fail_library() {
    switch (error_.cause) {
      case ErrorManager::Cause::truncated:
        fail(ErrorCode::corrupt_image, job_.source,
             "JPEG ends after " + std::to_string(job_.bytes.size()) +
                 " bytes, before its image is complete");
      case ErrorManager::Cause::too_many_scans:
        fail(ErrorCode::limit_exceeded, job_.source,
             "JPEG has more than " + std::to_string(kMaxScans) + " scans");
      case ErrorManager::Cause::library: break;
    }
    std::array<char, JMSG_LENGTH_MAX> text{};
    error_.base.format_message(reinterpret_cast<j_common_ptr>(&cinfo_), text.data());
    ErrorCode code = ErrorCode::corrupt_image;
    switch (error_.base.msg_code) {
      case JERR_OUT_OF_MEMORY: code = ErrorCode::out_of_memory; break;
      case JERR_ARITH_NOTIMPL:
      case JERR_BAD_PRECISION:
      case JERR_CCIR601_NOTIMPL:
      case JERR_CONVERSION_NOTIMPL:
      case JERR_FRACT_SAMPLE_NOTIMPL:
      case JERR_IMAGE_TOO_BIG:
      case JERR_NOT_COMPILED:
      case JERR_NOTIMPL:
      case JERR_SOF_UNSUPPORTED:
      case JERR_WIDTH_OVERFLOW: code = ErrorCode::unsupported_format; break;
      default: break;
    }
    fail(code, job_.source, std::string("JPEG cannot be decoded: ") + text.data());
  }

  void choose_output(unsigned scale) {
    switch (cinfo_.num_components) {
      case 1: cinfo_.out_color_space = job_.request.allow_planes ? JCS_GRAYSCALE : JCS_RGB; break;
      case 3: cinfo_.out_color_space = JCS_RGB; break;
      case 4: cinfo_.out_color_space = JCS_CMYK; break;
      default:
        fail(ErrorCode::unsupported_format, job_.source,
             "JPEG of " + std::to_string(cinfo_.num_components) + " components");
    }
    cinfo_.scale_num = 1;
    cinfo_.scale_denom = 1U << scale;
  }

  void check_memory() {
    std::uint64_t coefficients = 0;
    std::uint64_t mcu_rows = 0;
    for (int i = 0; i < cinfo_.num_components; ++i) {
      const jpeg_component_info& component = cinfo_.comp_info[i];
      const auto h = static_cast<std::uint32_t>(component.h_samp_factor);
      const auto v = static_cast<std::uint32_t>(component.v_samp_factor);
      const std::uint64_t across = std::uint64_t{ceil_div(component.width_in_blocks, h)} * h;
      const std::uint64_t down = std::uint64_t{ceil_div(component.height_in_blocks, v)} * v;
      coefficients += across * down * sizeof(JBLOCK);
      mcu_rows += across * v * DCTSIZE2;
    }
    if (jpeg_has_multiple_scans(&cinfo_) == 0) coefficients = 0;
    check_bytes(coefficients + jpeg_row_bytes(mcu_rows, cinfo_.output_width), job_.limits,
                coefficients > 0 ? "coefficients of a JPEG with several scans" : "rows of a JPEG",
                job_.source);
  }

  [[nodiscard]] Sampling sampling(int index) const noexcept {
    const jpeg_component_info& component = cinfo_.comp_info[index];
    const auto h = static_cast<std::uint32_t>(component.h_samp_factor);
    const auto v = static_cast<std::uint32_t>(component.v_samp_factor);
    const std::uint32_t across = h * dct_width(component);
    const std::uint32_t down = v * dct_height(component);
    return {.width = ceil_div(component.width_in_blocks, h) * across,
            .rows = down,
            .step = {.x = mcu_width() % across == 0 ? mcu_width() / across : 0,
                     .y = mcu_height() % down == 0 ? mcu_height() / down : 0}};
  }

  [[nodiscard]] std::uint32_t block_size() const noexcept {
#if JPEG_LIB_VERSION >= 70
    return static_cast<std::uint32_t>(cinfo_.min_DCT_h_scaled_size);
#else
    return static_cast<std::uint32_t>(cinfo_.min_DCT_scaled_size);
#endif
  }
  /// In scaled pixels.
  [[nodiscard]] std::uint32_t mcu_width() const noexcept {
    return static_cast<std::uint32_t>(cinfo_.max_h_samp_factor) * block_size();
  }
  [[nodiscard]] std::uint32_t mcu_height() const noexcept {
    return static_cast<std::uint32_t>(cinfo_.max_v_samp_factor) * block_size();
  }

  /// Planes whose samples cover whole pixels, luma at full size.
  [[nodiscard]] bool can_deliver_planes() const noexcept {
    if (!job_.request.allow_planes || cinfo_.jpeg_color_space != JCS_YCbCr) return false;
    for (int i = 0; i < 3; ++i) {
      const Sampling plane = sampling(i);
      if (plane.step.x == 0 || plane.step.y == 0) return false;
      if (i == 0 && (plane.step.x != 1 || plane.step.y != 1)) return false;
    }
    return true;
  }

  void start() {
    run([this] { (void)jpeg_start_decompress(&cinfo_); });
  }

  /// True when the rest of the image can be taken to be there without decoding it.
  [[nodiscard]] bool rest_is_there() noexcept {
    if (jpeg_has_multiple_scans(&cinfo_) != 0) return true;  // all of them have been read
    // The decoder may have read the marker already: two bytes back.
    const std::size_t used = job_.bytes.size() - source_.bytes_in_buffer;
    return has_end_of_image(job_.bytes.subspan(used < 2 ? 0 : used - 2));
  }

  /// After the last row of the image. What follows the image data must make sense, but may be
  /// missing: all pixels are there.
  void finish() {
    if (guarded([this] { (void)jpeg_finish_decompress(&cinfo_); })) return;
    if (error_.cause != ErrorManager::Cause::truncated) fail_library();
  }

  void deliver_rows(const RowStream& stream) {
    start();
    const Rect region = stream.delivered;
    const bool cmyk = cinfo_.out_color_space == JCS_CMYK;
    JDIMENSION left = 0;
    crop_columns(region, left);
    if (region.y > 0) {
      run([this, y = region.y] { (void)jpeg_skip_scanlines(&cinfo_, y); });
    }

    const auto samples = static_cast<std::size_t>(cinfo_.output_components);
    const std::size_t row_bytes = checked_mul(cinfo_.output_width, samples, "JPEG row");
    const std::uint32_t batch = static_cast<std::uint32_t>(
        std::clamp<std::size_t>(kBatchBytes / row_bytes, 1, kMaxBatchRows));
    const auto pixels =
        std::make_unique_for_overwrite<std::uint8_t[]>(checked_mul(row_bytes, batch, "JPEG rows"));
    std::vector<std::uint8_t> converted(cmyk ? std::size_t{region.width} * 3 : 0);
    std::array<JSAMPROW, kMaxBatchRows> rows{};
    for (std::uint32_t i = 0; i < batch; ++i) rows[i] = pixels.get() + i * row_bytes;

    job_.sink.begin(stream);
    for (std::uint32_t y = 0; y < region.height;) {
      const std::uint32_t count = std::min(batch, region.height - y);
      read_rows(rows.data(), count);
      for (std::uint32_t i = 0; i < count; ++i, ++y) {
        const std::uint8_t* row = rows[i] + (region.x - left) * samples;
        if (cmyk) {
          cmyk_row_to_rgb(row, region.width, converted.data());
          row = converted.data();
        }
        job_.sink.row(0, y, row);
      }
    }
    const JDIMENSION below = cinfo_.output_height - cinfo_.output_scanline;
    if (below > 0) {
      if (rest_is_there()) return;
      // Skipping to the very end would decode nothing, so the last row is read.
      run([this, below] { (void)jpeg_skip_scanlines(&cinfo_, below - 1); });
      read_rows(rows.data(), 1);
    }
    finish();
  }

  void read_rows(JSAMPARRAY rows, std::uint32_t count) {
    run([this, rows, count] {
      std::uint32_t done = 0;
      while (done < count) {
        const JDIMENSION got = jpeg_read_scanlines(&cinfo_, rows + done, count - done);
        if (got == 0) on_empty(&cinfo_);
        done += got;
      }
    });
  }

  /// jpeg_crop_scanline() takes every component to be scaled alike. Chroma that the IDCT already
  /// enlarges in part, as at 1/2 of 4:1:0, would come out wrong at the edges.
  [[nodiscard]] bool can_crop_columns() const noexcept {
    for (int i = 0; i < cinfo_.num_components; ++i) {
      if (dct_width(cinfo_.comp_info[i]) != block_size() && sampling(i).step.x != 1) return false;
    }
    return true;
  }

  /// Leaves out columns that the region does not need; `left` becomes the first one decoded.
  void crop_columns(const Rect& region, JDIMENSION& left) {
    const std::uint32_t from = region.x - std::min(region.x, kCropMargin);
    const std::uint32_t right = region.x + region.width;
    const std::uint32_t to = right + std::min(cinfo_.output_width - right, kCropMargin);
    if (!can_crop_columns()) return;
    if (from < mcu_width() && cinfo_.output_width - to < mcu_width()) return;
    JDIMENSION start = from;
    JDIMENSION width = to - from;
    JDIMENSION* start_out = &start;
    JDIMENSION* width_out = &width;
    run([this, start_out, width_out] { jpeg_crop_scanline(&cinfo_, start_out, width_out); });
    left = start;
  }

  void deliver_planes(RowStream& stream) {
    const std::array<Sampling, 3> planes{sampling(0), sampling(1), sampling(2)};
    plan_planes(stream, {planes[0].step, planes[1].step, planes[2].step});
    start();

    std::array<std::vector<std::uint8_t>, 3> samples;
    std::array<std::vector<JSAMPROW>, 3> rows;
    std::array<JSAMPARRAY, 3> image{};
    for (std::size_t k = 0; k < 3; ++k) {
      samples[k].resize(checked_mul(planes[k].width, planes[k].rows, "JPEG plane"));
      for (std::uint32_t r = 0; r < planes[k].rows; ++r) {
        rows[k].push_back(samples[k].data() + std::size_t{r} * planes[k].width);
      }
      image[k] = rows[k].data();
    }

    job_.sink.begin(stream);
    const std::uint32_t end = stream.delivered.y + stream.delivered.height;
    for (std::uint32_t top = 0; top < cinfo_.output_height; top += mcu_height()) {
      if (top >= end && rest_is_there()) return;
      run([this, planes = image.data(), lines = mcu_height()] {
        if (jpeg_read_raw_data(&cinfo_, planes, lines) == 0) on_empty(&cinfo_);
      });
      for (std::size_t k = 0; k < 3; ++k) {
        const std::uint32_t first = top / planes[k].step.y;
        const std::uint32_t skip_x = stream.delivered.x / planes[k].step.x;
        const std::uint32_t skip_y = stream.delivered.y / planes[k].step.y;
        const std::uint32_t last = skip_y + stream.planes[k].size.height;
        for (std::uint32_t r = 0; r < planes[k].rows; ++r) {
          const std::uint32_t y = first + r;
          if (y >= skip_y && y < last) job_.sink.row(k, y - skip_y, rows[k][r] + skip_x);
        }
      }
    }
    finish();
  }

  const DecodeJob& job_;
  jpeg_decompress_struct cinfo_{};
  ErrorManager error_{};
  jpeg_progress_mgr progress_{};
  jpeg_source_mgr source_{};
};

/// Lets rows through once each, in order, when a second decoder begins again where a first one
/// has given up: both decode to the same samples.
class ResumingSink final : public RowSink {
 public:
  explicit ResumingSink(RowSink& sink) noexcept : sink_(sink) {}

  void begin(const RowStream& stream) override {
    if (!std::exchange(begun_, true)) sink_.begin(stream);
  }
  void row(std::size_t plane, std::uint32_t y, const std::uint8_t* samples) override {
    if (y < next_.at(plane)) return;
    next_.at(plane) = y + 1;
    sink_.row(plane, y, samples);
  }

 private:
  RowSink& sink_;
  bool begun_ = false;
  std::array<std::uint32_t, 3> next_{};
};

std::string_view process_name(std::uint8_t frame_marker) noexcept {
  switch (frame_marker) {
    case 0xC3: return "lossless";
    case 0xC5:
    case 0xC6: return "hierarchical";
    case 0xC7: return "hierarchical lossless";
    case 0xCB: return "arithmetic-coded lossless";
    case 0xCD:
    case 0xCE:
    case 0xCF: return "arithmetic-coded hierarchical";
    default: return "";
  }
}

}  // namespace

ImageInfo probe_jpeg(Bytes bytes, std::string_view source) {
  const JpegHeader header = read_jpeg_header(bytes, source);
  if (const std::string_view process = process_name(header.frame_marker); !process.empty()) {
    fail(ErrorCode::unsupported_format, source,
         "JPEG of the " + std::string(process) +
             " process; baseline, extended and progressive ones are decoded");
  }
  if (header.precision != 8) {
    fail(ErrorCode::unsupported_format, source,
         "JPEG of " + std::to_string(header.precision) + " bits a sample; 8 are decoded");
  }
  if (header.size.height == 0) {
    fail(ErrorCode::unsupported_format, source,
         "JPEG whose height follows its first scan (DNL) or is 0");
  }
  if (header.size.width == 0) fail(ErrorCode::corrupt_image, source, "JPEG of width 0");
  if (header.channels != 1 && header.channels != 3 && header.channels != 4) {
    fail(ErrorCode::unsupported_format, source,
         "JPEG of " + std::to_string(header.channels) + " components; 1, 3 and 4 are decoded");
  }
  return {.format = ImageFormat::jpeg,
          .stored_size = header.size,
          .orientation = header.orientation,
          .channels = header.channels,
          .bit_depth = header.precision,
          .has_alpha = false,
          .animated = false};
}

void decode_jpeg_with_library(const DecodeJob& job) {
  JpegDecoder(job).decode();
}

void decode_jpeg(const DecodeJob& job) {
  ResumingSink sink(job.sink);
  const DecodeJob resuming{.bytes = job.bytes,
                           .info = job.info,
                           .request = job.request,
                           .limits = job.limits,
                           .sink = sink,
                           .source = job.source};
  if (!decode_baseline_jpeg(resuming)) decode_jpeg_with_library(resuming);
}

}  // namespace eyespot::codec
