"""The exact optimum: every contender's way to it, and paths of C; small, each reaches a gap of 1 %.

The full races are run by report.py alone: their clock is the trace, not pytest-benchmark's.
"""

import contextlib

import libraries
import optima
import pytest
from measure import OWN
from modes import REFERENCES
from optimum import can_enter
from race import TimeUp, Trace
from reference import objectives

from fastsoftmax import _core

THEIRS = pytest.mark.filterwarnings("default")  # what others warn of is not ours to mend


def cases(problems, kind):
    found = []
    for name in libraries.NAMES:
        library = libraries.load(name)
        is_available, reason = library.is_available()
        if not is_available:
            found.append(pytest.param(None, marks=pytest.mark.skip(reason), id=library.title))
            continue
        for problem in problems:
            for mode in library.modes.get(kind, {}):
                if mode not in REFERENCES and can_enter(name, mode, problem):
                    title = f"{problem.name}-{library.title}-{mode}"
                    marks = THEIRS if name != OWN else ()
                    found.append(pytest.param((problem, library, mode), marks=marks, id=title))
    return found


@pytest.fixture(autouse=True)
def _small_only(request):
    if not request.config.getoption("benchmark_disable"):
        pytest.skip("races are run by report.py")


def minimum_of(problem, kind, mode):
    library = libraries.load(OWN)
    library.set_threads(_core.available_threads())
    return library.modes[kind][mode](problem)(None)


class UntilThere(Trace):
    """Ends a contender that has reached the gap; libraries in one process are slow at times."""

    def __init__(self, problem, lowest):
        super().__init__(problem.cap)
        self.problem, self.lowest = problem, lowest
        self.values = []

    def _note(self, elapsed, weights):
        super()._note(elapsed, weights)
        self.values += objectives(self.problem, [self.points[-1][1]], [self.problem.C])
        if self.values[-1] <= self.lowest * (1 + self.problem.gaps[-1]):
            raise TimeUp


@pytest.mark.parametrize("entry", cases(optima.SMALL, "optimum"))
def test_race(entry):
    problem, library, mode = entry
    W, b, gap = minimum_of(problem, "optimum", "tight")
    assert gap <= problem.gaps[-1]
    lowest = objectives(problem, [(W, b)], [problem.C])[0]
    library.set_threads(_core.available_threads())
    trace = UntilThere(problem, lowest)
    _, run = library.prepare(problem, mode)
    trace.start()
    with contextlib.suppress(TimeUp):
        run(trace)
    assert min(trace.values) >= lowest * (1 - problem.gaps[-1])
    assert min(trace.values) <= lowest * (1 + problem.gaps[-1]), mode


@pytest.mark.parametrize("entry", cases(optima.SMALL_PATHS, "path"))
def test_path(entry):
    problem, library, mode = entry
    library.set_threads(_core.available_threads())
    minima = _objectives(problem, minimum_of(problem, "path", "minima"))
    values = _objectives(problem, library.prepare(problem, mode)[1](minima))
    assert len(values) == len(minima)
    for value, lowest in zip(values, minima, strict=True):
        assert lowest * (1 - 1e-4) <= value <= lowest * (1 + 2 * problem.gaps[0])


def _objectives(problem, weights):
    import optimum

    return optimum._objectives(problem, {"weights": weights})
