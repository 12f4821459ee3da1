#include "blocks.hpp"

#include <atomic>
#include <chrono>
#include <thread>

namespace eyespot::solver {

namespace {

// Calls poll when kPollInterval has passed since the last call.
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

}  // namespace

void run_blocks(ThreadPool* pool, std::size_t count, const Poll& poll, const BlockBody& body) {
  TimedPoll timed(poll);
  if (worker_count(pool) == 1 || count <= 1) {
    const KeepGoing keep_going = [&timed] {
      timed();
      return true;
    };
    for (std::size_t i = 0; i < count; ++i) {
      body(i, 0, keep_going);
      timed();
    }
    return;
  }
  std::atomic<bool> stop{false};
  const Poll guarded = !poll ? Poll{} : Poll{[&] {
    try {
      poll();
    } catch (...) {
      stop.store(true, std::memory_order_relaxed);
      throw;
    }
  }};
  const std::thread::id caller = std::this_thread::get_id();
  const KeepGoing keep_going = [&] {
    if (std::this_thread::get_id() == caller) timed();
    return !stop.load(std::memory_order_relaxed);
  };
  pool->parallel_for(
      count,
      [&](std::size_t index, std::size_t worker) {
        try {
          body(index, worker, keep_going);
          static_cast<void>(keep_going());
        } catch (...) {
          stop.store(true, std::memory_order_relaxed);
          throw;
        }
      },
      guarded, Caller::works);
}

}  // namespace eyespot::solver
