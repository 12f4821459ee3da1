#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {
namespace {

constexpr std::size_t kMaxThreads = 1024;
// How long a thread stays awake for what is likely to come: the end of a loop, and the next one.
constexpr std::chrono::microseconds kBriefly{50};
constexpr std::chrono::microseconds kLinger{200};

// What the workers of one parallel_for share.
struct Loop {
  const std::function<void(std::size_t, std::size_t)>* body = nullptr;
  std::size_t count = 0;
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};

  std::mutex mutex;
  std::condition_variable changed;
  std::size_t running = 0;    // threads inside run()
  std::size_t n_workers = 0;  // threads that have been there
  bool closed = false;        // the caller has left: a runner still in the queue does nothing
  std::exception_ptr failure;
  std::size_t failed_index = 0;

  // Indices go out in increasing order and each that went out is finished, so the lowest failing
  // index always runs: keeping its exception makes the outcome the same for any number of threads.
  void fail(std::size_t index, std::exception_ptr reason) {
    stop.store(true, std::memory_order_relaxed);
    const std::scoped_lock lock(mutex);
    if (!failure || index < failed_index) {
      failure = std::move(reason);
      failed_index = index;
    }
  }

  void run() {
    std::size_t worker = 0;
    {
      const std::scoped_lock lock(mutex);
      if (closed) return;
      ++running;
      worker = n_workers++;
    }
    while (!stop.load(std::memory_order_relaxed)) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) break;
      try {
        (*body)(index, worker);
      } catch (...) {
        fail(index, std::current_exception());
      }
    }
    const std::scoped_lock lock(mutex);
    --running;
    changed.notify_all();
  }

  // The last index of another thread seldom takes longer than to fall asleep and wake.
  void wait_briefly() {
    const auto end = std::chrono::steady_clock::now() + kBriefly;
    while (std::chrono::steady_clock::now() < end) {
      {
        const std::scoped_lock lock(mutex);
        if (running == 0) return;
      }
      std::this_thread::yield();
    }
  }

  // Needs `mutex`.
  [[nodiscard]] bool done() const noexcept {
    return running == 0 &&
           (stop.load(std::memory_order_relaxed) || next.load(std::memory_order_relaxed) >= count);
  }
};

struct Task {
  std::function<void(std::size_t)> run;
  bool lingers = false;  // the thread that ran it
};

// The pool whose indices the current thread works on, if any.
thread_local const void* current_pool = nullptr;

// Waits for `ready`, which needs `lock`; calls `poll` without the lock at least every
// kPollInterval.
template <typename Ready>
void wait_polling(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                  const Poll& poll, Ready ready) {
  if (!poll) {
    changed.wait(lock, ready);
    return;
  }
  while (!changed.wait_for(lock, kPollInterval, ready)) {
    lock.unlock();
    poll();
    lock.lock();
  }
}

}  // namespace

struct ThreadPool::Impl {
  struct TurnGuard;

  std::size_t n_threads = 0;
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Task> tasks;
  std::atomic<std::size_t> n_tasks{0};    // their number, to be looked at without `mutex`
  std::atomic<std::size_t> lingerers{0};  // threads that linger; fewer under `mutex` only
  std::vector<std::thread> threads;
  std::atomic<bool> stopping{false};  // set under `mutex`
  // 0 until the threads run, then the process that owns them. Atomic, because a forked child must
  // look at it without taking `mutex`, which another thread of the parent may have held.
  std::atomic<pid_t> owner{0};

  std::mutex turn_mutex;
  std::condition_variable turn;
  bool taken = false;

  [[nodiscard]] bool forked() const noexcept {
    const pid_t pid = owner.load(std::memory_order_acquire);
    return pid != 0 && pid != getpid();
  }

  void refuse_fork() const {
    if (forked()) {
      throw Error(ErrorCode::forked, "ThreadPool",
                  "its threads were started before fork() and do not exist in this process; make a "
                  "new pool after the fork, or start worker processes with \"spawn\"");
    }
  }

  // Needs `mutex`.
  void start() {
    if (!threads.empty()) return;
    threads.reserve(n_threads);
    owner.store(getpid(), std::memory_order_release);
    try {
      while (threads.size() < n_threads) {
        threads.emplace_back([this, worker = threads.size()] { work(worker); });
      }
    } catch (const std::exception& reason) {
      // Fewer threads are as good; none is not.
      if (threads.empty()) {
        owner.store(0, std::memory_order_release);
        throw Error(ErrorCode::out_of_memory, "ThreadPool",
                    std::string("cannot start a thread: ") + reason.what());
      }
    }
  }

  void work(std::size_t worker) {
    current_pool = this;
    std::unique_lock lock(mutex);
    while (true) {
      wake.wait(lock, [this] { return stopping || !tasks.empty(); });
      if (tasks.empty()) return;
      bool lingers = false;
      {
        const Task task = std::move(tasks.front());
        tasks.pop_front();
        n_tasks.store(tasks.size(), std::memory_order_relaxed);
        lock.unlock();
        task.run(worker);
        lingers = task.lingers;
      }  // what the task holds goes before the lock is taken again
      if (lingers) linger();
      lock.lock();
      if (lingers) lingerers.fetch_sub(1, std::memory_order_relaxed);
    }
  }

