// Whether a caller wants a fit to stop, asked between chunks of a pass.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>

#include "fastsoftmax/stop.h"

namespace fastsoftmax {

// Of passes row by row: to look at the clock costs as much as some features of a row.
constexpr std::ptrdiff_t kRowsBetweenPolls = 1024;

// Asks at most every 30 ms whether to stop; only the calling thread may.
class StopPoll {
 public:
  explicit StopPoll(const StopRequested& ask) : ask_(ask) {}
  void poll() {
    constexpr auto kBetween = std::chrono::milliseconds(30);
    if (!ask_ || stopped()) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < kBetween) return;
    last_ = now;
    if (ask_()) stopped_.store(true, std::memory_order_relaxed);
  }
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

 private:
  const StopRequested& ask_;
  std::atomic<bool> stopped_{false};
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace fastsoftmax
