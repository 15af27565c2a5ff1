"""From what users pass as y and classes to labels of one type and the indices of their classes."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._arrays import refuse_masked
from ._validation import described

_Array = NDArray[Any]


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
            raise ValueError(f"{name} contains {described(labels[bad[0]])} at position {bad[0]}")
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
        raise ValueError(
            f"Unknown label type: {name} contains {described(labels[0])} at position 0"
        )
    family, dtype = families[0]
    for position, label in enumerate(labels):
        if not isinstance(label, family):
            raise ValueError(
                f"{name} mixes labels of different types: {described(labels[0])} at position 0, "
                f"{described(label)} at position {position}"
            )
    if dtype == object:
        return labels.astype(object)
    for integers in (dtype, np.dtype(np.uint64)):
        with suppress(OverflowError):
            return uniform_labels(labels.astype(integers), name)
    raise ValueError(f"{name} contains integers that no type of 64 bits holds all of; use text")


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


def _fits_int64(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize < 8)


def _are_consecutive(classes: _Array) -> bool:
    """Whether classes are whole numbers one after the other, of a dtype that int64 holds."""
    if not _fits_int64(classes.dtype):
        return False
    first, last = int(classes[0]), int(classes[-1])
    count = len(classes)
    return last - first == count - 1 and bool((classes == np.arange(count) + first).all())


def encode_known(labels: _Array, classes: _Array) -> NDArray[np.int64]:
    """For each label the index of its class; a ValueError that names those that are no class."""
    if (labels.dtype.kind in "biuf") != (classes.dtype.kind in "biuf"):
        label, known = labels[:1].tolist()[0], classes.tolist()[0]
        raise ValueError(f"y has labels like {label!r}, but the classes are like {known!r}")
    if _fits_int64(labels.dtype) and _are_consecutive(classes):
        # A few rows of partial_fit are encoded in 21 microseconds, not 53 (Zen 1).
        indices: NDArray[np.int64] = np.subtract(
            labels, classes[0], dtype=np.int64, casting="unsafe"
        )
        if (indices.view(np.uint64) < len(classes)).all():
            return indices
    found, found_at = encode(labels)
    if np.result_type(found, classes).kind == "f" and found.dtype.kind != classes.dtype.kind:
        # Of integers NumPy would make float64, in which large ones are the same.
        found, classes = found.astype(object), classes.astype(object)
    indices = np.minimum(np.searchsorted(classes, found), len(classes) - 1)
    unknown = found[classes[indices] != found]
    if unknown.size:
        raise ValueError(f"y contains labels that are not among the classes: {first_few(unknown)}")
    return indices.astype(np.int64, copy=False)[found_at]
