#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "stages.hpp"

namespace eyespot::detail {
namespace {

constexpr std::size_t kRgb = 3;
// Target pixels after which a line starts from an exact position again: the step's rounding adds up
// to 1/512 of a pixel.
constexpr std::uint32_t kLine = 256;
// Rows of the tiles whose source pixels are brought into the cache at once.
constexpr std::uint32_t kTileRows = 64;
// A rotated image that shrinks by less is warped as it is: the aliasing is slighter than the blur
// of a second resampling.
constexpr double kShrinks = 1.25;

std::int32_t fixed(double position) {
  return static_cast<std::int32_t>(std::llround(position * (1 << kWarpBits)));
}

// The i in [begin, end) with low <= start + i * step < high.
struct Span {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  void keep(std::int64_t start, std::int64_t step, std::int64_t low, std::int64_t high) {
    if (step < 0) {  // mirrored: -high < -start - i * step <= -low
      keep(-start, -step, 1 - high, 1 - low);
      return;
    }
    if (step == 0) {
      if (start < low || start >= high) end = begin;
      return;
    }
    const auto ceil_div = [step](std::int64_t value) {
      return value >= 0 ? (value + step - 1) / step : -(-value / step);
    };
    begin = std::max(begin, ceil_div(low - start));
    end = std::max(begin, std::min(end, ceil_div(high - start)));
  }
};

void warp_line(const AugmentKernels& kernels, const WarpSource& source, WarpLine line,
               std::size_t n, std::uint8_t* out) {
  constexpr std::int64_t kOne = std::int64_t{1} << kWarpBits;
  Span inside{.begin = 0, .end = static_cast<std::int64_t>(n)};
  inside.keep(line.x, line.step_x, 0, (source.width - 2) * kOne);
  inside.keep(line.y, line.step_y, 0, (source.height - 1) * kOne);
  const auto begin = static_cast<std::size_t>(inside.begin);
  const auto end = static_cast<std::size_t>(inside.end);
  const auto from = [&line](std::size_t i) {
    const auto steps = static_cast<std::int32_t>(i);
    WarpLine moved = line;
    moved.x += steps * line.step_x;
    moved.y += steps * line.step_y;
    return moved;
  };
  if (begin >= end) {
    kernels.warp_edge(source, line, n, out);
    return;
  }
  if (begin > 0) kernels.warp_edge(source, line, begin, out);
  kernels.warp(source, from(begin), end - begin, out + begin * kRgb);
  if (end < n) kernels.warp_edge(source, from(end), n - end, out + end * kRgb);
}

// The whole pixels around [begin, begin + length) of an axis of `size`, with `margin` more.
struct Pixels {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
};
Pixels pixels_around(double begin, double length, double margin, std::uint32_t size) {
  const double limit = size;
  const double low = std::clamp(std::floor(begin - margin), 0.0, limit - 1);
  const double high = std::clamp(std::ceil(begin + length + margin), low + 1, limit);
  return {.first = static_cast<std::uint32_t>(low),
          .count = static_cast<std::uint32_t>(high - low)};
}

// Reads a byte of each cache line that a tile of the target needs, row by row: that a CPU foresees,
// but not a turned line's path, on which it would wait for each. Prefetch instructions did nothing.
void touch(ImageView in, const Affine& map, std::uint32_t x, std::uint32_t y, Size tile) {
  constexpr std::size_t kCacheLine = 64;
  Affine from_tile = map;
  from_tile.x0 += map.xx * x + map.xy * y;
  from_tile.y0 += map.yx * x + map.yy * y;
  const Box box = bounds(from_tile, tile);
  const Pixels columns = pixels_around(box.x, box.width, 1, in.size.width);
  const Pixels rows = pixels_around(box.y, box.height, 1, in.size.height);
  for (std::uint32_t i = 0; i < rows.count; ++i) {
    const std::uint8_t* const row = in.row(rows.first + i) + columns.first * kRgb;
    for (std::size_t at = 0; at < columns.count * kRgb; at += kCacheLine) {
      (void)*static_cast<const volatile std::uint8_t*>(row + at);
    }
  }
}

ImageView part_of(const ImageView& image, Pixels x, Pixels y) {
  return {image.row(y.first) + x.first * image.channels,
          {x.count, y.count},
          image.channels,
          image.stride};
}

// Whole pixels that keep their size are copied; false when these are not such.
bool copy_box(const Photo& photo, const Box& box, bool mirror_x, bool mirror_y,
              MutableImageView out) {
  const bool same = photo.shrink == 1 && photo.offset_x == 0 && photo.offset_y == 0 &&
                    box.width == out.size.width && box.height == out.size.height &&
                    box.x == std::floor(box.x) && box.y == std::floor(box.y);
  if (!same) return false;
  const AugmentKernels& kernels = augment_kernels();
  const auto left = (static_cast<std::size_t>(box.x) - photo.part_x) * kRgb;
  const std::size_t top = static_cast<std::size_t>(box.y) - photo.part_y;
  const std::size_t height = out.size.height;
  // Read in order, whatever the order of writing: caches are twice as fast that way.
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* from = photo.pixels.row(top + y) + left;
    std::uint8_t* const to = out.row(mirror_y ? height - 1 - y : y);
    if (mirror_x) {
      kernels.mirror(from, out.size.width, to);
    } else {
      std::memcpy(to, from, out.size.width * kRgb);
    }
  }
  return true;
}

// The map into the scaled image's coordinates.
Affine scaled(const Photo& photo, Affine map) {
  map.x0 += photo.offset_x;
  map.y0 += photo.offset_y;
  for (double* value : {&map.xx, &map.xy, &map.x0, &map.yx, &map.yy, &map.y0}) {
    *value *= photo.shrink;
  }
  return map;
}

}  // namespace

