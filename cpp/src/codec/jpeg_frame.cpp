#include "jpeg_frame.hpp"

#include <algorithm>
#include <span>
#include <string_view>

namespace eyespot::codec {
namespace {

constexpr std::uint32_t kMaxSide = 65500;  // libjpeg's JPEG_MAX_DIMENSION

bool starts_with(Bytes segment, std::string_view name) noexcept {
  return segment.size() >= name.size() &&
         std::ranges::equal(segment.first(name.size()), name, {}, {},
                            [](char c) { return static_cast<std::uint8_t>(c); });
}

class HeaderReader {
 public:
  explicit HeaderReader(Bytes bytes) noexcept : bytes_(bytes) {}

  [[nodiscard]] bool read() {
    constexpr std::uint8_t kSoi = 0xD8;
    if (!has(bytes_, 0, 2) || bytes_[0] != 0xFF || bytes_[1] != kSoi) return false;
    at_ = 2;
    while (has(bytes_, at_, 4) && bytes_[at_] == 0xFF) {
      const std::uint8_t marker = bytes_[at_ + 1];
      const std::size_t length = read_be16(bytes_, at_ + 2);
      if (length < 2 || !has(bytes_, at_ + 2, length)) return false;
      const Bytes segment = bytes_.subspan(at_ + 4, length - 2);
      at_ += 2 + length;
      constexpr std::uint8_t kSos = 0xDA;
      if (marker == kSos) return read_scan(segment) && is_complete();
      if (!read_segment(marker, segment)) return false;
    }
    return false;
  }

  [[nodiscard]] const BaselineFrame& frame() const noexcept { return frame_; }

 private:
  [[nodiscard]] bool read_segment(std::uint8_t marker, Bytes segment) {
    switch (marker) {
      case 0xC0:
      case 0xC1: return read_frame(segment);
      case 0xC4: return read_huffman(segment);
      case 0xDB: return read_quantization(segment);
      case 0xDD:
        if (segment.size() != 2) return false;
        frame_.restart_interval = read_be16(segment, 0);
        return true;
      case 0xE0:
        jfif_ = jfif_ || (segment.size() >= 14 && starts_with(segment, {"JFIF\0", 5}));
        return true;
      case 0xEE:
        if (segment.size() >= 12 && starts_with(segment, "Adobe")) adobe_transform_ = segment[11];
        return true;
      default:
        // The other application segments, and comments.
        return (marker >= 0xE1 && marker <= 0xEF) || marker == 0xFE;
    }
  }

  [[nodiscard]] bool read_quantization(Bytes segment) {
    while (!segment.empty()) {
      // The upper half of the first byte, the precision, is 0 for 8 bits.
      if (segment.size() < 1 + kBlockSize || segment[0] >= frame_.quantization.size()) return false;
      BaselineFrame::QuantizationTable& table = frame_.quantization[segment[0]];
      for (std::size_t k = 0; k < kBlockSize; ++k) {
        if (segment[1 + k] == 0) return false;
        table.steps[kNaturalOrder[k]] = segment[1 + k];
      }
      table.defined = true;
      segment = segment.subspan(1 + kBlockSize);
    }
    return true;
  }

  [[nodiscard]] bool read_huffman(Bytes segment) {
    while (!segment.empty()) {
      if (segment.size() < 17) return false;
      const std::uint32_t kind = segment[0] >> 4U;
      const std::uint32_t index = segment[0] & 15U;
      if (kind > 1 || index >= frame_.dc_codes.size()) return false;
      HuffmanCode& code = (kind == 0 ? frame_.dc_codes : frame_.ac_codes).at(index);
      std::ranges::copy(segment.subspan(1, 16), code.counts.begin());
      std::size_t total = 0;
      for (const std::uint8_t count : code.counts) total += count;
      if (total > code.symbols.size() || segment.size() < 17 + total) return false;
      code.symbols.fill(0);
      std::ranges::copy(segment.subspan(17, total), code.symbols.begin());
      code.defined = true;
      segment = segment.subspan(17 + total);
    }
    return true;
  }

