"""The kernels as functions of NumPy arrays: matmul and the softmax family.

Arguments are checked and brought into the layout that the core reads; all arithmetic is the core's
but for the weights and the sum of cross-entropies, in float64, as float32 may not hold them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._arrays import (
    as_numbers,
    floating_dtype,
    has_whole_strides,
    interruptible_slices,
    new_output,
    refuse_masked,
    threads_or_default,
    work_of_exponentials,
    work_of_row,
)

_Array = NDArray[Any]
_RowKernel = Callable[[_Array, _Array, int], None]
_ColumnKernel = Callable[[_Array, _Array, int, int, int], None]


def softmax(
    x: ArrayLike, axis: int = -1, out: _Array | None = None, n_threads: int | None = None
) -> _Array:
    """Softmax of `x` along one axis: ``exp(x) / sum(exp(x))``, without overflow.

    Parameters
    ----------
    x : array_like, any shape with at least one dimension
        Real numbers. float32 and float64 are computed in their own precision, float16 and integers
        of up to 16 bits as float32, other integers as float64. Any strides; arrays that are not
        contiguous are copied once.
    axis : int, default=-1
    out : ndarray of the shape of `x` and the dtype of the result, optional
        Where to put the result; may be `x` itself.
    n_threads : int, optional
        At most so many threads; by default one for each CPU that this process may use, at most
        ``OMP_NUM_THREADS``. The result has the same bits for any number.

    Returns
    -------
    ndarray of the shape of `x`
        `out`, if given. Infinities and NaN give what `scipy.special.softmax` gives.

    Raises
    ------
    TypeError
        If `x` is not of real numbers, `out` has another dtype than the result, or `axis` or
        `n_threads` is no integer.
    ValueError
        If `x` has no dimension, `out` another shape or is read-only, or `n_threads` is not positive.
    numpy.exceptions.AxisError
        If there is no such axis.
    """
    return _along_axis(
        _core.softmax_of_few, _core.softmax, _core.softmax_columns, x, axis, out, n_threads
    )


def log_softmax(
    x: ArrayLike, axis: int = -1, out: _Array | None = None, n_threads: int | None = None
) -> _Array:
    """Logarithm of the softmax of `x` along one axis: ``x - logsumexp(x)``.

    Parameters
    ----------
    x : array_like, any shape with at least one dimension
        As for `softmax`.
    axis : int, default=-1
    out : ndarray of the shape of `x` and the dtype of the result, optional
        Where to put the result; may be `x` itself.
    n_threads : int, optional
        As for `softmax`.

    Returns
    -------
    ndarray of the shape of `x`
        `out`, if given. Infinities and NaN give what `scipy.special.log_softmax` gives. Near zero the
        precision is absolute, as there; the relative one of `cross_entropy` is better.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As for `softmax`.
    """
    return _along_axis(
        _core.log_softmax_of_few,
        _core.log_softmax,
        _core.log_softmax_columns,
        x,
        axis,
        out,
        n_threads,
    )


def logsumexp(
    x: ArrayLike, axis: int = -1, keepdims: bool = False, n_threads: int | None = None
) -> Any:
    """Logarithm of the sum of exponentials along one axis, without overflow.

    Parameters
    ----------
    x : array_like, any shape with at least one dimension
        As for `softmax`.
    axis : int, default=-1
    keepdims : bool, default=False
        Keep the axis, with length one.
    n_threads : int, optional
        As for `softmax`.

    Returns
    -------
    ndarray, or a NumPy scalar for one-dimensional `x`
        The shape of `x` without the axis. -inf where the axis has length zero; infinities and NaN
        give what `scipy.special.logsumexp` gives. The precision is that of the largest of `x`: a
        result near zero has it in absolute terms.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As for `softmax`.
    """
    if type(axis) is int and (axis == -1 or _is_last(axis, x)):
        few = _core.logsumexp_of_few(x, None, n_threads)
        if few is not None:
            return np.expand_dims(few, -1) if keepdims else few[()]
    threads = threads_or_default(n_threads)
    array, axis = _along(x, axis)
    result: _Array = np.empty(array.shape[:axis] + array.shape[axis + 1 :], array.dtype)
    blocks = _blocks(array, axis)
    sums = result.reshape(blocks.shape[0], blocks.shape[2])
    _compute(_core.logsumexp, _core.logsumexp_columns, blocks, sums, threads)
    return np.expand_dims(result, axis) if keepdims else result[()]


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    sample_weight: ArrayLike | None = None,
    reduction: Literal["mean", "sum", "none"] = "mean",
    n_threads: int | None = None,
) -> Any:
    """Cross-entropy of ``softmax(logits)`` against class labels: ``-log_softmax(logits)[label]``.

    Parameters
    ----------
    logits : array_like of shape (..., n_classes)
        Dtypes as for `softmax`.
    labels : array_like of int, shape (...)
        Indices of classes, 0 to n_classes - 1.
    sample_weight : array_like of shape (...), optional
        Finite weights, none negative, that multiply the losses; of weight 0 even one that is infinite
        or NaN counts as nothing.
    reduction : {'mean', 'sum', 'none'}, default='mean'
        The mean (divided by the sum of the weights, if there are any), the sum, or the losses one by
        one. Sums are taken in float64.
    n_threads : int, optional
        As for `softmax`.

    Returns
    -------
    NumPy scalar, or for 'none' an ndarray of shape (...), in the precision of the logits
        The mean over no sample is NaN.

    Raises
    ------
    TypeError
        If `logits` or `sample_weight` are not of real numbers, `labels` not of integers (booleans
        are none), or `n_threads` is no integer.
    ValueError
        If the shapes do not fit, `logits` has no dimension, a label is out of range, a weight
        negative or not finite, the reduction unknown, or `n_threads` not positive.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', not {reduction!r}")
    array, axis = _along(logits, -1, name="logits")
    shape = array.shape
    rows = _blocks(array, axis)[..., 0]
    indices = _class_indices(labels, shape[:axis], shape[axis])
    weights = _weights(sample_weight, shape[:axis])
    losses: _Array = np.empty(len(rows), dtype=rows.dtype)
    threads = threads_or_default(n_threads)
    for part in interruptible_slices(len(rows), work_of_exponentials(shape[axis])):
        _core.cross_entropy(rows[part], indices[part], losses[part], threads)
    with np.errstate(over="ignore", under="ignore"):
        if weights is not None:
            if reduction == "mean" and weights.any():
                weights = weights / weights.max()  # whose sum is finite
            losses = np.multiply(losses, weights, out=np.zeros_like(weights), where=weights != 0)
        if reduction == "none":
            return losses.astype(rows.dtype, copy=False).reshape(shape[:axis])[()]
        total = losses.sum(dtype=np.float64)
        if reduction == "mean":
            count = len(rows) if weights is None else weights.sum()
            total = total / count if count else np.float64(np.nan)
        return rows.dtype.type(total)


