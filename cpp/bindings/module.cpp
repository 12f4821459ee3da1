#include "bindings.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "eyespot's native core. Private: use the names that `eyespot` exports.";
  module.attr("__version__") = EYESPOT_VERSION;
  eyespot::bindings::bind_errors(module);
  eyespot::bindings::bind_runtime(module);
  eyespot::bindings::bind_codec(module);
  eyespot::bindings::bind_ops(module);
  eyespot::bindings::bind_augment(module);
  eyespot::bindings::bind_loader(module);
  eyespot::bindings::bind_solver(module);
  eyespot::bindings::bind_perceptron(module);
  eyespot::bindings::bind_sigmoid(module);
}
