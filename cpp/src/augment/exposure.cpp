#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "stages.hpp"

namespace eyespot::detail {
namespace {

// IEC 61966-2-1: light, 0 to 1, of an sRGB value of 0 to 1.
double light_of(double value) {
  return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
}

struct Curve {
  std::array<double, 256> light{};  // of each level
  std::array<double, 255> above{};  // light from which on the next level is the nearer one
};

const Curve& curve() {
  static const Curve instance = [] {
    Curve made;
    for (std::size_t i = 0; i < made.light.size(); ++i) {
      made.light[i] = light_of(static_cast<double>(i) / 255);
    }
    for (std::size_t i = 0; i < made.above.size(); ++i) {
      made.above[i] = light_of((static_cast<double>(i) + 0.5) / 255);
    }
    return made;
  }();
  return instance;
}

}  // namespace

std::array<std::uint8_t, 256> exposure_table(double stops) {
  const Curve& srgb = curve();
  const double gain = std::exp2(stops);
  std::array<std::uint8_t, 256> table{};
  // The table rises, so one walk through both curves finds the nearest levels without a power.
  std::size_t level = 0;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double light = srgb.light[i] * gain;
    while (level < srgb.above.size() && light >= srgb.above[level]) ++level;
    table[i] = static_cast<std::uint8_t>(level);
  }
  return table;
}

}  // namespace eyespot::detail
