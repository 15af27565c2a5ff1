"""From what users pass as X and sample_weight to what the core reads, or an error that says why not.

`check_X` does not search X for NaN: steps and predictions meet every entry anyway, and what is not finite
shows in the logits. `nonfinite_message` then says where it is. Logistic regressions ask `check_finite` first.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from . import _core
from ._arrays import (
    FLOATING_DTYPES,
    STORAGE_DTYPES,
    as_numbers,
    floating_dtype,
    readable,
    refuse_masked,
)

_Array = NDArray[Any]
_INDICES = (np.dtype(np.int32), np.dtype(np.int64))  # of CSR


def check_X(estimator: Any, X: Any, *, reset: bool, sparse: bool = False) -> _Array:
    """`X` as a 2-D array of numbers, itself if it is one.

    With `sparse`, a matrix of scipy.sparse becomes CSR that the core reads, for a fit (`reset`) with
    sorted columns.
    """
    if _accepted_as_it_is(estimator, X, reset):
        return X if type(X) is np.ndarray and X.dtype in STORAGE_DTYPES else as_numbers(X, "X")
    if sparse and not reset and _is_known_csr(estimator, X):
        return cast(_Array, X)  # SciPy has no types
    refuse_masked(X, "X")
    _refuse_text(X, "X")
    _refuse_dates(X, "X")
    array = validate_data(
        estimator,
        X,
        reset=reset,
        dtype="numeric",
        ensure_all_finite=False,
        accept_sparse="csr" if sparse else False,
    )
    if issparse(array):
        return cast(_Array, _readable_csr(array, canonical=reset))
    return as_numbers(_plain_floats(array, "X"), "X")


def _accepted_as_it_is(estimator: Any, X: Any, reset: bool) -> bool:
    """Whether `X` is an array of numbers that passes all checks unchanged; if so, the attributes are set.

    It takes 0.4 microseconds to see that. scikit-learn's checks take 52 to 370, a row's prediction 1.
    """
    if type(X) is not np.ndarray and type(X) is not np.memmap:
        return False
    if X.dtype.kind not in "fuib" or X.ndim != 2 or X.size == 0:
        return False
    known = vars(estimator)
    if reset:
        estimator.n_features_in_ = X.shape[1]
        known.pop("feature_names_in_", None)
        return True
    return X.shape[1] == known.get("n_features_in_") and "feature_names_in_" not in known


def _is_known_csr(estimator: Any, X: Any) -> bool:
    """Whether `X` is CSR that the core can predict of unchanged; it looks at the indices itself.

    It takes 3 microseconds to see that, and scikit-learn's and SciPy's checks 110.
    """
    if not (issparse(X) and X.format == "csr" and X.ndim == 2 and X.shape[0] > 0):
        return False
    known = vars(estimator)
    if X.shape[1] != known.get("n_features_in_") or "feature_names_in_" in known:
        return False
    return _are_readable(X) and len(X.indptr) == X.shape[0] + 1 and X.indptr[0] == 0


def _are_readable(X: Any) -> bool:
    """Whether the core reads the arrays of CSR as they are."""
    arrays = ((X.data, FLOATING_DTYPES), (X.indices, _INDICES), (X.indptr, _INDICES))
    return all(
        array.dtype in dtypes and array.flags.c_contiguous and array.flags.aligned
        for array, dtypes in arrays
    )


def _readable_csr(X: Any, *, canonical: bool) -> Any:
    X = copy.copy(X)  # of which the check changes the arrays, but not what is in them
    X.check_format(full_check=True)  # which names what is wrong with them
    dtype = floating_dtype(as_numbers(X.data[:0], "X").dtype)
    if X.dtype != dtype:
        X = X.astype(dtype)
    if canonical and not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    if not _are_readable(X):
        X.data, X.indices, X.indptr = (
            np.require(array, requirements=["C", "A"]) for array in (X.data, X.indices, X.indptr)
        )
    return X


def _refuse_text(x: Any, name: str) -> None:
    """Refuse text, which NumPy would read as numbers if it finds it in an object array."""
    for objects in _objects_in(x):
        # The types of 600,000 numbers take 20 ms, to ask each number 140.
        kinds = {*map(type, objects.flat)}
        texts = tuple(kind for kind in kinds if issubclass(kind, str | bytes))
        if texts:
            value = next(value for value in objects.flat if isinstance(value, texts))
            raise ValueError(f"{name} must be of numbers, but contains the text {value!r}")


def _objects_in(x: Any) -> Iterator[_Array]:
    """The objects in an array, or in a frame or a series of pandas.

    Of a frame it is only the columns that hold objects: one array of all its columns would be of
    objects for a single bool among floats, and 30 times the time of a prediction.
    """
    if isinstance(x, np.ndarray):
        if x.dtype == object:
            yield x
    elif hasattr(x, "iloc"):
        kinds = [dtype.kind for dtype in ([x.dtype] if x.ndim == 1 else x.dtypes)]
        if "O" in kinds:
            at = [i for i, kind in enumerate(kinds) if kind == "O"]
            yield np.asarray(x if x.ndim == 1 else x.iloc[:, at], dtype=object)


def _refuse_dates(x: Any, name: str) -> None:
    """Refuse dates and times in a frame, of which polars would make floats and NumPy an error."""
    columns = getattr(x, "columns", None)
    dtypes = getattr(x, "dtypes", None)
    if columns is None or dtypes is None or getattr(x, "ndim", 2) != 2:
        return
    for column, dtype in zip(columns, dtypes, strict=False):
        is_temporal = getattr(dtype, "is_temporal", None)  # polars's
        if (is_temporal and is_temporal()) or getattr(dtype, "kind", "") in ("M", "m"):
            raise TypeError(f"{name} must be of real numbers, but column {column!r} is of {dtype}")


def _plain_floats(array: _Array, name: str) -> _Array:
    """`array`, but objects as float64, None as NaN; a TypeError that names what is no number."""
    if array.dtype != object:
        return array
    _refuse_text(array, name)
    with suppress(TypeError, ValueError, OverflowError):
        return array.astype(np.float64)
    for position, value in np.ndenumerate(array):
        try:
            float(value)
        except (TypeError, ValueError, OverflowError):
            at = ", ".join(map(str, position))
            raise TypeError(
                f"{name} must be of real numbers, but {name}[{at}] is {described(value):.80}"
            ) from None
    raise TypeError(f"{name} must be of real numbers, not of dtype {array.dtype}")


def described(value: Any) -> str:
    """A value, for a message."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    return f"{value!r} ({type(value).__name__})"


