// How large the last level of the cache is.
#pragma once

#include <cstddef>

#if defined(__unix__)
#include <unistd.h>
#endif

namespace fastsoftmax {

inline std::ptrdiff_t last_level_cache_bytes() {
  static const std::ptrdiff_t size = [] {
    long bytes = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return bytes > 0 ? static_cast<std::ptrdiff_t>(bytes) : std::ptrdiff_t{16} << 20;
  }();
  return size;
}

}  // namespace fastsoftmax
