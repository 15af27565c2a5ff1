"""The C++ core. Private: arrays must already have the right dtype, layout and shape."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Array: TypeAlias = NDArray[Any]
_Csr: TypeAlias = tuple[_Array, _Array, _Array]  # data, indices, indptr

def supported_isas() -> list[str]: ...
def active_isa() -> str: ...
def set_active_isa(name: str) -> None: ...
def available_threads() -> int: ...
def plan_threads(n_threads: int, work_ns: float) -> int: ...
def large_output(shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Array: ...
def softmax(x: _Array, out: _Array, n_threads: int, /) -> None: ...
def log_softmax(x: _Array, out: _Array, n_threads: int, /) -> None: ...
def logsumexp(x: _Array, out: _Array, n_threads: int, /) -> None: ...

# Of plain arrays with little work, into `out` or a new array; None for others.
def softmax_of_few(x: object, out: object, n_threads: object, /) -> _Array | None: ...
def log_softmax_of_few(x: object, out: object, n_threads: object, /) -> _Array | None: ...
def logsumexp_of_few(x: object, out: object, n_threads: object, /) -> _Array | None: ...
def matmul_of_few(a: object, b: object, out: object, n_threads: object, /) -> _Array | None: ...
def softmax_columns(x: _Array, out: _Array, begin: int, end: int, n_threads: int) -> None: ...
def log_softmax_columns(x: _Array, out: _Array, begin: int, end: int, n_threads: int) -> None: ...
def logsumexp_columns(x: _Array, out: _Array, begin: int, end: int, n_threads: int) -> None: ...
def cross_entropy(
    logits: _Array,
    labels: NDArray[np.int64],
    losses: _Array,
    n_threads: int,
) -> None: ...
def matmul(a: _Array, b: _Array, out: _Array, n_threads: int, /) -> None: ...
def transpose(b: _Array, out: _Array, n_threads: int) -> None: ...
def predict_logits(
    X: _Array | _Csr, W: _Array, b: _Array, input_scale: float, out: _Array, n_threads: int, /
) -> bool: ...
def predict_probs(
    X: _Array | _Csr, W: _Array, b: _Array, input_scale: float, out: _Array, n_threads: int, /
) -> bool: ...
def predict_log_probs(
    X: _Array | _Csr, W: _Array, b: _Array, input_scale: float, out: _Array, n_threads: int, /
) -> bool: ...
def predict_class(
    X: _Array | _Csr,
    W: _Array,
    b: _Array,
    input_scale: float,
    out: NDArray[np.int64],
    n_threads: int,
    /,
) -> bool: ...

# Of plain arrays with little work, if all logits are finite; else None.
def predict_logits_of_few(
    X: object, W: object, b: object, input_scale: object, n_threads: object, /
) -> _Array | None: ...
def predict_probs_of_few(
    X: object, W: object, b: object, input_scale: object, n_threads: object, /
) -> _Array | None: ...
def predict_log_probs_of_few(
    X: object, W: object, b: object, input_scale: object, n_threads: object, /
) -> _Array | None: ...
def predict_class_of_few(
    X: object, W: object, b: object, input_scale: object, n_threads: object, /
) -> NDArray[np.int64] | None: ...
def first_nonfinite(X: _Array) -> tuple[int, int] | None: ...
def largest_size(X: _Array) -> float: ...
def fit_sgd(
    X: _Array,
    labels: NDArray[np.int64],
    sample_weight: _Array | None,
    W: _Array,
    b: _Array,
    velocity_W: _Array | None,
    velocity_b: _Array | None,
    loss_curve: NDArray[np.float64],
    *,
    learning_rate: float,
    alpha: float,
    momentum: float,
    nesterov: bool,
    shuffle: bool,
    fit_intercept: bool,
    input_scale: float,
    batch_size: int,
    first_epoch: int,
    n_epochs: int,
    seed: int,
    n_threads: int,
) -> tuple[int, bool]: ...
def epoch_permutation(seed: int, epoch: int, n: int) -> NDArray[np.int64]: ...
def fit_logistic(
    X: _Array | _Csr,
    labels: NDArray[np.int64],
    sample_weight: NDArray[np.float64] | None,
    fold_of_row: NDArray[np.int32] | None,
    penalty: NDArray[np.float64],
    held_out: NDArray[np.int32] | None,
    W: NDArray[np.float64],
    b: NDArray[np.float64],
    *,
    n_classes: int,
    fit_intercept: bool,
    input_scale: float,
    tol: float,
    max_iter: int,
    solver: str,
    warm: bool,
    seed: int,
    n_threads: int,
    callback: Callable[[int, bool, dict[str, Any]], bool] | None = None,
    shape: tuple[int, int] | None = None,
) -> dict[str, Any]: ...
def logistic_loss(
    X: _Array | _Csr,
    labels: NDArray[np.int64],
    sample_weight: NDArray[np.float64] | None,
    W: NDArray[np.float64],
    b: NDArray[np.float64],
    W_gradient: NDArray[np.float64],
    b_gradient: NDArray[np.float64],
    *,
    n_classes: int,
    input_scale: float,
    wide: bool,
    n_threads: int,
    shape: tuple[int, int] | None = None,
) -> float: ...
