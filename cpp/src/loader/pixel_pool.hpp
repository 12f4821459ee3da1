#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "eyespot/loader.hpp"

namespace eyespot {

/// Buffers of one size that go round between a loader and its caller.
class PixelPool : public std::enable_shared_from_this<PixelPool> {
 public:
  PixelPool(std::size_t buffer_bytes, std::size_t keep) : buffer_bytes_(buffer_bytes), keep_(keep) {
    free_.reserve(keep);
  }
  PixelPool(const PixelPool&) = delete;
  PixelPool& operator=(const PixelPool&) = delete;
  ~PixelPool();

  /// A free buffer, or a new one. Throws std::bad_alloc.
  [[nodiscard]] PixelBuffer take();
  void give_back(std::byte* data) noexcept;
  /// Frees what is free, and from now on everything that comes back.
  void close() noexcept;
  [[nodiscard]] std::size_t allocated() const;

 private:
  mutable std::mutex mutex_;
  std::size_t buffer_bytes_;
  std::size_t keep_;
  std::vector<std::byte*> free_;
  std::size_t allocated_ = 0;
};

}  // namespace eyespot
