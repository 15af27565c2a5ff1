// The only owner of memory in the core: cache-line aligned, not initialised, freed with its scope.
// Large buffers are on huge pages, where the system has them for who asks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fastsoftmax {

template <class T>
class AlignedBuffer {
  static_assert(std::is_trivial_v<T>, "elements are not constructed");

 public:
  explicit AlignedBuffer(std::ptrdiff_t size) : size_(size) {
    if (size < 0 || static_cast<std::size_t>(size) > PTRDIFF_MAX / sizeof(T))
      throw std::bad_alloc();
    if (size == 0) return;
    data_ = static_cast<T*>(::operator new(n_bytes(), alignment()));
#if defined(__linux__)
    if (is_huge()) madvise(data_, n_bytes(), MADV_HUGEPAGE);  // or else small pages
#endif
  }
  ~AlignedBuffer() { ::operator delete(data_, alignment()); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::ptrdiff_t size() const { return size_; }
  T& operator[](std::ptrdiff_t i) { return data_[i]; }
  const T& operator[](std::ptrdiff_t i) const { return data_[i]; }

 private:
  static constexpr std::align_val_t kLine{64}, kHugePage{2 << 20};
  // An epoch of mini-batches on one thread of a Zen 4: 1.08x the speed where W has 16 MB (4096 x
  // 1000), 1.0 where it has 3.
  static constexpr std::size_t kHugeBytes = 4 << 20;

  std::size_t n_bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }
  bool is_huge() const {
#if defined(__linux__)
    return n_bytes() >= kHugeBytes;
#else
    return false;
#endif
  }
  std::align_val_t alignment() const { return is_huge() ? kHugePage : kLine; }

  T* data_ = nullptr;
  std::ptrdiff_t size_;
};

// So many numbers and what fills their last cache line, which is the widest vector.
template <class T>
constexpr std::ptrdiff_t padded(std::ptrdiff_t n) {
  constexpr std::ptrdiff_t kLanes = 64 / sizeof(T);
  return (n + kLanes - 1) / kLanes * kLanes;
}

}  // namespace fastsoftmax
