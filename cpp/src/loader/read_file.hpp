#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace eyespot::detail {

/// Reads whole files into memory that is used again.
class FileReader {
 public:
  /// The file's bytes, valid until the next call. A file that grows or shrinks meanwhile is read
  /// to the end that it has. Throws Error(io) when it cannot be opened or read or is no regular
  /// file, Error(limit_exceeded) above max_bytes, std::bad_alloc.
  [[nodiscard]] std::span<const std::uint8_t> read(const std::string& path,
                                                   std::uint64_t max_bytes);

  /// Gives memory above a few megabytes back: one huge file must not stay for the whole run.
  void trim() noexcept;

 private:
  void grow(std::size_t capacity, std::size_t keep);

  std::unique_ptr<std::uint8_t[]> buffer_;
  std::size_t capacity_ = 0;
};

}  // namespace eyespot::detail
