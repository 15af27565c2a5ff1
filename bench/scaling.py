"""How the time of an epoch changes with n, d, K, the batch and the threads."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from measure import OWN, Contender, Effort, Pool, contest
from problems import Epoch

ROUNDS = 5  # at most
BASE = Epoch("", n=20_000)
QUICK_BASE = Epoch("", n=2_000)
SWEEPS: dict[str, tuple[int, ...]] = {
    "n": (1_000, 10_000, 100_000, 1_000_000),
    "d": (16, 64, 256, 784, 1024, 4096),
    "k": (2, 4, 10, 16, 32, 100, 316, 1000),
    "batch": (1, 10, 32, 100, 256, 1024, 8192),
}
QUICK = {"n": (1_000, 4_000), "d": (16, 256), "k": (2, 32), "batch": (10, 1000)}


def problems(quick: bool) -> dict[str, list[Epoch]]:
    """The problems of each sweep: one size changes, the others are those of the base."""
    base = QUICK_BASE if quick else BASE
    return {
        axis: [
            # Many classes get fewer rows: seconds of arithmetic teach no more than tenths.
            replace(
                base,
                **({"n": 5_000} if axis == "k" and value > 100 else {}),
                **{axis: value},
                name=f"{axis} = {value}",
            )
            for value in values
        ]
        for axis, values in (QUICK if quick else SWEEPS).items()
    }


def entrants(n_threads: int) -> list[Contender]:
    counts = sorted({1, n_threads}, reverse=True)
    own = [Contender(OWN, mode, n) for mode in ("float32", "uint8") for n in counts]
    return [*own, Contender("numpy", "by hand", n_threads)]


def measure(pool: Pool, n_threads: int, effort: Effort, quick: bool) -> list[dict[str, Any]]:
    found = []
    for axis, sweep in problems(quick).items():
        contests = []
        for problem in sweep:
            print(f"  {problem.name}", flush=True)
            if not _fits(problem):
                print("    does not fit into memory", flush=True)
                continue
            contests.append(
                contest(pool, problem, entrants(n_threads), n_threads, effort)
                | {"value": getattr(problem, axis), "n": problem.n}
            )
        found.append({"axis": axis, "contests": contests})
    return [*found, _threads(pool, n_threads, effort, quick)]


def _threads(pool: Pool, n_threads: int, effort: Effort, quick: bool) -> dict[str, Any]:
    """The base on 1, 2, 4, .. threads and on all."""
    base = QUICK_BASE if quick else BASE
    contests = []
    for count in sorted({*(1 << i for i in range(n_threads.bit_length())), n_threads}):
        print(f"  threads = {count}", flush=True)
        own = [Contender(OWN, mode, count) for mode in ("float32", "uint8")]
        found = contest(pool, base, [*own, Contender("numpy", "by hand", count)], count, effort)
        contests.append(found | {"value": count, "n": base.n})
    return {"axis": "threads", "contests": contests}


def _fits(problem: Epoch) -> bool:
    """Three processes hold the pixels as bytes and as float32, this one as bytes."""
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError):
        return True
    return 18 * problem.n * problem.d < available
