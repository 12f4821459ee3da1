#include "eyespot/loader.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/types.hpp"
#include "pixel_pool.hpp"
#include "read_file.hpp"

namespace eyespot {
namespace {

// A batch on its way: LoadedBatch plus what is still missing. Shared with the tasks that fill it,
// so that it outlives a loader that is closed meanwhile.
struct Slot {
  LoadedBatch batch;
  std::size_t remaining = 0;  // items that no worker has finished
  std::exception_ptr failure;
  std::size_t failed_index = 0;
};

// Whether an error is about the item, and so a value, or about the run.
bool is_item_error(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::io:
    case ErrorCode::unsupported_format:
    case ErrorCode::corrupt_image:
    case ErrorCode::limit_exceeded:
    case ErrorCode::out_of_memory: return true;
    case ErrorCode::invalid_argument:
    case ErrorCode::non_finite:
    case ErrorCode::cancelled:
    case ErrorCode::forked: return false;
  }
  return false;
}

bool borrows(const ImageSource& source) noexcept {
  return std::holds_alternative<BytesSource>(source) ||
         std::holds_alternative<PixelsSource>(source);
}

std::size_t default_prefetch(std::size_t batch_size, std::size_t n_threads) noexcept {
  const std::size_t wanted = 2 * n_threads;
  return std::max<std::size_t>(2, (wanted + batch_size - 1) / batch_size);
}

// How one item went.
struct Outcome {
  std::optional<ItemError> error;
  std::exception_ptr failure;
};

}  // namespace

std::string source_name(const ImageSource& source, std::size_t index) {
  if (const auto* file = std::get_if<FileSource>(&source)) return file->path;
  const char* kind = std::holds_alternative<BytesSource>(source)    ? "<bytes #"
                     : std::holds_alternative<PixelsSource>(source) ? "<array #"
                                                                    : "<image #";
  return kind + std::to_string(index) + ">";
}

struct Loader::State {
  std::vector<ImageSource> sources;
  ItemDecoder decoder;
  std::size_t batch_size = 0;
  std::size_t prefetch = 0;
  std::uint64_t max_file_bytes = 0;
  CancelToken cancel;
  std::shared_ptr<PixelPool> buffers;
  std::vector<detail::FileReader> readers;  // one a worker
  std::vector<std::size_t> idle;            // without a pool: numbers of workers for callers to be
  // 0 until the first next(), then the process that the workers belong to.
  std::atomic<pid_t> owner{0};

  mutable std::mutex mutex;
  std::condition_variable changed;           // a batch is complete, or borrowing has become 0
  std::deque<std::shared_ptr<Slot>> window;  // neighbouring batches
  std::size_t next_item = 0;                 // first one that is not in the window yet
  std::size_t next_claim = 0;                // first one that no worker has taken
  std::size_t tickets = 0;                   // tasks of ours in the pool, at most one a worker
  std::size_t borrowing = 0;                 // workers that read the caller's memory
  bool closed = false;
  std::exception_ptr ended;

  [[nodiscard]] bool forked() const noexcept {
    const pid_t pid = owner.load(std::memory_order_acquire);
    return pid != 0 && pid != getpid();
  }

  void decode(std::size_t index, std::byte* out, std::size_t worker) {
    const ImageSource& source = sources[index];
    if (const auto* file = std::get_if<FileSource>(&source)) {
      detail::FileReader& reader = readers[worker];
      decoder.from_bytes(reader.read(file->path, max_file_bytes), file->path, out, index, worker);
      reader.trim();
    } else if (const auto* memory = std::get_if<BytesSource>(&source)) {
      decoder.from_bytes(memory->bytes, source_name(source, index), out, index, worker);
    } else if (const auto* pixels = std::get_if<PixelsSource>(&source)) {
      decoder.from_pixels(pixels->image, source_name(source, index), out, index, worker);
    }
  }

  Outcome attempt(std::size_t index, std::byte* out, std::size_t worker) noexcept {
    const auto value = [&](ErrorCode code, std::string message) {
      return Outcome{ItemError{index, code, source_name(sources[index], index), std::move(message)},
                     nullptr};
    };
    try {
      try {
        decode(index, out, worker);
      } catch (const Error& error) {
        if (!is_item_error(error.code())) throw;
        return value(error.code(), error.message());
      } catch (const std::bad_alloc&) {
        return value(ErrorCode::out_of_memory, "not enough memory to decode");
      }
    } catch (...) {
      return {std::nullopt, std::current_exception()};
    }
    return {};
  }

  // The next item for a worker; none when all in the window are taken. Needs `mutex`.
  [[nodiscard]] std::shared_ptr<Slot> claim(std::size_t& index) noexcept {
    if (window.empty() || cancel.cancelled()) return nullptr;
    while (next_claim < next_item && std::holds_alternative<PendingSource>(sources[next_claim])) {
      ++next_claim;
    }
    if (next_claim == next_item) return nullptr;
    index = next_claim++;
    return window[(index - window.front()->batch.first) / batch_size];
  }

