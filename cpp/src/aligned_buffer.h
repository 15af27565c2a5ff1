// The only owner of memory in the core: cache-line aligned, not initialised, freed with its scope.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#include "ceil_div.h"

namespace fastsoftmax {

template <class T>
class AlignedBuffer {
  static_assert(std::is_trivial_v<T>, "elements are not constructed");

 public:
  explicit AlignedBuffer(std::ptrdiff_t size) : size_(size) {
    if (size < 0 || static_cast<std::size_t>(size) > PTRDIFF_MAX / sizeof(T))
      throw std::bad_alloc();
    if (size == 0) return;
    data_ = static_cast<T*>(::operator new(static_cast<std::size_t>(size) * sizeof(T), kAlignment));
  }
  ~AlignedBuffer() { ::operator delete(data_, kAlignment); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::ptrdiff_t size() const { return size_; }
  T& operator[](std::ptrdiff_t i) { return data_[i]; }
  const T& operator[](std::ptrdiff_t i) const { return data_[i]; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_ = nullptr;
  std::ptrdiff_t size_;
};

// So many numbers and what fills their last cache line, which is the widest vector.
template <class T>
constexpr std::ptrdiff_t padded(std::ptrdiff_t n) {
  constexpr std::ptrdiff_t kLanes = 64 / sizeof(T);
  return round_up(n, kLanes);
}

}  // namespace fastsoftmax
