#pragma once

#include <cstddef>

#include "eyespot/codec.hpp"
#include "eyespot/image.hpp"
#include "eyespot/preprocess.hpp"
#include "kernels.hpp"

namespace eyespot::detail {

/// Turns `in` (RGB) upright into `out`, whose size is the turned one. They must not overlap.
void orient(ImageView in, Orientation orientation, MutableImageView out);

/// Fills `out` (RGB) with one colour.
void fill(MutableImageView out, const std::array<std::uint8_t, 3>& color);

/// Upright RGB pixels of the model's size to the model's numbers. `rows` has room for three rows of
/// bytes. `out` may be image.data when the spec asks for packed RGB bytes, and is then left alone.
void pack(ImageView image, const PixelSpec& spec, const Kernels& kernels, std::uint8_t* rows,
          void* out);

/// True when the model wants what the resizer stores: rows of RGB bytes.
[[nodiscard]] bool is_plain_rgb(const PixelSpec& spec) noexcept;

}  // namespace eyespot::detail
