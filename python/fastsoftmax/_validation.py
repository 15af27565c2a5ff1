"""From what users pass as X, y and sample_weight to what the core reads, or an error that says why not.

`check_X` does not search X for NaN: steps and predictions meet every entry anyway, and what is not finite
shows in the logits. `nonfinite_message` then says where it is. Logistic regressions ask `check_finite` first.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_consistent_length, column_or_1d, validate_data

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
        return X  # type: ignore[no-any-return]
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
    """Whether `X` is a plain array that passes all checks unchanged; if so, the attributes are set.

    It takes 0.4 microseconds to see that. scikit-learn's checks take 52, a row's prediction 1.
    """
    if type(X) is not np.ndarray or X.dtype not in STORAGE_DTYPES or X.ndim != 2 or X.size == 0:
        return False
    flags = X.flags
    if not (flags.c_contiguous and flags.aligned):
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
                f"{name} must be of real numbers, but {name}[{at}] is {_name(value):.80}"
            ) from None
    raise TypeError(f"{name} must be of real numbers, not of dtype {array.dtype}")


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


def check_labels(estimator: Any, X: _Array, y: Any) -> _Array:
    """`y` as a 1-D array of labels of one type, as many as `X` has rows."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )
    refuse_masked(y, "y")
    if type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "iuf" and len(y) == X.shape[0]:
        return uniform_labels(y)  # what the checks below, of 0.04 ms, would say, or where it is
    labels = column_or_1d(_plain_integers(y), warn=True)
    check_consistent_length(X, labels)
    return uniform_labels(_exact(y, labels))


def _plain_integers(y: Any) -> Any:
    """`y`, but pandas' nullable integers and booleans as NumPy's, not as floats of 53 bits.

    Where some are missing, `y` itself, for others to complain of.
    """
    column = y.iloc[:, 0] if getattr(y, "ndim", 1) == 2 and hasattr(y, "iloc") else y
    dtype = getattr(getattr(column, "dtype", None), "numpy_dtype", None)
    if dtype is not None and dtype.kind in "biu":
        with suppress(ValueError, TypeError):
            return y.to_numpy(dtype=dtype)
    return y


def as_classes(classes: ArrayLike) -> _Array:
    """The sorted labels of `classes`, each once."""
    refuse_masked(classes, "classes")
    labels = np.asarray(classes)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"classes must be a 1-D array of labels, not of shape {labels.shape}")
    return np.unique(uniform_labels(_exact(classes, labels, "classes"), "classes"))


def plain_labels(y: Any) -> Any:
    """`y`, but what metrics refuse or round as they want it.

    That is numbers in an array of objects, StringDType, nullable integers, and lists of what is not
    quite a str.
    """
    refuse_masked(y, "y")
    y = _plain_integers(y)
    labels = np.asarray(y)
    if labels.ndim == 1:
        labels = _exact(y, labels)
    if labels.dtype.kind in "OT" and labels.ndim == 1:
        return uniform_labels(labels)
    return y if hasattr(y, "dtype") or isinstance(y, list | tuple) else labels


def _exact(given: Any, labels: _Array, name: str = "y") -> _Array:
    """The labels of a list as objects, where NumPy has made others of them.

    That is text of the members of an enumeration, or of numbers beside text, and floats of large
    integers.
    """
    if hasattr(given, "dtype"):
        return labels
    is_text = labels.dtype.kind == "U"
    if not is_text and not (labels.dtype.kind == "f" and (np.abs(labels) >= 2**53).any()):
        return labels
    objects = np.asarray(given, dtype=object).reshape(len(labels))
    return labels if is_text and all(type(label) is str for label in objects) else objects


def _narrow_labels(labels: _Array, name: str) -> _Array:
    """Labels of long double, which no file takes, as float64."""
    with np.errstate(over="ignore"):
        narrow = labels.astype(np.float64)
    different = np.flatnonzero(narrow != labels)
    if different.size:
        raise ValueError(f"{name} contains {labels[different[0]]}, which float64 cannot hold")
    return narrow


def uniform_labels(labels: _Array, name: str = "y") -> _Array:
    """Labels of bool, integers, whole floats or text; a ValueError for anything else or a mixture."""
    kind = labels.dtype.kind
    if kind in "biuU":
        return labels
    if kind == "f":
        bad = np.flatnonzero(~np.isfinite(labels))
        if bad.size:
            raise ValueError(f"{name} contains {_name(labels[bad[0]])} at position {bad[0]}")
        if labels.dtype.itemsize > 8:
            labels = _narrow_labels(labels, name)
        # scikit-learn's scores take no larger ones, either.
        wide = labels.astype(np.float64)  # float16 does not hold the limit
        bad = np.flatnonzero((wide != np.trunc(wide)) | (np.abs(wide) >= 2.0**63))
        if bad.size:
            raise ValueError(
                f"Unknown label type: {name} contains {labels[bad[0]]} at position {bad[0]}; "
                f"classes are discrete, floats for them whole and below 2**63 in size"
            )
        return labels
    if kind in "OT":
        return _uniform_objects(labels, name)
    raise ValueError(f"Unknown label type: {name} must not be of dtype {labels.dtype}")


