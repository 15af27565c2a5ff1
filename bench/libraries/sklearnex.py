"""scikit-learn-intelex: scikit-learn's L-BFGS on oneDAL's loss and gradient."""

from __future__ import annotations

import warnings
from typing import Any

from . import Library, limit_blas_threads


def _set_threads(n: int) -> None:
    import daal4py

    daal4py.daalinit(n)
    limit_blas_threads(n)


def _optimum(problem: Any) -> Any:
    from sklearnex.linear_model import LogisticRegression

    from ._lbfgs import watched_scipy

    X, y = problem.arrays()
    # No tolerance of its own: the trace ends it.
    classifier = LogisticRegression(C=problem.C, tol=1e-14, max_iter=10**6)

    def weights(x: Any) -> Any:
        both = x.reshape(problem.k, -1)
        return both[:, 1:], both[:, 0]

    def run(trace: Any) -> None:
        with warnings.catch_warnings(), watched_scipy(trace, weights):
            warnings.simplefilter("ignore")
            classifier.fit(X, y)
        trace.end(lambda: (classifier.coef_, classifier.intercept_))

    return run


LIBRARY = Library(
    title="scikit-learn-intelex",
    packages=("sklearnex", "daal4py"),
    modes={"optimum": {"lbfgs": _optimum}},
    set_threads=_set_threads,
    distribution="scikit-learn-intelex",
    enters=lambda mode, problem: not problem.is_sparse,
)