def matmul(
    a: ArrayLike, b: ArrayLike, out: _Array | None = None, n_threads: int | None = None
) -> _Array:
    """Matrix product of two 2-D arrays.

    Parameters
    ----------
    a : array_like of shape (m, k)
        Any strides. uint8 is read as it lies, whatever the dtype of `b`.
    b : array_like of shape (k, n)
        Any strides.
    out : ndarray of shape (m, n) and the dtype of the result, optional
        Where to put the result. If it overlaps `a` or `b`, a temporary array is used.
    n_threads : int, optional
        As for `softmax`; the result has the same bits for any number.

    Returns
    -------
    ndarray of shape (m, n)
        `out`, if given. float32 if both are float32 or narrower (float16, integers of up to 16
        bits), else float64.

    Raises
    ------
    TypeError
        If an argument is not of real numbers, or `out` has another dtype than the result.
    ValueError
        If an argument is not 2-D, the shapes do not fit, or `n_threads` is not positive.

    Notes
    -----
    A row of the result has the same bits whatever other rows `a` has, in the same layout of memory.
    Where the processor has tiles (AMX), float32 is multiplied in three parts of 8 bits and summed in
    float32, with errors like those of float32 arithmetic; numbers below ``2**-103`` then lose digits,
    those below ``2**-126`` count as zeros.
    """
    few = _core.matmul_of_few(a, b, out, n_threads)
    if few is not None:
        return few
    threads = threads_or_default(n_threads)
    left, right = as_numbers(a, "a"), as_numbers(b, "b")
    for name, matrix in (("a", left), ("b", right)):
        if matrix.ndim != 2:
            raise ValueError(f"{name} must have two dimensions, not shape {matrix.shape}")
    if left.shape[1] != right.shape[0]:
        raise ValueError(
            f"a of shape {left.shape} has {left.shape[1]} columns, "
            f"but b of shape {right.shape} has {right.shape[0]} rows"
        )
    dtype = np.result_type(floating_dtype(left.dtype), floating_dtype(right.dtype))
    right = _strided(right, dtype)
    # The core reads uint8 and float32 as they are; wider integers do not fit any kernel.
    narrow = left.dtype in (np.uint8, np.float32)
    left = _strided(left, left.dtype if narrow else dtype)

    def compute(result: _Array) -> None:
        for rows in interruptible_slices(len(left), work_of_row(*right.shape)):
            _core.matmul(left[rows], right, result[rows], threads)

    return _into(out, (left.shape[0], right.shape[1]), dtype, (left, right), compute)


def _along_axis(
    kernel_of_few: Callable[[object, object, object], _Array | None],
    kernel: _RowKernel,
    kernel_of_columns: _ColumnKernel,
    x: ArrayLike,
    axis: int,
    out: _Array | None,
    n_threads: int | None,
) -> _Array:
    if type(axis) is int and (axis == -1 or _is_last(axis, x)):
        few = kernel_of_few(x, out, n_threads)
        if few is not None:
            return few
    threads = threads_or_default(n_threads)
    array, axis = _along(x, axis)
    if array is not x and axis == array.ndim - 1:  # now it may be plain
        few = kernel_of_few(array, out, n_threads)
        if few is not None:
            return few
    blocks = _blocks(array, axis)

    def compute(result: _Array) -> None:
        if result.size:  # or there may be any number of rows without entries
            _compute(kernel, kernel_of_columns, blocks, result.reshape(blocks.shape), threads)

    # The kernels take each row or column from start to end, so they may overwrite the very array
    # that they read.
    is_same = isinstance(out, np.ndarray) and _is_same_memory(out, blocks)
    return _into(out, array.shape, array.dtype, () if is_same else (blocks,), compute)