# What the elements of an object array may be, and the dtype that holds such labels.
_FAMILIES = (
    (str, np.dtype(object)),
    (bool | np.bool_, np.dtype(bool)),
    (numbers.Integral, np.dtype(np.int64)),
    (numbers.Real, np.dtype(np.float64)),
)


def _uniform_objects(labels: _Array, name: str) -> _Array:
    if not len(labels):
        return labels
    families = [row for row in _FAMILIES if isinstance(labels[0], row[0])]
    if not families:
        raise ValueError(f"Unknown label type: {name} contains {_name(labels[0])} at position 0")
    family, dtype = families[0]
    for position, label in enumerate(labels):
        if not isinstance(label, family):
            raise ValueError(
                f"{name} mixes labels of different types: {_name(labels[0])} at position 0, "
                f"{_name(label)} at position {position}"
            )
    if dtype == object:
        return labels.astype(object)
    for integers in (dtype, np.dtype(np.uint64)):
        with suppress(OverflowError):
            return uniform_labels(labels.astype(integers), name)
    raise ValueError(f"{name} contains integers that no type of 64 bits holds all of; use text")


def _name(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinity"
    return f"{value!r} ({type(value).__name__})"


def encode(labels: _Array) -> tuple[_Array, NDArray[np.int64]]:
    """The sorted classes, and for each label the index of its class."""
    if labels.dtype.kind in "iu":
        low, high = int(labels.min()), int(labels.max())
        # Counting takes 0.2 ms for MNIST's labels, sorting 2 ms: a tenth of an epoch.
        if high - low < 2 * len(labels) and low >= -(2**62) and high < 2**62:
            offsets = np.subtract(labels, low, dtype=np.int64, casting="unsafe")
            present = np.bincount(offsets) > 0
            classes = (np.flatnonzero(present) + low).astype(labels.dtype)
            return classes, offsets if present.all() else (np.cumsum(present) - 1)[offsets]
    classes, indices = np.unique(labels, return_inverse=True)
    return classes, indices.astype(np.int64, copy=False)


def check_two_classes(classes: _Array, name: str = "y") -> int:
    """The number of classes, of which a classifier needs two."""
    if len(classes) < 2:
        raise ValueError(
            f"{name} has one class only, {classes.tolist()[0]!r}; a classifier needs at least two"
        )
    return len(classes)


def first_few(labels: Sequence[Any] | _Array) -> str:
    """The first labels of some, for a message."""
    return ", ".join(map(str, labels[:5])) + (", .." if len(labels) > 5 else "")


def encode_known(labels: _Array, classes: _Array) -> NDArray[np.int64]:
    """For each label the index of its class; a ValueError that names those that are no class."""
    if (labels.dtype.kind in "biuf") != (classes.dtype.kind in "biuf"):
        label, known = labels[:1].tolist()[0], classes.tolist()[0]
        raise ValueError(f"y has labels like {label!r}, but the classes are like {known!r}")
    found, found_at = encode(labels)
    if np.result_type(found, classes).kind == "f" and found.dtype.kind != classes.dtype.kind:
        # Of integers NumPy would make float64, in which large ones are the same.
        found, classes = found.astype(object), classes.astype(object)
    indices = np.minimum(np.searchsorted(classes, found), len(classes) - 1)
    unknown = found[classes[indices] != found]
    if unknown.size:
        raise ValueError(f"y contains labels that are not among the classes: {first_few(unknown)}")
    return indices.astype(np.int64, copy=False)[found_at]


def check_number(
    value: object,
    name: str,
    *,
    integer: bool = False,
    minimum: float = 0.0,
    exclusive: bool = False,
    below: float = math.inf,
    limit: str = "finite",
) -> Any:
    """A hyper-parameter as int or float: in [minimum, below), or above minimum if `exclusive`."""
    if type(value) is float and not integer and minimum < value < below:
        return value  # most of them, without asking an abstract class
    kind = numbers.Integral if integer else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool | np.bool_):
        expected = "an integer" if integer else "a number"
        raise TypeError(f"{name} must be {expected}, not {value!r}")
    number: float = math.inf
    with suppress(OverflowError):  # of an integer above all floats
        number = int(value) if isinstance(value, numbers.Integral) and integer else float(value)
    if not (number > minimum if exclusive else number >= minimum) or not number < below:
        above = f"> {minimum:g}" if exclusive else f">= {minimum:g}"
        limit = limit if below == math.inf else f"< {below:g}"
        raise ValueError(f"{name} must be {above} and {limit}, not {value!r}")
    return number


def check_scale(value: float, name: str, dtype: np.dtype[Any]) -> None:
    """Refuse a factor that the arithmetic of `dtype` would round to zero or infinity."""
    limits = np.finfo(dtype)
    if not float(limits.tiny) <= value <= float(limits.max):
        raise ValueError(f"{name} {value} is out of the range of {dtype}")


def check_verbose(value: object) -> int:
    """How much a fit is to print: a number, or True for some."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return int(check_number(value, "verbose", integer=True))


def check_bool(value: object, name: str) -> bool:
    """A hyper-parameter that is true or false."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be a bool, not {value!r}")
    return bool(value)
