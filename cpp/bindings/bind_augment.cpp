#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "convert.hpp"
#include "eyespot/augment.hpp"
#include "eyespot/error.hpp"
#include "eyespot/random.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

namespace {

using Pair = std::pair<double, double>;
using Color = std::array<std::uint8_t, 3>;
// low, high, probability, copies
using Amount = std::tuple<Pair, double, std::uint32_t>;
// area, aspect, probability, copies
using Crop = std::tuple<Pair, Pair, double, std::uint32_t>;
// horizontal, vertical, both, probability, copies
using Flip = std::tuple<bool, bool, bool, double, std::uint32_t>;

Range range(const Pair& pair) {
  return {.low = pair.first, .high = pair.second};
}

std::optional<AmountChoice> amount(const std::optional<Amount>& given) {
  if (!given) return std::nullopt;
  const auto& [bounds, probability, copies] = *given;
  return AmountChoice{.range = range(bounds), .probability = probability, .copies = copies};
}

AugmentOp op_of(const std::string& name) {
  for (std::size_t i = 0; i < kAugmentOps; ++i) {
    const auto op = static_cast<AugmentOp>(i);
    if (augment_op_name(op) == name) return op;
  }
  throw Error(ErrorCode::invalid_argument, "order", "\"" + name + "\" is no option");
}

AugmentOrder order_of(const std::vector<std::string>& names) {
  if (names.size() != kAugmentOps) {
    throw Error(ErrorCode::invalid_argument, "order", "each option must be there once");
  }
  AugmentOrder order{};
  std::ranges::transform(names, order.begin(), op_of);
  return order;
}

std::vector<std::string> names_of(const AugmentOrder& order) {
  std::vector<std::string> names;
  for (const AugmentOp op : order) names.emplace_back(augment_op_name(op));
  return names;
}

std::vector<std::string> default_order() {
  return names_of(kAugmentOrder);
}

Edges edges_of(const std::string& name) {
  if (name == "mirror") return Edges::mirror;
  if (name == "fill") return Edges::fill;
  throw Error(ErrorCode::invalid_argument, "edges", "\"" + name + "\"; allowed are mirror, fill");
}

AugmentPlan make_plan(const std::optional<Crop>& crop, const std::optional<Amount>& rotation,
                      const std::optional<Amount>& blur, const std::optional<Amount>& exposure,
                      const std::optional<Amount>& noise, const std::optional<Flip>& flip,
                      const std::vector<std::string>& order, std::optional<std::uint32_t> copies,
                      std::uint32_t max_copies, const std::string& edges, const Color& fill) {
  AugmentPlan plan;
  if (crop) {
    const auto& [area, aspect, probability, n] = *crop;
    plan.crop = CropChoice{
        .area = range(area), .aspect = range(aspect), .probability = probability, .copies = n};
  }
  plan.rotation = amount(rotation);
  plan.blur = amount(blur);
  plan.exposure = amount(exposure);
  plan.noise = amount(noise);
  if (flip) {
    const auto& [horizontal, vertical, both, probability, n] = *flip;
    plan.flip = FlipChoice{.horizontal = horizontal,
                           .vertical = vertical,
                           .both = both,
                           .probability = probability,
                           .copies = n};
  }
  plan.order = order_of(order);
  plan.copies = copies;
  plan.max_copies = max_copies;
  plan.edges = edges_of(edges);
  plan.fill = fill;
  check(plan);
  return plan;
}

Variant make_variant(const std::optional<std::array<double, 4>>& crop, double rotation_deg,
                     double blur_sigma_px, double exposure_stops, double noise_sigma,
                     std::uint64_t noise_seed, bool flip_horizontal, bool flip_vertical,
                     const std::vector<std::string>& order, const std::string& edges,
                     const Color& fill) {
  Variant variant;
  variant.order = order_of(order);
  if (crop) {
    variant.crop = true;
    variant.crop_area = (*crop)[0];
    variant.crop_aspect = (*crop)[1];
    variant.crop_x = (*crop)[2];
    variant.crop_y = (*crop)[3];
  }
  variant.rotation_deg = rotation_deg;
  variant.blur_sigma_px = blur_sigma_px;
  variant.exposure_stops = exposure_stops;
  variant.noise_sigma = noise_sigma;
  variant.noise_seed = noise_seed;
  variant.flip_horizontal = flip_horizontal;
  variant.flip_vertical = flip_vertical;
  variant.edges = edges_of(edges);
  variant.fill = fill;
  return variant;
}

// (area, aspect, x, y) or None.
py::object crop_of(const Variant& variant) {
  if (!variant.crop) return py::none();
  return py::make_tuple(variant.crop_area, variant.crop_aspect, variant.crop_x, variant.crop_y);
}

CropPolicy policy_of(const std::string& name) {
  if (name == "center_crop") return CropPolicy::center_crop;
  if (name == "fit") return CropPolicy::fit;
  if (name == "stretch") return CropPolicy::stretch;
  throw Error(ErrorCode::invalid_argument, "policy",
              "\"" + name + "\"; allowed are center_crop, fit, stretch");
}

// Images of one size in an array (n, height, width, 3).
struct Images {
  const std::uint8_t* data = nullptr;
  std::size_t count = 0;
  Size size;
  std::size_t bytes = 0;  // of one

