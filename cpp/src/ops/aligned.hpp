#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace eyespot::detail {

/// Scratch memory that only ever grows: 64-byte aligned, uninitialised, for trivial element types.
template <class T>
class AlignedBuffer {
 public:
  static constexpr std::size_t kAlignment = 64;

  /// At least `count` elements; what was in them is lost when the buffer has to grow.
  T* reserve(std::size_t count) {
    if (count > capacity_) {
      data_.reset();
      capacity_ = 0;
      data_.reset(
          static_cast<T*>(::operator new(checked_bytes(count), std::align_val_t{kAlignment})));
      capacity_ = count;
    }
    return data_.get();
  }
  [[nodiscard]] T* data() const noexcept { return data_.get(); }

 private:
  struct Free {
    void operator()(T* pointer) const noexcept {
      ::operator delete(pointer, std::align_val_t{kAlignment});
    }
  };
  static std::size_t checked_bytes(std::size_t count) {
    if (count > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
    return count * sizeof(T);
  }

  std::unique_ptr<T[], Free> data_;
  std::size_t capacity_ = 0;
};

/// `count` rounded up to whole 64-element groups, so that kernels may touch whole vectors.
[[nodiscard]] constexpr std::size_t padded(std::size_t count) noexcept {
  return (count + 63) / 64 * 64;
}

}  // namespace eyespot::detail
