#include "eyespot/error.hpp"

#include <utility>

namespace eyespot {

std::string_view error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::io: return "io";
    case ErrorCode::unsupported_format: return "unsupported_format";
    case ErrorCode::corrupt_image: return "corrupt_image";
    case ErrorCode::limit_exceeded: return "limit_exceeded";
    case ErrorCode::non_finite: return "non_finite";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::forked: return "forked";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string source, std::string message)
    : code_(code),
      source_(std::move(source)),
      message_(std::move(message)),
      what_(source_.empty() ? message_ : source_ + ": " + message_) {}

}  // namespace eyespot
