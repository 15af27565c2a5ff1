"""A contest: all contenders on one problem, in turns, checked before they are timed and after."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

import libraries
import machine
import modes
from worker import Worker, WorkerError

OWN = "fastsoftmax"


@dataclass(frozen=True)
class Contender:
    library: str
    mode: str
    n_threads: int


@dataclass(frozen=True)
class Effort:
    rounds: int
    min_seconds: float  # of calls in one turn
    is_quick: bool = False  # the machine's limits are measured once for all contests


class Pool:
    """The processes, one for each library and number of threads, started when first needed."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._workers: dict[tuple[str, int], Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()

    def has(self, name: str) -> bool:
        library = libraries.load(name)
        is_available, reason = library.is_available()
        if not is_available:
            self.skipped[library.title] = reason
        return is_available

    def worker(self, name: str, n_threads: int, has_state: bool = False) -> Worker:
        """The process; a new one if it has died, unless it would have to know what was prepared."""
        worker = self._workers.get((name, n_threads))
        if worker is not None and not worker.is_alive():
            if has_state:
                raise WorkerError("the process has ended")
            worker.close()
            worker = None
        if worker is None:
            worker = self._workers[name, n_threads] = Worker(name, n_threads)
            self.versions[libraries.load(name).title] = worker.version
        return self._workers[name, n_threads]

    def forget(self) -> None:
        for key, worker in list(self._workers.items()):
            try:
                worker.forget()
            except WorkerError:  # it died; the next contest starts another
                worker.close()
                del self._workers[key]


def contenders(pool: Pool, problem: Any, n_threads: int) -> list[Contender]:
    """All modes of all libraries at hand; our own also on one thread."""
    found = []
    for name in filter(pool.has, libraries.NAMES):
        for mode in libraries.load(name).modes.get(problem.kind, {}):
            found.append(Contender(name, mode, n_threads))
            if name == OWN and n_threads > 1 and not modes.is_core(mode):
                found.append(Contender(name, mode, 1))
    return found


def contest(
    pool: Pool, problem: Any, entrants: Iterable[Contender], n_threads: int, effort: Effort
) -> dict[str, Any]:
    """Prepare and check each contender, then let all take turns, round by round."""
    entrants = list(entrants)
    measured = machine.limits_once if effort.is_quick else machine.limits
    limits = [measured(n_threads)]
    rows = {contender: _entry(pool, problem, contender, effort) for contender in entrants}
    for round_ in range(effort.rounds):
        # In another order each round, the same in each run: nobody always follows the same one.
        for contender in random.Random(round_).sample(entrants, len(entrants)):
            row = rows[contender]
            if "error" in row:
                continue
            try:
                worker = pool.worker(contender.library, contender.n_threads, has_state=True)
                row["seconds"].append(worker.turn(contender.mode))
            except WorkerError as error:
                row["error"] = last_line(error)
    for contender, row in rows.items():
        if "error" not in row:
            row |= _last_fault(pool, contender)
    limits.append(measured(n_threads))
    pool.forget()
    return {
        "problem": problem.name,
        "kind": problem.kind,
        "unit": problem.unit,
        "limits": {k: statistics.median(found[k] for found in limits) for k in limits[0]},
        "rows": list(rows.values()),
    }


def _entry(pool: Pool, problem: Any, contender: Contender, effort: Effort) -> dict[str, Any]:
    """A row of the result: who, how much work, the time of the cold first call."""
    title = libraries.load(contender.library).title
    row: dict[str, Any] = asdict(contender) | {"library": title, "seconds": []}

    def first() -> dict[str, Any]:
        worker = pool.worker(contender.library, contender.n_threads)
        return worker.prepare(problem, contender.mode, effort.min_seconds)

    answer, fault = _checked(first)
    if fault:
        return row | fault
    own_problem = answer["problem"]
    return row | {
        "cold": answer["cold"],
        "work": own_problem.work,
        "flops": own_problem.flops,
        "traffic": own_problem.traffic(contender.mode),
        "is_shortened": own_problem != problem,
    }


def _last_fault(pool: Pool, contender: Contender) -> dict[str, Any]:
    """What is wrong with the last result: nobody is timed on less than the work."""

    def last() -> dict[str, Any]:
        worker = pool.worker(contender.library, contender.n_threads, has_state=True)
        return worker.last(contender.mode)

    return _checked(last)[1]


def _checked(ask: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A worker's answer, and what goes into the row if it fails or its sample is wrong."""
    try:
        answer = ask()
        answer["problem"].check(answer["sample"])
        if "again" in answer:
            answer["problem"].check(answer["again"])
    except WorkerError as error:
        return {}, {"error": last_line(error)}
    except Exception as error:  # noqa: BLE001  # whatever a check makes of nonsense
        return {}, {"error": f"wrong result: {last_line(error)}", "is_wrong": True}
    return answer, {}


def last_line(error: Exception) -> str:
    return ([line for line in str(error).splitlines() if line.strip()] or [repr(error)])[-1]


def shown(result: dict[str, Any]) -> dict[str, Any]:
    """The result itself, after a line of progress."""
    failed = [f"{r['library']} {r['mode']}: {r['error']}" for r in result["rows"] if "error" in r]
    print(f"  {result['problem']}", *failed, sep="\n    ", flush=True)
    return result
