#include <memory>
#include <string>

#include "bindings.hpp"
#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_runtime(py::module_& module) {
  module.def("available_threads", &available_threads,
             "Threads that this process may use: CPU affinity cut by the cgroup quota.");
  module.def(
      "simd_target", [] { return std::string(simd_target()); },
      "The SIMD target in force: scalar, sse4, avx2, avx3, amx or neon.");

  py::class_<ThreadPool, std::shared_ptr<ThreadPool>>(
      module, "ThreadPool",
      "Worker threads, started at first use and shared by what it is given to.",
      // The destructor joins threads, which can take as long as one image.
      py::release_gil_before_calling_cpp_dtor())
      .def(py::init([](py::ssize_t n_threads) {
             if (n_threads < 0) {
               throw Error(ErrorCode::invalid_argument, "n_threads",
                           std::to_string(n_threads) +
                               " given; allowed are 0 (what the process may "
                               "use) to 1024");
             }
             return std::make_shared<ThreadPool>(static_cast<std::size_t>(n_threads));
           }),
           py::arg("n_threads") = 0)
      .def_property_readonly("n_threads", &ThreadPool::size);

  py::class_<CancelToken>(module, "CancelToken", "A flag that stops work from any thread.")
      .def(py::init<>())
      .def("cancel", &CancelToken::cancel)
      .def_property_readonly("cancelled", &CancelToken::cancelled);
}

}  // namespace eyespot::bindings
