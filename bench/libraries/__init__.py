"""The contenders: one file per library, each with a `LIBRARY` of the form below.

A mode is one way to do one kind of work with a library: `prepare(problem)` brings data into the
library's best form and returns a callable; only that callable is timed. What it returns is what
`problem.sample` understands. Libraries are imported inside functions, so that this package loads
without any of them, and a library's pool of threads starts only in its own process.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

Prepare = Callable[[Any], Callable[[], Any]]

# The order of tables. The file of X is libraries/X.py.
NAMES = (
    "fastsoftmax",
    "tensorflow",
    "keras",
    "torch",
    "jax",
    "numpy",
    "scipy",
    "sklearn",
    "sklearnex",
    "cyanure",
    "onnxruntime",
)


@dataclass(frozen=True)
class Library:
    title: str
    packages: tuple[str, ...]  # what must be importable; the first has the version
    modes: Mapping[str, Mapping[str, Prepare]]  # kind of problem -> mode -> prepare
    set_threads: Callable[[int], None]  # called once, before the first `prepare`
    slow: frozenset[str] = frozenset()  # modes that get problem.shortened()
    distribution: str = ""  # has the version, where the package has none
    # Of races to the optimum: whether a mode takes part, and which ones get problem.long_cap.
    enters: Callable[[str, Any], bool] = lambda mode, problem: True
    patient: frozenset[str] = frozenset()

    def is_available(self) -> tuple[bool, str]:
        """Whether all packages are installed, and if not, which one is missing."""
        for package in self.packages:
            if find_spec(package) is None:
                return False, f"{package} is not installed"
        return True, ""

    def version(self) -> str:
        if self.distribution:
            return version(self.distribution)
        return str(importlib.import_module(self.packages[0]).__version__)

    def prepare(self, problem: Any, mode: str) -> tuple[Any, Callable[[], Any]]:
        """The problem as this mode gets it, and the callable that is timed."""
        if mode in self.slow and hasattr(problem, "shortened"):
            problem = problem.shortened()
        return problem, self.modes[problem.kind][mode](problem)


def load(name: str) -> Library:
    library = importlib.import_module(f"libraries.{name}").LIBRARY
    assert isinstance(library, Library)
    return library


def with_weights(classifier: Any, W: Any, b: Any) -> Any:
    """A classifier with weights (k, d) and (k,), for two classes with their difference."""
    k, d = W.shape
    if k == 2:
        W, b = W[1:] - W[:1], b[1:] - b[:1]
    classifier.coef_, classifier.intercept_ = np.ascontiguousarray(W), b
    classifier.classes_, classifier.n_features_in_ = np.arange(k), d
    return classifier


def limit_blas_threads(n: int) -> None:
    """For libraries that compute with BLAS or OpenMP and have no setting of their own."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(n)
