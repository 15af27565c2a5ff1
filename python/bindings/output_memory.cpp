#include "output_memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace fastsoftmax {
namespace {

// Whole huge pages; kept in all: a result of 200 MB, or several smaller ones.
constexpr std::size_t kPage = std::size_t{2} << 20, kMostKept = std::size_t{256} << 20;

// So much more than was asked for may a block have that is given out again.
constexpr std::size_t kSlack = 4;  // a quarter

OutputMemory::Block map(std::size_t bytes) {
  void* const found =
      mmap(nullptr, bytes + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  // Cut off what lies before the first huge page and after the last.
  auto* const begin = static_cast<char*>(found);
  const std::size_t before = (kPage - reinterpret_cast<std::uintptr_t>(begin) % kPage) % kPage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + bytes, kPage - before);
#if defined(MADV_HUGEPAGE)
  madvise(begin + before, bytes, MADV_HUGEPAGE);
#endif
  return {begin + before, bytes};
}

}  // namespace

// Room for the most that is kept and one more: what is given back may not fail.
OutputMemory::OutputMemory() { kept_.reserve(kMostKept / kPage + 1); }

OutputMemory& OutputMemory::shared() {
  static OutputMemory& memory = [&]() -> OutputMemory& {
    // A child of fork must not find it locked by a thread that it does not have.
    pthread_atfork([] { shared().mutex_.lock(); }, [] { shared().mutex_.unlock(); },
                   [] { shared().mutex_.unlock(); });
    return *new OutputMemory;
  }();
  return memory;
}

OutputMemory::Block OutputMemory::take(std::size_t bytes) {
  bytes = (bytes + kPage - 1) / kPage * kPage;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // The newest of the smallest that will do: it is most likely still in the cache.
    auto best = kept_.end();
    for (auto each = kept_.begin(); each != kept_.end(); ++each) {
      if (each->bytes < bytes || each->bytes - bytes > bytes / kSlack) continue;
      if (best == kept_.end() || each->bytes <= best->bytes) best = each;
    }
    if (best != kept_.end()) {
      const Block block = *best;
      kept_.erase(best);
      return block;
    }
  }
  return map(bytes);
}

void OutputMemory::give_back(Block block) {
  if (block.bytes > kMostKept) {
    munmap(block.data, block.bytes);
    return;
  }
#if defined(MADV_FREE)
  madvise(block.data, block.bytes, MADV_FREE);
#endif
  std::unique_lock<std::mutex> lock(mutex_);
  kept_.push_back(block);
  const auto is_too_much = [&] {
    std::size_t bytes = 0;
    for (const Block& each : kept_) bytes += each.bytes;
    return bytes > kMostKept;
  };
  while (is_too_much()) {
    const Block oldest = kept_.front();
    kept_.erase(kept_.begin());
    lock.unlock();  // others need not wait for the system
    munmap(oldest.data, oldest.bytes);
    lock.lock();
  }
}

}  // namespace fastsoftmax
