"""fastsoftmax: the estimator and the functions as a user calls them, and the core below them.

Modes named "core" leave the estimator's checks out; they show what those cost.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import Library, with_weights

_n_threads = 1


def _set_threads(n: int) -> None:
    global _n_threads
    _n_threads = n


def _estimator(problem: Any, uint8: bool) -> Any:
    import fastsoftmax as fs

    return fs.SoftmaxClassifier(
        learning_rate=getattr(problem, "learning_rate", 0.01),
        batch_size=getattr(problem, "batch", 100),
        max_iter=getattr(problem, "epochs", 1),
        input_scale=1 / 255 if uint8 else 1.0,
        random_state=0,
        n_threads=_n_threads,
    )


def _fit(problem: Any, uint8: bool) -> Any:
    X, y = problem.images() if uint8 else problem.floats()
    classifier = _estimator(problem, uint8)

    def run() -> Any:
        classifier.fit(X, y)
        W, b = classifier.coef_.T, classifier.intercept_
        # Of two classes the estimator keeps the difference alone.
        return (W, b) if problem.k > 2 else (W * [[-0.5, 0.5]], b * [-0.5, 0.5])

    return run


def _fit_core(problem: Any, uint8: bool) -> Any:
    from fastsoftmax import _core

    X, y = problem.images() if uint8 else problem.floats()
    losses = np.empty(problem.epochs)

    def run() -> Any:
        W = np.zeros((problem.k, problem.d), np.float32)
        b = np.zeros(problem.k, np.float32)
        _core.fit_sgd(
            X, y, None, W, b, None, None, losses,
            learning_rate=problem.learning_rate, alpha=0.0, momentum=0.0, nesterov=False,
            shuffle=True, fit_intercept=True, input_scale=1 / 255 if uint8 else 1.0,
            batch_size=problem.batch, first_epoch=0, n_epochs=problem.epochs, seed=0,
            n_threads=_n_threads,
        )  # fmt: skip
        return W.T, b

    return run


def _softmax(problem: Any, reuse: bool) -> Any:
    import fastsoftmax as fs

    x = problem.inputs()
    out = np.empty_like(x) if reuse else None
    return lambda: fs.softmax(x, axis=problem.axis, out=out, n_threads=_n_threads)


def _matmul(problem: Any, reuse: bool) -> Any:
    import fastsoftmax as fs

    a, b = problem.inputs()
    out = np.empty((problem.m, problem.n), np.float32) if reuse else None
    return lambda: fs.matmul(a, b, out=out, n_threads=_n_threads)


def _predict(problem: Any, uint8: bool) -> Any:
    X = problem.images() if uint8 else problem.floats()
    W, b = problem.model()
    classifier = with_weights(_estimator(problem, uint8), W.T, b)
    return lambda: classifier.predict(X)


def _predict_functions(problem: Any) -> Any:
    import fastsoftmax as fs

    X, (W, b) = problem.floats(), problem.model()
    return lambda: (fs.matmul(X, W, n_threads=_n_threads) + b).argmax(axis=1)


def _predict_core(problem: Any, uint8: bool) -> Any:
    from fastsoftmax import _core

    X = problem.images() if uint8 else problem.floats()
    W, b = problem.model()
    W, scale = np.ascontiguousarray(W.T), 1 / 255 if uint8 else 1.0
    out = np.empty(problem.n, np.int64)

    def run() -> Any:
        _core.predict_class(X, W, b, scale, out, _n_threads)
        return out

    return run


def _predict_texts(problem: Any) -> Any:
    import fastsoftmax as fs

    X = problem.texts()
    classifier = with_weights(fs.LogisticRegression(n_threads=_n_threads), *problem.model())
    return lambda: classifier.predict(X)


def _optimum(problem: Any, uint8: bool = False) -> Any:
    """Fits to tighter and tighter tolerances, each from zero: what a user waits for each gap."""
    import fastsoftmax as fs

    X, y = problem.images() if uint8 else problem.arrays()

    def run(trace: Any) -> None:
        for tol in problem.tolerances:
            classifier = fs.LogisticRegression(
                C=problem.C,
                tol=tol,
                input_scale=1 / 255 if uint8 else 1.0,
                n_threads=_n_threads,
            )
            trace.rung(lambda: fit(classifier), growth=1.0)  # noqa: B023  # called at once

    def fit(classifier: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(X, y)
        return classifier.coef_, classifier.intercept_

    return run


def _tight(problem: Any) -> Any:
    """The weights of a solution to compare with, and its certificate."""
    import fastsoftmax as fs

    X, y = problem.arrays()
    classifier = fs.LogisticRegression(C=problem.C, tol=problem.gaps[-1] / 10, n_threads=_n_threads)

    def run(_: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            classifier.fit(X, y)
        return classifier.coef_, classifier.intercept_, classifier.gap_

    return run


def _path(problem: Any, tol: float = 0.0) -> Any:
    import fastsoftmax as fs

    X, y = problem.arrays()
    folds = problem.fold_of_row() if problem.n_folds else None

    def run(minima: Any) -> Any:
        path = fs.logistic_regression_path(
            X, y, problem.Cs, folds, tol=tol or problem.gaps[0], n_threads=_n_threads
        )
        W = path.coef.reshape(-1, *path.coef.shape[-2:])
        return list(zip(W, path.intercept.reshape(len(W), -1), strict=True))

    return run


def _path_loop(problem: Any) -> Any:
    """Our own warm starts, one C after another, and one fold after another."""
    import fastsoftmax as fs

    X, y = problem.arrays()
    fold = problem.fold_of_row() if problem.n_folds else None

    def run(minima: Any) -> Any:
        found = []
        for held_out in range(max(1, problem.n_folds)):
            classifier = fs.LogisticRegression(
                warm_start=True, tol=problem.gaps[0], n_threads=_n_threads
            )
            weights = None if fold is None else (fold != held_out).astype(float)
            for C in problem.Cs:
                classifier.set_params(C=C).fit(X, y, weights)
                found.append((classifier.coef_, classifier.intercept_))
        return found

    return run


LIBRARY = Library(
    title="fastsoftmax",
    packages=("fastsoftmax",),
    modes={
        "epoch": {
            "float32": lambda problem: _fit(problem, uint8=False),
            "uint8": lambda problem: _fit(problem, uint8=True),
            "core, float32": lambda problem: _fit_core(problem, uint8=False),
            "core, uint8": lambda problem: _fit_core(problem, uint8=True),
        },
        "softmax": {
            "new array": lambda problem: _softmax(problem, reuse=False),
            "out=": lambda problem: _softmax(problem, reuse=True),
        },
        "matmul": {
            "new array": lambda problem: _matmul(problem, reuse=False),
            "out=": lambda problem: _matmul(problem, reuse=True),
        },
        "predict": {
            "estimator": lambda problem: _predict(problem, uint8=False),
            "estimator, uint8": lambda problem: _predict(problem, uint8=True),
            "matmul, argmax": _predict_functions,
            "core": lambda problem: _predict_core(problem, uint8=False),
            "core, uint8": lambda problem: _predict_core(problem, uint8=True),
        },
        "predict texts": {"estimator": _predict_texts},
        "optimum": {
            "float32": _optimum,
            "uint8": lambda problem: _optimum(problem, uint8=True),
            "tight": _tight,
        },
        "path": {
            "together": _path,
            "warm starts": _path_loop,
            "minima": lambda problem: _path(problem, tol=1e-6),
        },
    },
    set_threads=_set_threads,
)
