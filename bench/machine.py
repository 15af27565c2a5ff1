"""This machine: what it is, and what it can do at most, measured."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

MEGABYTES = 256  # far beyond any cache


def describe() -> dict[str, str]:
    """CPU, threads, memory, instruction sets, versions."""
    from fastsoftmax._show_versions import collect_versions

    facts = collect_versions()
    libc = "".join(platform.libc_ver())
    facts["platform"] = " ".join(filter(None, [platform.system(), platform.machine(), libc]))
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        facts["memory"] = f"{memory / 2**30:.0f} GiB"
    except (ValueError, OSError):
        facts["memory"] = "unknown"
    facts["compiler of the limits"] = _compiler_version()
    facts["cpu model"] = _cpu_model()
    facts["commit"] = _commit()
    return facts


def _cpu_model() -> str:
    """Family and model, as virtual machines hide the name that these have on the market."""
    with contextlib.suppress(OSError, KeyError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        facts = dict(re.findall(r"^(\S.*?)\s*: (.*)$", text.partition("\n\n")[0], re.MULTILINE))
        return f"family {facts['cpu family']}, model {facts['model']}"
    return "unknown"


def _commit() -> str:
    """Of this checkout; a plus if files but results have changed since."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    changes = ["status", "--porcelain", "-uno", "--", ":/", ":!results"]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=True
        )
        changed = subprocess.run([*git, *changes], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.decode().strip() + "+" * bool(changed.stdout)


def slug(facts: dict[str, str]) -> str:
    """A name for files: the CPU (virtual ones hide their model), its instruction set, threads."""
    cpu = re.sub(r"\(.*?\)|CPU|Processor|@.*", " ", facts["cpu"]).lower()
    words = f"{cpu} {facts['instruction set']} {facts['threads']}t"
    return "-".join(re.findall(r"[a-z0-9.]+", words))


def limits(n_threads: int) -> dict[str, float]:
    """Memory bandwidth "read" and "copy" in GB/s, and "fma_<instruction set>" in GFLOP/s.

    Without a compiler NumPy measures the bandwidth, and the arithmetic stays unknown.
    """
    program = _program()
    if program is None:
        return {"read": _numpy_read(n_threads)}
    command = [str(program), str(n_threads), str(MEGABYTES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


limits_once = functools.cache(limits)


def _compiler() -> str | None:
    names = (os.environ.get("CXX", ""), "c++", "g++", "clang++")
    return next(filter(None, map(shutil.which, filter(None, names))), None)


def _compiler_version() -> str:
    compiler = _compiler()
    if compiler is None:
        return "none"
    told = subprocess.run([compiler, "--version"], check=False, capture_output=True, text=True)
    return told.stdout.partition("\n")[0]


@functools.cache
def _program() -> Path | None:
    from fastsoftmax import _core

    compiler = _compiler()
    if compiler is None:
        return None
    folder = tempfile.TemporaryDirectory()
    _program.folder = folder  # type: ignore[attr-defined]  # lives as long as this process
    program = Path(folder.name) / "limits"
    source = Path(__file__).with_name("limits.cpp")
    # Vectors wide enough to saturate memory; the loops of FMA have targets of their own.
    wide = ["-mavx2"] if "avx2" in _core.supported_isas() else []
    flags = ["-std=c++17", "-O3", "-ffp-contract=fast", "-pthread", *wide]
    command = [compiler, *flags, str(source), "-o", str(program)]
    built = subprocess.run(command, check=False, capture_output=True)
    return program if built.returncode == 0 else None


def _numpy_read(n_threads: int) -> float:
    parts = np.array_split(np.ones(MEGABYTES << 17), n_threads)
    best = np.inf
    for _ in range(5):
        threads = [threading.Thread(target=part.max) for part in parts]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = min(best, time.perf_counter() - started)
    return float(MEGABYTES * 2**20 / best * 1e-9)
