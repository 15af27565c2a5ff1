"""Softmax regression in float64 NumPy, written to be read: what results are compared with."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from data import Array

if TYPE_CHECKING:
    from optima import Optimum
    from problems import Epoch


def softmax(logits: Array) -> Array:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def objectives(
    problem: Optimum, points: list[tuple[Array, Array]], Cs: list[float], rows: Array | None = None
) -> list[float]:
    """The objective of `optima.Optimum` at each (W, b), W of shape (k, d), over some of the rows."""
    X, y = problem.arrays()
    rows = np.arange(len(y)) if rows is None else rows
    sums = [float((W**2).sum() / (2 * C)) for (W, _), C in zip(points, Cs, strict=True)]
    if not points:
        return sums
    stacked = np.concatenate([W for W, _ in points]).T.astype(np.float64)
    step = max(1, 20_000_000 // stacked.shape[1])  # 160 MB of logits
    for start in range(0, len(rows), step):
        these = rows[start : start + step]
        part = X[these] if problem.is_sparse else X[these].astype(np.float64)
        logits = (part @ stacked).reshape(-1, len(points), problem.k)
        for i, (_, b) in enumerate(points):
            z = logits[:, i] + b
            z -= z.max(axis=1, keepdims=True)
            losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), y[these]]
            sums[i] += float(losses.sum())
    return sums


def quality(problem: Epoch, W: Array, b: Array) -> tuple[float, float]:
    """How far the loss fell below log k, and the accuracy, on up to 10,000 training images."""
    X, y = problem.images()
    X, y = X[:10_000] / 255.0, y[:10_000]
    p = softmax(X @ W.astype(np.float64) + b)
    loss = -np.log(np.maximum(p[np.arange(len(y)), y], 1e-300)).mean()
    return float(np.log(problem.k) - loss), float((p.argmax(axis=1) == y).mean())


@dataclass(frozen=True)
class Trained:
    """What training may come to: the weights, as the mean of several shuffles, and how far apart."""

    W: Array
    b: Array
    weight_spread: float  # the largest distance from the mean, as a part of its norm
    intercept_spread: float
    quality: tuple[float, float]


@functools.cache
def trained(problem: Epoch) -> Trained:
    """The reference's own training, with its own shuffles."""
    runs = [train(problem, np.random.default_rng(seed)) for seed in range(3)]
    W, b = (np.mean(parts, axis=0) for parts in zip(*runs, strict=True))
    spreads = (max(distance(run[i], mean) for run in runs) for i, mean in enumerate((W, b)))
    return Trained(W, b, *spreads, quality(problem, *runs[0]))


def distance(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def train(problem: Epoch, rng: np.random.Generator) -> tuple[Array, Array]:
    """W (d, k) and b (k,) after the epochs."""
    X, y = problem.images()
    W, b = np.zeros((problem.d, problem.k)), np.zeros(problem.k)
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
    return W, b