  // One item, then back to the end of the pool's queue: others who use the pool get their turn.
  // Tasks hold the state, but not the pool, which must never be destroyed by its own worker; it is
  // alive here, because it joins its workers first.
  void work(const std::shared_ptr<State>& self, ThreadPool& pool, std::size_t worker) noexcept {
    while (work_once(worker)) {
      try {
        pool.submit([self, &pool](std::size_t next) { self->work(self, pool, next); });
        return;
      } catch (...) {  // no memory for a task: go on with this one
        continue;
      }
    }
  }

  // False when there is nothing to do, and the ticket has been given back.
  bool work_once(std::size_t worker) noexcept {
    std::size_t index = 0;
    std::unique_lock lock(mutex);
    const std::shared_ptr<Slot> slot = claim(index);
    if (slot == nullptr) {
      --tickets;
      return false;
    }
    const bool borrowed = borrows(sources[index]);
    if (borrowed) ++borrowing;
    lock.unlock();
    LoadedBatch& batch = slot->batch;
    Outcome outcome =
        attempt(index, batch.pixels.data() + (index - batch.first) * decoder.item_bytes, worker);
    lock.lock();
    // add_batch() has reserved the room, so this cannot throw.
    if (outcome.error) batch.errors.push_back(*std::move(outcome.error));
    if (outcome.failure && (!slot->failure || index < slot->failed_index)) {
      slot->failure = std::move(outcome.failure);
      slot->failed_index = index;
    }
    if (borrowed) --borrowing;
    --slot->remaining;
    if (slot->remaining == 0 || (borrowed && borrowing == 0)) changed.notify_all();
    return true;
  }

  // Ends the run: every later next() throws `reason`. Needs `mutex`.
  void end(std::exception_ptr reason) noexcept {
    ended = std::move(reason);
    window.clear();
  }

  // Puts batches in work until the window is full. Needs `mutex`.
  void fill(const std::shared_ptr<State>& self, ThreadPool& pool) noexcept {
    try {
      while (window.size() < prefetch && next_item < sources.size()) add_batch();
      while (tickets < std::min(readers.size(), next_item - next_claim)) {
        pool.submit([self, &pool](std::size_t worker) { self->work(self, pool, worker); });
        ++tickets;
      }
    } catch (...) {  // no memory, or the pool refused
      end(std::current_exception());
    }
  }

  // The next neighbouring items, not decoded yet.
  [[nodiscard]] Slot next_slot() {
    Slot slot;
    LoadedBatch& batch = slot.batch;
    batch.first = next_item;
    batch.count = std::min(batch_size, sources.size() - next_item);
    batch.pixels = buffers->take();
    batch.errors.reserve(batch.count);
    for (std::size_t i = batch.first; i < batch.first + batch.count; ++i) {
      if (std::holds_alternative<PendingSource>(sources[i])) batch.pending.push_back(i);
    }
    slot.remaining = batch.count - batch.pending.size();
    next_item += batch.count;
    return slot;
  }

  void add_batch() { window.push_back(std::make_shared<Slot>(next_slot())); }

  // Takes the front batch, which is complete. Needs `mutex`.
  [[nodiscard]] LoadedBatch take_front() {
    const std::shared_ptr<Slot> slot = std::move(window.front());
    window.pop_front();
    return finished(*slot);
  }

  // What a slot has come to. Needs `mutex`.
  [[nodiscard]] LoadedBatch finished(Slot& slot) {
    if (slot.failure) {
      end(std::move(slot.failure));
      std::rethrow_exception(ended);
    }
    std::ranges::sort(slot.batch.errors, {}, &ItemError::index);
    return std::move(slot.batch);
  }

  // The next batch, decoded by this thread; none after the last one. `lock` holds `mutex`.
  [[nodiscard]] std::optional<LoadedBatch> load_here(std::unique_lock<std::mutex>& lock) {
    changed.wait(lock, [this] { return closed || ended || !idle.empty(); });
    if (ended) std::rethrow_exception(ended);
    if (closed || next_item == sources.size()) return std::nullopt;
    Slot slot = next_slot();
    const LoadedBatch& batch = slot.batch;
    const auto items = std::span(sources).subspan(batch.first, batch.count);
    const bool borrowed = std::ranges::any_of(items, borrows);
    if (borrowed) ++borrowing;
    const std::size_t worker = idle.back();
    idle.pop_back();
    lock.unlock();
    decode_all(slot, worker);
    lock.lock();
    idle.push_back(worker);
    if (borrowed) --borrowing;
    changed.notify_all();
    throw_if_cancelled();
    return finished(slot);
  }

