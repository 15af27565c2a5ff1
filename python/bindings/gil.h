// The GIL: let go while the core works, and taken for a moment meanwhile.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <optional>
#include <thread>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace fastsoftmax {

namespace py = pybind11;

// take() takes the GIL. Python before 3.14 ends a thread that wants it while the interpreter ends,
// as a daemon's may, and unwinds its stack: through references to objects, without the GIL, and at
// the first function that may not throw into std::terminate. Here the thread sleeps until the
// process is gone, as it does in 3.14.
template <class Take>
void take_gil(const Take& take) {
#if defined(__GLIBCXX__)
  try {
    take();
  } catch (const abi::__forced_unwind&) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  take();
#endif
}

class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ~ReleasedGil() {
    take_gil([this] { PyEval_RestoreThread(state_); });
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* const state_;
};

class AcquiredGil {
 public:
  AcquiredGil() {
    take_gil([this] { gil_.emplace(); });
  }

 private:
  std::optional<py::gil_scoped_acquire> gil_;
};

// Runs Python's signal handlers (only the main thread's do anything). A handler that raises leaves
// its exception set, to be thrown once the solver has come back.
inline bool signal_raised() {
  const AcquiredGil acquire;
  return PyErr_CheckSignals() != 0;
}

}  // namespace fastsoftmax
