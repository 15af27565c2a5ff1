// How a caller ends a solver early.
#pragma once

#include <functional>

namespace fastsoftmax {

// Called by the calling thread at least every 50 ms or so, while others work; true stops the solver
// at once. It may not throw.
using StopRequested = std::function<bool()>;

}  // namespace fastsoftmax
