// The only door to threads: regions on OpenMP, or on crews of threads of our own, and the meetings
// inside them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "range.h"

namespace fastsoftmax {

// Runs body(thread, n_threads) on at most n_threads threads at once, the calling one being thread
// 0, and returns when all are done. The body gets the true number, which may be smaller: 1 inside
// another region, or where the system gives no more threads. The body must not throw.
void parallel_region(int n_threads, const std::function<void(int, int)>& body);

// body() on the calling thread, with n_threads - 1 others at hand: regions that it opens are run by
// them, and begin and end without the system. Who has no CPU when a region begins misses it:
// another thread runs body(thread, n_threads) in his place, maybe after its own, so threads may
// wait for each other by Team and Tasks alone. The body may throw.
void with_crew(int n_threads, const std::function<void()>& body);

// Threads for a region of so many products: one more costs as much as 100,000 do.
inline int threads_worth(std::ptrdiff_t n_products, int n_threads) {
  return n_products < 100000 ? 1 : n_threads;
}

// Threads that go through phases of a few microseconds together: phase after phase, each takes its
// own piece, and the phase ends when all pieces are done. A thread that has no CPU at the moment
// holds up the others only if it has begun its piece: after a bounded wait they take the piece
// over, and go on doing so until the thread is back. With two busy processes on two CPUs a barrier
// costs a time slice in almost every step; this costs next to nothing.
class Team {
 public:
  explicit Team(int max_threads);

  // A thread's way through the phases; every thread must go through the same ones.
  class Member {
   public:
    Member(Team& team, int thread, int n_threads, std::uint32_t last_phase = 0)
        : team_(team), thread_(thread), n_threads_(n_threads), phase_(last_phase) {}

    // body(piece) for piece = 0..n_threads-1, each once, on some thread; back when all are done.
    template <class F>
    void run(const F& body) {
      if (n_threads_ == 1) return body(0);
      ++phase_;
      if (team_.claim(thread_, phase_)) {
        team_.set_absent(thread_, false);
        body(thread_);
        team_.finish(phase_, n_threads_);
      }
      take_over(body, false);
      if (team_.spin(phase_)) return;
      take_over(body, true);
      team_.sleep(phase_);
    }

   private:
    // The pieces that nobody has begun: of those known to be absent, or of all.
    template <class F>
    void take_over(const F& body, bool all) {
      for (int piece = 0; piece < n_threads_; ++piece) {
        if (piece == thread_ || !(all || team_.is_absent(piece))) continue;
        if (!team_.claim(piece, phase_)) continue;
        team_.set_absent(piece, true);
        body(piece);
        team_.finish(phase_, n_threads_);
      }
    }

    Team& team_;
    const int thread_, n_threads_;
    std::uint32_t phase_;
  };

  // The parts of a member that is not there for the whole of a phase (1, 2, ..): a piece is the
  // caller's if claim is true, and is to be done and then finished.
  bool claim(int piece, std::uint32_t phase);
  void finish(std::uint32_t phase, int n_threads);
  void set_absent(int piece, bool absent);

  // A piece that was not part of the phases up to this one, which has ended: part of the next.
  void skip_to(int piece, std::uint32_t phase);

 private:
  struct alignas(64) Piece {
    std::atomic<std::uint32_t> last_claimed{0};  // phase
    std::atomic<bool> absent{false};
  };

  bool spin(std::uint32_t phase) const;
  void sleep(std::uint32_t phase) const;
  Piece& at(int piece) { return pieces_[static_cast<std::size_t>(piece)]; }
  bool is_absent(int piece) { return at(piece).absent.load(std::memory_order_relaxed); }

  std::unique_ptr<Piece[]> pieces_;
  alignas(64) std::atomic<int> n_done_{0};
  alignas(64) std::atomic<std::uint32_t> last_done_{0};  // phase
};

}  // namespace fastsoftmax
