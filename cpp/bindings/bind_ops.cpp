#include "bindings.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_ops(py::module_& /*module*/) {}

}  // namespace eyespot::bindings
