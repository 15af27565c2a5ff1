"""Races to the exact optimum: every contender's gap against its seconds, at the same objective.

A gap is (F - F*) / F*, of objectives that reference.py computes in float64 outside the clock; F* is the
lowest of all, those of a much tighter solution among them.
"""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import asdict, dataclass
from typing import Any

import libraries
import numpy as np
import optima
from measure import OWN, Contender, Pool, contenders, last_line, shown
from modes import REFERENCES, reads_bytes
from optima import Optimum, Path
from reference import objectives
from worker import WorkerError

ROUNDS = 3  # of our own, before, among and after the others; those have one each
ROUNDING = 1e-3  # of a gap that is the difference of two objectives


@dataclass(frozen=True)
class Course:
    """Who runs, and how often."""

    n_threads: int
    rounds: int
    is_ours_alone: bool = False

    def entrants(self, pool: Pool, problem: Optimum) -> list[Contender]:
        return [
            contender
            for contender in contenders(pool, problem, self.n_threads)
            if contender.mode not in REFERENCES
            and can_enter(contender.library, contender.mode, problem)
            and (contender.library == OWN or not self.is_ours_alone)
        ]


def measure(pool: Pool, course: Course, quick: bool, wanted: str) -> dict[str, Any]:
    """The problems in whose names `wanted`, a regular expression, is found."""
    races = optima.QUICK if quick else optima.FULL
    paths = optima.QUICK_PATHS if quick else optima.PATHS
    return {
        "races": [shown(race(pool, p, course)) for p in races if re.search(wanted, p.name)],
        "paths": [shown(path(pool, p, course)) for p in paths if re.search(wanted, p.name)],
    }


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """New results, and the old ones of the problems and the contenders that did not run again."""
    for kind, order in (("races", optima.FULL), ("paths", optima.PATHS)):
        found = {result["problem"]: {"date": old["date"]} | result for result in old.get(kind, [])}
        for result in new[kind]:
            result["date"] = new["date"]
            before = found.get(result["problem"])
            if before and all(row["library"] == OWN for row in result["rows"]):
                result["rows"] += [row for row in before["rows"] if row["library"] != OWN]
                result["others"] = before.get("others", before["date"])
                if kind == "races":
                    result["minimum"] = min(result["minimum"], before["minimum"])
            found[result["problem"]] = result
        names = [problem.name for problem in order if problem.name in found]
        new[kind] = [found[name] for name in dict.fromkeys([*names, *found])]
    return new


def can_enter(library: str, mode: str, problem: Optimum) -> bool:
    has_bytes = problem.data == "images"
    return (has_bytes or not reads_bytes(mode)) and libraries.load(library).enters(mode, problem)


