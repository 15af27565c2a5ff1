"""The workloads as data: shapes, and the check that every result must pass.

Nothing here knows a library or a clock. Each problem has a name, a kind, the work in units of
`unit`, the arithmetic and the memory traffic that it cannot do without, inputs, `sample` (the part
of a result that is checked) and `check` (against float64).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from data import Array, digits, floats, normal, some_rows, words
from modes import reads_bytes
from reference import distance, quality, softmax, trained

BATCHES = (1, 10, 32, 100, 256, 1024, 8192)
EPS = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Epoch:
    """Training of softmax regression from weights that are zero: shuffled mini-batches, plain SGD.

    A library's callable trains and returns (W, b) of shapes (d, k) and (k,).
    """

    name: str
    n: int = 60_000
    d: int = 784
    k: int = 10
    batch: int = 100
    epochs: int = 1
    learning_rate: float = 0.01
    few: int = 0  # modes that are declared slow train on the first so many rows; 0: on all
    kind: ClassVar[str] = "epoch"
    unit: ClassVar[str] = "images/s"

    @property
    def work(self) -> float:
        return self.n * self.epochs

    @property
    def flops(self) -> float:
        return 4.0 * self.work * self.d * self.k  # a multiply-add forward and one backward

    def traffic(self, mode: str) -> dict[str, float]:
        """Bytes that no implementation can avoid: X is read once."""
        return {"read": self.work * self.d * (1 if reads_bytes(mode) else 4)}

    def shortened(self) -> Epoch:
        return replace(self, n=self.few) if 0 < self.few < self.n else self

    def images(self) -> tuple[Array, Array]:
        """Pixels (n, d), uint8, and labels (n,), int64."""
        return digits(self.n, self.d, self.k)

    def floats(self) -> tuple[Array, Array]:
        """Pixels / 255, float32, and labels."""
        return floats(self.n, self.d, self.k)

    def sample(self, result: Any) -> tuple[Array, Array]:
        W, b = result
        return np.asarray(W).copy(), np.asarray(b).copy()

    def check(self, sample: tuple[Array, Array]) -> None:
        """Weights, loss and accuracy must be the reference's, up to what another shuffle changes.

        A mean of three shuffles is nearer to each of them than to a fourth by sqrt(2), and of W's
        many numbers the distance hardly varies: twice that finds 4 % of MNIST left out, or the
        learning rate 5 % low, in batches of 100. Of b's few numbers it varies more.
        """
        W, b = sample
        assert W.shape == (self.d, self.k), W.shape
        assert b.shape == (self.k,), b.shape
        expected = trained(self)
        rounding = 1e-4  # of float32 in sums over thousands of steps
        for name, found, mean, bound in (
            ("W", W, expected.W, rounding + 2 * np.sqrt(2) * expected.weight_spread),
            ("b", b, expected.b, rounding + min(0.8, 4 * expected.intercept_spread)),
        ):
            far = distance(found, mean)
            text = f"{self.name}: {name} is {far:.4f} of its norm from the reference's"
            assert far <= bound, f"{text}, another shuffle at most {bound:.4f}"
        gain, accuracy = quality(self, W, b)
        expected_gain, expected_accuracy = expected.quality
        few_steps = 0.15 if self.k > 10 or self.n < 5000 else 0.05
        text = f"{self.name}: loss fell by {gain:.4f}, {expected_gain:.4f} in the reference"
        assert abs(gain - expected_gain) <= few_steps * expected_gain, text
        text = f"{self.name}: accuracy {accuracy:.4f}, {expected_accuracy:.4f} in the reference"
        assert accuracy >= expected_accuracy - few_steps, text


@dataclass(frozen=True)
class Softmax:
    """Softmax over the rows of a float32 array (axis -1), or over its columns (axis 0)."""

    rows: int
    columns: int
    axis: int = -1
    kind: ClassVar[str] = "softmax"
    unit: ClassVar[str] = "elements/s"
    flops: ClassVar[float] = 0.0  # memory is the limit

    @property
    def name(self) -> str:
        return f"softmax {self.rows}x{self.columns}{', axis 0' if self.axis == 0 else ''}"

    @property
    def work(self) -> float:
        return self.rows * self.columns

    def traffic(self, mode: str) -> dict[str, float]:
        return {"copy": 8 * self.work}

    def inputs(self) -> Array:
        return normal(0, self.rows, self.columns, scale=3.0)

    def sample(self, result: Any) -> Array:
        rows = np.asarray(result) if self.axis else np.asarray(result).T
        return np.array(rows[some_rows(*rows.shape)])

    def check(self, sample: Array) -> None:
        expected = softmax(self.sample(self.inputs()).astype(np.float64))
        # The argument of exp costs up to 20 eps for |x| <= 20, and the rounding of a sum in some
        # vector lanes grows as the square root of its length: 34 eps were seen for 50,000 columns.
        bound = (32 + np.sqrt(expected.shape[1])) * EPS
        assert sample.shape == expected.shape, sample.shape
        error = np.max(np.abs(sample - expected) / expected)
        assert error <= bound, f"{self.name}: relative error {error:.1e} exceeds {bound:.1e}"


@dataclass(frozen=True)
class Matmul:
    """float32 (m, inner) times (inner, n); the first lies in memory as its transpose if so said."""

    m: int
    inner: int
    n: int
    transposed: bool = False
    kind: ClassVar[str] = "matmul"
    unit: ClassVar[str] = "multiply-adds/s"

    @property
    def name(self) -> str:
        return f"matmul {self.m}x{self.inner}x{self.n}{', transposed' if self.transposed else ''}"

    @property
    def work(self) -> float:
        return self.m * self.inner * self.n

    @property
    def flops(self) -> float:
        return 2.0 * self.work

    def traffic(self, mode: str) -> dict[str, float]:
        return {"read": 4.0 * (self.m * self.inner + self.inner * self.n)}

    def stored(self) -> tuple[Array, Array]:
        """As they lie in memory, row after row."""
        shape = (self.inner, self.m) if self.transposed else (self.m, self.inner)
        return normal(1, *shape), normal(2, self.inner, self.n)

    def inputs(self) -> tuple[Array, Array]:
        a, b = self.stored()
        return a.T if self.transposed else a, b

    def sample(self, result: Any) -> Array:
        return np.array(np.asarray(result)[some_rows(self.m, self.n)])

    def check(self, sample: Array) -> None:
        a, b = self.inputs()
        a, b = a[some_rows(self.m, self.n)].astype(np.float64), b.astype(np.float64)
        # Rounding of a sum in any order: at most inner * eps times the sum of magnitudes; in
        # practice its square root, of which this leaves a multiple.
        bound = 4 * np.sqrt(self.inner) * EPS * (np.abs(a) @ np.abs(b))
        assert sample.shape == bound.shape, sample.shape
        assert (np.abs(sample - a @ b) <= bound).all(), f"{self.name}: wrong product"


@dataclass(frozen=True)
class _Predict:
    """The most likely class of each row, from given weights."""

    n: int

    @property
    def work(self) -> float:
        return self.n

    def logits(self) -> Array:
        """float64 (n, k)."""
        raise NotImplementedError

    def sample(self, result: Any) -> Array:
        return np.asarray(result).flatten()

    def check(self, sample: Array) -> None:
        logits = self.logits()
        assert sample.shape == (self.n,), sample.shape
        assert sample.dtype.kind in "iu", sample.dtype
        assert sample.min() >= 0 and sample.max() < logits.shape[1], f"{self}: no such class"  # noqa: PT018
        chosen = logits[np.arange(self.n), sample]
        # Of two classes whose logits are equal up to rounding either may win.
        assert (chosen >= logits.max(axis=1) - 1e-4).all(), f"{self}: wrong classes"


@dataclass(frozen=True)
class Predict(_Predict):
    """Of images."""

    d: int = 784
    k: int = 10
    kind: ClassVar[str] = "predict"
    unit: ClassVar[str] = "rows/s"

    @property
    def name(self) -> str:
        return f"predict {self.n} row{'s' * (self.n > 1)}"

    @property
    def flops(self) -> float:
        return 2.0 * self.n * self.d * self.k

    def traffic(self, mode: str) -> dict[str, float]:
        return {"read": self.n * self.d * (1.0 if reads_bytes(mode) else 4.0)}

    def images(self) -> Array:
        return digits(self.n, self.d, self.k)[0]

    def floats(self) -> Array:
        return floats(self.n, self.d, self.k)[0]

    def model(self) -> tuple[Array, Array]:
        """W (d, k) and b (k,), float32."""
        return normal(3, self.d, self.k), normal(4, 1, self.k)[0]

    def logits(self) -> Array:
        W, b = self.model()
        return np.asarray(self.images() / 255.0 @ W.astype(np.float64) + b)


@dataclass(frozen=True)
class PredictTexts(_Predict):
    """Of texts, rows of CSR."""

    d: int = 30_000
    k: int = 20
    kind: ClassVar[str] = "predict texts"
    unit: ClassVar[str] = "texts/s"

    @property
    def name(self) -> str:
        return f"predict {self.n} text{'s' * (self.n > 1)} of {self.k} classes"

    @property
    def flops(self) -> float:
        return 2.0 * self.texts().nnz * self.k

    def traffic(self, mode: str) -> dict[str, float]:
        return {"read": 8.0 * self.texts().nnz}  # a number and its column

    def texts(self) -> Any:
        """float32 CSR (n, d)."""
        return words(self.n, self.d, self.k)[0]

    def model(self) -> tuple[Array, Array]:
        """W (k, d) and b (k,), float32."""
        return normal(3, self.k, self.d), normal(4, 1, self.k)[0]

    def logits(self) -> Array:
        W, b = self.model()
        return np.asarray(self.texts().astype(np.float64) @ W.T + b)


@dataclass(frozen=True)
class Convert:
    """What a user of other libraries does first: float32 pixels / 255, labels as one-hot rows."""

    n: int = 60_000
    d: int = 784
    k: int = 10
    kind: ClassVar[str] = "convert"
    unit: ClassVar[str] = "images/s"
    flops: ClassVar[float] = 0.0

    @property
    def name(self) -> str:
        return f"conversion of {self.n} images"

    @property
    def work(self) -> float:
        return self.n

    def traffic(self, mode: str) -> dict[str, float]:
        return {"copy": 5.0 * self.n * self.d}

    def images(self) -> tuple[Array, Array]:
        return digits(self.n, self.d, self.k)

    def sample(self, result: Any) -> tuple[Array, Array]:
        X, Y = result
        rows = some_rows(self.n, self.d)
        return np.array(np.asarray(X)[rows]), np.array(np.asarray(Y)[rows])

    def check(self, sample: tuple[Array, Array]) -> None:
        (X, y), rows = self.images(), some_rows(self.n, self.d)
        np.testing.assert_allclose(sample[0], X[rows] / 255.0, rtol=2 * EPS)
        np.testing.assert_array_equal(sample[1], np.eye(self.k)[y[rows]])


Problem = Epoch | Softmax | Matmul | Predict | PredictTexts | Convert


def tutorial(batch: int = 100) -> Epoch:
    """One epoch of the tutorial's program; slow peers take 600 steps of the smallest batches."""
    few = {1: 2_000, 10: 6_000}.get(batch, 0)
    return Epoch(f"MNIST, batch {batch}", batch=batch, few=few)


