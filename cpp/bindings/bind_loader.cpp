#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "convert.hpp"
#include "eyespot/augment.hpp"
#include "eyespot/error.hpp"
#include "eyespot/loader.hpp"
#include "eyespot/preprocess.hpp"
#include "eyespot/random.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

namespace {

// load_pixels() and preprocess() as the loader calls them, with scratch memory for each worker.
ItemDecoder plain_decoder(const PixelSpec& spec, std::size_t n_workers) {
  const auto scratch = std::make_shared<std::vector<PreprocessScratch>>(n_workers);
  return {.item_bytes = pixel_bytes(spec),
          .from_bytes =
              [spec, scratch](std::span<const std::uint8_t> bytes, std::string_view source,
                              void* out, std::size_t /*index*/, std::size_t worker) {
                load_pixels(bytes, spec, out, source, (*scratch)[worker]);
              },
          .from_pixels =
              [spec, scratch](ImageView image, std::string_view /*source*/, void* out,
                              std::size_t /*index*/, std::size_t worker) {
                preprocess(image, spec, out, (*scratch)[worker]);
              }};
}

// What an item becomes instead of one model input: these variants by this plan, one after the
// other; without a plan, the one plain input.
struct Variants {
  std::shared_ptr<const AugmentPlan> plan;
  std::vector<std::int64_t> indices;
};

// As many model inputs for each item as the most that one has.
ItemDecoder variant_decoder(const PixelSpec& spec, std::uint64_t seed, std::vector<Variants> items,
                            std::size_t n_slots, std::size_t n_workers) {
  const auto scratch = std::make_shared<std::vector<AugmentScratch>>(n_workers);
  const auto all = std::make_shared<const std::vector<Variants>>(std::move(items));
  const ItemDecoder plain = plain_decoder(spec, n_workers);
  return {.item_bytes = checked_mul(pixel_bytes(spec), n_slots, "item"),
          .from_bytes =
              [=](std::span<const std::uint8_t> bytes, std::string_view source, void* out,
                  std::size_t index, std::size_t worker) {
                const Variants& wanted = (*all)[index];
                if (!wanted.plan) return plain.from_bytes(bytes, source, out, index, worker);
                load_variants(bytes, spec, *wanted.plan, seed, wanted.indices, out, source,
                              (*scratch)[worker]);
              },
          .from_pixels =
              [=](ImageView image, std::string_view source, void* out, std::size_t index,
                  std::size_t worker) {
                const Variants& wanted = (*all)[index];
                if (!wanted.plan) return plain.from_pixels(image, source, out, index, worker);
                // rgb_view() leaves no gaps between the rows.
                const std::uint64_t content =
                    content_key({image.data, image.stride * image.size.height});
                preprocess_variants(image, spec, *wanted.plan, seed, content, wanted.indices, out,
                                    (*scratch)[worker]);
              }};
}

// (seed, plans, [(number of a plan, or -1, and indices) for each item]).
using GivenVariants = std::tuple<std::uint64_t, std::vector<AugmentPlan>,
                                 std::vector<std::pair<int, std::vector<std::int64_t>>>>;

std::vector<Variants> variants_of(const GivenVariants& given, std::size_t n_items) {
  const auto& [seed, plans, items] = given;
  if (items.size() != n_items) {
    throw Error(ErrorCode::invalid_argument, "variants",
                std::to_string(items.size()) + " for " + std::to_string(n_items) + " items");
  }
  std::vector<std::shared_ptr<const AugmentPlan>> shared;
  for (const AugmentPlan& plan : plans) shared.push_back(std::make_shared<AugmentPlan>(plan));
  std::vector<Variants> result;
  result.reserve(n_items);
  for (const auto& [plan, indices] : items) {
    if (plan < -1 || std::cmp_greater_equal(plan, plans.size()) || indices.empty() ||
        (plan == -1 && indices.size() != 1)) {
      throw Error(ErrorCode::invalid_argument, "variants",
                  "a plan that is not there, or no index, or several without a plan");
    }
    result.push_back({plan == -1 ? nullptr : shared[static_cast<std::size_t>(plan)], indices});
  }
  return result;
}

// Upright RGB pixels; images.py lets no other arrays through.
ImageView rgb_view(const CArray<std::uint8_t>& array, std::size_t index) {
  constexpr py::ssize_t kMost = 0xFFFFFFFF;
  if (array.ndim() != 3 || array.shape(2) != 3 || array.shape(0) > kMost ||
      array.shape(1) > kMost) {
    throw Error(ErrorCode::invalid_argument, "sources[" + std::to_string(index) + "]",
                "array of another shape than (height, width, 3)");
  }
  const Size size{static_cast<std::uint32_t>(array.shape(1)),
                  static_cast<std::uint32_t>(array.shape(0))};
  return {array.data(), size, 3, std::size_t{size.width} * 3};
}

// A Loader and the Python objects whose memory it reads.
class PyLoader {
 public:
  PyLoader(const py::sequence& sources, const PixelSpec& spec, std::size_t batch_size,
           const std::shared_ptr<ThreadPool>& pool, std::size_t callers, std::size_t prefetch,
           std::uint64_t max_file_bytes, const std::optional<CancelToken>& cancel,
           const std::optional<GivenVariants>& variants)
      : spec_(spec), by_variants_(variants.has_value()) {
    std::vector<ImageSource> items;
    items.reserve(py::len(sources));
    for (const py::handle source : sources) items.push_back(convert(source, items.size()));
    const std::size_t n_workers = pool ? pool->size() : callers;
    ItemDecoder decoder;
    if (variants) {
      std::vector<Variants> wanted = variants_of(*variants, items.size());
      for (const Variants& one : wanted) n_slots_ = std::max(n_slots_, one.indices.size());
      decoder =
          variant_decoder(spec, std::get<0>(*variants), std::move(wanted), n_slots_, n_workers);
    } else {
      decoder = plain_decoder(spec, n_workers);
    }
    loader_ = std::make_unique<Loader>(std::move(items), std::move(decoder),
                                       LoaderOptions{.batch_size = batch_size,
                                                     .prefetch = prefetch,
                                                     .callers = callers,
                                                     .max_file_bytes = max_file_bytes},
                                       pool, cancel.value_or(CancelToken{}));
  }
  PyLoader(const PyLoader&) = delete;
  PyLoader& operator=(const PyLoader&) = delete;
  // NOLINTNEXTLINE(bugprone-exception-escape): pybind11 checks what cannot happen here
  ~PyLoader() {
    // Workers are waited for without the GIL; then the buffers are given back with it.
    const py::gil_scoped_release unlocked;
    loader_.reset();
  }

