#include "parallel.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "cpu_quota.h"
#include "crew.h"
#include "fastsoftmax/threads.h"
#include "float_mode.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace fastsoftmax {
namespace {

int cpus_in_affinity() {
#if defined(__linux__)
  // A set for the kernel's CPUs, whose number nobody tells: a plain cpu_set_t has 1024.
  for (int n_cpus = CPU_SETSIZE; n_cpus <= 64 * CPU_SETSIZE; n_cpus *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(n_cpus),
                                                               [](cpu_set_t* p) { CPU_FREE(p); });
    const std::size_t size = CPU_ALLOC_SIZE(n_cpus);
    if (set && sched_getaffinity(0, size, set.get()) == 0) return CPU_COUNT_S(size, set.get());
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int capped(long n) { return static_cast<int>(std::clamp(n, 0L, 4096L)); }

// 0 if there is none. It may be a list by nesting level, "4,2": its first number counts. What is
// wrong with it is for OpenMP to say.
int omp_num_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  return text ? capped(std::strtol(text, nullptr, 10)) : 0;
}

// 0 if there are none. Overrides what the system says, as LOKY_MAX_CPU_COUNT does for loky.
int forced_cpus() {
  const char* text = std::getenv("FASTSOFTMAX_CPUS");
  if (!text || !*text) return 0;
  char* end = nullptr;
  const long n = std::strtol(text, &end, 10);
  if (*end != 0 || n < 1) {
    throw std::invalid_argument(std::string("FASTSOFTMAX_CPUS: '") + text +
                                "' is not a positive integer");
  }
  return capped(n);
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

// About 20 microseconds of pauses: longer than a balanced step keeps anyone waiting, shorter than
// the time slice that is lost when a thread has no CPU.
constexpr int kSpins = 1000;

// Phases count up and may wrap around.
bool has_reached(std::uint32_t done, std::uint32_t phase) {
  return static_cast<std::int32_t>(done - phase) >= 0;
}

// libgomp hangs in a child that was forked after a region, of this library or of any other that has
// the same libgomp. So no child that was forked when this library was there enters it: its threads
// are crews.
std::atomic<bool> is_forked_child{false};
[[maybe_unused]] const bool watches_for_forks = [] {
  after_fork([] { is_forked_child.store(true); });
  return true;
}();

bool is_in_openmp() {
#if defined(_OPENMP)
  return omp_in_parallel() != 0;
#else
  return false;
#endif
}

}  // namespace

bool must_run_serially() { return in_region || is_in_openmp(); }

int available_threads() {
  const int forced = forced_cpus();
  return forced > 0 ? forced : std::max(1, std::min(cpus_in_affinity(), recent_cpu_quota()));
}

int plan_threads(int n_requested, double work_ns) {
  if (must_run_serially() || (is_forked_child.load() && n_requested <= 0)) return 1;
  // Starting and joining a thread costs a few microseconds where it spins, tens where it sleeps.
  constexpr double kWorthAThreadNs = 5e3;
  if (work_ns < 2 * kWorthAThreadNs) return 1;
  const int available = available_threads();
  const int wanted = n_requested > 0 ? n_requested : omp_num_threads();
  const int n_threads = wanted > 0 ? std::min(wanted, available) : available;
  return std::max(1, static_cast<int>(std::min<double>(n_threads, work_ns / kWorthAThreadNs)));
}

void parallel_region(int n_threads, const Body& body) {
  const DefaultFloatMode mode;
  if (n_threads < 2 || must_run_serially()) return body(0, 1);
  if (run_on_crew(n_threads, body)) return;
#if defined(_OPENMP)
  if (!is_forked_child.load()) {
#pragma omp parallel num_threads(n_threads)
    {
      const DefaultFloatMode mode_of_thread;
      body(omp_get_thread_num(), omp_get_num_threads());
    }
    return;
  }
#endif
  with_crew(n_threads, [&] { run_on_crew(n_threads, body); });
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
  // Before the look at who sleeps: a store that is still on its way is seen by nobody.
  last_done_.store(phase, std::memory_order_seq_cst);
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

void Team::skip_to(int piece, std::uint32_t phase) {
  auto& last = at(piece).last_claimed;
  if (last.load(std::memory_order_relaxed) != phase) last.store(phase, std::memory_order_relaxed);
}

void Team::set_absent(int piece, bool absent) {
  auto& flag = at(piece).absent;
  if (flag.load(std::memory_order_relaxed) != absent) flag.store(absent, std::memory_order_relaxed);
}

}  // namespace fastsoftmax
