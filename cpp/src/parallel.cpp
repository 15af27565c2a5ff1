#include "parallel.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cpu_quota.h"
#include "fastsoftmax/threads.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fastsoftmax {
namespace {

int cpus_in_affinity() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// FASTSOFTMAX_CPUS overrides what the system says, as LOKY_MAX_CPU_COUNT does for loky.
int positive_from_environment(const char* name) {
  // OMP_NUM_THREADS may be a list by nesting level, "4,2": its first number counts.
  const char* text = std::getenv(name);
  return text ? static_cast<int>(std::clamp(std::strtol(text, nullptr, 10), 0L, 4096L)) : 0;
}

// Reading the quota takes 50 to 100 microseconds, more than many a call of a kernel; it is read
// anew once a second.
int recent_cpu_quota() {
  using Clock = std::chrono::steady_clock;
  static std::atomic<int> quota{0};
  static std::atomic<Clock::rep> read_at{0};
  const Clock::duration now = Clock::now().time_since_epoch();
  if (quota == 0 || now - Clock::duration(read_at) > std::chrono::seconds(1)) {
    quota = cpu_quota("");
    read_at = now.count();
  }
  return quota;
}

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// About 20 microseconds of pauses: longer than a balanced step keeps anyone waiting, shorter than
// the time slice that is lost when a thread has no CPU.
constexpr int kSpins = 1000;

// Those of a crew's threads between two regions, 100 microseconds: fits of logistic regressions do
// what is not worth threads meanwhile. On two threads of a Zen 4, milliseconds, of 200, 1000, 5000
// and 50,000: alone MNIST 673, 698, 667, 641, 10,000 rows of it 247, 234, 212, 219, digits 73, 71,
// 64, 58; beside one busy process 1195, 1237, 1230, 1274; 486, 444, 418, 532; 82, 82, 85, 114.
constexpr int kCrewSpins = 5000;

// In a child, which has none of the other threads.
void after_fork(void (*handler)()) {
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, handler);
#else
  static_cast<void>(handler);
#endif
}

// Phases count up and may wrap around.
bool has_reached(std::uint32_t done, std::uint32_t phase) {
  return static_cast<std::int32_t>(done - phase) >= 0;
}

using Body = std::function<void(int, int)>;

// In a piece of a region that is not OpenMP's.
thread_local bool in_region = false;

// The threads of with_crew. A region is a phase of a team, whose body is known to who has claimed a
// piece of it. Who comes late, or after the end, finds nothing to claim.
class Crew {
 public:
  explicit Crew(int n_threads)
      : n_threads_(n_threads), team_(n_threads), first_(team_, 0, n_threads) {}

  // On the calling thread.
  void run(int n_threads, const Body& body) {
    const int n = std::min(n_threads, n_threads_);
    const std::uint32_t region = region_.load(std::memory_order_relaxed) + 1;
    for (int thread = n; thread < n_threads_; ++thread) {
      team_.claim(thread, region);
      team_.finish(region, n_threads_);
    }
    body_ = &body;
    n_running_ = n;
    region_.store(region, std::memory_order_release);
    region_.notify_all();
    in_region = true;
    first_.run([&](int piece) { body(piece, n); });
    in_region = false;
  }

  // On the others, until close().
  void serve(int thread) {
    std::uint32_t last = 0;
    for (;;) {
      last = wait_for_next(last);
      if (is_closed_.load(std::memory_order_acquire)) return;
      if (!team_.claim(thread, last)) continue;
      team_.set_absent(thread, false);
      (*body_)(thread, n_running_);
      team_.finish(last, n_threads_);
    }
  }

  void close() {
    is_closed_.store(true, std::memory_order_release);
    region_.fetch_add(1, std::memory_order_release);
    region_.notify_all();
  }

