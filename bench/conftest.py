"""What the benchmarks run over: every mode of every library at hand, on every problem.

With --benchmark-disable the problems are small and each runs once, which tests the suite itself.
All libraries share one process here; report.py keeps them apart, and it is what numbers are from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libraries
import problems
import pytest
from measure import OWN

from fastsoftmax import _core

with contextlib.suppress(ImportError):
    # PyTorch's optimizers bring it, and it crashes if it comes after TensorFlow.
    import triton  # noqa: F401


@dataclass(frozen=True)
class Case:
    problem: problems.Problem
    library: libraries.Library
    mode: str

    def __str__(self) -> str:
        return f"{self.problem.name}-{self.library.title}-{self.mode}"

    def run(self, benchmark: Callable[..., Any]) -> None:
        self.library.set_threads(_core.available_threads())
        problem, run = self.library.prepare(self.problem, self.mode)
        benchmark.group = problem.name
        problem.check(problem.sample(benchmark(run)))


def cases(section: str, small: bool) -> list[Any]:
    """A parameter for each case; a library that is missing gives one that is skipped."""
    found: list[Any] = []
    theirs = pytest.mark.filterwarnings("default")  # what others warn of is not ours to mend
    for name in libraries.NAMES:
        library = libraries.load(name)
        is_available, reason = library.is_available()
        if not is_available:
            found.append(pytest.param(None, marks=pytest.mark.skip(reason), id=library.title))
            continue
        for problem in (problems.SMALL if small else problems.FULL)[section]:
            for mode in library.modes.get(problem.kind, {}):
                case = Case(problem, library, mode)
                found.append(pytest.param(case, id=str(case), marks=theirs if name != OWN else ()))
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        section = metafunc.module.SECTION
        small = metafunc.config.getoption("benchmark_disable")
        metafunc.parametrize("case", cases(section, small))
