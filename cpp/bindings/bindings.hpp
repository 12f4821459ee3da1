#pragma once

#include <pybind11/pybind11.h>

// One function a subject; module.cpp calls them in this order.
namespace eyespot::bindings {

void bind_errors(pybind11::module_& module);
void bind_runtime(pybind11::module_& module);
void bind_codec(pybind11::module_& module);
void bind_ops(pybind11::module_& module);
void bind_augment(pybind11::module_& module);
void bind_loader(pybind11::module_& module);
void bind_solver(pybind11::module_& module);
void bind_perceptron(pybind11::module_& module);
void bind_sigmoid(pybind11::module_& module);

}  // namespace eyespot::bindings
