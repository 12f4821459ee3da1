#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "convert.hpp"
#include "eyespot/error.hpp"
#include "eyespot/ops.hpp"
#include "eyespot/preprocess.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

namespace {

// A choice by name, in the words of Python's enums.
template <typename T, std::size_t N>
T choice(const std::string& name, const std::array<std::pair<const char*, T>, N>& choices,
         const char* what) {
  std::string allowed;
  for (const auto& [text, value] : choices) {
    if (name == text) return value;
    allowed += allowed.empty() ? "" : ", ";
    allowed += text;
  }
  throw Error(ErrorCode::invalid_argument, what, "\"" + name + "\"; allowed are " + allowed);
}

template <typename T, std::size_t N>
const char* name_of(T value, const std::array<std::pair<const char*, T>, N>& choices) {
  for (const auto& [text, candidate] : choices) {
    if (candidate == value) return text;
  }
  return "";
}

constexpr std::array kCrops{std::pair{"center_crop", CropPolicy::center_crop},
                            std::pair{"fit", CropPolicy::fit},
                            std::pair{"stretch", CropPolicy::stretch}};
constexpr std::array kResamples{std::pair{"bilinear", Resample::bilinear},
                                std::pair{"bicubic", Resample::bicubic}};
constexpr std::array kTypes{std::pair{"uint8", PixelType::uint8},
                            std::pair{"float32", PixelType::float32}};
constexpr std::array kLayouts{std::pair{"nhwc", Layout::nhwc}, std::pair{"nchw", Layout::nchw}};

PixelSpec make_spec(std::uint32_t width, std::uint32_t height, const std::string& crop,
                    const std::string& resample, const std::string& dtype,
                    const std::string& layout, const std::array<float, 3>& mean,
                    const std::array<float, 3>& std, float scale, bool bgr,
                    const std::array<std::uint8_t, 3>& background, bool planes,
                    std::optional<std::uint64_t> max_pixels,
                    std::optional<std::uint64_t> max_bytes) {
  PixelSpec spec{.size = {width, height},
                 .crop = choice(crop, kCrops, "crop"),
                 .resample = choice(resample, kResamples, "resample"),
                 .dtype = choice(dtype, kTypes, "dtype"),
                 .layout = choice(layout, kLayouts, "layout"),
                 .scale = scale,
                 .mean = mean,
                 .std = std,
                 .bgr = bgr,
                 .background = background,
                 .planes = planes,
                 .limits = {}};
  if (max_pixels) spec.limits.max_pixels = *max_pixels;
  if (max_bytes) spec.limits.max_bytes = *max_bytes;
  (void)pixel_bytes(spec);  // refuses what is out of range here, not at the first image
  return spec;
}

std::vector<py::ssize_t> shape(const PixelSpec& spec) {
  const auto width = static_cast<py::ssize_t>(spec.size.width);
  const auto height = static_cast<py::ssize_t>(spec.size.height);
  if (spec.layout == Layout::nchw) return {3, height, width};
  return {height, width, 3};
}

// Runs fill(out) without the GIL on a new array of the spec's type and shape.
template <typename T, typename Fill>
py::array filled(const PixelSpec& spec, const Fill& fill) {
  auto data = std::make_unique_for_overwrite<T[]>(pixel_bytes(spec) / sizeof(T));
  {
    const py::gil_scoped_release unlocked;
    fill(static_cast<void*>(data.get()));
  }
  return owning_array<T>(shape(spec), std::move(data));
}

template <typename Fill>
py::array model_input(const PixelSpec& spec, const Fill& fill) {
  if (spec.dtype == PixelType::uint8) return filled<std::uint8_t>(spec, fill);
  return filled<float>(spec, fill);
}

ImageView view_of(const CArray<std::uint8_t>& array, const char* name) {
  if (array.ndim() != 2 && array.ndim() != 3) {
    throw Error(ErrorCode::invalid_argument, name,
                std::to_string(array.ndim()) + " dimensions; needed are height, width, channels");
  }
  constexpr py::ssize_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (array.shape(0) > kMost || array.shape(1) > kMost) {
    throw Error(ErrorCode::invalid_argument, name, "a side exceeds 2^32 - 1 px");
  }
  const std::size_t channels = array.ndim() == 3 ? static_cast<std::size_t>(array.shape(2)) : 1;
  return {array.data(),
          {static_cast<std::uint32_t>(array.shape(1)), static_cast<std::uint32_t>(array.shape(0))},
          channels,
          static_cast<std::size_t>(array.shape(1)) * channels};
}

py::array_t<std::uint8_t> resize_array(const CArray<std::uint8_t>& array, std::uint32_t width,
                                       std::uint32_t height, const std::string& resample,
                                       const std::optional<std::array<double, 4>>& box) {
  const ImageView in = view_of(array, "array");
  const Resample filter = choice(resample, kResamples, "resample");
  Box source{.x = 0,
             .y = 0,
             .width = static_cast<double>(in.size.width),
             .height = static_cast<double>(in.size.height)};
  if (box) {
    const auto [left, upper, right, lower] = *box;
    source = {.x = left, .y = upper, .width = right - left, .height = lower - upper};
  }
  const Size size{width, height};
  const std::size_t row = checked_mul(width, in.channels, "resize");
  auto data = std::make_unique_for_overwrite<std::uint8_t[]>(checked_mul(row, height, "resize"));
  {
    const py::gil_scoped_release unlocked;
    resize(in, source, filter, MutableImageView{data.get(), size, in.channels, row});
  }
  std::vector<py::ssize_t> dimensions(array.shape(), array.shape() + array.ndim());
  dimensions[0] = static_cast<py::ssize_t>(height);
  dimensions[1] = static_cast<py::ssize_t>(width);
  return owning_array<std::uint8_t>(std::move(dimensions), std::move(data));
}

py::array load_array(const py::object& data, const PixelSpec& spec, const py::str& source) {
  const ByteBuffer buffer(data);
  const std::string name = from_text(source);
  return model_input(spec, [&](void* out) {
    PreprocessScratch scratch;
    load_pixels(buffer.bytes(), spec, out, name, scratch);
  });
}

py::array preprocess_array(const CArray<std::uint8_t>& array, const PixelSpec& spec) {
  const ImageView image = view_of(array, "array");
  return model_input(spec, [&](void* out) {
    PreprocessScratch scratch;
    preprocess(image, spec, out, scratch);
  });
}

}  // namespace