def nonfinite_message(X: Any) -> str | None:
    """Say where the first NaN or infinity of `X`, dense or CSR, is; None if it has none."""
    if issparse(X):
        bad = np.flatnonzero(~np.isfinite(X.data[: X.indptr[-1]]))[:1]  # there may be room for more
        if not bad.size:
            return None
        value, column = X.data[bad[0]], X.indices[bad[0]]
        row = np.searchsorted(X.indptr, bad[0], side="right") - 1
    else:
        position = _core.first_nonfinite(readable(X))
        if position is None:
            return None
        row, column = position
        value = X[row, column]
    what = "NaN" if np.isnan(value) else "infinity"
    return f"X contains {what} at row {row}, column {column}"


def check_finite(X: Any) -> float:
    """Refuse an `X`, dense or CSR, with NaN or infinity; of float32 or bytes tell the largest size."""
    if X.dtype == np.uint8:
        return 255.0
    if X.dtype != np.float32:
        if message := nonfinite_message(X):
            raise ValueError(message)
        return math.inf
    entries = X.data[np.newaxis, : X.indptr[-1]] if issparse(X) else X
    largest = _core.largest_size(entries) if entries.size else 0.0
    if not math.isfinite(largest):
        raise ValueError(nonfinite_message(X))
    return largest


def check_sample_weight(
    sample_weight: ArrayLike | None, n_samples: int, dtype: np.dtype[Any], *, rescale: bool
) -> _Array | None:
    """Check the weights; `rescale` makes their mean one."""
    if sample_weight is None:
        return None
    refuse_masked(sample_weight, "sample_weight")
    if issparse(sample_weight):
        raise TypeError("sample_weight must be an array, not a sparse matrix")
    weights = _plain_floats(np.asarray(sample_weight), "sample_weight")
    weights = as_numbers(weights, "sample_weight").astype(np.float64)
    if weights.ndim == 0:
        weights = np.full(n_samples, weights)
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, not of shape {weights.shape}")
    if weights.shape != (n_samples,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(n_samples,)}")
    for bad, what in ((~np.isfinite(weights), "not finite"), (weights < 0, "negative")):
        if bad.any():
            position = int(np.flatnonzero(bad)[0])
            raise ValueError(f"sample_weight[{position}] is {weights[position]}, which is {what}")
    largest = weights.max(initial=0.0)
    if largest == 0:
        raise ValueError("sample_weight is zero for every sample")
    if rescale:
        with np.errstate(under="ignore"):
            # Where their sum might not be finite, or their mean lose digits.
            if not 1e-290 < largest <= np.finfo(np.float64).max / n_samples:
                weights /= largest
            weights /= weights.mean()
    elif largest > np.finfo(dtype).max / n_samples:
        raise ValueError(
            f"sample_weight is too large, up to {largest:g}: the sum of {n_samples} is not finite "
            f"in {dtype}"
        )
    elif largest < np.finfo(dtype).tiny:
        raise ValueError(
            f"sample_weight is too small, at most {largest:g}: {dtype} has few digits for it, or none"
        )
    with np.errstate(under="ignore"):  # of weights that are nothing beside others
        return weights.astype(dtype)
