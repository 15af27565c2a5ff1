// How the processor rounds, and whether it takes tiny numbers for zero: a mode of each thread,
// which libraries built with -ffast-math change, torch.set_flush_denormal and fesetround.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastsoftmax {

// To the nearest, and no number is taken for zero, while it lives. What threads share is thus the
// same whoever does it: in the caller's mode the zeros of a softmax depended on their number.
class DefaultFloatMode {
 public:
  DefaultFloatMode() {
    if (is_other_) write((before_ & ~kControl) | kDefault);
  }
  ~DefaultFloatMode() {
    if (is_other_) write((read() & ~kControl) | (before_ & kControl));
  }
  DefaultFloatMode(const DefaultFloatMode&) = delete;
  DefaultFloatMode& operator=(const DefaultFloatMode&) = delete;

 private:
#if defined(__x86_64__)
  using Bits = std::uint32_t;
  // Flushing, rounding, masked exceptions, denormals as zeros; the rest are flags of what happened.
  static constexpr Bits kControl = 0xffc0, kDefault = 0x1f80;
  static Bits read() { return _mm_getcsr(); }
  static void write(Bits bits) { _mm_setcsr(bits); }
#elif defined(__aarch64__)
  using Bits = std::uint64_t;
  static constexpr Bits kControl = 0x07c89f07, kDefault = 0;
  static Bits read() {
    Bits bits;
    asm volatile("mrs %0, fpcr" : "=r"(bits));
    return bits;
  }
  static void write(Bits bits) { asm volatile("msr fpcr, %0" : : "r"(bits)); }
#else
  using Bits = int;
  static constexpr Bits kControl = 0, kDefault = 0;
  static Bits read() { return 0; }
  static void write(Bits) {}
#endif

  const Bits before_ = read();
  const bool is_other_ = (before_ & kControl) != kDefault;
};

}  // namespace fastsoftmax
