#pragma once

#include "bytes.hpp"
#include "eyespot/codec.hpp"

namespace eyespot::codec {

/// The orientation tag (0x0112) of IFD0 of a TIFF structure, the payload of an EXIF block; a
/// leading "Exif\0\0" is stepped over. top_left when the tag is absent, out of range, of a wrong
/// type, or the structure is broken: metadata never makes a picture unreadable. EXIF 2.32,
/// section 4.6.
[[nodiscard]] Orientation exif_orientation(Bytes payload) noexcept;

}  // namespace eyespot::codec
