#include "simd.hpp"

#include <hwy/highway.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {
namespace {

struct NamedTarget {
  const char* name;
  std::uint64_t mask;
};

// Highway's masks are signed and built by its macros; sets of bits are unsigned here.
// NOLINTBEGIN(bugprone-signed-bitwise): inside Highway's macros
constexpr auto kCompiled = std::uint64_t{HWY_TARGETS};
constexpr auto kBaseline = std::uint64_t{HWY_STATIC_TARGET};
constexpr auto kPortable = std::uint64_t{HWY_EMU128 | HWY_SCALAR};
// NOLINTEND(bugprone-signed-bitwise)

// Worst first. Names are eyespot's own: "scalar" is Highway's portable target, whichever of the two
// it offers here.
constexpr std::array<NamedTarget, 5> kTargets{{
    {"scalar", kPortable},
    {"neon", EYESPOT_NEON},
    {"sse4", HWY_SSE4},
    {"avx2", HWY_AVX2},
    {"avx3", HWY_AVX3},
}};

// What the CPU runs and the kernels were compiled for; the portable target always is.
std::uint64_t usable_targets() {
  static const std::uint64_t targets = [] {
    hwy::SetSupportedTargetsForTest(0);  // what the CPU has, whatever was forced before
    return (static_cast<std::uint64_t>(hwy::SupportedTargets()) | kBaseline) & kCompiled;
  }();
  return targets;
}

std::string known_names() {
  std::string names;
  for (const std::string_view name : detail::simd_targets()) {
    names += names.empty() ? "" : ", ";
    names += name;
  }
  return names;
}

// The target to use for a request; "" is the best one.
NamedTarget choose(std::string_view request) {
  const std::uint64_t usable = usable_targets();
  const NamedTarget* best = nullptr;
  bool known = false;
  for (const NamedTarget& target : kTargets) {
    known = known || request == target.name;
    if ((target.mask & usable) == 0) continue;
    if (request.empty() || request == target.name) best = &target;
  }
  if (best == nullptr) {
    throw Error(ErrorCode::invalid_argument, "EYESPOT_SIMD",
                "target \"" + std::string(request) +
                    (known ? "\" is not available on this CPU" : "\" is unknown") +
                    "; allowed here: " + known_names());
  }
  return *best;
}

std::mutex& mutex() {
  static std::mutex instance;
  return instance;
}

// The name in force; null until the first use.
std::atomic<const char*>& active() {
  static std::atomic<const char*> name{nullptr};
  return name;
}

void apply(std::string_view request) {
  const NamedTarget target = choose(request);
  const auto mask = static_cast<std::int64_t>(target.mask & usable_targets());
  hwy::SetSupportedTargetsForTest(mask);
  hwy::GetChosenTarget().Update(mask);
  active().store(target.name, std::memory_order_release);
}

}  // namespace

namespace detail {

void simd_ready() {
  if (active().load(std::memory_order_acquire) != nullptr) return;
  const std::scoped_lock lock(mutex());
  if (active().load(std::memory_order_acquire) != nullptr) return;
  const char* request = std::getenv("EYESPOT_SIMD");  // NOLINT(concurrency-mt-unsafe): read once
  apply(request == nullptr ? "" : request);
}

std::vector<std::string_view> simd_targets() {
  std::vector<std::string_view> names;
  for (const NamedTarget& target : kTargets) {
    if ((target.mask & usable_targets()) != 0) names.emplace_back(target.name);
  }
  return names;
}

void force_simd_target(std::string_view name) {
  const std::scoped_lock lock(mutex());
  apply(name);
}

}  // namespace detail

std::string_view simd_target() {
  detail::simd_ready();
  return active().load(std::memory_order_acquire);
}

}  // namespace eyespot
