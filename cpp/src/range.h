// Some of 0..n-1, and how these are cut into parts.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ceil_div.h"

namespace fastsoftmax {

struct Range {
  std::ptrdiff_t begin, end;
};

// Cuts of 0..n-1 into n_parts of whole units, which differ by one unit at the most.
struct Cuts {
  std::ptrdiff_t n, n_parts, unit = 1;
  Range operator[](std::ptrdiff_t part) const {
    const std::ptrdiff_t n_units = ceil_div(n, unit);
    const auto cut = [&](std::ptrdiff_t i) { return std::min(n, i * n_units / n_parts * unit); };
    return {cut(part), cut(part + 1)};
  }
};

// One of n_parts shares, in whole grains, so that no two threads write to one cache line.
inline Range share(std::ptrdiff_t n, std::ptrdiff_t grain, std::ptrdiff_t part,
                   std::ptrdiff_t n_parts) {
  return Cuts{n, n_parts, grain}[part];
}

}  // namespace fastsoftmax