 private:
  std::uint32_t wait_for_next(std::uint32_t last) const {
    for (int i = 0; i < kCrewSpins; ++i) {
      const std::uint32_t region = region_.load(std::memory_order_acquire);
      if (region != last) return region;
      pause();
    }
    region_.wait(last, std::memory_order_acquire);
    return region_.load(std::memory_order_acquire);
  }

  const int n_threads_;
  Team team_;
  Team::Member first_;
  const Body* body_ = nullptr;
  int n_running_ = 1;
  alignas(64) std::atomic<std::uint32_t> region_{0};
  std::atomic<bool> is_closed_{false};
};

// That of the calling thread.
thread_local Crew* crew_at_hand = nullptr;

// Threads that serve one crew after the other and sleep meanwhile; more come as more are wanted.
// Not OpenMP's: theirs meet at the end of a region, spinning, and one that was woken on the CPU of
// the calling thread got there 3 to 7 milliseconds late. Neither they nor the pool ever end, for
// the process may do so at any time; a forked child has none of them, and makes its own.
class Pool {
 public:
  static Pool& instance() {
    static std::once_flag once;
    std::call_once(once, [] { after_fork([] { instance_.store(nullptr); }); });
    Pool* pool = instance_.load();
    if (!pool) {
      auto made = std::make_unique<Pool>();
      if (instance_.compare_exchange_strong(pool, made.get())) pool = made.release();
    }
    return *pool;
  }

  // Threads 1 to n_threads - 1, if the system gives so many.
  void lend(const std::shared_ptr<Crew>& crew, int n_threads) {
    const std::lock_guard lock(mutex_);
    for (int thread = 1; thread < n_threads; ++thread) wanted_.push_back({crew, thread});
    try {
      for (; n_free_ < wanted_.size(); ++n_free_) std::thread([this] { work(); }).detach();
    } catch (const std::system_error&) {
      // Fewer will do.
    }
    is_wanted_.notify_all();
  }

  // Those who have not come yet need not.
  void recall(const std::shared_ptr<Crew>& crew) {
    const std::lock_guard lock(mutex_);
    wanted_.erase(std::remove_if(wanted_.begin(), wanted_.end(),
                                 [&](const Place& place) { return place.crew == crew; }),
                  wanted_.end());
  }

 private:
  struct Place {
    std::shared_ptr<Crew> crew;
    int thread;
  };

  void work() {
    in_region = true;
    std::unique_lock lock(mutex_);
    for (;;) {
      is_wanted_.wait(lock, [&] { return !wanted_.empty(); });
      Place place = std::move(wanted_.back());
      wanted_.pop_back();
      --n_free_;
      lock.unlock();
      place.crew->serve(place.thread);
      place.crew.reset();
      lock.lock();
      ++n_free_;
    }
  }

  static inline std::atomic<Pool*> instance_{nullptr};
  std::mutex mutex_;
  std::condition_variable is_wanted_;
  std::vector<Place> wanted_;
  std::size_t n_free_ = 0;
};

#if defined(_OPENMP)

std::atomic<bool> region_has_run{false};
std::atomic<bool> is_child_after_region{false};

void watch_for_fork() {
  static std::once_flag once;
  std::call_once(once, [] {
    after_fork([] {
      if (region_has_run.load()) is_child_after_region.store(true);
    });
  });
}

bool must_run_serially() { return in_region || is_child_after_region.load() || omp_in_parallel(); }

void run_on_threads(int n_threads, const Body& body) {
  watch_for_fork();
  region_has_run.store(true);
#pragma omp parallel num_threads(n_threads)
  body(omp_get_thread_num(), omp_get_num_threads());
}

#else

bool must_run_serially() { return in_region; }

