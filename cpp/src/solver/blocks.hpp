#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>

#include "eyespot/runtime.hpp"

namespace eyespot::solver {

/// Set when a run is to end early; long bodies look at it between their parts.
class Stop {
 public:
  void raise() noexcept { flag_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool raised() const noexcept { return flag_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> flag_{false};
};

/// Calls poll when kPollInterval has passed since the last call.
class TimedPoll {
 public:
  explicit TimedPoll(const Poll& poll) : poll_(poll), last_(std::chrono::steady_clock::now()) {}
  void operator()() {
    if (!poll_) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kPollInterval) return;
    last_ = now;
    poll_();
  }

 private:
  const Poll& poll_;
  std::chrono::steady_clock::time_point last_;
};

inline std::size_t worker_count(const ThreadPool* pool) {
  return pool != nullptr ? pool->size() : 1;
}

/// Floats to read, or products to form, of which the workers' share takes longer than their waking.
inline constexpr std::size_t kWorthReading = std::size_t{1} << 19;
inline constexpr std::size_t kWorthMultiplying = std::size_t{1} << 21;

/// The pool if there is enough to do, else none.
inline ThreadPool* pool_for(ThreadPool* pool, std::size_t work, std::size_t worth) {
  return work >= worth ? pool : nullptr;
}

/// Runs the body for each index below count: on the calling thread and the pool's, or on the
/// calling thread alone when there is no pool, one thread in it, or one block. The body is
/// body(index, worker, keep_going): keep_going() is cheap, false once another body or poll has
/// thrown, and on the calling thread it polls.
template <class Body>
void run_blocks(ThreadPool* pool, std::size_t count, const Poll& poll, const Body& body) {
  TimedPoll timed(poll);
  if (worker_count(pool) == 1 || count <= 1) {
    for (std::size_t i = 0; i < count; ++i) {
      body(i, std::size_t{0}, [&timed] {
        timed();
        return true;
      });
      timed();
    }
    return;
  }
  Stop stop;
  const Poll guarded = !poll ? Poll{} : Poll{[&] {
    try {
      poll();
    } catch (...) {
      stop.raise();
      throw;
    }
  }};
  const std::thread::id caller = std::this_thread::get_id();
  pool->parallel_for(
      count,
      [&](std::size_t index, std::size_t worker) {
        try {
          const auto keep_going = [&] {
            if (std::this_thread::get_id() == caller) timed();
            return !stop.raised();
          };
          body(index, worker, keep_going);
          static_cast<void>(keep_going());
        } catch (...) {
          stop.raise();
          throw;
        }
      },
      guarded, Caller::works);
}

}  // namespace eyespot::solver
