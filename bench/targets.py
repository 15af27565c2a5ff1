"""What was aimed at, and what was reached: the aims as data, and a row of the report for each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import problems
from footprint import CORE_CALL, UFUNC_CALL, memory_name
from render import (
    fastest_peer,
    is_own,
    is_valid,
    number,
    percent,
    rate,
    ratio,
    share_of_memory,
    share_of_peak,
)

Row = dict[str, Any]

# Problem, mode of ours, on all threads; what to compare with (a library, a mode of one, "fastest peer",
# "1 thread" of our own, or a share of the machine's limits), and the least ratio or share.
CONTESTS: list[tuple[str, str, str, float]] = [
    ("MNIST, batch 100", "float32", "fastest peer", 8.0),
    ("MNIST, batch 100", "float32", "session loop (the tutorial)", 60.0),
    ("MNIST, batch 100", "float32", "read bandwidth", 0.7),
    ("MNIST, batch 100", "float32", "1 thread", 1.6),
    ("MNIST, batch 100", "uint8", "fastest peer", 15.0),
    ("MNIST, batch 100", "uint8", "session loop (the tutorial)", 120.0),
    ("MNIST, batch 100", "uint8", "FMA peak", 0.6),
    ("MNIST, batch 100", "uint8", "1 thread", 1.6),
    *(
        (f"MNIST, batch {b}", mode, "fastest peer", 1.0)
        for b in (1, 1024, 8192)
        for mode in ("float32", "uint8")
    ),
    # TensorFlow makes a new array, and so do we.
    ("softmax 60000x10", "new array", "TensorFlow", 4.0),
    ("softmax 10000x1000", "new array", "TensorFlow", 1.1),
    ("softmax 10000x1000", "out=", "copy bandwidth", 0.85),
    ("softmax 1000x50000", "new array", "TensorFlow", 1.1),
    ("softmax 1000x50000", "out=", "copy bandwidth", 0.85),
    ("matmul 100x784x10", "out=", "fastest peer", 3.0),
    ("matmul 60000x784x10", "out=", "fastest peer", 3.0),
    ("matmul 4096x768x1000", "out=", "fastest peer", 1.0),
    ("matmul 1024x1024x1024", "out=", "fastest peer", 1.0),
    ("predict 10000 rows", "estimator", "fastest peer", 1.5),
    ("predict 1 row", "estimator", "scikit-learn", 10.0),
]
# A figure of the footprint, and the most it may be.
FOOTPRINT: list[tuple[str, float]] = [
    ("import after NumPy (ms)", 30.0),
    ("fit beyond the core, float32 (ms)", 1.0),
    (memory_name("float32"), 4.0),
    (memory_name("uint8"), 4.0),
]
# A ratio of medians that are all noise is off by this much on machines that others use too.
THREADS_NOISE = 0.05
MOST_CALLS = 3.0


def rows(results: dict[str, Any]) -> Iterator[list[str]]:
    """Workload, ours, aim, reached, met: of the sections that the results have."""
    contests = {
        c["problem"]: c for section in results.values() for c in section.get("contests", [])
    }
    asked = {name for name, section in _sections().items() if section in results}
    if not asked & contests.keys():
        asked = set()  # the small problems of --quick are others
    for problem, mode, other, least in CONTESTS:
        if problem not in asked:
            continue
        reached = _reached(contests[problem], mode, other) if problem in contests else None
        is_share = other.endswith(("bandwidth", "peak"))
        aim = f"{least:.0%} of {other}" if is_share else f"{least:g}x {other}"
        if reached is None:
            yield [problem, mode, aim, "not measured", "unknown"]
            continue
        found = percent(reached) if is_share else f"{number(reached, 4)}x"
        is_of_peers = other == "fastest peer"
        answer = _answer(reached >= least, [contests[problem]] if is_of_peers else [])
        yield [problem, mode, aim, found, answer]
    yield from _threads(results)
    figures = results.get("footprint", {}).get("figures", {})
    for name, most in FOOTPRINT:
        if figures.get(name) is not None:
            value = figures[name]
            yield [name, "-", f"at most {most:g}", number(value), _answer(value <= most)]
    if CORE_CALL in figures:
        calls = figures[CORE_CALL] / figures[UFUNC_CALL]
        aim, found = f"at most {MOST_CALLS:g} NumPy ufunc calls", number(calls)
        yield ["call of one row", "core", aim, found, _answer(calls <= MOST_CALLS)]


def _sections() -> dict[str, str]:
    """Problem -> the section that it is in."""
    return {p.name: section for section, found in problems.FULL.items() for p in found}


def _threads(results: dict[str, Any]) -> Iterator[list[str]]:
    """One thread against all peers' threads, and all threads against one, over the epochs."""
    epochs = [c for c in results.get("epoch", {}).get("contests", []) if c["kind"] == "epoch"]
    sizes = [c for s in results.get("scaling", {}).get("sweeps", []) for c in s["contests"]]
    for mode in ("float32", "uint8"):
        singles = [
            (ratio(single, peer), c["problem"])
            for c in epochs
            for single in filter(is_valid, c["rows"])
            if is_own(single) and single["mode"] == mode and single["n_threads"] == 1
            if (peer := fastest_peer(c["rows"], single))
        ]
        if singles:
            least, where = min(singles)
            found = f"{number(least, 4)}x ({where}{_part(len(singles), len(problems.BATCHES))})"
            aim = "1x fastest peer at every batch"
            yield ["one thread", mode, aim, found, _answer(least >= 1.0, epochs)]
        gains = [
            (found, c["problem"])
            for c in [*epochs, *sizes]
            if (found := _reached(c, mode, "1 thread")) is not None
        ]
        if gains:
            least, where = min(gains)
            n_all = sum(_has_both(c, mode) for c in [*epochs, *sizes])
            found = f"{number(least, 4)}x ({where}{_part(len(gains), n_all)})"
            aim = f"1x 1 thread at every size, but for noise of {THREADS_NOISE:.0%}"
            yield ["all threads", mode, aim, found, _answer(least >= 1.0 - THREADS_NOISE)]


