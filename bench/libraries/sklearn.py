"""scikit-learn: MLPClassifier without a hidden layer, and LogisticRegression's predict.

MLPClassifier starts from random weights; here a warm start from zeros makes its result comparable,
and its L2 penalty is switched off.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import Library, limit_blas_threads


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
    classifier = LogisticRegression()
    classifier.coef_, classifier.intercept_ = np.ascontiguousarray(W.T), b
    classifier.classes_, classifier.n_features_in_ = np.arange(problem.k), problem.d
    return lambda: classifier.predict(X)


LIBRARY = Library(
    title="scikit-learn",
    packages=("sklearn",),
    modes={
        "epoch": {"MLPClassifier": _epoch},
        "predict": {"LogisticRegression": _predict},
    },
    set_threads=limit_blas_threads,
    slow=frozenset({"MLPClassifier"}),
)