Affine operator*(const Affine& outer, const Affine& inner) noexcept {
  return {.xx = outer.xx * inner.xx + outer.xy * inner.yx,
          .xy = outer.xx * inner.xy + outer.xy * inner.yy,
          .yx = outer.yx * inner.xx + outer.yy * inner.yx,
          .yy = outer.yx * inner.xy + outer.yy * inner.yy,
          .x0 = outer.xx * inner.x0 + outer.xy * inner.y0 + outer.x0,
          .y0 = outer.yx * inner.x0 + outer.yy * inner.y0 + outer.y0};
}

Box bounds(const Affine& map, Size target) noexcept {
  const double across_x = map.xx * target.width;
  const double across_y = map.yx * target.width;
  const double down_x = map.xy * target.height;
  const double down_y = map.yy * target.height;
  return {.x = map.x0 + std::min(across_x, 0.0) + std::min(down_x, 0.0),
          .y = map.y0 + std::min(across_y, 0.0) + std::min(down_y, 0.0),
          .width = std::abs(across_x) + std::abs(down_x),
          .height = std::abs(across_y) + std::abs(down_y)};
}

Photo whole_photo(ImageView pixels, Resample resample) noexcept {
  Photo photo;
  photo.resample = resample;
  photo.pixels = pixels;
  photo.size = pixels.size;
  photo.scaled_size = pixels.size;
  return photo;
}

void warp(ImageView in, const Affine& map, const Surround& surround, MutableImageView out) {
  const AugmentKernels& kernels = augment_kernels();
  const WarpSource source{.data = in.data,
                          .stride = in.stride,
                          .width = static_cast<std::int32_t>(in.size.width),
                          .height = static_cast<std::int32_t>(in.size.height),
                          .mirrored = surround.edges == Edges::mirror,
                          .fill = surround.fill};
  const std::int32_t step_x = fixed(map.xx);
  const std::int32_t step_y = fixed(map.yx);
  const auto line_at = [&](std::uint32_t x, std::uint32_t y) {
    const double column = x + 0.5;
    const double row = y + 0.5;
    return WarpLine{.x = fixed(map.xx * column + map.xy * row + map.x0 - 0.5),
                    .y = fixed(map.yx * column + map.yy * row + map.y0 - 0.5),
                    .step_x = step_x,
                    .step_y = step_y};
  };
  // In strips, so that the few pages and cache lines that a line crosses serve the next one too.
  for (std::uint32_t x = 0; x < out.size.width; x += kLine) {
    const std::uint32_t n = std::min<std::uint32_t>(kLine, out.size.width - x);
    for (std::uint32_t y = 0; y < out.size.height; ++y) {
      if (y % kTileRows == 0) touch(in, map, x, y, {n, std::min(kTileRows, out.size.height - y)});
      warp_line(kernels, source, line_at(x, y), n, out.row(y) + x * kRgb);
    }
  }
}