  [[nodiscard]] ImageView view(std::size_t i) const {
    return {data + i * bytes, size, 3, std::size_t{size.width} * 3};
  }
};

Images images_of(const CArray<std::uint8_t>& array) {
  constexpr py::ssize_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (array.ndim() != 4 || array.shape(3) != 3 || array.shape(1) < 1 || array.shape(2) < 1 ||
      array.shape(1) > kMost || array.shape(2) > kMost) {
    throw Error(ErrorCode::invalid_argument, "array",
                "another shape than (n, height, width, 3), at least 1 x 1 px");
  }
  Images images{.data = array.data(),
                .count = static_cast<std::size_t>(array.shape(0)),
                .size = {static_cast<std::uint32_t>(array.shape(2)),
                         static_cast<std::uint32_t>(array.shape(1))},
                .bytes = 0};
  images.bytes = std::size_t{images.size.width} * images.size.height * 3;
  return images;
}

py::ssize_t length(std::size_t n) {
  return static_cast<py::ssize_t>(n);
}

// body(i, 0) for each i < count in the calling thread, which lets Python run its signal handlers
// every now and then; without the GIL.
template <typename Body>
void poll_between(std::size_t count, const Body& body) {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::milliseconds kInterval{20};
  const Poll poll = signal_poll();
  auto polled = Clock::now();
  for (std::size_t i = 0; i < count; ++i) {
    body(i, 0);
    if (const auto now = Clock::now(); now - polled >= kInterval) {
      poll();
      polled = now;
    }
  }
}

std::vector<std::uint64_t> keys_of(const Images& images) {
  std::vector<std::uint64_t> keys(images.count);
  for (std::size_t i = 0; i < images.count; ++i) {
    keys[i] = content_key({images.data + i * images.bytes, images.bytes});
  }
  return keys;
}

py::array_t<std::uint8_t> augment_arrays(
    const CArray<std::uint8_t>& array, const AugmentPlan& plan, std::uint64_t seed,
    const std::vector<std::int64_t>& indices, std::uint32_t width, std::uint32_t height,
    const std::string& crop, const std::string& resample, const Color& background,
    const std::optional<std::vector<std::uint64_t>>& keys, ThreadPool* pool) {
  const Images images = images_of(array);
  const PixelSpec spec{.size = {width, height},
                       .crop = policy_of(crop),
                       .resample = resample == "bicubic" ? Resample::bicubic : Resample::bilinear,
                       .dtype = PixelType::uint8,
                       .layout = Layout::nhwc,
                       .background = background,
                       .limits = {}};
  if (keys && keys->size() != images.count) {
    throw Error(ErrorCode::invalid_argument, "keys",
                std::to_string(keys->size()) + " for " + std::to_string(images.count) + " images");
  }
  const std::size_t item = pixel_bytes(spec);
  const std::size_t per_image = checked_mul(item, indices.size(), "augment");
  const std::size_t total = checked_mul(per_image, images.count, "augment");
  auto data = std::make_unique_for_overwrite<std::uint8_t[]>(total);
  {
    const py::gil_scoped_release unlocked;
    const std::vector<std::uint64_t> content = keys ? *keys : keys_of(images);
    const std::size_t count = images.count * indices.size();
    std::vector<AugmentScratch> scratch(pool == nullptr ? 1 : pool->size());
    // One image's variants one by one, so that a single large image keeps all threads busy.
    const auto make = [&](std::size_t i, std::size_t worker) {
      const std::size_t image = i / indices.size();
      const std::size_t variant = i % indices.size();
      preprocess_variants(images.view(image), spec, plan, seed, content[image],
                          {indices.data() + variant, 1}, data.get() + i * item, scratch[worker]);
    };
    if (pool != nullptr) {
      pool->parallel_for(count, make, signal_poll());
    } else {
      poll_between(count, make);
    }
  }
  return owning_array<std::uint8_t>(
      {length(images.count), length(indices.size()), length(height), length(width), 3},
      std::move(data));
}

// `size` empty: as it is.
py::array_t<std::uint8_t> apply_array(const CArray<std::uint8_t>& array, const Variant& variant,
                                      const std::optional<Size>& size,
                                      const ApplyOptions& options) {
  if (array.ndim() != 3) {
    throw Error(ErrorCode::invalid_argument, "array", "another shape than (height, width, 3)");
  }
  const Size in_size{static_cast<std::uint32_t>(array.shape(1)),
                     static_cast<std::uint32_t>(array.shape(0))};
  const auto channels = static_cast<std::size_t>(array.shape(2));
  const ImageView in{array.data(), in_size, channels, in_size.width * channels};
  const auto [width, height] = size.value_or(in_size);
  const std::size_t row = checked_mul(width, 3, "augment");
  (void)checked_mul(row, height, "augment");
  py::array_t<std::uint8_t> made({length(height), length(width), py::ssize_t{3}});
  const MutableImageView out{made.mutable_data(), {width, height}, 3, row};
  {
    const py::gil_scoped_release unlocked;
    AugmentScratch scratch;
    apply(in, variant, options, out, scratch);
  }
  return made;
}

py::array_t<std::uint8_t> apply_to_size(const CArray<std::uint8_t>& array, const Variant& variant,
                                        std::uint32_t width, std::uint32_t height,
                                        const std::string& crop, const std::string& resample,
                                        const Color& background) {
  return apply_array(array, variant, Size{width, height},
                     {.crop = policy_of(crop),
                      .resample = resample == "bicubic" ? Resample::bicubic : Resample::bilinear,
                      .background = background});
}

// Few arguments to convert: on a small image those of the other one take as long as the work.
py::array_t<std::uint8_t> apply_as_it_is(const CArray<std::uint8_t>& array,
                                         const Variant& variant) {
  return apply_array(array, variant, std::nullopt, {});
}

template <typename T, typename Fill>
py::array filled(std::vector<py::ssize_t> shape, std::size_t bytes, const Fill& fill) {
  auto data = std::make_unique_for_overwrite<T[]>(bytes / sizeof(T));
  {
    const py::gil_scoped_release unlocked;
    AugmentScratch scratch;
    fill(static_cast<void*>(data.get()), scratch);
  }
  return owning_array<T>(std::move(shape), std::move(data));
}

// (len(indices), *spec.shape)
template <typename Fill>
py::array model_inputs(const PixelSpec& spec, std::size_t count, const Fill& fill) {
  const py::ssize_t width = length(spec.size.width);
  const py::ssize_t height = length(spec.size.height);
  std::vector<py::ssize_t> shape{length(count), height, width, 3};
  if (spec.layout == Layout::nchw) shape = {length(count), 3, height, width};
  const std::size_t bytes = checked_mul(pixel_bytes(spec), count, "variants");
  if (spec.dtype == PixelType::uint8) return filled<std::uint8_t>(std::move(shape), bytes, fill);
  return filled<float>(std::move(shape), bytes, fill);
}

py::array load_file_variants(const py::object& data, const PixelSpec& spec, const AugmentPlan& plan,
                             std::uint64_t seed, const std::vector<std::int64_t>& indices,
                             const py::str& source) {
  const ByteBuffer buffer(data);
  const std::string name = from_text(source);
  return model_inputs(spec, indices.size(), [&](void* out, AugmentScratch& scratch) {
    load_variants(buffer.bytes(), spec, plan, seed, indices, out, name, scratch);
  });
}

py::array preprocess_array_variants(const CArray<std::uint8_t>& array, const PixelSpec& spec,
                                    const AugmentPlan& plan, std::uint64_t seed,
                                    std::uint64_t content,
                                    const std::vector<std::int64_t>& indices) {
  if (array.ndim() != 3 || array.shape(2) != 3) {
    throw Error(ErrorCode::invalid_argument, "array", "another shape than (height, width, 3)");
  }
  const Size size{static_cast<std::uint32_t>(array.shape(1)),
                  static_cast<std::uint32_t>(array.shape(0))};
  const ImageView image{array.data(), size, 3, std::size_t{size.width} * 3};
  return model_inputs(spec, indices.size(), [&](void* out, AugmentScratch& scratch) {
    preprocess_variants(image, spec, plan, seed, content, indices, out, scratch);
  });
}

}  // namespace

