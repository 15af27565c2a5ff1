// Transposes, for who has columns where others have rows.
#include "dispatch.h"
#include "fastsoftmax/functions.h"
#include "tasks.h"

namespace fastsoftmax {

template <class T>
void transpose(const StridedView<const T>& B, T* out, int n_threads) {
  // Whole lines of each row of B, and as many rows of the result as the second-level cache keeps.
  constexpr std::ptrdiff_t kColumns = 128;
  const ArithmeticKernels<T>& kernels = arithmetic_kernels<T>();
  Tasks tasks;
  const Cuts blocks = row_tasks(B.n_cols, kColumns, 16, n_threads);
  parallel_region(n_threads, [&](int, int) {
    tasks.run(blocks.n_parts, [&](std::ptrdiff_t block) {
      const Range mine = blocks[block];
      kernels.transpose(B.data + mine.begin * B.col_stride, B.row_stride, B.col_stride, B.n_rows,
                        mine.end - mine.begin, out + mine.begin * B.n_rows, B.n_rows);
    });
  });
}

template void transpose<float>(const StridedView<const float>&, float*, int);
template void transpose<double>(const StridedView<const double>&, double*, int);

}  // namespace fastsoftmax
