#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eyespot/runtime.hpp"

// What every bind_*.cpp needs to cross between Python's objects and the core's types.
namespace eyespot::bindings {

/// An array argument: C-contiguous, of exactly this type. Always with `.noconvert()`, so that the
/// copy that another layout needs is visible in Python.
template <typename T>
using CArray = pybind11::array_t<T, pybind11::array::c_style>;

/// A str from bytes that may not be UTF-8 (file names): undecodable bytes become surrogates, as
/// os.fsdecode() makes them, and os.fsencode() turns them back.
[[nodiscard]] inline pybind11::str to_text(std::string_view text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape");
  if (decoded == nullptr) throw pybind11::error_already_set();
  return pybind11::reinterpret_steal<pybind11::str>(decoded);
}

/// The way back: the bytes of a str, surrogates included.
[[nodiscard]] inline std::string from_text(const pybind11::str& text) {
  PyObject* encoded = PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape");
  if (encoded == nullptr) throw pybind11::error_already_set();
  return std::string(pybind11::reinterpret_steal<pybind11::bytes>(encoded));
}

/// The bytes of any C-contiguous buffer (bytes, bytearray, memoryview, ndarray), borrowed. Holds
/// the buffer's export, so the bytes stay in place while the GIL is released; make and destroy it
/// with the GIL held. A TypeError or BufferError when there is no such buffer.
class ByteBuffer {
 public:
  explicit ByteBuffer(const pybind11::handle& object) : view_(std::make_unique<Py_buffer>()) {
    if (PyObject_GetBuffer(object.ptr(), view_.get(), PyBUF_C_CONTIGUOUS) != 0) {
      throw pybind11::error_already_set();
    }
  }
  ByteBuffer(ByteBuffer&&) noexcept = default;
  ByteBuffer& operator=(ByteBuffer&&) = delete;
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;
  ~ByteBuffer() {
    if (view_ != nullptr) PyBuffer_Release(view_.get());
  }

  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept {
    return {static_cast<const std::uint8_t*>(view_->buf), static_cast<std::size_t>(view_->len)};
  }

 private:
  std::unique_ptr<Py_buffer> view_;  // CPython may keep its address, so it does not move
};

/// An array that owns `data`, without a copy.
template <typename T>
[[nodiscard]] pybind11::array_t<T> owning_array(std::vector<pybind11::ssize_t> shape,
                                                std::unique_ptr<T[]> data) {
  const pybind11::capsule owner(data.get(),
                                [](void* pointer) { delete[] static_cast<T*>(pointer); });
  const T* values = data.release();  // the capsule owns it now
  return pybind11::array_t<T>(std::move(shape), values, owner);
}

/// The poll to hand to the core while the GIL is released: lets Python run its signal handlers, so
/// that Ctrl-C stops the work with KeyboardInterrupt.
[[nodiscard]] inline Poll signal_poll() {
  return [] {
    const pybind11::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
  };
}

}  // namespace eyespot::bindings
