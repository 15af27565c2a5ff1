"""scikit-learn: MLPClassifier without a hidden layer, and LogisticRegression.

MLPClassifier starts from random weights; here a warm start from zeros makes its result comparable,
and its L2 penalty is switched off.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
from modes import reads_bytes

from . import Library, limit_blas_threads, with_weights

CHOLESKY_PARAMETERS = 2000  # Hessians of (d + 1) k parameters that are worth a try


def _epoch(problem: Any) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    X, y = problem.floats()
    classifier = MLPClassifier(
        hidden_layer_sizes=(),
        solver="sgd",
        alpha=0.0,
        batch_size=min(problem.batch, problem.n),
        learning_rate_init=problem.learning_rate,
        momentum=0.0,
        nesterovs_momentum=False,
        max_iter=problem.epochs,
        warm_start=True,
        random_state=0,
    )

    def fit(X: Any, y: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # after one epoch, of course
            warnings.simplefilter("ignore", UserWarning)  # the batch exceeds the k rows below
            classifier.fit(X, y)

    def run() -> Any:
        classifier.coefs_[0][:] = 0
        classifier.intercepts_[0][:] = 0
        fit(X, y)
        return classifier.coefs_[0], classifier.intercepts_[0]

    fit(np.zeros((problem.k, problem.d), np.float32), np.arange(problem.k))  # makes coefs_
    return run


def _predict(problem: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    X, (W, b) = problem.floats(), problem.model()
    classifier = with_weights(LogisticRegression(), W.T, b)
    return lambda: classifier.predict(X)


def _predict_texts(problem: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    X, classifier = problem.texts(), with_weights(LogisticRegression(), *problem.model())
    return lambda: classifier.predict(X)


def _solver(problem: Any, solver: str, **more: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    # No tolerance of its own: the trace ends it.
    return LogisticRegression(C=problem.C, solver=solver, tol=1e-14, max_iter=10**6, **more)


def _of_loss(problem: Any, x: Any) -> Any:
    """W and b from the vector that scikit-learn's loss works on."""
    both = x.reshape(problem.k, -1, order="F")
    return both[:, :-1], both[:, -1]


def _optimum_lbfgs(problem: Any, uint8: bool = False) -> Any:
    from ._lbfgs import watched_scipy

    X, y = problem.images() if uint8 else problem.arrays()
    classifier = _solver(problem, "lbfgs")

    def run(trace: Any) -> None:
        data = X / 255 if uint8 else X  # float64, as users of raw images do it
        with warnings.catch_warnings(), watched_scipy(trace, lambda x: _of_loss(problem, x)):
            warnings.simplefilter("ignore")
            classifier.fit(data, y)
        trace.end(lambda: (classifier.coef_, classifier.intercept_))

    return run


def _optimum_newton(problem: Any, solver: str) -> Any:
    from sklearn.linear_model._linear_loss import LinearModelLoss

    X, y = problem.arrays()
    classifier = _solver(problem, solver)
    name = "gradient_hessian_product" if solver == "newton-cg" else "loss_gradient"
    original = getattr(LinearModelLoss, name)

    def run(trace: Any) -> None:
        def watched(self: Any, coef: Any, *arguments: Any, **named: Any) -> Any:
            trace(lambda: _of_loss(problem, coef.ravel(order="F")))
            return original(self, coef, *arguments, **named)

        setattr(LinearModelLoss, name, watched)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                classifier.fit(X, y)
        finally:
            setattr(LinearModelLoss, name, original)
        trace.end(lambda: (classifier.coef_, classifier.intercept_))

    return run


def _optimum_saga(problem: Any) -> Any:
    X, y = problem.arrays()

    def fit(epochs: int) -> Any:
        classifier = _solver(problem, "saga", random_state=0).set_params(max_iter=epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(X, y)
        return classifier.coef_, classifier.intercept_

    def run(trace: Any) -> None:
        for rung in range(12):
            trace.rung(lambda: fit(2**rung))  # noqa: B023  # called at once

    return run


def _path(problem: Any) -> Any:
    """A loop of warm starts, each stopped by an oracle at the gap; or LogisticRegressionCV so."""
    from race import TimeUp
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    from ._lbfgs import stopped_scipy

    X, y = problem.arrays()
    common = {"tol": 1e-14, "max_iter": 10**6}

    def fit() -> None:
        if problem.n_folds:
            LogisticRegressionCV(
                Cs=list(problem.Cs), cv=problem.folds(), refit=False, use_legacy_attributes=False,
                l1_ratios=(0,), scoring="accuracy", **common,
            ).fit(X, y)  # fmt: skip
        else:
            classifier = LogisticRegression(warm_start=True, **common)
            for C in problem.Cs:
                classifier.set_params(C=C).fit(X, y)

    def run(minima: Any) -> Any:
        targets = [m * (1 + problem.gaps[0]) / problem.n_trained(i) for i, m in enumerate(minima)]
        with warnings.catch_warnings(), stopped_scipy(targets, 1.0, problem.cap) as ends:
            warnings.simplefilter("ignore")
            with contextlib.suppress(TimeUp):
                fit()
        return [_of_loss(problem, x) for x in ends]

    return run


def _enters(mode: str, problem: Any) -> bool:
    if problem.kind == "path":
        return (mode == "LogisticRegressionCV") == bool(problem.n_folds)
    if reads_bytes(mode):
        return bool(problem.C == 1)  # once will do
    if mode == "newton-cholesky":
        return bool((problem.d + 1) * problem.k <= CHOLESKY_PARAMETERS and not problem.is_sparse)
    return bool(problem.k < 1000 or mode not in ("saga", "newton-cg"))  # minutes


LIBRARY = Library(
    title="scikit-learn",
    packages=("sklearn",),
    modes={
        "epoch": {"MLPClassifier": _epoch},
        "predict": {"LogisticRegression": _predict},
        "predict texts": {"LogisticRegression": _predict_texts},
        "optimum": {
            "lbfgs": _optimum_lbfgs,
            "lbfgs, uint8 / 255": lambda problem: _optimum_lbfgs(problem, uint8=True),
            "newton-cg": lambda problem: _optimum_newton(problem, "newton-cg"),
            "newton-cholesky": lambda problem: _optimum_newton(problem, "newton-cholesky"),
            "saga": _optimum_saga,
        },
        "path": {"warm starts": _path, "LogisticRegressionCV": _path},
    },
    set_threads=limit_blas_threads,
    slow=frozenset({"MLPClassifier"}),
    enters=_enters,
    # The default solver: it is what most people have.
    patient=frozenset({"lbfgs", "lbfgs, uint8 / 255"}),
)
