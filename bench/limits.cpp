// What this machine can do at most: memory bandwidth (GB/s) and float32 multiply-adds (GFLOP/s).
// Usage: limits <threads> <megabytes>. Prints "name value" lines. Compiled by machine.py.
#ifdef __linux__
#include <sys/mman.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace {

constexpr int kRepeats = 5;  // the best counts: a limit is what can be reached

void run_on_threads(int n_threads, const std::function<void(int)>& work) {
  std::vector<std::thread> threads;
  for (int t = 1; t < n_threads; ++t) threads.emplace_back(work, t);
  work(0);
  for (auto& thread : threads) thread.join();
}

double best_seconds(int n_threads, const std::function<void(int)>& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    run_on_threads(n_threads, work);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started;
    if (elapsed.count() < best) best = elapsed.count();
  }
  return best;
}

// Vectors of the compiler, so that one body serves every instruction set. Twelve sums hide the
// latency of the multiply-add and fit into sixteen registers with the two factors. They must
// differ: of equal ones a compiler makes one, whose latency then looks like three times the peak.
typedef float Vec4 __attribute__((vector_size(16)));
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec16 __attribute__((vector_size(64)));
constexpr std::int64_t kRounds = 4'000'000;

#define DEFINE_FMA(name, Vec, attribute)                                                           \
  attribute float name(float seed) {                                                               \
    Vec s0 = {seed}, s1 = s0 + 1, s2 = s0 + 2, s3 = s0 + 3, s4 = s0 + 4, s5 = s0 + 5, s6 = s0 + 6, \
        s7 = s0 + 7, s8 = s0 + 8, s9 = s0 + 9, s10 = s0 + 10, s11 = s0 + 11;                       \
    const Vec a = s0 * 0.0f + 0.999f, b = s0 * 0.0f + seed;                                        \
    for (std::int64_t i = 0; i < kRounds; ++i) {                                                   \
      s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b, s4 = s4 * a + b;         \
      s5 = s5 * a + b, s6 = s6 * a + b, s7 = s7 * a + b, s8 = s8 * a + b, s9 = s9 * a + b;         \
      s10 = s10 * a + b, s11 = s11 * a + b;                                                        \
      asm volatile("" ::: "memory");                                                               \
    }                                                                                              \
    const Vec sum = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11;                   \
    return sum[0];                                                                                 \
  }

volatile float sink;

void report_fma(const char* name, float (*fma)(float), int lanes, int n_threads) {
  const double seconds = best_seconds(n_threads, [&](int t) { sink = fma(1.0f + t); });
  const double flops = 2.0 * 12 * lanes * static_cast<double>(kRounds) * n_threads;
  std::printf("%s %.6g\n", name, flops / seconds * 1e-9);
}

#if defined(__x86_64__)
DEFINE_FMA(fma_avx2, Vec8, __attribute__((target("avx2,fma"))))
DEFINE_FMA(fma_avx512, Vec16, __attribute__((target("avx512f"))))

void report_all_fma(int n_threads) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("fma")) report_fma("fma_avx2", fma_avx2, 8, n_threads);
  if (__builtin_cpu_supports("avx512f")) report_fma("fma_avx512", fma_avx512, 16, n_threads);
}
#else
DEFINE_FMA(fma_neon, Vec4, )

void report_all_fma(int n_threads) { report_fma("fma_neon", fma_neon, 4, n_threads); }
#endif

// On huge pages where the system gives them, as it does to NumPy's arrays: on small ones a sweep is
// 0.6 to 0.8 times as fast on a Zen 1.
struct Free {
  void operator()(std::uint64_t* p) const { std::free(p); }
};
using Words = std::unique_ptr<std::uint64_t[], Free>;

Words allocate(std::size_t n) {
  constexpr std::size_t kPage = std::size_t{2} << 20;
  const std::size_t bytes = (8 * n + kPage - 1) / kPage * kPage;
  void* const p = std::aligned_alloc(kPage, bytes);
  if (!p) std::exit(1);
#ifdef MADV_HUGEPAGE
  madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return Words(static_cast<std::uint64_t*>(p));
}

// The sum of n words, read at several places in turns: a core has more lines under way so.
template <int kStreams>
std::uint64_t sum_of(const std::uint64_t* x, std::size_t n) {
  const std::size_t part = n / kStreams;
  std::uint64_t sums[kStreams][8] = {};
  for (std::size_t i = 0; i + 8 <= part; i += 8)
    for (int s = 0; s < kStreams; ++s)
      for (int j = 0; j < 8; ++j) sums[s][j] += x[s * part + i + j];
  std::uint64_t sum = 0;
  for (const auto& of_stream : sums)
    for (const std::uint64_t each : of_stream) sum += each;
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int n_threads = std::atoi(argv[1]);
  const std::size_t share = (std::atoll(argv[2]) << 20) / n_threads / 8;  // words of a thread
  const Words source = allocate(share * n_threads), target = allocate(share * n_threads);
  // Each thread's part by itself: it lies where that one is.
  run_on_threads(n_threads, [&](int t) {
    std::fill_n(source.get() + share * t, share, t);
    std::fill_n(target.get() + share * t, share, t);
  });
  const double bytes = 8.0 * static_cast<double>(share * n_threads);

  double read = 1e30;
  for (const auto sum : {sum_of<1>, sum_of<2>, sum_of<4>}) {
    read = std::min(read, best_seconds(n_threads, [&](int t) {
                      sink = static_cast<float>(sum(source.get() + share * t, share));
                    }));
  }
  std::printf("read %.6g\n", bytes / read * 1e-9);
  const double copy = best_seconds(n_threads, [&](int t) {
    std::memcpy(target.get() + share * t, source.get() + share * t, share * 8);
  });
  std::printf("copy %.6g\n", 2 * bytes / copy * 1e-9);  // both the bytes read and those written
  report_all_fma(n_threads);
}
