#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace eyespot {

/// What went wrong, coarsely enough to decide what to do next. The text says the rest.
enum class ErrorCode : std::uint8_t {
  invalid_argument,    ///< the caller passed a value outside the documented range
  io,                  ///< a file could not be opened or read
  unsupported_format,  ///< the bytes are a format, or a variant of one, that the core does not
                       ///< decode
  corrupt_image,       ///< the bytes claim to be an image but are truncated or broken
  limit_exceeded,      ///< max_pixels or max_bytes would be exceeded; nothing was allocated
  non_finite,          ///< NaN or infinity in numeric input
  cancelled,           ///< the caller's CancelToken was set, or its poll function asked to stop
  out_of_memory,       ///< an allocation failed
  forked,              ///< a thread pool was used in a process that was forked after it started
};

/// The stable lower-case name of a code, as Python sees it ("corrupt_image").
[[nodiscard]] std::string_view error_code_name(ErrorCode code) noexcept;

/// The one exception that the library throws. `source` names the file, the argument or the row at
/// fault; `message` says what was found and what is allowed. what() joins the two.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string source, std::string message);

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& source() const noexcept { return source_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

 private:
  ErrorCode code_;
  std::string source_;
  std::string message_;
  std::string what_;
};

/// One bad item of a batch: a value, so that one broken photo never ends a run.
struct ItemError {
  std::size_t index = 0;  ///< position in the caller's list, not in the batch
  ErrorCode code = ErrorCode::corrupt_image;
  std::string source;
  std::string message;
};

}  // namespace eyespot