def _is_last(axis: int, x: ArrayLike) -> bool:
    """Whether an axis from the front is the last one of a plain array."""
    return type(x) is np.ndarray and 0 <= axis == x.ndim - 1


def _compute(
    kernel: _RowKernel, kernel_of_columns: _ColumnKernel, blocks: _Array, out: _Array, threads: int
) -> None:
    """Columns (n_outer, n_inner) of blocks in slices that Ctrl-C can end; rows where n_inner is one."""
    n_outer, n, n_inner = blocks.shape
    for part in interruptible_slices(n_outer * n_inner, work_of_exponentials(n)):
        if n_inner == 1:
            kernel(blocks[part, :, 0], out[part, ..., 0], threads)
        else:
            kernel_of_columns(blocks, out, part.start, part.stop, threads)


def _along(x: ArrayLike, axis: int, name: str = "x") -> tuple[_Array, int]:
    """`x` as a contiguous array of a floating dtype; the axis."""
    array = as_numbers(x, name)
    if array.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension")
    axis = _axis_index(axis, array.ndim)
    return np.require(array, floating_dtype(array.dtype), ["C", "A"]), axis


def _blocks(array: _Array, axis: int) -> _Array:
    """A contiguous array as (n_outer, length of the axis, n_inner): rows if n_inner is one."""
    outer, inner = array.shape[:axis], array.shape[axis + 1 :]
    return array.reshape(math.prod(outer), array.shape[axis], math.prod(inner))


def _axis_index(axis: int, n_dimensions: int) -> int:
    try:
        return int(normalize_axis_index(operator.index(axis), n_dimensions))
    except TypeError:
        given = "None" if axis is None else type(axis).__name__
        raise TypeError(f"axis must be one integer, not {given}") from None
    except OverflowError:
        raise np.exceptions.AxisError(f"axis {axis} is out of bounds") from None


def _is_same_memory(a: _Array, b: _Array) -> bool:
    return a.ctypes.data == b.ctypes.data and a.nbytes == b.nbytes and a.flags.c_contiguous


def _into(
    out: _Array | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    inputs: tuple[_Array, ...],
    compute: Callable[[_Array], None],
) -> _Array:
    """Let `compute` fill a contiguous array: a new one, or `out` or a stand-in for it."""
    if out is None:
        result = new_output(shape, dtype)
        compute(result)
        return result
    refuse_masked(out, "out")
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        raise TypeError(f"out must be an ndarray of dtype {dtype}, the dtype of the result")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, but the result has {shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    plain = np.asarray(out)  # subclasses have their own ideas of shapes
    fits = plain.flags.c_contiguous and plain.flags.aligned
    if fits and not any(np.may_share_memory(plain, array) for array in inputs):
        compute(plain)
    else:
        result = new_output(shape, dtype)
        compute(result)
        plain[...] = result
    return out


def _strided(array: _Array, dtype: np.dtype[Any]) -> _Array:
    """`array` as the core reads matrices, copied only if need be.

    Copies have rows side by side, as single rows have: another order may give other bits.
    """
    return array if has_whole_strides(array, dtype) else np.array(array, dtype, order="C")


def _class_indices(labels: ArrayLike, shape: tuple[int, ...], n_classes: int) -> NDArray[np.int64]:
    refuse_masked(labels, "labels")
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"labels must be integers, not {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"labels have shape {array.shape}, but the logits ask for {shape}")
    is_bad = (array < 0) | (array >= n_classes)
    if is_bad.any():
        if n_classes == 0:
            raise ValueError("the logits are of no class")
        index = np.unravel_index(int(is_bad.argmax()), shape)
        position = index[0] if len(shape) == 1 else tuple(map(int, index))
        raise ValueError(
            f"label {array[index]} at position {position} is not in 0..{n_classes - 1}"
        )
    # A copy, which nobody else changes while the core works by it.
    return np.array(array, np.int64, order="C").reshape(-1)


def _weights(sample_weight: ArrayLike | None, shape: tuple[int, ...]) -> _Array | None:
    if sample_weight is None:
        return None
    with np.errstate(over="ignore"):  # of a wider type: not finite, as is said below
        weights = as_numbers(sample_weight, "sample_weight").astype(np.float64)
    if weights.shape != shape:
        raise ValueError(f"sample_weight has shape {weights.shape}, but the logits ask for {shape}")
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        index = np.unravel_index(int(bad.argmax()), shape)
        at = ", ".join(map(str, index))
        raise ValueError(
            f"sample_weight must be finite and not negative, but sample_weight[{at}] is "
            f"{weights[index]}"
        )
    return weights.reshape(-1)
