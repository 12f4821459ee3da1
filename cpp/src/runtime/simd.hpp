#pragma once

#include <string_view>
#include <vector>

// Whether this build has kernels for bfloat16 (AVX-512's products of pairs, AMX's tiles), which
// Highway 1.0.3 does not know: they are written with the vectors of GCC 12 and clang.
#define EYESPOT_HAS_BFLOAT16 0
#if defined(__x86_64__) && defined(__linux__) && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#undef EYESPOT_HAS_BFLOAT16
#define EYESPOT_HAS_BFLOAT16 1
#endif
#endif

// Private to the library: kernel files and their tests. A kernel file is written for Highway's
// foreach_target.h, and its public function calls simd_ready() before HWY_DYNAMIC_DISPATCH.
namespace eyespot::detail {

/// Makes Highway's dispatch obey EYESPOT_SIMD; costs one load after the first call. Throws as
/// simd_target() does.
void simd_ready();

/// The targets that this CPU can run and this build contains, worst ("scalar") first. For
/// differential tests.
[[nodiscard]] std::vector<std::string_view> simd_targets();

/// The products of bfloat16 that a target has; one with tiles is not asked for pairs.
enum class Bfloat16 : unsigned char { none, pairs, tiles };

/// What the target in force does. Throws as simd_target() does.
[[nodiscard]] Bfloat16 simd_bfloat16();

/// Sends every later dispatch to `name`; "" is the best target. Not while kernels run: for tests
/// only. Throws Error(invalid_argument) as simd_target() does.
void force_simd_target(std::string_view name);

}  // namespace eyespot::detail
