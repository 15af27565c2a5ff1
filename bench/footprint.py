"""What it costs besides the work: start-up, the estimator's own Python, memory.

Each figure comes from fresh processes: as a script this file is the child, `footprint.py <what>`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = ("float32", "uint8")
N_CALLS = 2000
CORE_CALL, UFUNC_CALL = "call: core, one row (us)", "call: NumPy ufunc, one element (us)"
# What a fresh process times, and what the report calls it.
STARTS = {
    "import": "import after NumPy (ms)",
    "softmax": "first softmax after the import, which is lazy (ms)",
    "estimator": "first use of the estimator after that of scikit-learn (ms)",
    "sklearn": "import of scikit-learn alone (ms)",
}


def measure(rounds: int, n_threads: int, n: int) -> dict[str, Any]:
    """All of it, of `n` images; medians over `rounds` processes, or rounds within one where that is enough.

    The memory is that of one fit each.
    """
    starts = [_child("start") for _ in range(rounds)]
    return {
        **{
            name: statistics.median(start[step] for start in starts) * 1e3
            for step, name in STARTS.items()
        },
        **{
            f"fit beyond the core, {dtype} (ms)": seconds * 1e3
            for dtype, seconds in zip(DTYPES, _child("fit", n, rounds, n_threads), strict=True)
        },
        **_child("call", rounds),
        **{
            memory_name(dtype, "" if size == n else f", {size:,} images"): megabytes
            for size in (n // 60, n // 6, n)
            for dtype, megabytes in zip(DTYPES, _child("memory", size, n_threads), strict=True)
        },
    }


def memory_name(dtype: str, of: str = "") -> str:
    return f"memory that a fit adds, {dtype}{of} (MB)"


def _child(*arguments: Any) -> Any:
    command = [sys.executable, __file__, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _start() -> dict[str, float]:
    clock = time.perf_counter
    times = [clock()]
    import fastsoftmax as fs

    times.append(clock())
    fs.softmax(np.zeros((1, 4), np.float32))
    times.append(clock())
    import sklearn.base  # noqa: F401

    times.append(clock())
    fs.SoftmaxClassifier  # noqa: B018  # loads on first use
    times.append(clock())
    seconds = np.diff(times)
    return dict(zip(("import", "softmax", "sklearn", "estimator"), seconds, strict=True))


def _fit_overhead(dtype: str, n: str, rounds: str, n_threads: str) -> float:
    """Seconds that `fit` takes outside the core, whose call within it has a clock of its own."""
    from libraries import load
    from problems import Epoch

    from fastsoftmax import _core

    train, in_core = _core.fit_sgd, 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal in_core
        started = time.perf_counter()
        found = train(*arguments, **options)
        in_core += time.perf_counter() - started
        return found

    _core.fit_sgd = timed
    library = load("fastsoftmax")
    library.set_threads(int(n_threads))
    run = library.prepare(Epoch("fit", n=int(n)), dtype)[1]
    outside = []
    for _ in range(int(rounds) + 1):
        in_core, started = 0.0, time.perf_counter()
        run()
        outside.append(time.perf_counter() - started - in_core)
    return statistics.median(outside[1:])


def _call(rounds: str) -> dict[str, float]:
    """Calls with next to no work: what a call costs."""
    from timeit import timeit

    from fastsoftmax import _core, matmul, softmax

    one, two = np.zeros((1, 4), np.float32), np.zeros((2, 4), np.float32)
    b, classes, product = np.zeros(2, np.float32), np.zeros(1, np.int64), two[:1, :2].copy()
    transposed = np.ascontiguousarray(two.T)
    element, sums = b[:1], np.zeros(1, np.float32)  # of overlapping arrays NumPy makes copies
    calls = {
        UFUNC_CALL: lambda: np.add(element, element, sums),
        CORE_CALL: lambda: _core.predict_class(one, two, b, 1.0, classes, 1),
        "call: softmax, one row (us)": lambda: softmax(one, out=one),
        "call: matmul, one row (us)": lambda: matmul(one, transposed, out=product),
    }
    seconds = [
        {name: timeit(call, number=N_CALLS) / N_CALLS for name, call in calls.items()}
        for _ in range(int(rounds))
    ]
    return {name: statistics.median(found[name] for found in seconds) * 1e6 for name in calls}


def _fit_memory(dtype: str, n: str, n_threads: str) -> float | None:
    """MB by which the peak of resident memory exceeds what was resident before the fit."""
    from data import digits

    import fastsoftmax as fs

    pixels, y = digits(int(n), 784, 10)  # zeros enough that masks of them are kept for the epochs
    X = pixels if dtype == "uint8" else np.divide(pixels, 255, dtype=dtype)
    classifier = fs.SoftmaxClassifier(max_iter=3, n_threads=int(n_threads))
    # Loads libraries and starts threads; of another shape, for what it leaves may not be used again.
    classifier.fit(np.eye(4, dtype=X.dtype), np.arange(4) % 2)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # else the fit lies on what loading the images has freed
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
        before = _peak()
        classifier.fit(X, y)
        return (_peak() - before) / 1e6
    except OSError:
        return None  # only Linux tells


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    what, *arguments = sys.argv[1:]
    tasks = {
        "start": _start,
        "fit": lambda *sizes: [_fit_overhead(dtype, *sizes) for dtype in DTYPES],
        "call": _call,
        "memory": lambda *sizes: [_fit_memory(dtype, *sizes) for dtype in DTYPES],
    }
    print(json.dumps(tasks[what](*arguments)))
