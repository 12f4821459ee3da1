#include <exception>

#include "bindings.hpp"
#include "convert.hpp"
#include "eyespot/error.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_errors(py::module_& /*module*/) {
  // Local, so that another pybind11 module in the process never sees our translator, nor we its.
  // NOLINTNEXTLINE(performance-unnecessary-value-param): the signature is pybind11's
  py::register_local_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      // Python decides the class: errors.py maps each code to one, with `source` and `code` set.
      const py::object exception =
          py::module_::import("eyespot.errors")
              .attr("from_core")(to_text(error_code_name(error.code())), to_text(error.source()),
                                 to_text(error.message()));
      PyErr_SetObject(py::type::of(exception).ptr(), exception.ptr());
    }
  });
}

}  // namespace eyespot::bindings
