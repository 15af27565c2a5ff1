"""What a contender passes on its way to the optimum: the weights it had, and after how many seconds.

Their objectives are computed afterwards, in another process: see optimum.py.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Weights = tuple[Any, Any]  # W (k, d) and b (k,)


class TimeUp(Exception):  # noqa: N818  # no error
    """The contender has had its time."""


class Trace:
    """Points on the way. A solver that can be watched calls the trace; others climb a ladder."""

    growth = 1.15  # of the time from one point to the next: a decade has 16

    def __init__(self, cap: float) -> None:
        self.points: list[tuple[float, Weights]] = []
        self._cap, self._next, self._paused, self._started = cap, 0.0, 0.0, 0.0

    def start(self) -> None:
        self._started = time.perf_counter()

    def __call__(self, weights: Callable[[], Weights]) -> None:
        """Note the weights if it is time to; the clock stands still meanwhile."""
        now = time.perf_counter()
        elapsed = now - self._started - self._paused
        if elapsed < self._next and elapsed < self._cap:
            return
        self._note(elapsed, weights())
        self._next = elapsed * self.growth
        self._paused += time.perf_counter() - now
        if elapsed >= self._cap:
            raise TimeUp

    def end(self, weights: Callable[[], Weights]) -> None:
        """Note where the solver has ended by itself."""
        self._next = 0.0
        with contextlib.suppress(TimeUp):
            self(weights)

    def rung(self, run: Callable[[], Weights], growth: float = 2.0) -> None:
        """A whole run, from zero weights, of a solver that shows nothing until it has ended.

        The next one is expected to take `growth` times as long.
        """
        started = time.perf_counter()
        weights = run()
        elapsed = time.perf_counter() - started
        self._note(elapsed, weights)
        if elapsed * growth >= self._cap:
            raise TimeUp

    def _note(self, elapsed: float, weights: Weights) -> None:
        W, b = weights
        self.points.append((elapsed, (np.array(W, np.float64), np.array(b, np.float64))))


class WarmUp(Trace):
    """Ends a contender after its first steps: they load, compile and start threads."""

    def __init__(self) -> None:
        super().__init__(cap=0.0)
        self._n_calls = 0

    def __call__(self, weights: Callable[[], Weights]) -> None:
        weights()
        self._n_calls += 1
        if self._n_calls == 4:  # a whole step has its function, its direction, its line search
            raise TimeUp

    def end(self, weights: Callable[[], Weights]) -> None:
        weights()
