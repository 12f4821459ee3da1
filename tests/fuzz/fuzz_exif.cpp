#include <cstdlib>

#include "exif.hpp"

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = static_cast<int>(eyespot::codec::exif_orientation({data, size}));
  if (value < 1 || value > 8) std::abort();
  return 0;
}
