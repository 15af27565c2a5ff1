// Arrays that touch an inaccessible page on one side and canaries on the other: reading or writing
// beyond them is a crash on the one side, and writing is found on the other.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

#include "check.h"

namespace test {

enum class Side { kBegin, kEnd };  // where the inaccessible page is

template <class T>
class Guarded {
 public:
  Guarded(std::ptrdiff_t size, Side side)
      : bytes_(static_cast<std::size_t>(size) * sizeof(T)),
        body_bytes_((bytes_ / page() + 1) * page()),  // never empty
        offset_(side == Side::kEnd ? body_bytes_ - bytes_ : 0) {
    void* all =
        mmap(nullptr, body_bytes_ + 2 * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) throw std::bad_alloc();
    body_ = static_cast<unsigned char*>(all) + page();
    if (mprotect(body_, body_bytes_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    std::memset(body_, kCanary, body_bytes_);
  }
  Guarded(const std::vector<T>& values, Side side)
      : Guarded(static_cast<std::ptrdiff_t>(values.size()), side) {
    if (!values.empty()) std::memcpy(data(), values.data(), bytes_);
  }
  ~Guarded() {
    CHECK(is_intact_outside());
    munmap(body_ - page(), body_bytes_ + 2 * page());
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() { return reinterpret_cast<T*>(body_ + offset_); }
  T& operator[](std::ptrdiff_t i) { return data()[i]; }
  std::vector<T> copy() { return {data(), data() + bytes_ / sizeof(T)}; }

 private:
  static constexpr unsigned char kCanary = 0x5a;
  static std::size_t page() {
    static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return size;
  }
  bool is_intact_outside() const {
    int n_changed = 0;  // no early return: this has to be fast
    for (std::size_t i = 0; i < offset_; ++i) n_changed += body_[i] != kCanary;
    for (std::size_t i = offset_ + bytes_; i < body_bytes_; ++i) n_changed += body_[i] != kCanary;
    return n_changed == 0;
  }

  std::size_t bytes_, body_bytes_, offset_;
  unsigned char* body_;
};

}  // namespace test
