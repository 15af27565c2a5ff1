"""The models of cross-validation: fitted together where the folds allow it, scored on what they left out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import make_scorer

from . import _core
from ._arrays import threads_or_default
from ._functions import log_softmax, softmax
from ._linear_classifier import LinearClassifier, predict_rows
from ._logistic_data import TrainingData
from ._logistic_models import Models, fit_models
from ._logistic_regression import LogisticRegression

_Array = NDArray[Any]
_Splits = Sequence[tuple[_Array, _Array]]  # of each fold the training and the test rows


def positions(splits: _Splits, n: int) -> _Splits:
    """The rows of each split, which may be masks of n; nothing is learnt where there are none."""
    if not splits:
        raise ValueError("cv gives no split")
    rows = np.arange(n)
    found = []
    for i, (train, test) in enumerate(splits):
        try:
            parts = [rows[part] if len(part) else rows[:0] for part in (train, test)]
        except (IndexError, TypeError) as error:
            raise ValueError(f"cv: split {i} is not one of {n} rows: {error}") from None
        for part, kind in zip(parts, ("training", "test"), strict=True):
            if not len(part):
                raise ValueError(f"cv: the {kind} set of split {i} is empty")
        found.append((parts[0], parts[1]))
    return found


def fit_folds(
    data: TrainingData, splits: _Splits, penalties: _Array, options: dict[str, Any]
) -> Models:
    """The models of all splits and penalties, split by split; sets the folds of `data`."""
    n, n_splits, n_penalties = len(data.indices), len(splits), len(penalties)
    data.fold_of_row = shared_folds(n, splits)
    if data.fold_of_row is not None:
        held_out = np.repeat(np.arange(n_splits, dtype=np.int32), n_penalties)
        return fit_models(data, np.tile(penalties, n_splits), held_out, options)
    models = Models.zeros(n_splits * n_penalties, data.n_outputs, data.X.shape[1])
    for i, (train, _) in enumerate(splits):
        weights = np.bincount(train, minlength=n).astype(np.float64)
        if data.weights is not None:
            weights *= data.weights
        where = slice(i * n_penalties, (i + 1) * n_penalties)
        models.put(where, fit_models(replace(data, weights=weights), penalties, None, options))
    return models


def shared_folds(n: int, splits: _Splits) -> NDArray[np.int32] | None:
    """The number of the one test set that each row is in, or else of one that nobody leaves out.

    None if the splits are not of this form: test sets without a common row, each training set all
    the other rows, once.
    """
    fold = np.full(n, len(splits), np.int32)
    for i, (train, test) in enumerate(splits):
        count = np.bincount(train, minlength=n) + np.bincount(test, minlength=n)
        if (count != 1).any() or (fold[test] != len(splits)).any():
            return None
        fold[test] = i
    return fold


def parameters_of_one(estimator: LinearClassifier) -> dict[str, Any]:
    """The parameters of a LogisticRegressionCV that are also those of each of its models."""
    own, names = estimator.get_params(deep=False), LogisticRegression().get_params()
    return {name: own[name] for name in own if name in names}


def best_of(scores: _Array) -> Any:
    """The index of the best score along the last axis, the first of equals; NaN is never the best."""
    if np.isnan(scores).all(axis=-1).any():
        raise ValueError("scoring gives NaN for every C")
    return np.nanargmax(scores, axis=-1)


# What the kernels of prediction make of logits.
_OF_LOGITS: dict[Any, Callable[[_Array], _Array]] = {
    _core.predict_logits: np.asarray,
    _core.predict_probs: softmax,
    _core.predict_log_probs: log_softmax,
    _core.predict_class: lambda logits: np.argmax(logits, axis=1),
}


class _HeldOutModel(LogisticRegression):
    """A fitted model that knows the logits of its test set already.

    Only for scorers of scikit-learn, which ask for predictions and nothing else.
    """

    def know(self, X: Any, logits: _Array) -> None:
        self._known_X, self._known_logits = X, logits

    def _predict_with(
        self, kernel: Callable[..., bool], X: Any, labels: np.dtype[Any] | None = None
    ) -> _Array:
        if X is self._known_X:
            return _OF_LOGITS[kernel](self._known_logits)
        return super()._predict_with(kernel, X, labels)


def score_folds(
    estimator: LinearClassifier,
    data: TrainingData,
    splits: _Splits,
    models: Models,
    dtype: np.dtype[Any],
    Cs: _Array,
    scorer: Any,
    params: dict[str, Any],
) -> _Array:
    """Scores (n_splits, n_cs) of the models on their test sets."""
    n_penalties, shared = len(Cs), parameters_of_one(estimator)
    # Other scorers than scikit-learn's may clone the model, or change it or X.
    is_known = getattr(scorer, "_score_func", None) is not None
    kind = _HeldOutModel if is_known else LogisticRegression
    scorer = _told_of_labels(scorer, estimator.classes_)
    scores = np.empty((len(splits), n_penalties))
    for i, (_, test) in enumerate(splits):
        X, y = data.X[test], estimator.classes_[data.indices[test]]
        own_params = {
            name: _of_rows(value, test, len(data.indices)) for name, value in params.items()
        }
        these = slice(i * n_penalties, (i + 1) * n_penalties)
        coef, intercept = models.coef[these].astype(dtype), models.intercept[these].astype(dtype)
        known: list[_Array] = []
        if is_known:
            logits = _logits(X, coef.reshape(-1, coef.shape[2]), intercept.reshape(-1), estimator)
            known = np.split(logits, n_penalties, axis=1)
        for j in range(n_penalties):
            model = kind(C=float(Cs[j]), **shared)
            model.classes_, model.n_features_in_ = estimator.classes_, X.shape[1]
            model.coef_, model.intercept_ = coef[j], intercept[j]
            if isinstance(model, _HeldOutModel):
                model.know(X, known[j])
            scores[i, j] = scorer(model, X, y, **own_params)
    return scores


def _told_of_labels(scorer: Any, classes: _Array) -> Any:
    """The scorer, for test sets that may lack a class; as scikit-learn's LogisticRegressionCV does."""
    score = getattr(scorer, "_score_func", None)
    names = inspect.signature(score).parameters if score else {}
    if "labels" not in names:
        return scorer
    labels = {"labels": classes}
    if len(classes) == 2 and "pos_label" in names:
        labels["pos_label"] = classes[-1]
    return make_scorer(
        score,
        response_method=scorer._response_method,
        greater_is_better=scorer._sign > 0,
        **{**labels, **scorer._kwargs},
    )


def _logits(X: Any, coef: _Array, intercept: _Array, estimator: LinearClassifier) -> _Array:
    scale, threads = float(estimator.input_scale), threads_or_default(estimator.n_threads)
    return predict_rows(_core.predict_logits, X, coef, intercept, scale, threads)


def _of_rows(value: Any, rows: _Array, n: int) -> Any:
    """What belongs to these rows, of a value that may have an entry for each row."""
    array = np.asarray(value)
    return array[rows] if array.ndim and len(array) == n else value
