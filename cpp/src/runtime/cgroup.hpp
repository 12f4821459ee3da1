#pragma once

#include <filesystem>
#include <optional>

namespace eyespot::detail {

/// CPUs that the cgroup quota of this process grants (2.5 = two and a half), the tightest of all
/// levels up to the root, for cgroup v2 and v1; none where there is no quota or no cgroup. Files
/// are looked up below `root`, which is "/" outside tests.
[[nodiscard]] std::optional<double> cgroup_cpus(const std::filesystem::path& root);

}  // namespace eyespot::detail
