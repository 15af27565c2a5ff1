// What this machine can do at most: memory bandwidth (GB/s) and float32 multiply-adds (GFLOP/s).
// Usage: limits <threads> <megabytes>. Prints "name value" lines. Compiled by machine.py.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

namespace {

constexpr int kRepeats = 5;  // the best counts: a limit is what can be reached

double best_seconds(int n_threads, const std::function<void(int)>& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto started = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (int t = 1; t < n_threads; ++t) threads.emplace_back(work, t);
    work(0);
    for (auto& thread : threads) thread.join();
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

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int n_threads = std::atoi(argv[1]);
  const std::size_t share = (std::atoll(argv[2]) << 20) / n_threads / 8;  // words of a thread
  std::vector<std::uint64_t> source(share * n_threads, 1), target(share * n_threads, 2);
  const double bytes = 8.0 * static_cast<double>(source.size());

  const double read = best_seconds(n_threads, [&](int t) {
    const std::uint64_t* x = source.data() + share * t;
    std::uint64_t sums[32] = {};
    for (std::size_t i = 0; i + 32 <= share; i += 32)
      for (int j = 0; j < 32; ++j) sums[j] += x[i + j];
    std::uint64_t sum = 0;
    for (std::uint64_t part : sums) sum += part;
    sink = static_cast<float>(sum);
  });
  std::printf("read %.6g\n", bytes / read * 1e-9);
  const double copy = best_seconds(n_threads, [&](int t) {
    std::memcpy(target.data() + share * t, source.data() + share * t, share * 8);
  });
  std::printf("copy %.6g\n", 2 * bytes / copy * 1e-9);  // both the bytes read and those written
  report_all_fma(n_threads);
}