  [[nodiscard]] bool read_frame(Bytes segment) {
    if (frame_.component_count != 0 || segment.size() < 6 || segment[0] != 8) return false;
    frame_.size = {.width = read_be16(segment, 3), .height = read_be16(segment, 1)};
    const std::size_t count = segment[5];
    if ((count != 1 && count != 3) || segment.size() != 6 + 3 * count) return false;
    if (frame_.size.width < 1 || frame_.size.width > kMaxSide) return false;
    if (frame_.size.height < 1 || frame_.size.height > kMaxSide) return false;
    for (std::size_t i = 0; i < count; ++i) {
      BaselineFrame::Component& component = frame_.components[i];
      component.id = segment[6 + 3 * i];
      component.h = segment[7 + 3 * i] >> 4U;
      component.v = segment[7 + 3 * i] & 15U;
      component.quantization = segment[8 + 3 * i];
      if (component.h < 1 || component.h > 2 || component.v < 1 || component.v > 2) return false;
      if (component.quantization >= frame_.quantization.size()) return false;
    }
    frame_.component_count = count;
    return check_sampling();
  }

  [[nodiscard]] bool check_sampling() {
    auto& [luma, cb, cr] = frame_.components;
    if (frame_.component_count == 1) {
      luma.h = luma.v = 1;  // alone in its scan, whose MCUs are then single blocks
      return true;
    }
    if (luma.id == cb.id || luma.id == cr.id || cb.id == cr.id) return false;
    if (cb.h != cr.h || cb.v != cr.v || cb.h > luma.h || cb.v > luma.v) return false;
    frame_.max_h = luma.h;
    frame_.max_v = luma.v;
    return luma.h * luma.v + 2 * cb.h * cb.v <= kMaxMcuBlocks;
  }

  /// Libjpeg's guess at the colour space of three components.
  [[nodiscard]] bool is_ycbcr() const noexcept {
    if (jfif_) return true;
    if (adobe_transform_) return *adobe_transform_ == 1;
    const auto& [first, second, third] = frame_.components;
    return first.id != 'R' || second.id != 'G' || third.id != 'B';
  }

  [[nodiscard]] bool read_scan(Bytes segment) {
    const std::size_t count = frame_.component_count;
    if (count == 0 || segment.size() != 4 + 2 * count || segment[0] != count) return false;
    for (std::size_t i = 0; i < count; ++i) {
      BaselineFrame::Component& component = frame_.components[i];
      if (segment[1 + 2 * i] != component.id) return false;
      component.dc = segment[2 + 2 * i] >> 4U;
      component.ac = segment[2 + 2 * i] & 15U;
    }
    // All coefficients, and no successive approximation.
    const Bytes progression = segment.subspan(1 + 2 * count);
    frame_.scan = at_;
    return progression[0] == 0 && progression[1] == kBlockSize - 1 && progression[2] == 0;
  }

  [[nodiscard]] bool is_complete() const {
    const std::span components = std::span(frame_.components).first(frame_.component_count);
    return (components.size() == 1 || is_ycbcr()) &&
           std::ranges::all_of(components, [this](const BaselineFrame::Component& component) {
             return component.dc < frame_.dc_codes.size() &&
                    component.ac < frame_.ac_codes.size() &&
                    frame_.dc_codes.at(component.dc).defined &&
                    frame_.ac_codes.at(component.ac).defined &&
                    frame_.quantization.at(component.quantization).defined;
           });
  }

  Bytes bytes_;
  std::size_t at_ = 0;
  bool jfif_ = false;
  std::optional<std::uint8_t> adobe_transform_;
  BaselineFrame frame_;
};

}  // namespace

std::optional<BaselineFrame> read_baseline_frame(Bytes bytes) {
  HeaderReader reader(bytes);
  if (!reader.read()) return std::nullopt;
  return reader.frame();
}

}  // namespace eyespot::codec