void flip(MutableImageView image, bool horizontal, bool vertical,
          AlignedBuffer<std::uint8_t>& row) {
  const AugmentKernels& kernels = augment_kernels();
  const std::size_t width = image.size.width;
  const std::size_t bytes = width * kRgb;
  std::uint8_t* const spare = row.reserve(padded(bytes));
  const auto move = [&](const std::uint8_t* from, std::uint8_t* to) {
    horizontal ? kernels.mirror(from, width, to) : void(std::memcpy(to, from, bytes));
  };
  const std::size_t height = image.size.height;
  if (!vertical) {
    for (std::size_t y = 0; horizontal && y < height; ++y) {
      std::memcpy(spare, image.row(y), bytes);
      kernels.mirror(spare, width, image.row(y));
    }
    return;
  }
  for (std::size_t y = 0; y < height / 2; ++y) {
    std::memcpy(spare, image.row(y), bytes);
    move(image.row(height - 1 - y), image.row(y));
    move(spare, image.row(height - 1 - y));
  }
  if (horizontal && height % 2 == 1) {
    std::memcpy(spare, image.row(height / 2), bytes);
    kernels.mirror(spare, width, image.row(height / 2));
  }
}

void resize_box(const Photo& photo, Box box, MutableImageView out, ResizeScratch& scratch) {
  const Kernels& kernels = detail::kernels();
  const ImageView& in = photo.pixels;
  // The order of these operations is that of load_pixels(), for the same bits.
  (void)scratch.resizer.plan({.in_size = in.size.width,
                              .begin = (box.x + photo.offset_x) * photo.shrink - photo.part_x,
                              .length = box.width * photo.shrink,
                              .out_size = out.size.width,
                              .resample = photo.resample,
                              .bits = 0},
                             {.in_size = in.size.height,
                              .begin = (box.y + photo.offset_y) * photo.shrink - photo.part_y,
                              .length = box.height * photo.shrink,
                              .out_size = out.size.height,
                              .resample = photo.resample,
                              .bits = 0},
                             kRgb, kernels, scratch.weights);
  scratch.resizer.begin(out);
  for (std::uint32_t y = scratch.resizer.first_row(); y <= scratch.resizer.last_row(); ++y) {
    scratch.resizer.row(y, in.row(y));
  }
}

void resample(const Photo& photo, const Affine& map, const Surround& surround, MutableImageView out,
              ResizeScratch& scratch) {
  if (map.is_box()) {
    const Box box = bounds(map, out.size);
    if (copy_box(photo, box, map.xx < 0, map.yy < 0, out)) return;
    resize_box(photo, box, out, scratch);
    flip(out, map.xx < 0, map.yy < 0, scratch.row);
    return;
  }
  const Affine to_scaled = scaled(photo, map);
  const Box box = bounds(to_scaled, out.size);
  const double shrink_x = std::hypot(to_scaled.xx, to_scaled.xy);
  const double shrink_y = std::hypot(to_scaled.yx, to_scaled.yy);
  const double step_x = shrink_x > kShrinks ? shrink_x : 1;
  const double step_y = shrink_y > kShrinks ? shrink_y : 1;
  // The pixels that the warp reads: two more than the box on each side, so that the cut is never
  // seen.
  const Pixels x = pixels_around(box.x, box.width, 2 * step_x, photo.scaled_size.width);
  const Pixels y = pixels_around(box.y, box.height, 2 * step_y, photo.scaled_size.height);
  Affine from_part = to_scaled;
  from_part.x0 -= x.first;
  from_part.y0 -= y.first;
  if (step_x == 1 && step_y == 1) {
    const Pixels left{.first = x.first - photo.part_x, .count = x.count};
    const Pixels upper{.first = y.first - photo.part_y, .count = y.count};
    warp(part_of(photo.pixels, left, upper), from_part, surround, out);
    return;
  }
  // Whole target pixels, so the steps change a little.
  const Size small{static_cast<std::uint32_t>(std::max(1.0, std::round(x.count / step_x))),
                   static_cast<std::uint32_t>(std::max(1.0, std::round(y.count / step_y)))};
  const double factor_x = static_cast<double>(small.width) / x.count;
  const double factor_y = static_cast<double>(small.height) / y.count;
  const std::size_t stride = std::size_t{small.width} * kRgb;
  const MutableImageView reduced{scratch.pixels.reserve(checked_mul(stride, small.height, "warp")),
                                 small, kRgb, stride};
  Photo at_scale = photo;
  at_scale.shrink = 1;
  at_scale.offset_x = 0;
  at_scale.offset_y = 0;
  resize_box(at_scale,
             {.x = static_cast<double>(x.first),
              .y = static_cast<double>(y.first),
              .width = static_cast<double>(x.count),
              .height = static_cast<double>(y.count)},
             reduced, scratch);
  const Affine shrunk{.xx = factor_x, .xy = 0, .yx = 0, .yy = factor_y, .x0 = 0, .y0 = 0};
  warp(reduced, shrunk * from_part, surround, out);
}

}  // namespace eyespot::detail
