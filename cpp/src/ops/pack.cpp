#include "pack.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "geometry.hpp"

namespace eyespot::detail {
namespace {

constexpr std::size_t kRgb = 3;

struct Affine {
  std::array<float, kRgb> factor;
  std::array<float, kRgb> offset;
};

// (level * scale - mean) / std as one multiplication and one addition, worked out in double.
Affine affine(const PixelSpec& spec) {
  Affine result{};
  for (std::size_t c = 0; c < kRgb; ++c) {
    const double deviation = spec.std[c];
    result.factor[c] = static_cast<float>(static_cast<double>(spec.scale) / deviation);
    result.offset[c] = static_cast<float>(-static_cast<double>(spec.mean[c]) / deviation);
  }
  return result;
}

void swap_red_and_blue(const std::uint8_t* in, std::size_t n, std::uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    out[kRgb * i] = in[kRgb * i + 2];
    out[kRgb * i + 1] = in[kRgb * i + 1];
    out[kRgb * i + 2] = in[kRgb * i];
  }
}

void pack_planes(ImageView image, const PixelSpec& spec, const Kernels& kernels, std::uint8_t* rows,
                 void* out) {
  const std::size_t width = image.size.width;
  const std::size_t plane = width * image.size.height;
  const Affine scaling = affine(spec);
  for (std::size_t y = 0; y < image.size.height; ++y) {
    if (spec.dtype == PixelType::uint8) {
      auto* bytes = static_cast<std::uint8_t*>(out) + y * width;
      std::uint8_t* red = bytes + (spec.bgr ? 2 * plane : 0);
      std::uint8_t* blue = bytes + (spec.bgr ? 0 : 2 * plane);
      kernels.split_rgb(image.row(y), width, red, bytes + plane, blue);
      continue;
    }
    kernels.split_rgb(image.row(y), width, rows, rows + width, rows + 2 * width);
    for (std::size_t c = 0; c < kRgb; ++c) {
      const std::size_t target = spec.bgr ? 2 - c : c;
      kernels.to_float(rows + c * width, width, scaling.factor[target], scaling.offset[target],
                       static_cast<float*>(out) + target * plane + y * width);
    }
  }
}

void pack_interleaved(ImageView image, const PixelSpec& spec, const Kernels& kernels,
                      std::uint8_t* rows, void* out) {
  const std::size_t width = image.size.width;
  const Affine scaling = affine(spec);
  for (std::size_t y = 0; y < image.size.height; ++y) {
    const std::uint8_t* row = image.row(y);
    if (spec.bgr) {
      swap_red_and_blue(row, width, rows);
      row = rows;
    }
    if (spec.dtype == PixelType::uint8) {
      std::memcpy(static_cast<std::uint8_t*>(out) + y * width * kRgb, row, width * kRgb);
    } else {
      kernels.to_float3(row, width, scaling.factor.data(), scaling.offset.data(),
                        static_cast<float*>(out) + y * width * kRgb);
    }
  }
}

}  // namespace

void orient(ImageView in, Orientation orientation, MutableImageView out) {
  const Turn turn = turn_of(orientation);
  const std::size_t width = out.size.width;
  const std::size_t height = out.size.height;
  // The source steps that one step right, and one step down, in the upright image take.
  const auto row_step = static_cast<std::ptrdiff_t>(in.stride);
  constexpr auto kPixelStep = static_cast<std::ptrdiff_t>(kRgb);
  const std::ptrdiff_t right = (turn.swap_axes ? row_step : kPixelStep) * (turn.flip_x ? -1 : 1);
  const std::ptrdiff_t down = (turn.swap_axes ? kPixelStep : row_step) * (turn.flip_y ? -1 : 1);
  const std::uint8_t* start = in.data;
  if (turn.flip_x) start -= right * static_cast<std::ptrdiff_t>(width - 1);
  if (turn.flip_y) start -= down * static_cast<std::ptrdiff_t>(height - 1);
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* source = start + down * static_cast<std::ptrdiff_t>(y);
    std::uint8_t* target = out.row(y);
    for (std::size_t x = 0; x < width; ++x) {
      const std::uint8_t* pixel = source + right * static_cast<std::ptrdiff_t>(x);
      for (std::size_t c = 0; c < kRgb; ++c) target[kRgb * x + c] = pixel[c];
    }
  }
}

void fill(MutableImageView out, const std::array<std::uint8_t, 3>& color) {
  for (std::size_t y = 0; y < out.size.height; ++y) {
    std::uint8_t* row = out.row(y);
    for (std::size_t i = 0; i < out.size.width * kRgb; ++i) row[i] = color[i % kRgb];
  }
}

bool is_plain_rgb(const PixelSpec& spec) noexcept {
  return spec.dtype == PixelType::uint8 && spec.layout == Layout::nhwc && !spec.bgr;
}

void pack(ImageView image, const PixelSpec& spec, const Kernels& kernels, std::uint8_t* rows,
          void* out) {
  if (is_plain_rgb(spec) && image.data == out) return;
  if (spec.layout == Layout::nchw) {
    pack_planes(image, spec, kernels, rows, out);
  } else {
    pack_interleaved(image, spec, kernels, rows, out);
  }
}

}  // namespace eyespot::detail
