#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <thread>
#include <vector>

#include "cgroup.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {
namespace {

// CPUs in the affinity mask of the calling thread; 0 when the system does not say.
std::size_t affinity_cpus() {
#ifdef __linux__
  // The kernel refuses a mask shorter than its own, so grow until it fits.
  for (std::size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    if (sched_getaffinity(0, sets * sizeof(cpu_set_t), mask.data()) == 0) {
      return static_cast<std::size_t>(CPU_COUNT_S(sets * sizeof(cpu_set_t), mask.data()));
    }
  }
#endif
  return 0;
}

}  // namespace

std::size_t available_threads() {
  std::size_t count = affinity_cpus();
  if (count == 0) count = std::thread::hardware_concurrency();
  if (const auto quota = detail::cgroup_cpus("/")) {
    count = std::min(count, static_cast<std::size_t>(std::ceil(std::min(*quota, 1e6))));
  }
  return std::max<std::size_t>(count, 1);
}

}  // namespace eyespot
