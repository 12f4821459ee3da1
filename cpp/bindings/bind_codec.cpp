#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "bindings.hpp"
#include "convert.hpp"
#include "eyespot/codec.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

namespace {

/// An array that owns the image's pixels.
py::array_t<std::uint8_t> to_array(Image image) {
  auto owner = std::make_unique<Image>(std::move(image));
  const MutableImageView view = owner->mutable_view();
  const py::capsule base(owner.release(), [](void* held) { delete static_cast<Image*>(held); });
  return py::array_t<std::uint8_t>(
      std::array<std::size_t, 3>{view.size.height, view.size.width, view.channels}, view.data,
      base);
}

}  // namespace

void bind_codec(py::module_& module) {
  py::class_<ImageInfo>(module, "ImageInfo")
      .def_property_readonly(
          "format",
          [](const ImageInfo& info) { return std::string(image_format_name(info.format)); })
      .def_property_readonly("width", [](const ImageInfo& info) { return info.size().width; })
      .def_property_readonly("height", [](const ImageInfo& info) { return info.size().height; })
      .def_property_readonly("stored_width",
                             [](const ImageInfo& info) { return info.stored_size.width; })
      .def_property_readonly("stored_height",
                             [](const ImageInfo& info) { return info.stored_size.height; })
      .def_property_readonly(
          "orientation", [](const ImageInfo& info) { return static_cast<int>(info.orientation); })
      .def_readonly("channels", &ImageInfo::channels)
      .def_readonly("bit_depth", &ImageInfo::bit_depth)
      .def_readonly("has_alpha", &ImageInfo::has_alpha)
      .def_readonly("animated", &ImageInfo::animated);

  const DecodeOptions defaults;
  module.attr("MAX_PIXELS") = defaults.limits.max_pixels;
  module.attr("MAX_BYTES") = defaults.limits.max_bytes;

  module.def(
      "sniff",
      [](const py::buffer& data) {
        const ByteBuffer held(data);
        return std::string(image_format_name(sniff(held.bytes())));
      },
      py::arg("data"), py::pos_only());
  module.def(
      "probe",
      [](const py::buffer& data, const py::str& source) {
        const ByteBuffer held(data);
        const std::string name = from_text(source);
        const py::gil_scoped_release release;
        return probe(held.bytes(), name);
      },
      py::arg("data"), py::pos_only(), py::arg("source") = "");
  module.def(
      "decode",
      [](const py::buffer& data, std::uint64_t max_pixels, std::uint64_t max_bytes,
         std::array<std::uint8_t, 3> background, bool apply_orientation, const py::str& source) {
        const ByteBuffer held(data);
        const DecodeOptions options{
            .limits = {.max_pixels = max_pixels, .max_bytes = max_bytes},
            .background = background,
            .apply_orientation = apply_orientation,
        };
        const std::string name = from_text(source);
        Image image;
        {
          const py::gil_scoped_release release;
          image = decode(held.bytes(), options, name);
        }
        return to_array(std::move(image));
      },
      py::arg("data"), py::pos_only(), py::kw_only(),
      py::arg("max_pixels") = defaults.limits.max_pixels,
      py::arg("max_bytes") = defaults.limits.max_bytes, py::arg("background") = defaults.background,
      py::arg("apply_orientation") = true, py::arg("source") = "");
}

}  // namespace eyespot::bindings