FULL: dict[str, list[Problem]] = {
    "epoch": [*map(tutorial, BATCHES), Convert()],
    "kernels": [
        *(Softmax(*shape) for shape in ((60_000, 10), (10_000, 1000), (1000, 50_000))),
        *(Softmax(*shape, axis=0) for shape in ((10, 60_000), (1024, 1024))),
        *(Matmul(*s) for s in ((100, 784, 10), (60_000, 784, 10), (4096, 768, 1000))),
        Matmul(1024, 1024, 1024),
        Matmul(784, 60_000, 10, transposed=True),
    ],
    "inference": [
        *map(Predict, (1, 100, 10_000)),
        *map(PredictTexts, (1, 20_000)),
        PredictTexts(20_000, k=2),
    ],
}
QUICK = FULL | {
    "epoch": [
        replace(tutorial(), name="MNIST, 5,000 images, batch 100", n=5_000),
        Convert(5_000),
    ],
    "kernels": [
        *(Softmax(*shape) for shape in ((60_000, 10), (2000, 1000))),
        Softmax(10, 60_000, axis=0),
        *(Matmul(*s) for s in ((100, 784, 10), (6000, 784, 10), (1000, 768, 1000))),
    ],
    "inference": [Predict(1), Predict(1000), PredictTexts(5000)],
}
SMALL: dict[str, list[Problem]] = {
    "epoch": [
        *(Epoch(f"small, batch {b}", n=1000, batch=b, learning_rate=0.05) for b in (1, 32, 100)),
        Epoch("small, all in one batch", n=1000, batch=8192, learning_rate=0.05),
        Convert(n=200),
    ],
    "kernels": [
        *(Softmax(*shape) for shape in ((600, 10), (100, 1000), (10, 50_000))),
        *(Softmax(*shape, axis=0) for shape in ((10, 600), (100, 70))),
        *(Matmul(*s) for s in ((100, 784, 10), (600, 784, 10), (64, 96, 100), (128, 128, 128))),
        *(Matmul(*s, transposed=True) for s in ((784, 600, 10), (64, 96, 100))),
    ],
    "inference": [Predict(1), Predict(100), PredictTexts(100, k=3), PredictTexts(300, k=2)],
}