  // A loop whose caller works is seldom the last: a thread that is awake is there at once for the
  // next one, where waking it can take as long as the loop. It yields, for on a busy machine the
  // two may share a processor.
  void linger() {
    lingerers.fetch_add(1, std::memory_order_relaxed);
    const auto end = std::chrono::steady_clock::now() + kLinger;
    while (n_tasks.load(std::memory_order_relaxed) == 0 &&
           !stopping.load(std::memory_order_relaxed) && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
  }

  void leave_turn() {
    {
      const std::scoped_lock lock(turn_mutex);
      taken = false;
    }
    turn.notify_one();
  }

  void add(std::size_t copies, const Task& task) {
    std::size_t sleepers = 0;  // to be woken
    {
      const std::scoped_lock lock(mutex);
      start();
      tasks.insert(tasks.end(), copies, task);
      n_tasks.store(tasks.size(), std::memory_order_relaxed);
      // A thread that lingers looks for a task before it sleeps. One that was woken beside it would
      // linger in turn: more threads awake than there are processors, and in each other's way.
      const std::size_t awake = lingerers.load(std::memory_order_relaxed);
      if (tasks.size() > awake) sleepers = std::min(copies, tasks.size() - awake);
    }
    for (; sleepers > 0; --sleepers) wake.notify_one();
  }
};

// Lets the next parallel_for in, however this one ends.
struct ThreadPool::Impl::TurnGuard {
  Impl& pool;
  explicit TurnGuard(Impl& owner) : pool(owner) {}
  TurnGuard(const TurnGuard&) = delete;
  TurnGuard& operator=(const TurnGuard&) = delete;
  ~TurnGuard() { pool.leave_turn(); }
};

ThreadPool::ThreadPool(std::size_t n_threads) : impl_(std::make_unique<Impl>()) {
  if (n_threads > kMaxThreads) {
    throw Error(ErrorCode::invalid_argument, "n_threads",
                std::to_string(n_threads) + " given; allowed are 0 (what the process may use) to " +
                    std::to_string(kMaxThreads));
  }
  impl_->n_threads = n_threads == 0 ? available_threads() : n_threads;
}

ThreadPool::~ThreadPool() {
  if (impl_->forked()) {
    // The threads and perhaps the owner of a lock are gone: nothing here can be joined or freed.
    (void)impl_.release();  // NOLINT(bugprone-unused-return-value): leaked on purpose
    return;
  }
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

std::size_t ThreadPool::size() const noexcept {
  return impl_->n_threads;
}

void ThreadPool::submit(std::function<void(std::size_t worker)> task) {
  impl_->refuse_fork();
  impl_->add(1, {std::move(task), false});
}

void ThreadPool::parallel_for(std::size_t count,
                              const std::function<void(std::size_t, std::size_t)>& body,
                              const Poll& poll, Caller caller) {
  Impl& pool = *impl_;
  pool.refuse_fork();
  if (current_pool == &pool) {
    throw Error(ErrorCode::invalid_argument, "parallel_for",
                "called from a worker of the same pool, which would wait for itself");
  }
  // Loops shorter than the interval, one after the other, must not put polling off for ever.
  if (poll) poll();
  if (count == 0) return;

  // One loop at a time: the others queue up here, polling as well.
  std::unique_lock turn_lock(pool.turn_mutex);
  wait_polling(turn_lock, pool.turn, poll, [&pool] { return !pool.taken; });
  pool.taken = true;
  turn_lock.unlock();
  const Impl::TurnGuard guard(pool);

  const auto loop = std::make_shared<Loop>();
  loop->body = &body;
  loop->count = count;
  const bool works = caller == Caller::works;
  const std::size_t helpers = std::min(count, pool.n_threads) - (works ? 1 : 0);
  // Threads that have not come to earlier loops yet would not come to this one.
  const bool busy = works && pool.n_tasks.load(std::memory_order_relaxed) >= pool.n_threads;
  if (helpers > 0 && !busy) {
    pool.add(helpers, {[loop](std::size_t) { loop->run(); }, works});
  }
  if (works) {
    const void* const before = std::exchange(current_pool, &pool);
    loop->run();
    current_pool = before;
    loop->wait_briefly();
  }

  std::unique_lock lock(loop->mutex);
  std::exception_ptr asked;  // what poll threw
  try {
    wait_polling(lock, loop->changed, poll, [&loop] { return loop->done(); });
  } catch (...) {
    asked = std::current_exception();
    loop->stop.store(true, std::memory_order_relaxed);
    lock.lock();  // poll threw with the lock released
    loop->changed.wait(lock, [&loop] { return loop->done(); });
  }
  loop->closed = true;
  // Moved, so that a worker that lets go of the loop late does not destroy the exception.
  const std::exception_ptr failure = asked ? asked : std::move(loop->failure);
  lock.unlock();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace eyespot
