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


def _epoch(problem: Any, is_uint8: bool = False) -> Any:
    import jax
    import jax.numpy as jnp

    X, y = problem.images() if is_uint8 else problem.floats()
    scale = 1 / 255 if is_uint8 else 1.0  # of W, not of x: 1.04 times as fast
    X, Y = jnp.asarray(X), jax.nn.one_hot(y, problem.k)
    n, batch = problem.n, min(problem.batch, problem.n)
    whole = n - n % batch  # what is left is a smaller last batch
    rng = np.random.default_rng(0)

    @jax.jit
    def train(weights: Any, order: Any, X: Any, Y: Any) -> Any:
        def step(weights: Any, rows: Any) -> Any:
            W, b = weights
            x = X[rows].astype(jnp.float32)
            # W (k, d): 1.3 to 1.5 times as fast as (d, k) for batches of 10 to 1024.
            residual = jax.nn.softmax(x @ (scale * W).T + b) - Y[rows]
            rate = problem.learning_rate / len(rows)
            return (W - rate * scale * (residual.T @ x), b - rate * residual.sum(0)), None

        weights, _ = jax.lax.scan(step, weights, order[:whole].reshape(-1, batch))
        return step(weights, order[whole:])[0] if whole < n else weights

    def run() -> Any:
        weights = jnp.zeros((problem.k, problem.d)), jnp.zeros(problem.k)
        for _ in range(problem.epochs):
            # NumPy's permutation is far faster on a CPU than the sorts of jax.random.
            weights = train(weights, rng.permutation(n).astype(np.int32), X, Y)
        W, b = jax.block_until_ready(weights)
        return W.T, b

    return run


def _compiled(function: Any, *arguments: Any) -> Any:
    import jax

    arguments = tuple(map(jax.numpy.asarray, arguments))
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments))


def _softmax(problem: Any) -> Any:
    import jax

    return _compiled(lambda x: jax.nn.softmax(x, axis=problem.axis), problem.inputs())


def _matmul(problem: Any) -> Any:
    return _compiled(lambda a, b: (a.T if problem.transposed else a) @ b, *problem.stored())


def _predict(problem: Any) -> Any:
    return _compiled(lambda X, W, b: (X @ W + b).argmax(1), problem.floats(), *problem.model())


def _convert(problem: Any) -> Any:
    import jax

    X, y = problem.images()
    compiled = jax.jit(lambda X, y: (X / jax.numpy.float32(255), jax.nn.one_hot(y, problem.k)))
    return lambda: jax.block_until_ready(compiled(X, y))


def _optimum(problem: Any, memory: int = 20) -> Any:
    """L-BFGS with everything compiled, and an Armijo search that halves the step."""
    import jax
    import jax.numpy as jnp

    X, y = map(jnp.asarray, problem.arrays())
    size = problem.k * (problem.d + 1)

    @jax.jit
    def value_and_gradient(x: Any) -> Any:
        def objective(x: Any) -> Any:
            # (k, d): gradients take 1.1 to 1.4 times as long with (d, k).
            W, b = x[: -problem.k].reshape(problem.k, problem.d), x[-problem.k :]
            logits = X @ W.T + b
            losses = jax.nn.logsumexp(logits, 1) - jnp.take_along_axis(logits, y[:, None], 1)[:, 0]
            return (losses.sum() + (W**2).sum() / (2 * problem.C)) / problem.n

        return jax.value_and_grad(objective)(x)

    @jax.jit
    def direction(g: Any, S: Any, Y: Any, count: Any) -> Any:
        """The two loops, over pairs of which the newest is the last; unused ones are zero."""
        rho = jnp.where((S * Y).sum(1) > 0, 1 / jnp.maximum((S * Y).sum(1), 1e-30), 0.0)

        def backward(q: Any, pair: Any) -> Any:
            s, y, r = pair
            a = r * (s @ q)
            return q - a * y, a

        q, alpha = jax.lax.scan(backward, g, (S, Y, rho), reverse=True)
        last = (S[-1] @ Y[-1]) / jnp.maximum(Y[-1] @ Y[-1], 1e-30)
        q = q * jnp.where(count > 0, last, 1 / jnp.maximum(jnp.linalg.norm(g), 1e-30))

        def forward(q: Any, pair: Any) -> Any:
            s, y, r, a = pair
            return q + s * (a - r * (y @ q)), None

        return -jax.lax.scan(forward, q, (S, Y, rho, alpha))[0]

    def weights(x: Any) -> Any:
        W = np.asarray(x[: -problem.k]).reshape(problem.k, problem.d)
        return W, np.asarray(x[-problem.k :])

    @jax.jit
    def push(S: Any, Y: Any, s: Any, t: Any) -> Any:
        keep = s @ t > 1e-12 * (t @ t)
        return (
            jnp.where(keep, jnp.vstack([S[1:], s[None]]), S),
            jnp.where(keep, jnp.vstack([Y[1:], t[None]]), Y),
        )

    def run(trace: Any) -> None:
        x = jnp.zeros(size)
        S = Y = jnp.zeros((memory, size))
        f, g = value_and_gradient(x)
        for count in range(10**6):
            p = direction(g, S, Y, min(count, 1))
            slope, step = float(g @ p), 1.0
            while True:
                new_f, new_g = value_and_gradient(x + step * p)
                if new_f <= f + 1e-4 * step * slope:
                    break
                step /= 2
                if step < 1e-6:
                    return trace.end(lambda: weights(x))  # noqa: B023  # rounding has ended it
            S, Y = push(S, Y, step * p, new_g - g)
            x, f, g = x + step * p, new_f, new_g
            trace(lambda: weights(x))  # noqa: B023
        return None

    return run


LIBRARY = Library(
    title="JAX",
    packages=("jax",),
    modes={
        "epoch": {
            "jit, scan": _epoch,
            "jit, scan, uint8": lambda problem: _epoch(problem, is_uint8=True),
        },
        "softmax": {"jit": _softmax},
        "matmul": {"jit": _matmul},
        "predict": {"jit": _predict},
        "convert": {"jit": _convert},
        "optimum": {"L-BFGS, jit, memory 20": _optimum},
    },
    set_threads=_set_threads,
    enters=lambda mode, problem: not problem.is_sparse,
)