def race(pool: Pool, problem: Optimum, course: Course) -> dict[str, Any]:
    """The traces of all contenders on one problem: seconds and objectives."""
    found = course.entrants(pool, problem)
    rows: dict[Contender, dict[str, Any]] = {c: _row(pool, c) | {"traces": []} for c in found}
    own = [contender for contender in found if contender.library == OWN]
    others = [contender for contender in found if contender.library != OWN]
    turns = [*own]  # ours, then a part of the others, and again
    for part in range(1, max(2, course.rounds)):
        bounds = [len(others) * p // max(1, course.rounds - 1) for p in (part - 1, part)]
        turns += [*others[slice(*bounds)], *(own if course.rounds > 1 else [])]
    minimum, best = math.inf, None
    for contender in turns:
        row = rows[contender]
        if "error" in row:
            continue
        try:
            worker = pool.worker(contender.library, contender.n_threads)
            is_patient = contender.mode in libraries.load(contender.library).patient
            cap = max(problem.cap, problem.long_cap if is_patient else 0.0)
            points = worker.trace(problem, contender.mode, cap)
        except WorkerError as error:
            row["error"] = last_line(error)
            continue
        weights = [weights for _, weights in points]
        values = objectives(problem, weights, [problem.C] * len(weights))
        seconds = [seconds for seconds, _ in points]
        row["traces"].append(
            [[s, v] for s, v in zip(seconds, values, strict=True) if math.isfinite(v)]
        )
        minimum = min([minimum, *filter(math.isfinite, values)])
    if tight := _tight(pool, problem, course.n_threads):
        minimum, best = min(minimum, tight["objective"]), tight["gap"]
    pool.forget()
    return {
        "problem": problem.name,
        "gaps": problem.gaps,
        "cap": problem.cap,
        "long cap": problem.long_cap,
        "minimum": minimum,
        "proven gap of the minimum": best,
        "rows": list(rows.values()),
    }


def _row(pool: Pool, contender: Contender) -> dict[str, Any]:
    return asdict(contender) | {"library": libraries.load(contender.library).title}


def _tight(pool: Pool, problem: Optimum, n_threads: int) -> dict[str, float] | None:
    """The objective of a solution ten times as tight as the narrowest gap, and what is proven of it."""
    try:
        found = pool.worker(OWN, n_threads).time_path(problem, "tight", None)
    except WorkerError:
        return None
    W, b, gap = found["weights"]
    return {"objective": objectives(problem, [(W, b)], [problem.C])[0], "gap": gap}


def path(pool: Pool, problem: Path, course: Course) -> dict[str, Any]:
    """Seconds for all models of a path, each to the same gap.

    The minima are the lowest objectives of all. Others are stopped at what a tight path of ours has.
    """
    found = [c for c in course.entrants(pool, problem) if c.n_threads == course.n_threads]
    rows: dict[Contender, dict[str, Any]] = {c: _row(pool, c) | {"seconds": []} for c in found}
    values: dict[Contender, list[list[float]]] = {c: [] for c in found}
    try:
        worker = pool.worker(OWN, course.n_threads)
        oracle = _objectives(problem, worker.time_path(problem, "minima", None))
    except WorkerError as error:
        rows, oracle = {c: _row(pool, c) | {"error": last_line(error)} for c in found}, []
    for round_ in range(course.rounds):
        for contender in found:
            row = rows[contender]
            if (round_ and contender.library != OWN) or "error" in row:
                continue
            try:
                worker = pool.worker(contender.library, contender.n_threads)
                answer = worker.time_path(problem, contender.mode, oracle)
            except WorkerError as error:
                row["error"] = last_line(error)
                continue
            row["seconds"].append(answer["seconds"])
            values[contender].append(_objectives(problem, answer))
    minima = [
        min([m, *(v[i] for runs in values.values() for v in runs if i < len(v))])
        for i, m in enumerate(oracle)
    ]
    for contender, runs in values.items():
        gaps = [v / m - 1 for run in runs for v, m in zip(run, minima, strict=False)]
        row = rows[contender]
        row["models"] = min(map(len, runs), default=0)
        row["worst gap"] = max(gaps, default=None)
        if contender.library == OWN and max(gaps, default=0.0) > problem.gaps[0] * (1 + ROUNDING):
            row |= {"error": f"a gap of {max(gaps):.1e}", "is_wrong": True}
    pool.forget()
    return {
        "problem": problem.name,
        "gap": problem.gaps[0],
        "cap": problem.cap,
        "models": len(minima),
        "rows": list(rows.values()),
    }


def _objectives(problem: Path, answer: dict[str, Any]) -> list[float]:
    """The objective of each model over the rows that it was trained on."""
    weights, n_Cs = answer["weights"], len(problem.Cs)
    if not problem.n_folds:
        return objectives(problem, weights, list(problem.Cs[: len(weights)]))
    values: list[float] = []
    for i, (train, _) in enumerate(problem.folds()):
        part = weights[i * n_Cs : (i + 1) * n_Cs]
        values += objectives(problem, part, list(problem.Cs[: len(part)]), train)
    return values


def gaps_of(race: dict[str, Any], row: dict[str, Any]) -> list[list[list[float]]]:
    """The traces of a row with gaps instead of objectives."""
    minimum = race["minimum"]
    return [[[s, v / minimum - 1] for s, v in trace] for trace in row["traces"]]


def seconds_to(race: dict[str, Any], row: dict[str, Any], gap: float) -> float | None:
    """Median seconds until a gap is reached; None if it never is.

    Of ours those of the fit that was asked for this gap, whatever looser ones have reached. Between two
    points of a peer the logarithm of the gap is taken to be linear.
    """
    if row["library"] == OWN:
        place = 1 + race["gaps"].index(gap)  # in Optimum.tolerances
        fits = [
            trace[place] if place < len(trace) else (0.0, math.inf) for trace in gaps_of(race, row)
        ]
        times = [seconds if there <= gap else None for seconds, there in fits]
    else:
        times = [_first(trace, gap) for trace in gaps_of(race, row)]
    reached = [time for time in times if time is not None]
    return statistics.median(reached) if len(reached) * 2 > len(times) else None


def _first(trace: list[list[float]], gap: float) -> float | None:
    before: list[float] | None = None
    for seconds, value in trace:
        if value <= gap:
            if before is None:
                return seconds
            logs = np.log([max(v, 1e-300) for v in (before[1], gap, value)])
            share = (logs[0] - logs[1]) / (logs[0] - logs[2])
            return float(before[0] + share * (seconds - before[0]))
        before = [seconds, value]
    return None
