"""Inputs of the problems, from fixed seeds: every process sees the same ones. NumPy only."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def digits(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Pixels (n, d), uint8, and labels (n,), int64: MNIST where it is at hand and large enough."""
    if mnist_home() and (d, k) == (784, 10) and n <= 60_000:
        X, y = _mnist()
    else:
        X, y = _synthetic(n, d, k)
    return X[:n], y[:n]


@functools.lru_cache(maxsize=1)
def floats(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Pixels / 255, float32, and labels."""
    X, y = digits(n, d, k)
    return np.divide(X, 255, dtype=np.float32), y


@functools.lru_cache(maxsize=4)
def normal(seed: int, *shape: int, scale: float = 1.0) -> Array:
    x = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    x *= np.float32(scale)
    return x


def some_rows(n: int, width: int) -> Array:
    """Up to 1000 row indices, fewer of wide rows, the first and the last among them."""
    count = min(n, 1000, max(10, 1_000_000 // width))
    return np.unique(np.linspace(0, n - 1, count).astype(int))


def forget() -> None:
    """Give the memory of inputs back."""
    for cache in (floats, normal, _synthetic):
        cache.cache_clear()


@functools.cache
def mnist_home() -> Path | None:
    """The directory of the MNIST files: $FASTSOFTMAX_DATA, or one beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"
    for home in (os.environ.get("FASTSOFTMAX_DATA"), beside):
        if home and any(Path(home).glob("train-images*")):
            return Path(home)
    return None


@functools.cache
def _mnist() -> tuple[Array, Array]:
    from fastsoftmax.datasets import load_mnist

    return load_mnist(mnist_home(), download=False)[0]


@functools.lru_cache(maxsize=1)
def _synthetic(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Images as sparse as MNIST (19 % of bytes are not zero), of k classes that can be learned."""
    rng = np.random.default_rng(5)
    n_own = min(n, 5000)  # then they repeat
    y = rng.integers(k, size=n_own)
    threshold = rng.choice(np.array([8, 120], np.uint8), size=(k, d), p=[0.63, 0.37])[y]
    lit = rng.integers(256, size=(n_own, d), dtype=np.uint8) < threshold
    X = rng.integers(1, 256, size=(n_own, d), dtype=np.uint8) * lit
    repeats = -(-n // n_own)
    return np.tile(X, (repeats, 1))[:n], np.tile(y, repeats)[:n]
