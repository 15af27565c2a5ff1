// The batches of an epoch, cut into chunks of rows that stay in the cache, in the order in which
// they are trained on.
#pragma once

#include <algorithm>
#include <cstddef>

#include "aligned_buffer.h"
#include "ceil_div.h"
#include "fastsoftmax/sgd.h"
#include "kernels/kernel_table.h"

namespace fastsoftmax {

// A chunk of an epoch's rows.
struct Chunk {
  std::ptrdiff_t begin, n_rows;  // in the order of the epoch
  std::ptrdiff_t batch_rows;
  bool first, last;  // of its batch
};

// As many rows as take some bytes, but not less than min_rows, or a quarter more where a batch is
// one chunk then, or several that are alike; never more than max_rows.
struct ChunkLimits {
  std::ptrdiff_t row_bytes, bytes, min_rows, max_rows = kMaxUpdateRows;

  std::ptrdiff_t rows_of(std::ptrdiff_t batch_size) const {
    constexpr std::ptrdiff_t kUnit = 8;
    const std::ptrdiff_t most = std::min(std::max(min_rows, bytes / row_bytes) * 5 / 4, max_rows);
    const std::ptrdiff_t n_chunks = ceil_div(batch_size, most);
    return n_chunks == 1 ? batch_size
                         : std::min(most, round_up(ceil_div(batch_size, n_chunks), kUnit));
  }
};

// Of a batch that is all rows the order means nothing: shuffled, 100,000 x 30 float32 of two
// classes took 1.5 times as long.
class Batches {
 public:
  Batches(std::ptrdiff_t n_rows, const ChunkLimits& limits, const SgdOptions& options)
      : n_rows_(n_rows),
        batch_size_(std::min<std::ptrdiff_t>(options.batch_size, n_rows)),
        chunk_rows_(limits.rows_of(batch_size_)),
        chunks_per_batch_(ceil_div(batch_size_, chunk_rows_)),
        n_chunks_(n_rows / batch_size_ * chunks_per_batch_ +
                  ceil_div(n_rows % batch_size_, chunk_rows_)),
        order_(options.shuffle && batch_size_ < n_rows ? n_rows : 0) {}

  void shuffle(std::uint64_t seed, std::int64_t epoch) {
    if (order_.size() > 0) epoch_permutation(seed, epoch, n_rows_, order_.data());
  }

  std::ptrdiff_t count() const { return n_chunks_; }
  std::ptrdiff_t chunk_rows() const { return chunk_rows_; }
  bool has_several_chunks() const { return chunk_rows_ < batch_size_; }

  Chunk chunk(std::ptrdiff_t index) const {
    const std::ptrdiff_t batch = index / chunks_per_batch_ * batch_size_;
    const std::ptrdiff_t batch_rows = std::min(batch_size_, n_rows_ - batch);
    const std::ptrdiff_t at = index % chunks_per_batch_ * chunk_rows_;
    const std::ptrdiff_t n_rows = std::min(chunk_rows_, batch_rows - at);
    return {batch + at, n_rows, batch_rows, at == 0, at + n_rows == batch_rows};
  }
  // 0 after the last.
  std::ptrdiff_t rows_of_chunk(std::ptrdiff_t index) const {
    return index < n_chunks_ ? chunk(index).n_rows : 0;
  }
  // Where in X the row is that stands at a place of the epoch's order.
  std::ptrdiff_t row(std::ptrdiff_t at) const { return order_.size() > 0 ? order_[at] : at; }

 private:
  const std::ptrdiff_t n_rows_, batch_size_, chunk_rows_, chunks_per_batch_, n_chunks_;
  AlignedBuffer<std::int64_t> order_;
};

}  // namespace fastsoftmax