void bind_augment(py::module_& module) {
  constexpr Color kWhite{255, 255, 255};
  py::class_<AugmentPlan>(module, "AugmentPlan", "What may be done to images; immutable.")
      .def(py::init(&make_plan), py::kw_only(), py::arg("crop") = py::none(),
           py::arg("rotation") = py::none(), py::arg("blur") = py::none(),
           py::arg("exposure") = py::none(), py::arg("noise") = py::none(),
           py::arg("flip") = py::none(), py::arg("order") = default_order(),
           py::arg("copies") = py::none(), py::arg("max_copies") = 100, py::arg("edges") = "mirror",
           py::arg("fill") = kWhite)
      .def_property_readonly("n_variants", &variant_count)
      .def("sample", &sample, py::arg("seed"), py::arg("content"), py::arg("index"));
  py::class_<Variant>(module, "Variant", "What is done to one copy; immutable.")
      .def(py::init(&make_variant), py::kw_only(), py::arg("crop") = py::none(),
           py::arg("rotation_deg") = 0.0, py::arg("blur_sigma_px") = 0.0,
           py::arg("exposure_stops") = 0.0, py::arg("noise_sigma") = 0.0, py::arg("noise_seed") = 0,
           py::arg("flip_horizontal") = false, py::arg("flip_vertical") = false,
           py::arg("order") = default_order(), py::arg("edges") = "mirror",
           py::arg("fill") = kWhite)
      .def_property_readonly("crop", &crop_of)
      .def_readonly("rotation_deg", &Variant::rotation_deg)
      .def_readonly("blur_sigma_px", &Variant::blur_sigma_px)
      .def_readonly("exposure_stops", &Variant::exposure_stops)
      .def_readonly("noise_sigma", &Variant::noise_sigma)
      .def_readonly("noise_seed", &Variant::noise_seed)
      .def_readonly("flip_horizontal", &Variant::flip_horizontal)
      .def_readonly("flip_vertical", &Variant::flip_vertical);
  module.def(
      "content_key",
      [](const py::object& data) {
        const ByteBuffer buffer(data);
        const py::gil_scoped_release unlocked;
        return content_key(buffer.bytes());
      },
      py::arg("data"), py::pos_only(), "XXH64 of bytes: what variants of a file are keyed by.");
  module.def("augment", &augment_arrays, py::arg("array").noconvert(), py::pos_only(),
             py::arg("plan"), py::kw_only(), py::arg("seed"), py::arg("indices"), py::arg("width"),
             py::arg("height"), py::arg("policy") = "center_crop", py::arg("resample") = "bilinear",
             py::arg("background") = kWhite, py::arg("keys") = py::none(),
             py::arg("pool") = py::none(),
             "Variants of upright RGB images (n, height, width, 3): (n, variants, height, width, "
             "3). Index -1 is the untouched copy. Without a pool, the calling thread makes them.");
  module.def("apply_variant", &apply_as_it_is, py::arg("array").noconvert(), py::arg("variant"),
             py::pos_only(), "One variant of upright RGB pixels, of their size.");
  module.def("apply_variant", &apply_to_size, py::arg("array").noconvert(), py::pos_only(),
             py::arg("variant"), py::kw_only(), py::arg("width"), py::arg("height"),
             py::arg("policy") = "center_crop", py::arg("resample") = "bilinear",
             py::arg("background") = kWhite, "The same at another size.");
  module.def("load_variants", &load_file_variants, py::arg("data"), py::pos_only(), py::arg("spec"),
             py::arg("plan"), py::kw_only(), py::arg("seed"), py::arg("indices"),
             py::arg("source") = "",
             "Model inputs, one for each index, from an image file's bytes, decoded once.");
  module.def("preprocess_variants", &preprocess_array_variants, py::arg("array").noconvert(),
             py::pos_only(), py::arg("spec"), py::arg("plan"), py::kw_only(), py::arg("seed"),
             py::arg("content"), py::arg("indices"),
             "Model inputs, one for each index, from upright RGB pixels (height, width, 3).");
}

}  // namespace eyespot::bindings
