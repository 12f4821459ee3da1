#include "decode_all.hpp"

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  eyespot::fuzz::decode_all(eyespot::ImageFormat::jpeg, data, size);
  return 0;
}
