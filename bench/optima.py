"""The problems of the exact optimum as data: inputs, C, the gaps to reach, and how long to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from data import Array, digits, embeddings, floats, small_digits, spectra, table, words

GAPS = (1e-2, 1e-4, 1e-6)
N_DIGITS = 1437  # the training part of the embedded ones


@dataclass(frozen=True)
class Optimum:
    """min over W, b of the sum of the cross-entropies plus |W|^2 / (2 C), as scikit-learn has it."""

    name: str
    data: str  # images, small digits, embeddings, words, table or spectra
    n: int
    d: int
    k: int
    C: float = 1.0
    gaps: tuple[float, ...] = GAPS
    cap: float = 8.0  # seconds that a contender may take
    long_cap: float = (
        0.0  # those of scikit-learn's default solver, where more; it is what users have
    )
    kind: ClassVar[str] = "optimum"

    @property
    def tolerances(self) -> tuple[float, ...]:
        """Those of our fits: a loose one, for the chart, and then each gap."""
        return (1e-1, *self.gaps)

    @property
    def is_sparse(self) -> bool:
        return self.data == "words"

    def arrays(self) -> tuple[Any, Array]:
        """X (n, d), float32, dense or CSR, and labels (n,), int64."""
        if self.data == "small digits":
            X, y = small_digits()
            return np.divide(X[: self.n], 16, dtype=np.float32), y[: self.n]
        make = {
            "images": floats,
            "embeddings": embeddings,
            "words": words,
            "table": table,
            "spectra": spectra,
        }
        return make[self.data](self.n, self.d, self.k)

    def images(self) -> tuple[Array, Array]:
        """The pixels, uint8, and the labels; only of images."""
        return digits(self.n, self.d, self.k)


@dataclass(frozen=True)
class Path(Optimum):
    """The optimum for many C, or for many C and all folds but one."""

    Cs: tuple[float, ...] = ()
    n_folds: int = 0

    def fold_of_row(self) -> Array:
        """The fold of each row: contiguous fifths, say; MNIST is in random order."""
        return np.arange(self.n) * self.n_folds // self.n

    def folds(self) -> list[tuple[Array, Array]]:
        fold, rows = self.fold_of_row(), np.arange(self.n)
        return [(rows[fold != i], rows[fold == i]) for i in range(self.n_folds)]

    def n_trained(self, model: int) -> int:
        """Rows that a model is trained on; models are ordered by fold, then C."""
        if not self.n_folds:
            return self.n
        return self.n - int((self.fold_of_row() == model // len(self.Cs)).sum())

    kind: ClassVar[str] = "path"


def mnist(C: float, n: int = 60_000, **more: Any) -> Optimum:
    return Optimum(f"MNIST, {n:,} images, C={C:g}", "images", n, 784, 10, C, **more)


def grid(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(map(float, np.geomspace(low, high, count)))


FULL: list[Optimum] = [
    mnist(0.01, cap=4.0, long_cap=20.0),
    mnist(1.0, cap=15.0, long_cap=60.0),
    mnist(100.0, cap=12.0),
    Optimum("digits, C=1", "small digits", N_DIGITS, 64, 10, cap=2.0),
    Optimum("embeddings 50,000 x 768, 100 classes", "embeddings", 50_000, 768, 100, cap=6.0),
    Optimum(
        "embeddings 20,000 x 768, 1000 classes", "embeddings", 20_000, 768, 1000,
        gaps=(1e-2, 1e-4), cap=12.0, long_cap=25.0,
    ),
    Optimum("words 20,000 x 30,000 (CSR), 20 classes", "words", 20_000, 30_000, 20, cap=4.0),
    Optimum("few embeddings, 400 x 2048, 10 classes", "embeddings", 400, 2048, 10, cap=4.0),
    Optimum("spectra 200 x 5000, 5 classes", "spectra", 200, 5000, 5, cap=4.0),
    Optimum("table 300,000 x 30, 3 classes", "table", 300_000, 30, 3, cap=4.0),
]  # fmt: skip
PATHS: list[Path] = [
    Path("MNIST, 20 C from 1e-4 to 1", "images", 60_000, 784, 10, cap=240.0,
         gaps=(1e-4,), Cs=grid(1e-4, 1, 20)),
    Path("MNIST, 5 folds x 10 C from 1e-4 to 1", "images", 60_000, 784, 10, cap=450.0,
         gaps=(1e-4,), Cs=grid(1e-4, 1, 10), n_folds=5),
]  # fmt: skip
QUICK = [Optimum("digits, C=1", "small digits", N_DIGITS, 64, 10, cap=0.5)]
QUICK_PATHS = [
    Path("MNIST, 2,000 images, 3 C", "images", 2_000, 784, 10, cap=2.0,
         gaps=(1e-4,), Cs=grid(1e-3, 0.1, 3)),
]  # fmt: skip
SMALL: list[Optimum] = [
    Optimum("small images", "images", 500, 784, 10, 0.1, gaps=(1e-2,), cap=20.0),
    Optimum("small embeddings", "embeddings", 300, 32, 12, 10.0, gaps=(1e-2,), cap=20.0),
    Optimum("small words", "words", 300, 800, 5, gaps=(1e-2,), cap=20.0),
    Optimum("small table", "table", 300, 12, 3, gaps=(1e-2,), cap=20.0),
]
SMALL_PATHS = [
    Path("small path", "images", 400, 784, 10, cap=20.0, gaps=(1e-2,), Cs=(0.01, 0.1)),
    Path("small folds", "images", 400, 784, 10, cap=20.0, gaps=(1e-2,), Cs=(0.01, 0.1), n_folds=3),
]
