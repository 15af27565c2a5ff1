// Memory for large results. The system gives each new mapping pages of zeros: of a softmax of 40 MB
// that is half of the time and more. So what results leave behind is kept for those that follow,
// and marked as free: under pressure the system takes the pages back.
#pragma once

#include <cstddef>
#include <mutex>
#include <vector>

namespace fastsoftmax {

class OutputMemory {
 public:
  struct Block {
    void* data;
    std::size_t bytes;
  };

  OutputMemory();

  // Of all results; it is never destroyed, as arrays may outlive everything.
  static OutputMemory& shared();

  // At least so many bytes of anything. Throws std::bad_alloc.
  Block take(std::size_t bytes);
  void give_back(Block block);

 private:
  std::mutex mutex_;
  std::vector<Block> kept_;  // oldest first
};

}  // namespace fastsoftmax
