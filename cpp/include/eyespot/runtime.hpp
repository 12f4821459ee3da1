#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

namespace eyespot {

/// Threads this process may use: the CPU affinity mask cut by the cgroup CPU quota (rounded up), at
/// least 1. Not what the machine has.
[[nodiscard]] std::size_t available_threads();

/// The SIMD target in force for every kernel: "scalar", "sse4", "avx2", "avx3", "avx3_bf16"
/// (AVX-512, and products of bfloat16 in the solver) or "amx" (tiles of them) on x86-64, "neon" or
/// "scalar" on Arm. The fastest one the CPU has, unless EYESPOT_SIMD forces another. Throws
/// Error(invalid_argument) when EYESPOT_SIMD names a target that is unknown or that the CPU lacks.
[[nodiscard]] std::string_view simd_target();

/// A flag that many threads may read and any thread may set, once. Copies share the flag.
class CancelToken {
 public:
  CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}

  void cancel() noexcept { flag_->store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool cancelled() const noexcept { return flag_->load(std::memory_order_relaxed); }
  /// Throws Error(cancelled) when the flag is set.
  void throw_if_cancelled() const;

 private:
  std::shared_ptr<std::atomic<bool>> flag_;
};

/// Called by the waiting thread (never by a worker) before a loop and then at least every
/// kPollInterval; it may throw, and
/// then the work stops, the workers are joined and the exception travels on.
using Poll = std::function<void()>;
inline constexpr std::chrono::milliseconds kPollInterval{20};

/// What the thread that calls parallel_for does meanwhile.
enum class Caller : unsigned char {
  waits,  ///< polls only
  works,  ///< takes its share of the indices, at once; polls before and after, else the body has to
};

/// A fixed set of worker threads, made by the session and passed down by reference. Starts its
/// threads at the first use and refuses, with Error(forked), to be used in a forked child.
/// One parallel_for runs at a time; calls from several threads queue up.
class ThreadPool {
 public:
  /// n_threads = 0 takes available_threads(). Throws Error(invalid_argument) above 1024.
  explicit ThreadPool(std::size_t n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] std::size_t size() const noexcept;

  /// Calls body(index, worker) once for each index in [0, count), on up to size() threads, while
  /// the calling thread calls `poll` (may be empty) and does what `caller` says. `worker` is in [0,
  /// size()), and no two bodies that run at a time have the same. Indices are handed out one by
  /// one, so a unit should be worth at least some 10 us. The first exception, of a body or of poll,
  /// stops the hand-out, joins, and is rethrown here.
  void parallel_for(std::size_t count, const std::function<void(std::size_t, std::size_t)>& body,
                    const Poll& poll = {}, Caller caller = Caller::waits);

  /// Adds a task to the queue and returns at once. Tasks must not throw and must not wait for each
  /// other; the destructor runs what was queued before it joins. For the Loader's ring.
  void submit(std::function<void(std::size_t worker)> task);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace eyespot