  void close() {
    const py::gil_scoped_release unlocked;
    loader_->close();
  }

  py::tuple next() {
    std::optional<LoadedBatch> batch;
    {
      const py::gil_scoped_release unlocked;
      batch = loader_->next(signal_poll());
    }
    if (!batch) throw py::stop_iteration();
    const py::list errors(batch->errors.size());
    for (std::size_t i = 0; i < batch->errors.size(); ++i) {
      const ItemError& error = batch->errors[i];
      errors[i] = py::make_tuple(error.index, to_text(error_code_name(error.code)),
                                 to_text(error.source), to_text(error.message));
    }
    const std::size_t first = batch->first;
    const py::object pending = py::cast(batch->pending);
    return py::make_tuple(array_of(*std::move(batch)), first, pending, errors);
  }

  [[nodiscard]] std::size_t buffers_allocated() const { return loader_->buffers_allocated(); }

 private:
  ImageSource convert(const py::handle& source, std::size_t index) {
    if (source.is_none()) return PendingSource{};
    if (py::isinstance<py::str>(source)) {
      return FileSource{from_text(py::reinterpret_borrow<py::str>(source))};
    }
    buffers_.emplace_back(source);
    if (py::isinstance<CArray<std::uint8_t>>(source)) {
      return PixelsSource{rgb_view(py::reinterpret_borrow<CArray<std::uint8_t>>(source), index)};
    }
    return BytesSource{buffers_.back().bytes()};
  }

  // The batch's own buffer as an array, which gives it back to the ring when it goes.
  [[nodiscard]] py::array array_of(LoadedBatch batch) const {
    const auto width = static_cast<py::ssize_t>(spec_.size.width);
    const auto height = static_cast<py::ssize_t>(spec_.size.height);
    std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(batch.count), height, width, 3};
    if (spec_.layout == Layout::nchw) shape = {shape[0], 3, height, width};
    if (by_variants_) shape.insert(shape.begin() + 1, static_cast<py::ssize_t>(n_slots_));
    const py::dtype dtype =
        spec_.dtype == PixelType::uint8 ? py::dtype::of<std::uint8_t>() : py::dtype::of<float>();
    auto buffer = std::make_unique<PixelBuffer>(std::move(batch.pixels));
    const std::byte* data = buffer->data();
    const py::capsule owner(buffer.get(),
                            [](void* held) { delete static_cast<PixelBuffer*>(held); });
    (void)buffer.release();  // NOLINT(bugprone-unused-return-value): the capsule owns it now
    return {dtype, std::move(shape), data, owner};
  }

  PixelSpec spec_;
  bool by_variants_ = false;
  std::size_t n_slots_ = 1;
  std::vector<ByteBuffer> buffers_;
  std::unique_ptr<Loader> loader_;
};

}  // namespace

// NOLINTNEXTLINE(misc-const-correctness): one signature for all subjects
void bind_loader(py::module_& module) {
  py::class_<PyLoader>(module, "Loader", "Iterator over (pixels, first, pending, errors).")
      .def(py::init<const py::sequence&, const PixelSpec&, std::size_t,
                    const std::shared_ptr<ThreadPool>&, std::size_t, std::size_t, std::uint64_t,
                    const std::optional<CancelToken>&, const std::optional<GivenVariants>&>(),
           py::arg("sources"), py::arg("spec"), py::kw_only(), py::arg("batch_size"),
           py::arg("pool") = py::none(), py::arg("callers") = 0, py::arg("prefetch") = 0,
           py::arg("max_file_bytes") = LoaderOptions{}.max_file_bytes,
           py::arg("cancel") = py::none(), py::arg("variants") = py::none())
      .def("__iter__", [](const py::object& self) { return self; })
      .def("__next__", &PyLoader::next)
      .def("close", &PyLoader::close)
      .def_property_readonly("buffers_allocated", &PyLoader::buffers_allocated);
}

}  // namespace eyespot::bindings
