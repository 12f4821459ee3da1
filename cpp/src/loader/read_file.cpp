#include "read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <system_error>

#include "eyespot/error.hpp"

namespace eyespot::detail {
namespace {

constexpr std::size_t kMinCapacity = 262'144;      // most photos of the web
constexpr std::size_t kKeepCapacity = 16'777'216;  // most photos of a camera

class Descriptor {
 public:
  explicit Descriptor(int value) noexcept : value_(value) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  [[nodiscard]] int get() const noexcept { return value_; }

 private:
  int value_;
};

[[noreturn]] void fail(const std::string& path, const char* what, int error) {
  throw Error(ErrorCode::io, path,
              std::string(what) + ": " + std::generic_category().message(error));
}

[[noreturn]] void too_large(const std::string& path, std::uint64_t size, std::uint64_t max_bytes) {
  throw Error(ErrorCode::limit_exceeded, path,
              "file of at least " + std::to_string(size) + " bytes exceeds max_file_bytes " +
                  std::to_string(max_bytes));
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "is a directory";
  if (S_ISFIFO(mode)) return "is a named pipe";
  if (S_ISSOCK(mode)) return "is a socket";
  return "is a device";
}

int open_file(const std::string& path) {
  // An embedded NUL would silently open another file.
  if (path.find('\0') != std::string::npos) {
    throw Error(ErrorCode::io, path, "cannot open: the name contains a NUL character");
  }
  while (true) {
    // Non-blocking, because opening a named pipe would wait for its writer for ever; regular files
    // do not care.
    // NOLINTNEXTLINE(bugprone-signed-bitwise): POSIX's flags are int
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor >= 0) return descriptor;
    if (errno != EINTR) fail(path, "cannot open", errno);
  }
}

}  // namespace

void FileReader::grow(std::size_t capacity, std::size_t keep) {
  if (capacity <= capacity_) return;
  auto larger = std::make_unique_for_overwrite<std::uint8_t[]>(capacity);
  if (keep > 0) std::memcpy(larger.get(), buffer_.get(), keep);
  buffer_ = std::move(larger);
  capacity_ = capacity;
}

void FileReader::trim() noexcept {
  if (capacity_ <= kKeepCapacity) return;
  buffer_.reset();
  capacity_ = 0;
}

std::span<const std::uint8_t> FileReader::read(const std::string& path, std::uint64_t max_bytes) {
  const Descriptor file(open_file(path));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail(path, "cannot read", errno);
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::io, path, std::string(kind_of(status.st_mode)) + ", not a file");
  }
  const auto expected = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  if (expected > max_bytes) too_large(path, expected, max_bytes);
  // One byte more than expected: the read that finds the end needs room.
  grow(std::max(kMinCapacity, static_cast<std::size_t>(expected) + 1), 0);

  std::size_t size = 0;
  while (true) {
    if (size == capacity_) grow(capacity_ * 2, size);
    const ssize_t got = ::read(file.get(), buffer_.get() + size, capacity_ - size);
    if (got < 0) {
      if (errno == EINTR) continue;
      fail(path, "cannot read", errno);
    }
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
    if (size > max_bytes) too_large(path, size, max_bytes);
  }
  return {buffer_.get(), size};
}

}  // namespace eyespot::detail
