"""One process per library: it stays alive, and does one timed turn when asked.

A process of its own keeps thread pools and allocators apart. While it has no turn it is stopped by
a signal, so that no pool that spins disturbs the others. Requests and answers are pickles on pipes.
As a script this file is the child: `python worker.py <library> <threads>`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from race import TimeUp, Trace, WarmUp

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class WorkerError(RuntimeError):
    """What the child could not do: its traceback."""


class Worker:
    """The parent's handle on a child."""

    def __init__(self, library: str, n_threads: int) -> None:
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(n_threads))
        self._child = subprocess.Popen(
            [sys.executable, __file__, library, str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.version = str(self._answer())
        self._child.send_signal(signal.SIGSTOP)

    def prepare(self, problem: Any, mode: str, min_seconds: float) -> dict[str, Any]:
        """Set a contest up; the result is that of the first call, with the time it took."""
        return dict(self._ask("prepare", problem, mode, min_seconds))

    def turn(self, mode: str) -> float:
        """Seconds per call, in one more turn of a mode that is prepared."""
        return float(self._ask("turn", mode))

    def last(self, mode: str) -> dict[str, Any]:
        """The result of the last call in the last turn, as `prepare` gives that of the first.

        And that of one more, after what the last one returned has been spoilt: it may be a buffer that
        is used again, and still hold the result of the first call.
        """
        return dict(self._ask("last", mode))

    def trace(self, problem: Any, mode: str, cap: float) -> list[tuple[float, Any]]:
        """Seconds and weights on the way to an optimum, from one run of at most `cap` seconds."""
        return list(self._ask("trace", problem, mode, cap))

    def time_path(self, problem: Any, mode: str, minima: Any) -> dict[str, Any]:
        """One run of a path: seconds, and what it found."""
        return dict(self._ask("time_path", problem, mode, minima))

    def forget(self) -> None:
        """Give back the memory of all that is prepared."""
        self._ask("forget")

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def close(self) -> None:
        self._child.kill()
        self._child.wait()

    def _ask(self, *request: Any) -> Any:
        self._child.send_signal(signal.SIGCONT)
        try:
            assert self._child.stdin
            pickle.dump(request, self._child.stdin)
            self._child.stdin.flush()
            return self._answer()
        except BrokenPipeError as error:
            raise WorkerError(self._how_it_ended()) from error
        finally:
            self._child.send_signal(signal.SIGSTOP)

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"the process ended: {self._child.wait(timeout=10)}"
        return "the process does not answer"

    def _answer(self) -> Any:
        try:
            assert self._child.stdout
            done, answer = pickle.load(self._child.stdout)
        except (EOFError, pickle.UnpicklingError) as error:
            raise WorkerError(self._how_it_ended()) from error
        if not done:
            raise WorkerError(answer)
        return answer


class _Child:
    def __init__(self, library: Any) -> None:
        self._library = library
        self._contests: dict[str, tuple[Any, Any, int]] = {}  # mode -> problem, callable, calls
        self._last: dict[str, Any] = {}

    def prepare(self, problem: Any, mode: str, min_seconds: float) -> dict[str, Any]:
        problem, run = self._library.prepare(problem, mode)
        started = time.perf_counter()
        result = run()
        cold = time.perf_counter() - started
        answer = {"problem": problem, "cold": cold, "sample": problem.sample(result)}
        started = time.perf_counter()
        run()
        once = time.perf_counter() - started
        if once < min_seconds / 10:  # too short to tell the number of calls from one of them
            calls = max(1, math.ceil(min_seconds / 10 / once))
            once, _ = _time(run, calls)
        self._contests[mode] = problem, run, max(1, math.ceil(min_seconds / once))
        return answer

    def turn(self, mode: str) -> float:
        _, run, n_calls = self._contests[mode]
        self._last.pop(mode, None)  # not while memory for the next is asked for
        seconds, self._last[mode] = _time(run, n_calls)
        return seconds

    def last(self, mode: str) -> dict[str, Any]:
        problem, run, _ = self._contests[mode]
        result = self._last.pop(mode)
        sample = problem.sample(result)
        _spoil(result)
        return {"problem": problem, "sample": sample, "again": problem.sample(run())}

    def trace(self, problem: Any, mode: str, cap: float) -> list[tuple[float, Any]]:
        trace = Trace(cap)
        _, run = self._library.prepare(problem, mode)
        with contextlib.suppress(TimeUp):
            run(WarmUp())
        gc.collect()
        trace.start()
        with contextlib.suppress(TimeUp):
            run(trace)
        return trace.points

    def time_path(self, problem: Any, mode: str, minima: Any) -> dict[str, Any]:
        _, run = self._library.prepare(problem, mode)
        gc.collect()
        started = time.perf_counter()
        weights = run(minima)
        return {"seconds": time.perf_counter() - started, "weights": weights}

    def forget(self) -> None:
        import data

        self._contests.clear()
        self._last.clear()
        data.forget()
        gc.collect()


def _time(run: Any, n_calls: int) -> tuple[float, Any]:
    """Seconds per call, and what the last one returned. The garbage collector stays on, as it is."""
    started = time.perf_counter()
    for _ in range(n_calls - 1):
        run()
    result = run()
    return (time.perf_counter() - started) / n_calls, result


def _spoil(result: Any) -> None:
    """Write nonsense into the arrays of a result, as far as they can be written to."""
    for part in result if isinstance(result, list | tuple) else [result]:
        nonsense = -1 if "int" in str(getattr(part, "dtype", "")) else math.nan
        fill = getattr(part, "fill", None) or getattr(part, "fill_", None)
        if fill:
            with contextlib.suppress(ValueError, RuntimeError):  # read-only, or PyTorch's inference
                fill(nonsense)


def _serve(requests: BinaryIO, answers: BinaryIO, library_name: str, n_threads: int) -> None:
    def answer(done: bool, what: Any) -> None:
        pickle.dump((done, what), answers)
        answers.flush()

    try:
        import libraries

        library = libraries.load(library_name)
        library.set_threads(n_threads)
        answer(True, library.version())
    except Exception:  # noqa: BLE001  # whatever a library raises is the answer
        return answer(False, traceback.format_exc())
    child = _Child(library)
    while True:
        try:
            name, *arguments = pickle.load(requests)
        except EOFError:
            return None
        try:
            what = getattr(child, name)(*arguments)
        except Exception:  # noqa: BLE001
            answer(False, traceback.format_exc())
        else:
            answer(True, what)


def _die_with_parent() -> None:
    """Where the system can do that; nobody else would end a process that is stopped."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG, of Linux


if __name__ == "__main__":
    _die_with_parent()
    # Libraries print; only answers may reach the pipe.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path.insert(0, str(Path(__file__).parent))
    _serve(sys.stdin.buffer, pipe, sys.argv[1], int(sys.argv[2]))
