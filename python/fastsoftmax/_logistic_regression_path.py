"""The optimum for many C, and for all folds but one, in shared passes over X: a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import refuse_masked
from ._logistic_data import prepare_data
from ._logistic_models import fit_models, warn_of_limits
from ._logistic_options import check_C, check_Cs, check_options
from ._logistic_regression import LogisticRegression

_Array = NDArray[Any]
_Floats = NDArray[np.float64]


class LogisticRegressionPath(NamedTuple):
    """What `logistic_regression_path` returns.

    ``...`` is (n_cs,), or (n_folds, n_cs) if there are folds; the rows of `coef` are one for two
    classes, else as many as classes.
    """

    Cs: _Floats
    """(n_cs,): the values of C, in the order given."""
    classes: _Array
    """(n_classes,): the labels, sorted."""
    coef: _Array
    """(..., n_outputs, n_features): float64 if X was, or `tol` asks for it, else float32."""
    intercept: _Array
    """(..., n_outputs)."""
    objective: _Floats
    """(...): ``sum_i s_i loss_i + |coef|^2 / (2 C)``, over the rows that the model was fitted to."""
    gap: _Floats
    """(...): the relative gap to the minimum that is proven."""
    n_iter: NDArray[np.int32]
    """(...): iterations over all rows."""
    n_passes: _Floats
    """(...): passes over X that the model took part in."""


def logistic_regression_path(
    X: ArrayLike,
    y: ArrayLike,
    Cs: int | ArrayLike = 10,
    folds: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: Mapping[Any, float] | str | None = None,
    fit_intercept: bool = True,
    tol: float = 1e-4,
    max_iter: int = 1000,
    solver: str = "auto",
    input_scale: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
    n_threads: int | None = None,
    verbose: int = 0,
) -> LogisticRegressionPath:
    """Fit `LogisticRegression` for many C, in shared passes over `X`.

    Parameters
    ----------
    X : array_like, CSR matrix or frame of shape (n_samples, n_features)
        Training data, as for `LogisticRegression`.
    y : array_like of shape (n_samples,)
        Labels.
    Cs : int or array_like of shape (n_cs,), default=10
        Values of C, each > 0 (``np.inf`` for no penalty); or how many, from 1e-4 to 1e4.
    folds : array_like of shape (n_samples,), optional
        Integers: the fold of each sample, 0 to n_folds - 1, or -1 for those that are in none. For
        each fold and C a model is fitted to all samples outside the fold.
    sample_weight : array_like of shape (n_samples,), optional
        Finite weights, none negative, not all zero.
    class_weight, fit_intercept, tol, max_iter, solver, input_scale, random_state, n_threads, verbose
        As for `LogisticRegression`; 'balanced' counts all samples.

    Returns
    -------
    LogisticRegressionPath
        A named tuple: Cs, classes, coef, intercept, objective, gap, n_iter, n_passes.

    Raises
    ------
    TypeError, ValueError
        As for `LogisticRegression.fit`; the latter also if `folds` are not integers from -1 on, a fold
        is empty or holds all samples.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If a gap is not proven to be below `tol`.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> (X, y), _ = fs.datasets.load_digits()
    >>> path = fs.logistic_regression_path(X, y, Cs=[0.01, 0.1, 1], input_scale=1 / 16)
    >>> path.coef.shape
    (3, 10, 64)
    """
    estimator = LogisticRegression(
        class_weight=class_weight,
        fit_intercept=fit_intercept,
        tol=tol,
        max_iter=max_iter,
        solver=solver,
        input_scale=input_scale,
        random_state=random_state,
        n_threads=n_threads,
        verbose=verbose,
    )
    options, values = check_options(estimator), check_Cs(Cs)
    penalties, shape = np.array([check_C(C) for C in values]), values.shape
    data, _ = prepare_data(estimator, X, y, sample_weight)
    held_out = None
    if folds is not None:
        data.fold_of_row, n_folds = _check_folds(folds, len(data.indices))
        held_out = np.repeat(np.arange(n_folds, dtype=np.int32), len(values))
        penalties, shape = np.tile(penalties, n_folds), (n_folds, *shape)
    models = fit_models(data, penalties, held_out, options)
    warn_of_limits(models, options["tol"], options["max_iter"])
    dtype = models.coef_dtype(data, options)
    return LogisticRegressionPath(
        values,
        estimator.classes_,
        models.coef.astype(dtype).reshape(*shape, *models.coef.shape[1:]),
        models.intercept.astype(dtype).reshape(*shape, -1),
        models.objective.reshape(shape),
        models.gap.reshape(shape),
        models.n_iter.astype(np.int32).reshape(shape),
        models.n_passes.reshape(shape),
    )


def _check_folds(folds: ArrayLike, n_samples: int) -> tuple[NDArray[np.int32], int]:
    """The fold of each row, where the rows in none have one of their own, and how many are left out."""
    refuse_masked(folds, "folds")
    given = np.asarray(folds)
    if given.dtype.kind not in "iu" or given.shape != (n_samples,):
        raise ValueError(
            f"folds must be {n_samples} integers, one for each sample, not {given.dtype} of shape "
            f"{given.shape}"
        )
    if given.min() < -1 or given.max() >= n_samples:
        raise ValueError("folds must be numbers from 0 to n_folds - 1, or -1")
    given = given.astype(np.int64)
    n_folds = int(given.max()) + 1
    counts = np.bincount(given + 1, minlength=n_folds + 1)
    if n_folds == 0 or (counts[1:] == 0).any():
        empty = int(np.flatnonzero(counts[1:] == 0)[0]) if n_folds else 0
        raise ValueError(f"folds: fold {empty} has no sample")
    if counts.max() == n_samples:
        raise ValueError("folds: all samples are in one fold, and none is left for its models")
    return np.where(given < 0, n_folds, given).astype(np.int32), n_folds
