"""What arrays and thread counts the core can take, and how others are brought there. NumPy only."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core

# The dtypes that the core reads as they are.
FLOATING_DTYPES = _FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
STORAGE_DTYPES = (*FLOATING_DTYPES, np.dtype(np.uint8))

_SHORT_WORK, _SLICE_WORK, _COPIED = 10**9, 4 * 10**9, 1 << 22

# Of which a thread copies 64 rows at once: 4 MB of float64.
_MOST_COLUMNS = 8192

# Products that take as long as to read a number from memory, and as an exponential.
_READ, _EXPONENTIAL = 20, 20

# Bytes from which on a result is worth the core's memory: what NumPy frees below it, the C library
# keeps.
_LARGE = 1 << 25


def floating_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The arithmetic for a dtype: float32 where that holds all its values, else float64."""
    wide = np.result_type(dtype.newbyteorder("="), np.float32)
    return np.dtype(np.float64) if wide.itemsize > 8 else wide


def storage_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which the core reads an array: its own, if it can, else its arithmetic."""
    native = dtype.newbyteorder("=")
    return native if native in STORAGE_DTYPES else floating_dtype(dtype)


def refuse_masked(x: object, name: str) -> None:
    """Raise a TypeError for a masked array, whose mask NumPy would drop."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill or drop the masked values first")


def as_numbers(x: ArrayLike, name: str) -> NDArray[Any]:
    """`x` as an array of real numbers, or a TypeError that says what it is instead."""
    refuse_masked(x, name)
    array = np.asarray(x)
    if array.dtype == object:
        array = _numbers_of_frame(x, array)
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be of real numbers, not of dtype {array.dtype}")
    return array


def _numbers_of_frame(x: Any, otherwise: NDArray[Any]) -> NDArray[Any]:
    """A frame of pandas whose columns are numbers or bools, nullable or of many types, as float64."""
    kinds = [getattr(dtype, "kind", "O") for dtype in getattr(x, "dtypes", [])]
    if getattr(x, "ndim", 0) != 2 or not kinds or not set(kinds) <= set("biuf"):
        return otherwise
    numbers: NDArray[Any] = x.to_numpy(dtype=np.float64, na_value=np.nan)
    return numbers


def is_plain(x: object) -> TypeGuard[NDArray[Any]]:
    """Whether `x` is a C-contiguous 2-D array of native float32 or float64, as kernels want it."""
    if type(x) is not np.ndarray or x.ndim != 2:
        return False
    flags = x.flags
    return (x.dtype is _FLOAT32 or x.dtype is _FLOAT64) and flags.c_contiguous and flags.aligned


def has_whole_strides(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether `array` is of this native dtype, aligned, its strides whole elements: of any order."""
    fits = array.dtype == dtype and array.flags.aligned
    return fits and not any(stride % array.itemsize for stride in array.strides)


def is_readable(array: NDArray[Any]) -> bool:
    """Whether the core reads a 2-D array where it lies."""
    if array.dtype in STORAGE_DTYPES and array.flags.carray:  # most of them
        return True
    has_contiguous_rows = array.shape[1] == 1 or array.strides[1] == array.itemsize
    return has_contiguous_rows and has_whole_strides(array, storage_dtype(array.dtype))


def is_readable_by_columns(array: NDArray[Any]) -> bool:
    """Whether the core reads a 2-D array where it lies for predictions, for which it copies blocks."""
    return array.shape[1] <= _MOST_COLUMNS and _can_transpose(array)


def _can_transpose(array: NDArray[Any]) -> bool:
    return array.dtype in FLOATING_DTYPES and has_whole_strides(array, array.dtype)


def readable(array: NDArray[Any], n_threads: int = 1) -> NDArray[Any]:
    """A 2-D array as the core reads it: itself, if it can be, else a copy."""
    if is_readable(array):
        return array
    if _can_transpose(array):
        # As columns, where frames have theirs: NumPy's copy takes three times as long.
        copy = new_output(array.shape, array.dtype)
        _core.transpose(array.T, copy, n_threads)
        return copy
    return np.require(array, dtype=storage_dtype(array.dtype), requirements=["C", "A", "O"])


def new_output(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array to write a result to; a large one on memory that earlier results have left."""
    array = np.empty(shape, dtype)  # which touches no page, and knows its size: 0.1 microseconds
    return array if array.nbytes < _LARGE else _core.large_output(shape, dtype)


def work_of_row(n_features: int, n_outputs: int) -> int:
    """The work of a row's products with weights, in products."""
    return n_features * (n_outputs + _READ)


def work_of_exponentials(n: int) -> int:
    """The same of a softmax of `n` numbers, which begins in the time of one more."""
    return _EXPONENTIAL * (n + 1)


def is_short(n_rows: int, work_per_row: int) -> bool:
    """Whether `interruptible_slices` would be one slice, whatever the instruction set."""
    return n_rows * work_per_row <= _SHORT_WORK


def interruptible_slices(
    n_rows: int, work_per_row: int, copied_per_row: int = 0
) -> Iterator[slice]:
    """All rows, in slices of some 0.1 s of work: between two calls of the core Python sees Ctrl-C.

    `work_per_row` counts products, of which one thread does 45 in a nanosecond with AVX2, 90 to 130
    with AVX-512 and AMX. Each slice packs the right factor anew: with slices of a quarter, 1024^3 and
    4096x768x1000 took 1.15 times as long on two threads with AMX. Bytes that are copied for a slice
    stay in the cache.
    """
    work = _SHORT_WORK if _core.active_isa() == "scalar" else _SLICE_WORK
    step = max(1, work // max(1, work_per_row))
    if copied_per_row:
        step = max(1, min(step, _COPIED // copied_per_row))
    return (slice(start, start + step) for start in range(0, n_rows, step))


def threads_or_default(n_threads: int | None) -> int:
    """The core's number for `n_threads`: 0 for None."""
    if n_threads is None:
        return 0
    if type(n_threads) is int and 1 <= n_threads <= 4096:
        return n_threads
    if isinstance(n_threads, bool) or not isinstance(n_threads, numbers.Integral):
        raise TypeError(f"n_threads must be an integer or None, not {type(n_threads).__name__}")
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, not {n_threads}")
    return min(int(n_threads), 4096)
