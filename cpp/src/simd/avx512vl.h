// The vector vocabulary in 256 bits on machines with AVX-512VL: that of AVX2, to which the flags in
// cmake/isa.cmake add registers and operands from memory.
#pragma once

#include "simd/avx2.h"
