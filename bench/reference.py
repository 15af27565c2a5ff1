"""Softmax regression in float64 NumPy, written to be read: what results are compared with."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from data import Array

if TYPE_CHECKING:
    from problems import Epoch


def softmax(logits: Array) -> Array:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def quality(problem: Epoch, W: Array, b: Array) -> tuple[float, float]:
    """How far the loss fell below log k, and the accuracy, on up to 10,000 training images."""
    X, y = problem.images()
    X, y = X[:10_000] / 255.0, y[:10_000]
    p = softmax(X @ W.astype(np.float64) + b)
    loss = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-300)).mean()
    return float(np.log(problem.k) - loss), float((p.argmax(axis=1) == y).mean())


@functools.cache
def expected_quality(problem: Epoch) -> tuple[float, float]:
    """The quality of the reference's own training, with its own shuffles."""
    X, y = problem.images()
    W, b = np.zeros((problem.d, problem.k)), np.zeros(problem.k)
    rng = np.random.default_rng(6)
    for _ in range(problem.epochs):
        order = rng.permutation(problem.n)
        for start in range(0, problem.n, problem.batch):
            rows = order[start : start + problem.batch]
            x = X[rows] / 255.0
            residual = softmax(x @ W + b)
            residual[np.arange(len(rows)), y[rows]] -= 1
            residual *= problem.learning_rate / len(rows)
            W -= x.T @ residual
            b -= residual.sum(axis=0)
    return quality(problem, W, b)
