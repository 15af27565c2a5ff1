// What parallel.cpp and crew.cpp know of each other. Callers see parallel.h.
#pragma once

#include <functional>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastsoftmax {

using Body = std::function<void(int, int)>;

// In a piece of a region that is not OpenMP's.
extern thread_local bool in_region;

// Whether a region that begins here must be run by the calling thread alone.
bool must_run_serially();

// The region, if the calling thread has a crew at hand.
bool run_on_crew(int n_threads, const Body& body);

// In a child, which has none of the other threads.
void after_fork(void (*handler)());

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

}  // namespace fastsoftmax
