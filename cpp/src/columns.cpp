// Softmax and its relatives along another axis than the last, with the bits of rows. Vectors run
// across columns that lie side by side; where there are only a few such, or long ones, some at a
// time become rows, in a scratch that stays in the cache, and go back as columns.
#include <algorithm>

#include "aligned_buffer.h"
#include "dispatch.h"
#include "fastsoftmax/functions.h"
#include "tasks.h"

namespace fastsoftmax {
namespace {

// Columns side by side, from one cache line to another: lines that are rows apart are gone from the
// cache when the strip beside could use the rest of them. Each outer part begins anew.
class Strips {
 public:
  Strips(const Columns& columns, std::ptrdiff_t width, std::ptrdiff_t before)
      : columns_(columns),
        first_outer_(columns.begin / columns.n_inner),
        width_(width),
        shift_(width < columns.n_inner ? before % width : 0),
        per_outer_(ceil_div(columns.n_inner + shift_, width)),
        count_(n_outer_of(columns) * per_outer_) {}
  static std::ptrdiff_t n_outer_of(const Columns& columns) {
    return ceil_div(columns.end, columns.n_inner) - columns.begin / columns.n_inner;
  }
  std::ptrdiff_t count() const { return count_; }
  Range operator[](std::ptrdiff_t strip) const {
    const std::ptrdiff_t outer = (first_outer_ + strip / per_outer_) * columns_.n_inner;
    const std::ptrdiff_t begin = outer + strip % per_outer_ * width_ - shift_;
    return {std::max({begin, outer, columns_.begin}),
            std::min({begin + width_, outer + columns_.n_inner, columns_.end})};
  }

 private:
  const Columns columns_;
  const std::ptrdiff_t first_outer_, width_, shift_, per_outer_, count_;
};

template <class T>
constexpr auto kLine = 64 / static_cast<std::ptrdiff_t>(sizeof(T));

// Whether there are so many lines, of columns side by side, for each thread.
template <class T>
bool has_lines(const Columns& columns, std::ptrdiff_t n_lines, int n_threads) {
  return (columns.end - columns.begin) / (n_lines * kLine<T>) >= n_threads;
}

// Whether vectors run across columns, and not along them as rows.
template <class T>
bool goes_across(const Columns& columns, int n_threads) {
  constexpr std::ptrdiff_t kLongest = kLongRowBytes / static_cast<std::ptrdiff_t>(sizeof(T));
  return columns.n <= kShortLength || (columns.n <= kLongest && 2 * columns.n_inner >= kLine<T> &&
                                       has_lines<T>(columns, 1, n_threads));
}

// Of strips that stay in the cache, and are enough for all threads. Where these have less than a
// line each, as many columns as they have.
template <class T>
std::ptrdiff_t strip_width(const Columns& columns, bool across, int n_threads) {
  constexpr std::ptrdiff_t kScratchBytes = 256 << 10, kStripLines = kStripBytes / 64;
  std::ptrdiff_t n_lines = across && columns.n > kShortLength ? kStripLines : 16;
  if (across && columns.n_inner <= kStripLines * kLine<T> &&
      Strips::n_outer_of(columns) >= n_threads) {
    // In one piece: 5 x 10000 x 10, whose rows share lines, takes 1.8 times as long where two
    // threads write to them.
    while (n_lines > 1 && n_lines / 2 * kLine<T> >= columns.n_inner) n_lines /= 2;
    return n_lines * kLine<T>;
  }
  const auto fits = [&] {
    return n_lines * 64 * columns.n <= kScratchBytes && has_lines<T>(columns, n_lines, n_threads);
  };
  while (n_lines > 1 && !fits()) n_lines /= 2;
  if (across || has_lines<T>(columns, 1, n_threads)) return n_lines * kLine<T>;
  const std::ptrdiff_t most = kScratchBytes / (static_cast<std::ptrdiff_t>(sizeof(T)) * columns.n);
  const std::ptrdiff_t n_parts = ceil_div(n_threads, Strips::n_outer_of(columns));
  return std::clamp<std::ptrdiff_t>(ceil_div(columns.n_inner, n_parts), 1,
                                    std::max<std::ptrdiff_t>(most, 1));
}

// across: of columns; along: of rows, where they lie, or to sums if kReduces.
template <bool kReduces, class T, class Across, class Along>
void in_strips(const T* x, const Columns& columns, T* out, int n_threads, const Across& across,
               const Along& along) {
  constexpr std::ptrdiff_t kTaskNumbers = 64 << 10;
  if (columns.begin >= columns.end) return;
  const auto& kernels = arithmetic_kernels<T>();
  const auto before =
      static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(x) / sizeof(T)) % kLine<T>;
  const std::ptrdiff_t n = columns.n, n_inner = columns.n_inner;
  const bool is_across = goes_across<T>(columns, n_threads);
  const std::ptrdiff_t width = strip_width<T>(columns, is_across, n_threads);
  const Strips strips(columns, width, width < kLine<T> ? 0 : before);
  const std::ptrdiff_t scratch_width = is_across ? round_up(width, kLine<T>) : width;
  const std::ptrdiff_t scratch_size = n > kShortLength ? padded<T>(scratch_width * n) : 0;
  AlignedBuffer<T> scratch(scratch_size * n_threads);
  const auto work_on = [&](Range strip, T* rows) {
    const std::ptrdiff_t count = strip.end - strip.begin;
    const std::ptrdiff_t at = strip.begin / n_inner * n * n_inner + strip.begin % n_inner;
    T* const to = out + (kReduces ? strip.begin : at);
    if (is_across) return (kernels.*across)({x + at, n, n_inner, count, to, rows});
    kernels.transpose(x + at, n_inner, 1, n, count, rows, n);
    (kernels.*along)(rows, count, n, kReduces ? to : rows);
    if (!kReduces) kernels.transpose(rows, n, 1, count, n, to, n_inner);
  };
  const Cuts cuts = row_tasks(strips.count(), kTaskNumbers / (width * n + 1) + 1, 1, n_threads);
  Tasks tasks;
  parallel_region(n_threads, [&](int thread, int) {
    tasks.run(cuts.n_parts, [&](std::ptrdiff_t task) {
      for (std::ptrdiff_t s = cuts[task].begin; s < cuts[task].end; ++s) {
        const Range strip = strips[s];
        if (strip.begin < strip.end) work_on(strip, scratch.data() + thread * scratch_size);
      }
    });
  });
}

}  // namespace

template <class T>
void softmax(const T* x, const Columns& columns, T* out, int n_threads) {
  using Kernels = ArithmeticKernels<T>;
  in_strips<false>(x, columns, out, n_threads, &Kernels::softmax_columns, &Kernels::softmax);
}
template <class T>
void log_softmax(const T* x, const Columns& columns, T* out, int n_threads) {
  using Kernels = ArithmeticKernels<T>;
  in_strips<false>(x, columns, out, n_threads, &Kernels::log_softmax_columns,
                   &Kernels::log_softmax);
}
template <class T>
void logsumexp(const T* x, const Columns& columns, T* out, int n_threads) {
  using Kernels = ArithmeticKernels<T>;
  in_strips<true>(x, columns, out, n_threads, &Kernels::logsumexp_columns, &Kernels::logsumexp);
}

#define INSTANTIATE(T)                                             \
  template void softmax<T>(const T*, const Columns&, T*, int);     \
  template void log_softmax<T>(const T*, const Columns&, T*, int); \
  template void logsumexp<T>(const T*, const Columns&, T*, int);
INSTANTIATE(float)
INSTANTIATE(double)
#undef INSTANTIATE

}  // namespace fastsoftmax
