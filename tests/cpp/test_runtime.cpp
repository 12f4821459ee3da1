#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"
#include "runtime/cgroup.hpp"
#include "runtime/simd.hpp"

using namespace eyespot;
namespace fs = std::filesystem;

namespace {

// A folder of its own below the temporary folder, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(fs::temp_directory_path() / ("eyespot_runtime_" + std::to_string(getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { fs::remove_all(path_); }

  [[nodiscard]] const fs::path& path() const { return path_; }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("parallel_for calls each index once, on the caller only when it works") {
  for (const Caller caller : {Caller::waits, Caller::works}) {
    for (const std::size_t n_threads : {1U, 2U, 5U}) {
      ThreadPool pool(n_threads);
      CHECK(pool.size() == n_threads);
      for (const std::size_t count : {0U, 1U, 3U, 1000U}) {
        std::vector<std::atomic<int>> calls(count);
        std::atomic<std::size_t> by_caller{0};
        std::atomic<bool> wrong_worker{false};
        const auto own = std::this_thread::get_id();
        pool.parallel_for(
            count,
            [&](std::size_t index, std::size_t worker) {
              calls[index].fetch_add(1);
              if (worker >= n_threads) wrong_worker = true;
              if (std::this_thread::get_id() == own) by_caller.fetch_add(1);
            },
            {}, caller);
        CHECK(std::ranges::all_of(calls, [](const auto& n) { return n.load() == 1; }));
        CHECK_FALSE(wrong_worker.load());
        if (caller == Caller::waits) CHECK(by_caller.load() == 0);
        if (caller == Caller::works && n_threads == 1) CHECK(by_caller.load() == count);
      }
    }
  }
}

TEST_CASE("a caller that works does not wait for a thread that is busy elsewhere") {
  ThreadPool pool(2);
  std::atomic<bool> release{false};
  for (int i = 0; i < 2; ++i) {
    pool.submit([&](std::size_t) {
      while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
  }
  std::atomic<int> done{0};
  pool.parallel_for(50, [&](std::size_t, std::size_t) { done.fetch_add(1); }, {}, Caller::works);
  CHECK(done.load() == 50);
  release = true;
}

TEST_CASE("a worker index is never in use twice at the same time") {
  for (const Caller caller : {Caller::waits, Caller::works}) {
    ThreadPool pool(3);
    std::vector<std::atomic<int>> inside(3);
    std::atomic<bool> clash{false};
    pool.parallel_for(
        2000,
        [&](std::size_t, std::size_t worker) {
          if (inside[worker].fetch_add(1) != 0) clash = true;
          inside[worker].fetch_sub(1);
        },
        {}, caller);
    CHECK_FALSE(clash.load());
  }
}

TEST_CASE("the exception of the lowest failing index stops the loop and travels on") {
  for (const Caller caller : {Caller::waits, Caller::works}) {
    for (const std::size_t n_threads : {1U, 2U, 5U}) {
      ThreadPool pool(n_threads);
      std::atomic<std::size_t> ran{0};
      std::string text;
      try {
        pool.parallel_for(
            100000,
            [&](std::size_t index, std::size_t) {
              ran.fetch_add(1);
              if (index >= 7) throw std::runtime_error("index " + std::to_string(index));
            },
            {}, caller);
      } catch (const std::runtime_error& error) {
        text = error.what();
      }
      CHECK(text == "index 7");
      CHECK(ran.load() < 1000);
      std::atomic<int> after{0};
      pool.parallel_for(10, [&](std::size_t, std::size_t) { after.fetch_add(1); }, {}, caller);
      CHECK(after.load() == 10);  // the pool is still good
    }
  }
}

TEST_CASE("poll runs on the calling thread while the workers work, and may stop them") {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  int polls = 0;
  std::atomic<bool> release{false};
  pool.parallel_for(
      1,
      [&](std::size_t, std::size_t) {
        while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      },
      [&] {
        CHECK(std::this_thread::get_id() == caller);
        if (++polls == 3) release = true;
      });
  CHECK(polls == 3);

  std::atomic<std::size_t> ran{0};
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(pool.parallel_for(
                      1000000,
                      [&](std::size_t, std::size_t) {
                        ran.fetch_add(1);
                        std::this_thread::sleep_for(std::chrono::milliseconds(1));
                      },
                      [] { throw Error(ErrorCode::cancelled, "", "enough"); }),
                  Error);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
  CHECK(ran.load() < 5000);
}

TEST_CASE("loops too short to be waited for are polled as well") {
  ThreadPool pool(2);
  CancelToken token;
  token.cancel();
  std::atomic<int> calls{0};
  CHECK_THROWS_AS(
      pool.parallel_for(
          4, [&](std::size_t, std::size_t) { ++calls; }, [&] { token.throw_if_cancelled(); }),
      Error);
  CHECK(calls == 0);
}

TEST_CASE("loops of several threads take turns on one pool") {
  ThreadPool pool(2);
  std::atomic<int> active{0};
  std::atomic<bool> overlap{false};
  std::atomic<int> total{0};
  std::vector<std::thread> callers;
  callers.reserve(4);
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      for (int round = 0; round < 20; ++round) {
        std::atomic<int> mine{0};
        pool.parallel_for(
            8,
            [&](std::size_t, std::size_t) {
              if (mine.fetch_add(1) == 0 && active.fetch_add(1) != 0) overlap = true;
              total.fetch_add(1);
              if (mine.load() == 8) active.store(0);
            },
            i % 2 == 0 ? Poll{} : Poll{[] {}});
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total.load() == 4 * 20 * 8);
  CHECK_FALSE(overlap.load());
}

TEST_CASE("a loop inside a loop of the same pool is refused, not a deadlock") {
  for (const Caller caller : {Caller::waits, Caller::works}) {
    ThreadPool pool(1);
    ErrorCode code = ErrorCode::io;
    try {
      pool.parallel_for(
          1,
          [&](std::size_t, std::size_t) {
            pool.parallel_for(1, [](std::size_t, std::size_t) {}, {}, caller);
          },
          {}, caller);
    } catch (const Error& error) {
      code = error.code();
    }
    CHECK(code == ErrorCode::invalid_argument);
    std::atomic<int> after{0};
    pool.parallel_for(3, [&](std::size_t, std::size_t) { after.fetch_add(1); }, {}, caller);
    CHECK(after.load() == 3);
  }
}

TEST_CASE("submitted tasks run, also when the pool goes away at once") {
  std::atomic<int> done{0};
  {
    ThreadPool pool(2);
    for (int i = 0; i < 100; ++i) {
      pool.submit([&](std::size_t worker) {
        CHECK(worker < 2);
        done.fetch_add(1);
      });
    }
  }
  CHECK(done.load() == 100);
}

TEST_CASE(
    "tasks and loops run whether the threads linger after a loop, sleep or do either just now") {
  for (const std::size_t n_threads : {1U, 2U, 4U}) {
    ThreadPool pool(n_threads);
    for (int pause_us = 0; pause_us < 400; ++pause_us) {  // around how long they linger
      std::atomic<int> done{0};
      pool.parallel_for(4, [&](std::size_t, std::size_t) { done.fetch_add(1); }, {}, Caller::works);
      CHECK(done.load() == 4);
      const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(pause_us);
      while (std::chrono::steady_clock::now() < end) std::this_thread::yield();
      for (int i = 0; i < 3; ++i) pool.submit([&](std::size_t) { done.fetch_add(1); });
      // Nothing else would wake a thread that was not told of its task.
      while (done.load() < 7) std::this_thread::yield();
    }
  }
}

TEST_CASE("a loop does not wait for its turn behind tasks that one busy worker holds up") {
  ThreadPool pool(2);
  std::atomic<bool> release{false};
  pool.submit([&](std::size_t) {
    while (!release.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::atomic<int> done{0};
  pool.parallel_for(50, [&](std::size_t, std::size_t) { done.fetch_add(1); });
  CHECK(done.load() == 50);
  release = true;
}

TEST_CASE("too many threads are refused, and 0 means what the process may use") {
  CHECK_THROWS_AS(ThreadPool(1025), Error);
  CHECK(ThreadPool(0).size() == available_threads());
  CHECK(available_threads() >= 1);
}

// ThreadSanitizer does not follow threads into a forked child.
#ifndef __SANITIZE_THREAD__
TEST_CASE("a pool that was used refuses to work in a forked child, and its destructor returns") {
  auto used = std::make_unique<ThreadPool>(2);
  ThreadPool fresh(2);
  used->parallel_for(4, [](std::size_t, std::size_t) {});
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    int result = 1;
    try {
      used->parallel_for(4, [](std::size_t, std::size_t) {});
    } catch (const Error& error) {
      result = error.code() == ErrorCode::forked ? 0 : 2;
    }
    try {
      used->submit([](std::size_t) {});
      result = 3;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::forked) result = 5;
    }
    used.reset();
    std::atomic<int> done{0};
    fresh.parallel_for(4, [&](std::size_t, std::size_t) { done.fetch_add(1); });
    if (done.load() != 4) result = 4;
    _exit(result);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  used->parallel_for(4, [](std::size_t, std::size_t) {});  // the parent's is untouched
}
#endif

TEST_CASE("copies of a cancel token share the flag") {
  CancelToken token;
  const CancelToken copy = token;
  CHECK_FALSE(copy.cancelled());
  CHECK_NOTHROW(copy.throw_if_cancelled());
  token.cancel();
  CHECK(copy.cancelled());
  CHECK_THROWS_AS(copy.throw_if_cancelled(), Error);
}

TEST_CASE("the cgroup quota is the tightest of all levels, for both versions") {
  const TemporaryFolder folder;
  CHECK_FALSE(detail::cgroup_cpus(folder.path()).has_value());

  folder.write("proc/self/cgroup", "0::/app/job\n");
  folder.write("sys/fs/cgroup/app/job/cpu.max", "max 100000\n");
  CHECK_FALSE(detail::cgroup_cpus(folder.path()).has_value());
  folder.write("sys/fs/cgroup/app/cpu.max", "250000 100000\n");
  CHECK(detail::cgroup_cpus(folder.path()).value_or(0) == doctest::Approx(2.5));
  folder.write("sys/fs/cgroup/cpu.max", "150000 100000\n");  // a container's own mount
  CHECK(detail::cgroup_cpus(folder.path()).value_or(0) == doctest::Approx(1.5));

  const TemporaryFolder old;  // the same folder, emptied
  old.write("proc/self/cgroup", "5:memory:/m\n4:cpu,cpuacct:/box\n1:name=systemd:/box\nnonsense\n");
  old.write("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  old.write("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  CHECK_FALSE(detail::cgroup_cpus(old.path()).has_value());
  old.write("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n");
  CHECK(detail::cgroup_cpus(old.path()).value_or(0) == doctest::Approx(0.5));
}

TEST_CASE("the SIMD target is one of this CPU's, and can be forced to each of them and no other") {
  const std::vector<std::string_view> targets = detail::simd_targets();
  REQUIRE_FALSE(targets.empty());
  CHECK(targets.front() == "scalar");
  for (const std::string_view target : targets) {
    detail::force_simd_target(target);
    CHECK(simd_target() == target);
  }
  CHECK_THROWS_AS(detail::force_simd_target("avx9"), Error);
  CHECK(simd_target() == targets.back());
  detail::force_simd_target("scalar");
  detail::force_simd_target("");
  CHECK(simd_target() == targets.back());
}
