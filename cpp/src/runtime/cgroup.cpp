#include "cgroup.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace eyespot::detail {
namespace {

namespace fs = std::filesystem;

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::optional<double> ratio(double quota, double period) {
  if (quota <= 0 || period <= 0) return std::nullopt;
  return quota / period;
}

// "max 100000" or "250000 100000" (microseconds of CPU time a period).
std::optional<double> quota_v2(const fs::path& folder) {
  std::istringstream line(first_line(folder / "cpu.max"));
  double quota = 0;
  double period = 0;
  if (!(line >> quota >> period)) return std::nullopt;
  return ratio(quota, period);
}

std::optional<double> quota_v1(const fs::path& folder) {
  std::istringstream quota_text(first_line(folder / "cpu.cfs_quota_us"));
  std::istringstream period_text(first_line(folder / "cpu.cfs_period_us"));
  double quota = 0;  // -1: no limit
  double period = 0;
  if (!(quota_text >> quota) || !(period_text >> period)) return std::nullopt;
  return ratio(quota, period);
}

bool lists(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    const std::size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == wanted) return true;
    if (comma == std::string_view::npos) break;
    controllers.remove_prefix(comma + 1);
  }
  return false;
}

void tighten(std::optional<double>& limit, std::optional<double> other) {
  if (other) limit = limit ? std::min(*limit, *other) : *other;
}

// The quota at `group` and at each of its parents, the mount itself included: inside a container
// the group's own path may not exist, but the mount shows the container's limit.
template <typename Quota>
std::optional<double> tightest(const fs::path& mount, fs::path group, Quota quota) {
  std::optional<double> limit;
  group = group.relative_path();
  while (!group.empty()) {
    tighten(limit, quota(mount / group));
    group = group.parent_path();
  }
  tighten(limit, quota(mount));
  return limit;
}

}  // namespace

std::optional<double> cgroup_cpus(const fs::path& root) {
  std::optional<double> limit;
  std::ifstream groups(root / "proc/self/cgroup");
  // hierarchy-ID:controllers:path; v2 has ID 0 and no controllers
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const fs::path group = line.substr(second + 1);
    const fs::path mount = root / "sys/fs/cgroup";
    if (controllers.empty()) {
      tighten(limit, tightest(mount, group, quota_v2));
      tighten(limit, tightest(mount / "unified", group, quota_v2));
    } else if (lists(controllers, "cpu")) {
      for (const char* name : {"cpu", "cpu,cpuacct", "cpuacct,cpu"}) {
        tighten(limit, tightest(mount / name, group, quota_v1));
      }
    }
  }
  return limit;
}

}  // namespace eyespot::detail