// The threads wait until it is known how many of them the system gave.
void run_on_threads(int n_threads, const Body& body) {
  const auto run = [&](int thread, int n_running) {
    in_region = true;
    body(thread, n_running);
    in_region = false;
  };
  std::atomic<int> n_started{0};
  std::vector<std::thread> others;
  others.reserve(static_cast<std::size_t>(n_threads));
  try {
    for (int thread = 1; thread < n_threads; ++thread) {
      others.emplace_back([&, thread] {
        n_started.wait(0);
        run(thread, n_started.load());
      });
    }
  } catch (const std::system_error&) {
    // Fewer will do.
  }
  const int n_running = static_cast<int>(others.size()) + 1;
  n_started.store(n_running);
  n_started.notify_all();
  run(0, n_running);
  for (std::thread& other : others) other.join();
}

#endif

}  // namespace

int available_threads() {
  const int forced = positive_from_environment("FASTSOFTMAX_CPUS");
  return forced > 0 ? forced : std::max(1, std::min(cpus_in_affinity(), recent_cpu_quota()));
}

int plan_threads(int n_requested, double work_ns) {
  if (must_run_serially()) return 1;
  // Starting and joining a thread costs a few microseconds where it spins, tens where it sleeps.
  constexpr double kWorthAThreadNs = 5e3;
  if (work_ns < 2 * kWorthAThreadNs) return 1;
  const int available = available_threads();
  const int wanted = n_requested > 0 ? n_requested : positive_from_environment("OMP_NUM_THREADS");
  const int n_threads = wanted > 0 ? std::min(wanted, available) : available;
  return std::max(1, static_cast<int>(std::min<double>(n_threads, work_ns / kWorthAThreadNs)));
}

void parallel_region(int n_threads, const Body& body) {
  if (n_threads < 2 || must_run_serially()) return body(0, 1);
  crew_at_hand ? crew_at_hand->run(n_threads, body) : run_on_threads(n_threads, body);
}

void with_crew(int n_threads, const std::function<void()>& body) {
  if (n_threads < 2 || crew_at_hand || must_run_serially()) return body();
  const auto crew = std::make_shared<Crew>(n_threads);
  struct Dismissal {
    const std::shared_ptr<Crew>& crew;
    ~Dismissal() {
      crew_at_hand = nullptr;
      crew->close();
      Pool::instance().recall(crew);
    }
  } const dismissal{crew};
  Pool::instance().lend(crew, n_threads);
  crew_at_hand = crew.get();
  body();
}

Range share(std::ptrdiff_t n, std::ptrdiff_t grain, int thread, int n_threads) {
  const std::ptrdiff_t n_grains = (n + grain - 1) / grain;
  const auto cut = [&](int t) { return std::min(n, n_grains * t / n_threads * grain); };
  return {cut(thread), cut(thread + 1)};
}

Team::Team(int max_threads)
    : pieces_(new Piece[static_cast<std::size_t>(std::max(1, max_threads))]) {}

bool Team::claim(int piece, std::uint32_t phase) {
  // Every piece of the phase before has been claimed, so the one claim that finds it so is the
  // first.
  std::uint32_t before = phase - 1;
  return at(piece).last_claimed.compare_exchange_strong(before, phase, std::memory_order_acq_rel);
}

void Team::finish(std::uint32_t phase, int n_threads) {
  if (n_done_.fetch_add(1, std::memory_order_acq_rel) + 1 < n_threads) return;
  n_done_.store(0, std::memory_order_relaxed);
  last_done_.store(phase, std::memory_order_release);
  last_done_.notify_all();
}

bool Team::spin(std::uint32_t phase) const {
  for (int i = 0; i < kSpins; ++i) {
    if (has_reached(last_done_.load(std::memory_order_acquire), phase)) return true;
    pause();
  }
  return false;
}

void Team::sleep(std::uint32_t phase) const {
  for (;;) {
    const std::uint32_t done = last_done_.load(std::memory_order_acquire);
    if (has_reached(done, phase)) return;
    last_done_.wait(done, std::memory_order_acquire);
  }
}

void Team::set_absent(int piece, bool absent) {
  auto& flag = at(piece).absent;
  if (flag.load(std::memory_order_relaxed) != absent) flag.store(absent, std::memory_order_relaxed);
}

}  // namespace fastsoftmax
