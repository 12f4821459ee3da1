#include "simd.hpp"

#include <hwy/highway.h>

#if EYESPOT_HAS_BFLOAT16
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
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

using detail::Bfloat16;

namespace {

struct NamedTarget {
  std::string_view name;
  std::uint64_t mask;
  Bfloat16 bfloat16 = Bfloat16::none;  // beside Highway's target
};

// Highway's masks are signed and built by its macros; sets of bits are unsigned here.
// NOLINTBEGIN(bugprone-signed-bitwise): inside Highway's macros
constexpr auto kCompiled = std::uint64_t{HWY_TARGETS};
constexpr auto kBaseline = std::uint64_t{HWY_STATIC_TARGET};
constexpr auto kPortable = std::uint64_t{HWY_EMU128 | HWY_SCALAR};
// NOLINTEND(bugprone-signed-bitwise)

// By what a CPU has to have, least first. Names are eyespot's own: "scalar" is Highway's portable
// target, whichever of the two it offers here.
constexpr std::array<NamedTarget, 7> kTargets{{
    {"scalar", kPortable},
    {"neon", EYESPOT_NEON},
    {"sse4", HWY_SSE4},
    {"avx2", HWY_AVX2},
    {"avx3", HWY_AVX3},
    {"avx3_bf16", HWY_AVX3, Bfloat16::pairs},
    {"amx", HWY_AVX3, Bfloat16::tiles},
}};

// What the CPU runs and the kernels were compiled for; the portable target always is.
std::uint64_t usable_targets() {
  static const std::uint64_t targets = [] {
    hwy::SetSupportedTargetsForTest(0);  // what the CPU has, whatever was forced before
    return (static_cast<std::uint64_t>(hwy::SupportedTargets()) | kBaseline) & kCompiled;
  }();
  return targets;
}

#if EYESPOT_HAS_BFLOAT16
struct CpuidBits {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
};

// CPUID's structured extended features; no bit is set where the CPU does not tell of them.
CpuidBits extended_features(unsigned subleaf) {
  constexpr unsigned kLeaf = 7;
  CpuidBits bits;
  __get_cpuid_count(kLeaf, subleaf, &bits.eax, &bits.ebx, &bits.ecx, &bits.edx);
  return bits;
}

// Its registers are those of AVX-512, which Highway has found to be usable.
bool pairs_usable() {
  constexpr unsigned kPairs = 1U << 5U;
  static const bool usable = (extended_features(1).eax & kPairs) != 0;
  return usable;
}

// AMD forms as many products of pairs a cycle as of float32; Intel forms half as many, which is no
// gain.
bool pairs_pay() {
  constexpr unsigned kAuth = 0x68747541;  // of "AuthenticAMD"
  CpuidBits bits;
  return __get_cpuid(0, &bits.eax, &bits.ebx, &bits.ecx, &bits.edx) != 0 && bits.ebx == kAuth;
}

bool cpu_has_tiles() {
  constexpr unsigned kBfloat16 = 1U << 22U;
  constexpr unsigned kTiles = 1U << 24U;
  const unsigned bits = extended_features(0).edx;
  return (bits & kBfloat16) != 0 && (bits & kTiles) != 0;
}

// Linux gives the registers of tiles, 8 KiB a thread, to processes that ask for them.
bool system_grants_tiles() {
  constexpr int kRequest = 0x1023;  // ARCH_REQ_XCOMP_PERM, missing from older headers
  constexpr int kTileData = 18;     // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

bool tiles_usable() {
  static const bool usable = cpu_has_tiles() && system_grants_tiles();
  return usable;
}
#else
bool pairs_usable() {
  return false;
}

bool pairs_pay() {
  return false;
}

bool tiles_usable() {
  return false;
}
#endif

bool is_usable(const NamedTarget& target) {
  if ((target.mask & usable_targets()) == 0) return false;
  switch (target.bfloat16) {
    case Bfloat16::none: return true;
    case Bfloat16::pairs: return pairs_usable();
    case Bfloat16::tiles: return tiles_usable();
  }
  return false;
}

// Those that are usable, worst first.
std::vector<const NamedTarget*> ranking() {
  std::vector<const NamedTarget*> ranked;
  for (const NamedTarget& target : kTargets) {
    if (!is_usable(target)) continue;
    const bool is_slow = target.bfloat16 == Bfloat16::pairs && !pairs_pay();
    ranked.insert(ranked.end() - (is_slow ? 1 : 0), &target);
  }
  return ranked;
}

bool is_known(std::string_view name) {
  return std::ranges::any_of(kTargets,
                             [name](const NamedTarget& target) { return target.name == name; });
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
const NamedTarget& choose(std::string_view request) {
  const NamedTarget* best = nullptr;
  for (const NamedTarget* target : ranking()) {
    if (request.empty() || request == target->name) best = target;
  }
  if (best == nullptr) {
    throw Error(ErrorCode::invalid_argument, "EYESPOT_SIMD",
                "target \"" + std::string(request) +
                    (is_known(request) ? "\" is not available on this CPU" : "\" is unknown") +
                    "; allowed here: " + known_names());
  }
  return *best;
}

std::mutex& mutex() {
  static std::mutex instance;
  return instance;
}

// The target in force; null until the first use.
std::atomic<const NamedTarget*>& active() {
  static std::atomic<const NamedTarget*> target{nullptr};
  return target;
}

void apply(std::string_view request) {
  const NamedTarget& target = choose(request);
  const auto mask = static_cast<std::int64_t>(target.mask & usable_targets());
  hwy::SetSupportedTargetsForTest(mask);
  hwy::GetChosenTarget().Update(mask);
  active().store(&target, std::memory_order_release);
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
  for (const NamedTarget* target : ranking()) names.push_back(target->name);
  return names;
}

Bfloat16 simd_bfloat16() {
  simd_ready();
  return active().load(std::memory_order_acquire)->bfloat16;
}

void force_simd_target(std::string_view name) {
  const std::scoped_lock lock(mutex());
  apply(name);
}

}  // namespace detail

std::string_view simd_target() {
  detail::simd_ready();
  return active().load(std::memory_order_acquire)->name;
}

}  // namespace eyespot
