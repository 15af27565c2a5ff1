"""JAX on the CPU: everything compiled, a whole epoch as one scan."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from . import Library


def _set_threads(n: int) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    # XLA has no setting of its own; its pool has one thread for each CPU that it may use.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


def _epoch(problem: Any) -> Any:
    import jax
    import jax.numpy as jnp

    X, y = problem.floats()
    X, Y = jnp.asarray(X), jax.nn.one_hot(y, problem.k)
    n, batch = problem.n, min(problem.batch, problem.n)
    whole = n - n % batch  # what is left is a smaller last batch
    rng = np.random.default_rng(0)

    def step(weights: Any, rows: Any) -> Any:
        W, b = weights
        x = X[rows]
        residual = jax.nn.softmax(x @ W + b) - Y[rows]
        rate = problem.learning_rate / len(rows)
        return (W - rate * (x.T @ residual), b - rate * residual.sum(0)), None

    @jax.jit
    def train(weights: Any, order: Any) -> Any:
        weights, _ = jax.lax.scan(step, weights, order[:whole].reshape(-1, batch))
        return step(weights, order[whole:])[0] if whole < n else weights

    def run() -> Any:
        weights = jnp.zeros((problem.d, problem.k)), jnp.zeros(problem.k)
        for _ in range(problem.epochs):
            # NumPy's permutation is far faster on a CPU than the sorts of jax.random.
            weights = train(weights, rng.permutation(n).astype(np.int32))
        return jax.block_until_ready(weights)

    return run


def _compiled(function: Any, *arguments: Any) -> Any:
    import jax

    arguments = tuple(map(jax.numpy.asarray, arguments))
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments))


def _softmax(problem: Any) -> Any:
    import jax

    return _compiled(jax.nn.softmax, problem.inputs())


def _matmul(problem: Any) -> Any:
    return _compiled(lambda a, b: a @ b, *problem.inputs())


def _predict(problem: Any) -> Any:
    return _compiled(lambda X, W, b: (X @ W + b).argmax(1), problem.floats(), *problem.model())


LIBRARY = Library(
    title="JAX",
    packages=("jax",),
    modes={
        "epoch": {"jit, scan": _epoch},
        "softmax": {"jit": _softmax},
        "matmul": {"jit": _matmul},
        "predict": {"jit": _predict},
    },
    set_threads=_set_threads,
)