  // All items of a slot that nobody else knows, until one fails for good.
  void decode_all(Slot& slot, std::size_t worker) noexcept {
    LoadedBatch& batch = slot.batch;
    for (std::size_t i = batch.first; i < batch.first + batch.count; ++i) {
      if (cancel.cancelled() || slot.failure) return;
      if (std::holds_alternative<PendingSource>(sources[i])) continue;
      std::byte* out = batch.pixels.data() + (i - batch.first) * decoder.item_bytes;
      Outcome outcome = attempt(i, out, worker);
      // next_slot() has reserved the room, so this cannot throw.
      if (outcome.error) batch.errors.push_back(*std::move(outcome.error));
      slot.failure = std::move(outcome.failure);
    }
  }

  // Needs `mutex`.
  void throw_if_cancelled() {
    if (!cancel.cancelled()) return;
    end(std::make_exception_ptr(
        Error(ErrorCode::cancelled, "", "loading was cancelled by the caller")));
    std::rethrow_exception(ended);
  }
};

Loader::Loader(std::vector<ImageSource> sources, ItemDecoder decoder, const LoaderOptions& options,
               std::shared_ptr<ThreadPool> pool, CancelToken cancel)
    : state_(std::make_shared<State>()), pool_(std::move(pool)) {
  const std::size_t n_workers = pool_ != nullptr ? pool_->size() : options.callers;
  if (options.batch_size == 0 || decoder.item_bytes == 0 || n_workers == 0) {
    throw Error(ErrorCode::invalid_argument, "Loader",
                "batch_size and item_bytes must be at least 1, and so must callers where there is "
                "no pool");
  }
  State& state = *state_;
  state.sources = std::move(sources);
  state.decoder = std::move(decoder);
  state.batch_size = std::min(options.batch_size, std::max<std::size_t>(state.sources.size(), 1));
  state.prefetch = pool_ == nullptr        ? n_workers
                   : options.prefetch != 0 ? options.prefetch
                                           : default_prefetch(state.batch_size, n_workers);
  state.max_file_bytes = options.max_file_bytes;
  state.cancel = std::move(cancel);
  state.buffers = std::make_shared<PixelPool>(
      checked_mul(state.batch_size, state.decoder.item_bytes, "batch"),
      std::min(state.prefetch, state.sources.size() / state.batch_size + 1) + 1);
  state.readers.resize(n_workers);
  if (pool_ == nullptr) {
    for (std::size_t worker = 0; worker < n_workers; ++worker) state.idle.push_back(worker);
  }
}

Loader::~Loader() {
  close();
  if (state_->forked()) {
    // Another thread of the parent may have held a lock that nobody will ever release here, so
    // nothing of it can be destroyed.
    auto abandoned = std::make_unique<std::shared_ptr<State>>(std::move(state_));
    (void)abandoned.release();  // NOLINT(bugprone-unused-return-value): leaked on purpose
  }
}

std::optional<LoadedBatch> Loader::next(const Poll& poll) {
  State& state = *state_;
  if (state.forked()) {
    throw Error(ErrorCode::forked, "Loader",
                "it was started before fork() and its workers do not exist in this process; make a "
                "new Loader after the fork");
  }
  const auto ready = [&state] {
    return state.closed || state.ended || state.window.empty() ||
           state.window.front()->remaining == 0;
  };
  std::unique_lock lock(state.mutex);
  state.owner.store(getpid(), std::memory_order_release);
  while (true) {
    if (state.ended) std::rethrow_exception(state.ended);
    if (state.closed) return std::nullopt;
    state.throw_if_cancelled();
    if (pool_ == nullptr) return state.load_here(lock);
    state.fill(state_, *pool_);
    if (state.ended) continue;
    if (state.window.empty()) return std::nullopt;
    if (ready()) break;
    state.changed.wait_for(lock, kPollInterval, ready);
    if (!poll) continue;
    lock.unlock();
    poll();
    lock.lock();
  }
  LoadedBatch batch = state.take_front();
  state.fill(state_, *pool_);  // the workers go on while the caller uses this batch
  state.changed.notify_all();  // another waiting thread has a new front
  return batch;
}

void Loader::close() noexcept {
  State& state = *state_;
  if (state.forked()) return;
  std::unique_lock lock(state.mutex);
  state.closed = true;
  const std::exception_ptr ended = std::move(state.ended);  // destroyed here, not by a worker
  state.window.clear();
  state.changed.notify_all();
  state.changed.wait(lock, [&state] { return state.borrowing == 0; });
  lock.unlock();
  state.buffers->close();
}

std::size_t Loader::size() const noexcept {
  return state_->sources.size();
}

std::size_t Loader::buffers_allocated() const {
  return state_->buffers->allocated();
}

}  // namespace eyespot
