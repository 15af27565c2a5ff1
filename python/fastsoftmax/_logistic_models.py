"""One call of the core for any number of logistic regressions on the same rows, and what it means.

Models may differ in their penalty and in the fold of rows that they leave out; estimators and the
checks of what users pass are elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning

from . import _core
from ._linear_classifier import predict_rows
from ._logistic_data import TrainingData

_Array = NDArray[Any]
_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]

CERTIFIED, MAX_ITER, SEPARABLE, ROUNDED, STOPPED = range(5)  # the core's status

# A gap like the rounding of the objective itself, a sum of thousands of float64: whoever asks for less
# has what there is.
_ROUNDING = 1e-12

# The step of a logit up to which its curvature is about what it was; logits looked at at once.
_MOST_MOVED, _MOVED_AT_ONCE = 0.1, 1 << 18

# Multiply-adds of a pass up to which a fit goes on to rounding in any case: that takes less than a
# millisecond or two, and a weight of two is then a repetition in all digits but the last.
_SMALL = 1 << 15

# The intercept of a class that has no row: a finite number for the exact minus infinity. The logits
# of the others have a mean of zero for some class and row, so its probability is below 4e-44.
_ABSENT = -100.0


@dataclass
class Models:
    """M fitted models; R is one for two classes, else the number of classes."""

    coef: _Floats  # (M, R, d)
    intercept: _Floats  # (M, R)
    objective: _Floats  # (M,), as the others
    gap: _Floats
    float32_cost: _Floats  # what coefficients in float32 would add to the objective, about
    n_iter: _Ints
    n_passes: _Floats
    status: _Ints

    @classmethod
    def zeros(cls, n_models: int, n_outputs: int, n_features: int) -> Models:
        return cls(
            coef=np.zeros((n_models, n_outputs, n_features)),
            intercept=np.zeros((n_models, n_outputs)),
            objective=np.zeros(n_models),
            gap=np.zeros(n_models),
            float32_cost=np.zeros(n_models),
            n_iter=np.zeros(n_models, np.int64),
            n_passes=np.zeros(n_models),
            status=np.zeros(n_models, np.int64),
        )

    def coef_dtype(self, data: TrainingData, options: dict[str, Any]) -> np.dtype[Any]:
        """`data.dtype`, but float64 if float32 would cost some model a tenth of the gap asked for.

        As with features of large means: their weights decide about intercepts of many digits. The
        cost is what is to be expected; of 3000 fits some paid 2.2 times as much.
        """
        wide = np.dtype(np.float64)
        if data.dtype == wide:
            return wide
        tol = max(options["tol"], _ROUNDING)
        costs_too_much = (self.float32_cost > 0.045 * tol * self.objective).any()
        return wide if costs_too_much or self._is_moved_by_float32(data, options) else data.dtype

    def _is_moved_by_float32(self, data: TrainingData, options: dict[str, Any]) -> bool:
        """Whether a logit is moved so far that the cost is not one of curvatures as they are.

        A row that is all but certain has none, and is lost by a step beyond its margin: one of 1e10
        among 200 of size one tripled the objective.
        """
        with np.errstate(over="ignore", under="ignore"):
            narrow = self.coef.astype(np.float32)
        if not np.isfinite(narrow).all():
            return True
        rounding = self.coef - narrow
        most = np.abs(rounding).sum(axis=2).max(axis=1) * data.largest
        scale, n_threads = options["input_scale"], options["n_threads"]
        none, n_rows = np.zeros(rounding.shape[1]), data.X.shape[0]
        at_once = max(1, _MOVED_AT_ONCE // len(none))
        for step in rounding[~(most <= _MOST_MOVED)]:  # at the most; what they are takes a pass
            for begin in range(0, n_rows, at_once):
                X = data.X[begin : begin + at_once]
                moved = predict_rows(_core.predict_logits, X, step, none, scale, n_threads)
                if max(moved.max(), -moved.min()) > _MOST_MOVED:
                    return True
        return False

    def with_columns(self, used: NDArray[np.bool_]) -> Models:
        """These columns of the coefficients alone."""
        return replace(self, coef=self.coef[:, :, used])

    def among_columns(self, used: NDArray[np.bool_]) -> Models:
        """The same models of more columns, with weights of zero in those that are not these."""
        coef = np.zeros((*self.coef.shape[:2], len(used)))
        coef[:, :, used] = self.coef
        return replace(self, coef=coef)

    def put(self, where: Any, other: Models) -> None:
        """Write other models of the same shape over some of these."""
        for name, values in vars(other).items():
            getattr(self, name)[where] = values


# Called after each iteration: its number, whether another may follow, and the models as they are until
# it returns; True ends the fit.
Progress = Callable[[int, bool, Models], bool]


def _told_of(
    progress: Progress | None, models_of: Callable[[Any], Models]
) -> Callable[[int, bool, Any], bool] | None:
    """A progress for who knows something else, of which `models_of` makes models."""
    if progress is None:
        return None
    return lambda iteration, goes_on, known: progress(iteration, goes_on, models_of(known))


def fit_models(
    data: TrainingData,
    penalties: _Floats,
    held_out: NDArray[np.int32] | None,
    options: dict[str, Any],
    start: Models | None = None,
) -> Models:
    """Minimize the objective of each model.

    Parameters
    ----------
    data : TrainingData
        What all models share.
    penalties : ndarray of shape (M,), float64
        1 / C of each.
    held_out : ndarray of shape (M,), int32, or None
        The fold that each leaves out; -1 for none.
    options : dict
        For the core: fit_intercept, input_scale, tol, max_iter, solver, seed, n_threads; and
        callback, a Progress or None.
    start : Models, optional
        Coefficients to go on from; else zero.

    Returns
    -------
    Models
    """
    folds = np.full(len(penalties), -1, np.int32) if held_out is None else held_out
    used = data.used_columns()
    if used is None:
        return _fit_folds(data, penalties, folds, options, start)
    data, start = data.with_columns(used), start and start.with_columns(used)
    told_of = _told_of(options["callback"], lambda models: models.among_columns(used))
    options = options | {"callback": told_of}
    return _fit_folds(data, penalties, folds, options, start).among_columns(used)


def _fit_folds(
    data: TrainingData,
    penalties: _Floats,
    folds: NDArray[np.int32],
    options: dict[str, Any],
    start: Models | None,
) -> Models:
    """Fit the models whose folds lack no class, and apart from them those whose folds do."""
    present_of = {fold: data.present(fold) for fold in np.unique(folds)}
    # The intercept of a class without a row has its optimum at minus infinity.
    lacking = [fold for fold, present in present_of.items() if not present.all()]
    if not lacking or not options["fit_intercept"]:
        return _call(data, penalties, folds, options, start)
    models = Models.zeros(len(penalties), data.n_outputs, data.X.shape[1])
    for fold in lacking:
        these = folds == fold
        fitted = _fit_present(
            data, present_of[fold], fold, penalties[these], options, start and _some(start, these)
        )
        models.put(these, fitted)
    complete = ~np.isin(folds, lacking)
    if complete.any():
        first = start and _some(start, complete)
        models.put(complete, _call(data, penalties[complete], folds[complete], options, first))
    return models


def _call(
    data: TrainingData,
    penalties: _Floats,
    folds: NDArray[np.int32],
    options: dict[str, Any],
    start: Models | None,
) -> Models:
    models = Models.zeros(len(penalties), data.n_outputs, data.X.shape[1])
    if start is not None:
        models.coef[...] = start.coef
        if options["fit_intercept"]:
            models.intercept[...] = start.intercept
    is_sparse, is_small = issparse(data.X), data.X.shape[0] * models.coef[0].size <= _SMALL

    def take(found: dict[str, _Array]) -> Models:
        for name in ("objective", "gap", "float32_cost", "n_iter", "n_passes", "status"):
            getattr(models, name)[...] = found[name]
        if data.n_classes > 2:
            # Softmax does not see a number added to all classes: take the one that makes their mean zero.
            models.intercept -= models.intercept.mean(axis=1, keepdims=True)
            free = penalties == 0
            models.coef[free] -= models.coef[free].mean(axis=1, keepdims=True)
        return models

    found = _core.fit_logistic(
        (data.X.data, data.X.indices, data.X.indptr) if is_sparse else data.X,
        data.indices,
        data.weights,
        data.fold_of_row,
        penalties,
        None if data.fold_of_row is None else folds,
        models.coef,
        models.intercept,
        n_classes=data.n_classes,
        warm=start is not None,
        **({"shape": data.X.shape} if is_sparse else {}),
        **options
        | ({"tol": min(options["tol"], 1e-15)} if is_small else {})
        | {"callback": _told_of(options["callback"], take)},
    )
    return take(found)


def _fit_present(
    data: TrainingData,
    present: NDArray[np.bool_],
    fold: int,
    penalties: _Floats,
    options: dict[str, Any],
    start: Models | None,
) -> Models:
    """Fit the classes that have rows, and give the others an intercept that rules them out."""
    models = Models.zeros(len(penalties), data.n_outputs, data.X.shape[1])
    if not present.any():
        raise ValueError("the samples to fit to have no weight")
    rest = data.only(present, fold)
    if rest.n_classes == 1:
        models.n_iter[:] = 1
        if data.n_classes == 2:
            models.intercept[:] = -_ABSENT if present[1] else _ABSENT
        else:
            models.intercept[:, ~present] = _ABSENT
        return models
    # Two rows of weights, each other's negatives, of half the length have half the penalty.
    pair = rest.n_classes == 2

    def of_all(fitted: Models) -> Models:
        W, b = fitted.coef, fitted.intercept
        if pair:
            W, b = np.concatenate([-W, W], axis=1) / 2, np.concatenate([-b, b], axis=1) / 2
        models.put(slice(None), replace(fitted, coef=models.coef, intercept=models.intercept))
        models.coef[:, present], models.intercept[:, present] = W, b
        models.intercept[:, ~present] = _ABSENT
        return models

    def of_present(known: Models) -> Models:
        W, b = known.coef[:, present], known.intercept[:, present]
        return replace(
            known, coef=np.diff(W, axis=1) if pair else W, intercept=np.diff(b) if pair else b
        )

    options = options | {"callback": _told_of(options["callback"], of_all)}
    penalties = penalties / (2 if pair else 1)
    first, no_folds = start and of_present(start), np.full(len(penalties), -1)
    return of_all(_call(rest, penalties, no_folds, options, first))


def _some(models: Models, which: NDArray[np.bool_]) -> Models:
    return Models(**{name: values[which] for name, values in vars(models).items()})


def warn_of_limits(models: Models, tol: float, max_iter: int, *, stacklevel: int = 3) -> None:
    """Warn of models that are not proven to be as close to the optimum as `tol` asks.

    Not of those that a callback stopped. `stacklevel` is as in `warnings.warn`.
    """

    def warn(which: NDArray[np.bool_], text: str) -> None:
        if not which.any():
            return
        of_several = f"{which.sum()} of {len(which)} models: " if len(which) > 1 else ""
        worst = models.gap[which].max()
        gap = "unknown" if np.isnan(worst) else f"{worst:.2g}"
        message = of_several + text.format(gap=gap)
        warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel + 1)

    missed = ~(models.gap <= max(tol, _ROUNDING))
    # Who asked for it by 0 is told only of gaps that the default tol would not take.
    rounded = (models.status == ROUNDED) & missed & ((tol > 0) | ~(models.gap <= 1e-4))
    for which, advice in (
        (np.isfinite(models.gap), "raise max_iter, or tol to a gap that is good enough"),
        (~np.isfinite(models.gap), "scale the features (StandardScaler), or raise max_iter"),
    ):
        warn(
            (models.status == MAX_ITER) & missed & which,
            f"max_iter={max_iter} ended the fit at a relative gap of {{gap}}, before it fell to "
            f"tol={tol:g}; {advice}",
        )
    warn(
        models.status == SEPARABLE,
        "the classes are separable and there is no penalty (C=inf): the optimum has no finite "
        "weights, and the fit ended with weights that separate them; choose a finite C",
    )
    warn(
        rounded & np.isinf(models.gap),
        "nothing could be proven of the fit, which rounding ended: the objective may be more than twice "
        "its minimum; features of means near zero and of one scale (StandardScaler) or a wider dtype of X "
        "help, or, where values of X or weights that it began with are so large that their squares are "
        "not finite, to scale X or to begin anew",
    )
    warn(
        rounded & ~np.isinf(models.gap),
        f"rounding ended the fit at a relative gap of {{gap}}, before it fell to tol={tol:g}; "
        f"float64, features of means near zero and of one scale (StandardScaler) or a larger tol help",
    )
