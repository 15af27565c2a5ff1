// Whole units of a number.
#pragma once

#include <cstddef>

namespace fastsoftmax {

constexpr std::ptrdiff_t ceil_div(std::ptrdiff_t n, std::ptrdiff_t unit) {
  return (n + unit - 1) / unit;
}
constexpr std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) {
  return ceil_div(n, unit) * unit;
}

}  // namespace fastsoftmax