def _has_both(contest: dict[str, Any], mode: str) -> bool:
    """Whether ours run on one thread and on more, and be it that one has failed."""
    ours = [row for row in contest["rows"] if is_own(row) and row["mode"] == mode]
    return len({row["n_threads"] for row in ours}) > 1


def _part(n: int, n_all: int) -> str:
    """Said where some are missing, or have failed."""
    return f"; {n} of {n_all} measured" if n < n_all else ""


def _reached(contest: dict[str, Any], mode: str, other: str) -> float | None:
    found = [row for row in contest["rows"] if is_valid(row)]
    ours = [row for row in found if is_own(row) and row["mode"] == mode]
    ours.sort(key=lambda row: -row["n_threads"])
    if not ours or ours[0]["n_threads"] < max(row["n_threads"] for row in contest["rows"]):
        return None
    mine = ours[0]
    if other.endswith("bandwidth"):
        return share_of_memory(mine, contest["limits"])
    if other.endswith("peak"):
        return share_of_peak(mine, contest["limits"])
    peer = _other(found, ours, other)
    return ratio(mine, peer) if peer else None


def _is_of_slower_peers(contest: dict[str, Any]) -> bool:
    """Epochs that name no commit are of peers with W as (features, classes): up to 2 times slower."""
    return contest["kind"] == "epoch" and "call" not in contest


def _other(found: list[Row], ours: list[Row], other: str) -> Row | None:
    if other == "fastest peer":
        return fastest_peer(found, ours[0])
    if other == "1 thread":
        return ours[-1] if len(ours) > 1 else None
    named = [row for row in found if other in (row["library"], row["mode"])]
    return max(named, key=rate, default=None)


def _answer(is_met: bool, of_peers: Iterable[dict[str, Any]] = ()) -> str:
    """Whether an aim is met, which some contests with peers may leave open."""
    if not is_met:
        return "**no**"
    return "unknown: of slower peers" if any(map(_is_of_slower_peers, of_peers)) else "yes"
