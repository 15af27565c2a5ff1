// Products that are added to the lower triangle of a symmetric matrix, in square tiles that threads
// take as they come. An entry's bits depend on its row and column alone, so tiles may have any
// size.
#pragma once

#include <algorithm>

#include "storage.h"
#include "tasks.h"

namespace fastsoftmax {

// The most rows of a tile, whole panels of every instruction set: one of float64 and its packed
// rows of 64 columns are 290 + 2 x 96 KB.
constexpr std::ptrdiff_t kTriangleTile = 192;

// Rows of a tile of which every thread has some.
inline std::ptrdiff_t triangle_tile(std::ptrdiff_t n, int n_threads) {
  constexpr std::ptrdiff_t kPanels = 48;  // whole ones of every instruction set
  const std::ptrdiff_t wanted = n_threads > 1 ? 3 * n_threads : 1;
  return std::clamp(round_up(ceil_div(n, wanted), kPanels), kPanels, kTriangleTile);
}

// f(rows, columns, thread) for the tiles, of so many rows, that the lower triangle of n rows meets,
// those on the diagonal whole.
template <class F>
void for_lower_tiles(std::ptrdiff_t n, std::ptrdiff_t size, int n_threads, const F& f) {
  const std::ptrdiff_t n_tiles = ceil_div(n, size);
  Tasks tasks;
  parallel_region(n_tiles > 1 ? n_threads : 1, [&](int thread, int) {
    tasks.run(n_tiles * n_tiles, [&](std::ptrdiff_t task) {
      const std::ptrdiff_t i = task / n_tiles * size, j = task % n_tiles * size;
      if (j > i) return;
      f(Range{i, std::min(n, i + size)}, Range{j, std::min(n, j + size)}, thread);
    });
  });
}

}  // namespace fastsoftmax
