#include "bindings.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_runtime(py::module_& /*module*/) {}

}  // namespace eyespot::bindings
