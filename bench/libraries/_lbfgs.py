"""L-BFGS that can be watched: SciPy's, on any function that gives the loss and its gradient.

Parameters are one vector: W (k, d) row by row, then b (k,).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from race import TimeUp, Weights


def unpack(x: Any, k: int, d: int) -> Weights:
    return x[: k * d].reshape(k, d), x[k * d :]


def minimize(
    function: Callable[[Any], tuple[float, Any]], problem: Any, trace: Any, memory: int
) -> None:
    """Run until the cap, or until SciPy finds no lower value."""
    from scipy.optimize import minimize as scipy_minimize

    k, d = problem.k, problem.d

    def watched(x: Any) -> tuple[float, Any]:
        trace(lambda: unpack(x, k, d))
        return function(x)

    options = {"maxcor": memory, "maxiter": 10**6, "maxfun": 10**6, "gtol": 0.0, "ftol": 0.0}
    found = scipy_minimize(
        watched, np.zeros(k * (d + 1)), jac=True, method="L-BFGS-B", options=options
    )
    trace.end(lambda: unpack(found.x, k, d))


@contextmanager
def watched_scipy(trace: Any, weights: Callable[[Any], Weights]) -> Iterator[None]:
    """Watch the calls of scipy.optimize.minimize that a library makes."""
    from scipy import optimize

    original = optimize.minimize

    def minimize(fun: Any, x0: Any, *arguments: Any, **named: Any) -> Any:
        def watched(x: Any, *more: Any) -> Any:
            trace(lambda: weights(x))
            return fun(x, *more)

        return original(watched, x0, *arguments, **named)

    optimize.minimize = minimize
    try:
        yield
    finally:
        optimize.minimize = original


@contextmanager
def stopped_scipy(targets: list[float], scale: float, cap: float) -> Iterator[list[Any]]:
    """Stop each minimization of a library at its target, and all of them when time is up.

    Yields a list of what they ended at. An oracle that no user has: it flatters the library.
    """
    import time

    from scipy import optimize

    original, ends, started = optimize.minimize, [], time.perf_counter()

    def minimize(fun: Any, x0: Any, *arguments: Any, **named: Any) -> Any:
        value = np.inf

        def watched(x: Any, *more: Any) -> Any:
            nonlocal value
            if time.perf_counter() - started > cap:
                raise TimeUp
            result = fun(x, *more)
            value = result[0] * scale
            return result

        def stop(*_: Any) -> None:
            if len(ends) < len(targets) and value <= targets[len(ends)]:
                raise StopIteration

        named["callback"] = stop
        found = original(watched, x0, *arguments, **named)
        ends.append(found.x.copy())
        return found

    optimize.minimize = minimize
    try:
        yield ends
    finally:
        optimize.minimize = original
