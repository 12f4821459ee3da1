#pragma once

#include <string_view>
#include <vector>

// Private to the library: kernel files and their tests. A kernel file is written for Highway's
// foreach_target.h, and its public function calls simd_ready() before HWY_DYNAMIC_DISPATCH.
namespace eyespot::detail {

/// Makes Highway's dispatch obey EYESPOT_SIMD; costs one load after the first call. Throws as
/// simd_target() does.
void simd_ready();

/// The targets that this CPU can run and this build contains, worst ("scalar") first. For
/// differential tests.
[[nodiscard]] std::vector<std::string_view> simd_targets();

/// Sends every later dispatch to `name`; "" is the best target. Not while kernels run: for tests
/// only. Throws Error(invalid_argument) as simd_target() does.
void force_simd_target(std::string_view name);

}  // namespace eyespot::detail
