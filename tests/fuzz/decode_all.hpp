#pragma once

#include <cstddef>
#include <cstdint>

#include "eyespot/codec.hpp"

namespace eyespot::fuzz {

/// Decodes bytes of `format` in every way a caller can: whole, in part, scaled, as planes, upright.
/// Bytes of another format are passed over, so that each target explores its own decoder. Aborts
/// when a decoder that reports success has not delivered what it announced; memory errors are the
/// sanitizers' to find.
void decode_all(ImageFormat format, const std::uint8_t* data, std::size_t size);

}  // namespace eyespot::fuzz
