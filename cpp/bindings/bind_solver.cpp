#include "bindings.hpp"

namespace eyespot::bindings {

namespace py = pybind11;

void bind_solver(py::module_& /*module*/) {}

}  // namespace eyespot::bindings
