"""NumPy, on the BLAS that it comes with: written by hand, with buffers that are used again."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Library, limit_blas_threads


def _softmax_into(x: Any, out: Any, axis: int = -1) -> Any:
    np.subtract(x, x.max(axis=axis, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= out.sum(axis=axis, keepdims=True)
    return out


def _epoch(problem: Any, is_uint8: bool = False) -> Any:
    X, y = problem.images() if is_uint8 else problem.floats()
    Y = np.eye(problem.k, dtype=np.float32)[y]
    n, batch = problem.n, min(problem.batch, problem.n)
    rate = np.float32(problem.learning_rate)
    scale = np.float32(1 / 255)  # of W, not of x: 1.06 times as fast
    rng = np.random.default_rng(0)
    x = np.empty((batch, problem.d), np.float32)
    taken = np.empty((batch, problem.d), np.uint8) if is_uint8 else x
    z = np.empty((batch, problem.k), np.float32)
    gradient = np.empty((problem.k, problem.d), np.float32)

    def run() -> Any:
        W = np.zeros((problem.k, problem.d), np.float32)  # (d, k) is 1.0 to 0.8 times as fast
        b = np.zeros(problem.k, np.float32)
        for _ in range(problem.epochs):
            order = rng.permutation(n)
            for start in range(0, n, batch):
                rows = order[start : start + batch]
                m = len(rows)
                np.take(X, rows, axis=0, out=taken[:m], mode="clip")
                if is_uint8:
                    np.copyto(x[:m], taken[:m])
                np.matmul(x[:m], (scale * W if is_uint8 else W).T, out=z[:m])
                residual = z[:m]
                residual += b
                _softmax_into(residual, residual)
                residual -= Y[rows]
                residual *= rate / np.float32(m)
                np.matmul(residual.T, x[:m], out=gradient)
                if is_uint8:
                    np.multiply(gradient, scale, out=gradient)
                W -= gradient
                b -= residual.sum(axis=0)
        return W.T, b

    return run


def loss_and_gradient(problem: Any) -> Any:
    """A function of one vector, W (k, d) then b: products in float32, sums in float64."""
    X, y = problem.arrays()
    n, d, k = problem.n, problem.d, problem.k
    rows = np.arange(n)
    Xt = X.T.tocsr() if problem.is_sparse else X.T
    z = np.empty((n, k), np.float32)

    def function(x: Any) -> Any:
        W, b = x[: k * d].reshape(k, d), x[k * d :]
        W32 = W.T.astype(np.float32, order="C")  # BLAS is slow on narrow columns
        if problem.is_sparse:
            z[...] = X @ W32
        else:
            np.matmul(X, W32, out=z)
        np.add(z, b.astype(np.float32), out=z)
        np.subtract(z, z.max(axis=1, keepdims=True), out=z)
        loss = -z[rows, y].sum(dtype=np.float64)
        np.exp(z, out=z)
        sums = z.sum(axis=1, keepdims=True)
        loss += np.log(sums).sum(dtype=np.float64) + (W**2).sum() / (2 * problem.C)
        np.divide(z, sums, out=z)
        z[rows, y] -= 1
        dW = (Xt @ z).T + W / problem.C
        return loss, np.concatenate([dW.ravel(), z.sum(axis=0, dtype=np.float64)])

    return function


def _softmax(problem: Any, reuse: bool) -> Any:
    x = problem.inputs()
    out = np.empty_like(x)
    return lambda: _softmax_into(x, out if reuse else np.empty_like(x), problem.axis)


def _matmul(problem: Any, reuse: bool) -> Any:
    a, b = problem.inputs()
    out = np.empty((problem.m, problem.n), np.float32) if reuse else None
    return lambda: np.matmul(a, b, out=out)


def _predict(problem: Any) -> Any:
    X, (W, b) = problem.floats(), problem.model()
    W = W.T.copy().T  # 1.2 times as fast for one row, no difference for more
    return lambda: (X @ W + b).argmax(axis=1)


def _convert(problem: Any) -> Any:
    X, y = problem.images()
    return lambda: (
        np.divide(X, np.float32(255), dtype=np.float32),
        np.eye(problem.k, dtype=np.float32)[y],
    )


LIBRARY = Library(
    title="NumPy",
    packages=("numpy",),
    modes={
        "epoch": {
            "by hand": _epoch,
            "by hand, uint8": lambda problem: _epoch(problem, is_uint8=True),
        },
        "softmax": {
            "new array": lambda problem: _softmax(problem, reuse=False),
            "out=": lambda problem: _softmax(problem, reuse=True),
        },
        "matmul": {
            "new array": lambda problem: _matmul(problem, reuse=False),
            "out=": lambda problem: _matmul(problem, reuse=True),
        },
        "predict": {"by hand": _predict},
        "convert": {"by hand": _convert},
    },
    set_threads=limit_blas_threads,
)
