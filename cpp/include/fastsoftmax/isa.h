// Which instruction set the kernels use: ask, list, force.
#pragma once

#include <string>
#include <vector>

namespace fastsoftmax {

// Names of the instruction sets that this build has and this machine can run, best first: of
// "amx", "avx512", "avx512vl", "avx2", "neon", "scalar".
std::vector<std::string> supported_isas();

// The one in use: the best supported, or the one that the environment variable FASTSOFTMAX_ISA
// names. Throws std::invalid_argument, with the choices, for a name that is not supported.
std::string active_isa();

// Uses another from now on, in all threads, but for what is being computed; throws as active_isa
// does, and then changes nothing.
void set_active_isa(const std::string& name);

}  // namespace fastsoftmax
