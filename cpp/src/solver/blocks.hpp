#pragma once

#include <cstddef>
#include <functional>

#include "eyespot/runtime.hpp"

namespace eyespot::solver {

inline std::size_t worker_count(const ThreadPool* pool) {
  return pool != nullptr ? pool->size() : 1;
}

/// Floats to read, or products to form, of which the workers' share takes longer than their waking.
inline constexpr std::size_t kWorthReading = std::size_t{1} << 17;
inline constexpr std::size_t kWorthMultiplying = std::size_t{1} << 19;

/// The pool if there is enough to do, else none.
inline ThreadPool* pool_for(ThreadPool* pool, std::size_t work, std::size_t worth) {
  return work >= worth ? pool : nullptr;
}

/// Cheap to call; false once another body or the poll has thrown. On the calling thread it polls.
using KeepGoing = std::function<bool()>;
/// What is to be done for one index, by one of the workers; long bodies ask whether to go on.
using BlockBody =
    std::function<void(std::size_t index, std::size_t worker, const KeepGoing& keep_going)>;

/// Runs the body for each index below count: on the calling thread and the pool's, or on the
/// calling thread alone when there is no pool, one thread in it, or one block.
void run_blocks(ThreadPool* pool, std::size_t count, const Poll& poll, const BlockBody& body);

}  // namespace eyespot::solver
