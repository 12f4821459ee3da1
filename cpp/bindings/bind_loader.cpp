#include "bindings.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_loader(py::module_& /*module*/) {}

}  // namespace eyespot::bindings
