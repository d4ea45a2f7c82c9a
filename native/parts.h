// Work in parts on XLA's own threads, and the memory that a thread keeps for it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <thread>

#include "xla/ffi/api/ffi.h"

namespace flaxcnn {

// Runs `one(0)` … `one(count - 1)`, each once, on the calling thread and on XLA's pool, and returns when all have ended.
//
// The caller works too. A pool that is busy, perhaps with callers like this one, therefore never stops the work: a helper
// that comes late finds nothing left. Which thread runs a part does not matter to its result, and the parts do not depend
// on the number of threads, so the bits are the same on any number of cores.
//
// Throws what one of the parts threw, after all have ended.
template <typename One>
void run_parts(xla::ffi::ThreadPool& pool, int64_t count, const One& one) {
  if (count == 1) return one(0);
  struct Shared {
    std::atomic<int64_t> next{0}, ended{0};
    std::atomic<bool> failed{false};
    std::exception_ptr error;  // written by the one that set `failed`, read after all have ended
  };
  const auto shared = std::make_shared<Shared>();
  // A late helper touches `shared` only: `one` may be gone with the caller's frame, but there is no part left to run.
  const auto work = [shared, count, &one] {
    for (int64_t part; (part = shared->next.fetch_add(1)) < count; shared->ended.fetch_add(1)) {
      try {
        one(part);
      } catch (...) {
        if (!shared->failed.exchange(true)) shared->error = std::current_exception();
      }
    }
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t helper = 0; helper < helpers; ++helper) {
    try {
      pool.Schedule(std::function<void()>(work));
    } catch (const std::bad_alloc&) {  // the helpers that there are hold `one`: this frame has to stay until all have ended
      break;
    }
  }
  work();
  while (shared->ended.load() < count) std::this_thread::yield();
  if (shared->failed) std::rethrow_exception(shared->error);
}

// The number of parts of an elementwise operation on so many values in so many rows: from the shape alone, as all numbers of
// parts are.
inline int64_t elementwise_parts(int64_t values, int64_t rows) {
  constexpr int64_t kPartValues = 1 << 16, kMostParts = 16;  // of a part at least, and in all at most
  return std::clamp<int64_t>(values / kPartValues, 1, std::max<int64_t>(1, std::min(kMostParts, rows)));
}

// Aligned memory that grows as needed and stays for the next call. Each thread has its own of each purpose.
class Buffer {
 public:
  void* of(size_t bytes) {
    if (bytes > size_) {
      memory_.reset();
      size_ = 0;
      memory_.reset(std::aligned_alloc(64, (bytes + 4095) / 4096 * 4096));
      if (!memory_) throw std::bad_alloc();
      size_ = bytes;
    }
    return memory_.get();
  }
  // Gives memory back that only a few large calls need.
  void trim(size_t most) {
    if (size_ > most) memory_.reset(), size_ = 0;
  }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  size_t size_ = 0;
};

}  // namespace flaxcnn
