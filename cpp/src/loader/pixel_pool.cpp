#include "pixel_pool.hpp"

#include <cstddef>
#include <mutex>
#include <new>

#include "eyespot/loader.hpp"

namespace eyespot {
namespace {

// What NumPy, PyTorch and XLA take without a copy, and a cache line.
constexpr std::align_val_t kAlignment{64};

void release(std::byte* data) noexcept {
  ::operator delete(data, kAlignment);
}

}  // namespace

PixelBuffer::~PixelBuffer() {
  if (data_ != nullptr) pool_->give_back(data_);
}

PixelPool::~PixelPool() {
  close();
}

PixelBuffer PixelPool::take() {
  {
    const std::scoped_lock lock(mutex_);
    if (!free_.empty()) {
      std::byte* data = free_.back();
      free_.pop_back();
      return {shared_from_this(), data};
    }
    ++allocated_;
  }
  return {shared_from_this(), static_cast<std::byte*>(::operator new(buffer_bytes_, kAlignment))};
}

void PixelPool::give_back(std::byte* data) noexcept {
  {
    const std::scoped_lock lock(mutex_);
    if (free_.size() < keep_) {
      free_.push_back(data);  // within the capacity that the constructor reserved
      return;
    }
  }
  release(data);
}

void PixelPool::close() noexcept {
  const std::scoped_lock lock(mutex_);
  keep_ = 0;
  for (std::byte* data : free_) release(data);
  free_.clear();
}

std::size_t PixelPool::allocated() const {
  const std::scoped_lock lock(mutex_);
  return allocated_;
}

}  // namespace eyespot
