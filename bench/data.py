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


def small_digits() -> tuple[Array, Array]:
    """The embedded digits, 8 x 8 pixels from 0 to 16, uint8."""
    from fastsoftmax.datasets import load_digits

    X, y = load_digits()[0]
    return X, y.astype(np.int64)


@functools.lru_cache(maxsize=1)
def embeddings(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Rows of length one, as vision and text models give: clusters, in correlated features."""
    rng = np.random.default_rng(7)
    y = rng.integers(k, size=n)
    # The spectrum of the features falls as 1 / sqrt(rank), and 30 % of it is common to all of them.
    mix = rng.standard_normal((d, d), dtype=np.float32) / np.sqrt(d, dtype=np.float32)
    mix *= (1 / np.sqrt(np.arange(1, d + 1, dtype=np.float32)))[:, None]
    centers = rng.standard_normal((k, d), dtype=np.float32)
    X = 0.6 * centers[y] + rng.standard_normal((n, d), dtype=np.float32)
    X = X @ mix + np.float32(0.3) * mix.sum(axis=0)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, y


@functools.lru_cache(maxsize=1)
def words(n: int, d: int, k: int) -> tuple[Any, Array]:
    """Documents as CSR rows of length one: some 80 words each, of Zipf's frequencies, by topic."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(8)
    y = rng.integers(k, size=n)
    lengths = rng.poisson(80, size=n) + 1
    document = np.repeat(np.arange(n), lengths)
    rank = np.minimum(np.exp(rng.uniform(0, np.log(d), size=len(document))).astype(np.int64), d) - 1
    # A third of the words is of the document's topic: another order of the same frequencies.
    own = rng.random(len(document)) < 1 / 3
    shifts = rng.integers(d, size=k)
    word = np.where(own, (rank * 31 + shifts[y[document]]) % d, rank)
    idf = np.log(1 + n / np.bincount(word, minlength=d).clip(1)).astype(np.float32)
    X = csr_array((idf[word], (document, word)), shape=(n, d))
    X.sum_duplicates()
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    X.data /= np.repeat(np.sqrt(X.multiply(X).sum(axis=1)), np.diff(X.indptr))
    return X, y


@functools.lru_cache(maxsize=1)
def table(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Rows of a standardised table: correlated numbers, skewed ones, and columns of zeros and ones."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((n, d), dtype=np.float32)
    X += rng.standard_normal((n, 1), dtype=np.float32)
    third = d // 3
    X[:, :third] = np.exp(X[:, :third])
    X[:, third : 2 * third] = X[:, third : 2 * third] > rng.uniform(0, 2, third)
    X -= X.mean(axis=0)
    X /= X.std(axis=0)
    logits = X @ rng.standard_normal((d, k)).astype(np.float32) + rng.gumbel(0, 4, (n, k))
    return X, logits.argmax(axis=1)


@functools.lru_cache(maxsize=1)
def spectra(n: int, d: int, k: int) -> tuple[Array, Array]:
    """Rows of a spectrometer: mixtures of 20 substances of a few lines each, and 1 % of noise."""
    rng = np.random.default_rng(10)
    centres, widths = rng.uniform(0, d, (20, 8)), d * rng.uniform(0.005, 0.05, (20, 8))
    at = np.arange(d)[:, None, None]
    substances = np.exp(-(((at - centres) / widths) ** 2) / 2).sum(axis=2).T
    shares = rng.gamma(2, size=(n, 20))
    X = shares @ substances
    X += 0.01 * X.std() * rng.standard_normal((n, d))
    logits = (shares - 2) @ rng.standard_normal((20, k)) + rng.gumbel(0, 1, (n, k))
    return (X / X.std()).astype(np.float32), logits.argmax(axis=1)


def some_rows(n: int, width: int) -> Array:
    """Up to 1000 row indices, fewer of wide rows, the first and the last among them."""
    count = min(n, 1000, max(10, 1_000_000 // width))
    return np.unique(np.linspace(0, n - 1, count).astype(int))


def forget() -> None:
    """Give the memory of inputs back."""
    for cache in (floats, normal, embeddings, words, table, spectra, _synthetic):
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
    y[:k] = np.arange(k)[:n_own]  # every class at least once
    threshold = rng.choice(np.array([8, 120], np.uint8), size=(k, d), p=[0.63, 0.37])[y]
    lit = rng.integers(256, size=(n_own, d), dtype=np.uint8) < threshold
    X = rng.integers(1, 256, size=(n_own, d), dtype=np.uint8) * lit
    repeats = -(-n // n_own)
    return np.tile(X, (repeats, 1))[:n], np.tile(y, repeats)[:n]
