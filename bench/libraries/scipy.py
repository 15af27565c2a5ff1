"""SciPy: its softmax, and the BLAS routine that it exposes."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Library, limit_blas_threads


def _softmax(problem: Any) -> Any:
    from scipy.special import softmax

    x = problem.inputs()
    return lambda: softmax(x, axis=problem.axis)


def _matmul(problem: Any) -> Any:
    from scipy.linalg.blas import sgemm

    a, b = problem.stored()
    # Fortran order throughout: the transposes of C-ordered arrays, so that nothing is copied.
    return lambda: sgemm(1.0, b.T, a.T, trans_b=problem.transposed).T


def _predict_texts(problem: Any) -> Any:
    X, (W, b) = problem.texts(), problem.model()
    if problem.k == 2:
        w, c = W[1] - W[0], b[1] - b[0]
        return lambda: (X @ w > -c).astype(np.int64)
    columns = np.ascontiguousarray(W.T)

    def run() -> Any:
        logits = X @ columns
        logits += b
        return logits.argmax(axis=1)

    return run


def _optimum(problem: Any) -> Any:
    from ._lbfgs import minimize
    from .numpy import loss_and_gradient

    function = loss_and_gradient(problem)
    return lambda trace: minimize(function, problem, trace, memory=10)


LIBRARY = Library(
    title="SciPy",
    packages=("scipy",),
    modes={
        "softmax": {"special.softmax": _softmax},
        "matmul": {"blas.sgemm": _matmul},
        "predict texts": {"csr @ W, argmax": _predict_texts},
        "optimum": {"L-BFGS-B, NumPy gradient": _optimum},
    },
    set_threads=limit_blas_threads,
)
