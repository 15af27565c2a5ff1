"""Cyanure: the multinomial loss by variance-reduced gradients under QNing, its choice for large data."""

from __future__ import annotations

import warnings
from typing import Any

from . import Library, limit_blas_threads

_n_threads = 1


def _set_threads(n: int) -> None:
    global _n_threads
    _n_threads = n
    limit_blas_threads(n)


def _optimum(problem: Any, solver: str) -> Any:
    from cyanure.estimators import Classifier

    X, y = problem.arrays()

    def fit(epochs: int) -> Any:
        # lambda_1 is scikit-learn's 1 / (n C).
        classifier = Classifier(
            loss="multiclass-logistic", penalty="l2", lambda_1=1 / (problem.n * problem.C),
            solver=solver, max_iter=epochs, tol=1e-12, duality_gap_interval=10**6,
            fit_intercept=True, verbose=False, n_threads=_n_threads, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(X, y)
        W = classifier.coef_
        return (W if W.shape[0] == problem.k else W.T), classifier.intercept_.ravel()

    def run(trace: Any) -> None:
        for rung in range(14):
            trace.rung(lambda: fit(2**rung))  # noqa: B023  # called at once

    return run


LIBRARY = Library(
    title="Cyanure",
    packages=("cyanure",),
    modes={"optimum": {"auto": lambda problem: _optimum(problem, "auto")}},
    set_threads=_set_threads,
    distribution="cyanure",
    enters=lambda mode, problem: problem.k < 1000,
)