void bind_ops(py::module_& module) {
  constexpr std::array<float, 3> kZero{0, 0, 0};
  constexpr std::array<float, 3> kOne{1, 1, 1};
  constexpr std::array<std::uint8_t, 3> kWhite{255, 255, 255};
  py::class_<PixelSpec>(module, "PixelSpec", "What a model wants to see; immutable.")
      .def(py::init(&make_spec), py::kw_only(), py::arg("width"), py::arg("height"),
           py::arg("crop") = "center_crop", py::arg("resample") = "bilinear",
           py::arg("dtype") = "float32", py::arg("layout") = "nchw", py::arg("mean") = kZero,
           py::arg("std") = kOne, py::arg("scale") = 1.0F / 255, py::arg("bgr") = false,
           py::arg("background") = kWhite, py::arg("planes") = false,
           py::arg("max_pixels") = py::none(), py::arg("max_bytes") = py::none())
      .def_property_readonly("shape",
                             [](const PixelSpec& spec) { return py::tuple(py::cast(shape(spec))); })
      .def_property_readonly("width", [](const PixelSpec& spec) { return spec.size.width; })
      .def_property_readonly("height", [](const PixelSpec& spec) { return spec.size.height; })
      .def_property_readonly("crop",
                             [](const PixelSpec& spec) { return name_of(spec.crop, kCrops); })
      .def_property_readonly(
          "resample", [](const PixelSpec& spec) { return name_of(spec.resample, kResamples); })
      .def_property_readonly("dtype",
                             [](const PixelSpec& spec) { return name_of(spec.dtype, kTypes); })
      .def_property_readonly("layout",
                             [](const PixelSpec& spec) { return name_of(spec.layout, kLayouts); })
      .def_property_readonly(
          "background", [](const PixelSpec& spec) { return py::tuple(py::cast(spec.background)); })
      .def_property_readonly("planes", [](const PixelSpec& spec) { return spec.planes; })
      .def_property_readonly("max_pixels",
                             [](const PixelSpec& spec) { return spec.limits.max_pixels; })
      .def_property_readonly("max_bytes",
                             [](const PixelSpec& spec) { return spec.limits.max_bytes; });
  module.def("load_pixels", &load_array, py::arg("data"), py::pos_only(), py::arg("spec"),
             py::arg("source") = "", "One model input from an image file's bytes.");
  module.def("preprocess", &preprocess_array, py::arg("array").noconvert(), py::pos_only(),
             py::arg("spec"), "One model input from upright RGB pixels (height, width, 3).");
  module.def("resize", &resize_array, py::arg("array").noconvert(), py::pos_only(), py::kw_only(),
             py::arg("width"), py::arg("height"), py::arg("resample") = "bilinear",
             py::arg("box") = py::none(),
             "Antialiased resize of (height, width[, channels]) uint8 pixels; box is (left, upper, "
             "right, lower).");
}

}  // namespace eyespot::bindings
