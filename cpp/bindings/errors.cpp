#include <exception>
#include <string>

#include "bindings.hpp"
#include "eyespot/error.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_errors(py::module_& /*module*/) {
  // Local, so that another pybind11 module in the process never sees our translator, nor we its.
  py::register_local_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      // Python decides the class: errors.py maps each code to one, with `source` and `code` set.
      const std::string code(error_code_name(error.code()));
      const py::object exception = py::module_::import("eyespot.errors")
                                       .attr("from_core")(code, error.source(), error.message());
      PyErr_SetObject(py::type::of(exception).ptr(), exception.ptr());
    }
  });
}

}  // namespace eyespot::bindings
