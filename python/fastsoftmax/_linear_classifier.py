"""What all estimators here share: prediction from coef_ and intercept_, and giving up without a trace."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from . import _core
from ._arrays import (
    floating_dtype,
    interruptible_slices,
    is_plain,
    is_readable,
    is_readable_by_columns,
    is_short,
    new_output,
    readable,
    refuse_masked,
    storage_dtype,
    threads_or_default,
    work_of_row,
)
from ._functions import log_softmax, softmax
from ._labels import check_labels, check_two_classes, encode, encode_known, plain_labels
from ._parameters import check_bool, check_number, check_scale
from ._validation import check_X, nonfinite_message

_Array = NDArray[Any]
_INDEX = np.dtype(np.int64)
# Of each kernel the one that predicts of few plain rows at once, or says None.
_OF_FEW: dict[Callable[..., bool], Callable[..., _Array | None]] = {
    _core.predict_logits: _core.predict_logits_of_few,
    _core.predict_probs: _core.predict_probs_of_few,
    _core.predict_log_probs: _core.predict_log_probs_of_few,
    _core.predict_class: _core.predict_class_of_few,
}

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def unchanged_on_error(method: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """Give the estimator its attributes back after any exception in the method, Ctrl-C included."""

    @wraps(method)
    def all_or_nothing(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        estimator: Any = args[0]
        before = vars(estimator).copy()
        lists = [(value, len(value)) for value in before.values() if isinstance(value, list)]
        random = estimator.random_state
        random_before = random.get_state() if isinstance(random, np.random.RandomState) else None
        try:
            return method(*args, **kwargs)
        except BaseException:
            estimator.__dict__ = before
            for value, length in lists:
                del value[length:]  # what the method has appended
            if random_before is not None:
                random.set_state(random_before)
            raise

    return all_or_nothing


def require_fitted(estimator: BaseEstimator) -> None:
    if "classes_" not in vars(estimator):  # which is a tenth of the work
        check_is_fitted(estimator, "classes_")  # weights alone, set by hand, are no model


class LinearClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Prediction from `coef_`, `intercept_` and `classes_`, with `input_scale` and `n_threads`."""

    accepts_sparse = False  # scipy.sparse as X

    classes_: _Array
    coef_: _Array
    intercept_: _Array

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.accepts_sparse
        return tags

    def _check_training_data(self, X: Any, y: Any) -> tuple[_Array, NDArray[np.int64], bool]:
        """X as the core reads it, the index of each label, and whether a warm start goes on.

        Sets `n_features_in_`, `feature_names_in_` and `classes_`.
        """
        goes_on = check_bool(getattr(self, "warm_start", False), "warm_start") and hasattr(
            self, "coef_"
        )
        # Those of a model that was put together by hand may be told by coef_ alone.
        n_features_before = getattr(self, "n_features_in_", None)
        names_before: Any = getattr(self, "feature_names_in_", None)
        X = check_X(self, X, reset=True, sparse=self.accepts_sparse)
        X = readable(X, threads_or_default(self.n_threads)) if isinstance(X, np.ndarray) else X
        labels = check_labels(self, X, y)
        if goes_on:
            if n_features_before not in (None, X.shape[1]):
                raise ValueError(
                    f"warm_start: X has {X.shape[1]} features, but the fitted weights are for "
                    f"{n_features_before}"
                )
            names: Any = getattr(self, "feature_names_in_", names_before)
            if names_before is not None and not np.array_equal(names, names_before):
                raise ValueError(
                    "warm_start: the features of X do not have the names, or not in the order, of "
                    "those that the fitted weights are for"
                )
            if names_before is not None:  # which the weights have, though X may come without
                self.feature_names_in_ = names_before
            self._check_weights("warm_start", X.shape[1])
            indices = encode_known(labels, self.classes_)
            check_two_classes(self.classes_[np.flatnonzero(np.bincount(indices))])
            return X, indices, True
        self.classes_, indices = encode(labels)
        return X, indices, False

    def _n_outputs(self) -> int:
        """Rows of `coef_`: for two classes one, their difference."""
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _check_weights(self, wanted_by: str, n_features: int) -> None:
        """Refuse to go on from weights that were set by hand and do not fit, or have no classes."""
        require_fitted(self)
        n_outputs = self._n_outputs()
        shapes = {"coef_": (n_outputs, n_features), "intercept_": (n_outputs,)}
        for name, shape in shapes.items():
            refuse_masked(getattr(self, name), name)
            weights = np.asarray(getattr(self, name))
            if weights.shape != shape:
                raise ValueError(f"{wanted_by}: {name} has shape {weights.shape}, not {shape}")
            if weights.dtype.kind not in "fiu" or weights.dtype.itemsize > 8:
                raise TypeError(f"{wanted_by}: {name} is of dtype {weights.dtype}, not float64")
            if not np.isfinite(weights).all():
                raise ValueError(f"{wanted_by}: {name} is not finite")

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Mean accuracy of the predictions.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Finite data; for logistic regressions also a sparse matrix.
        y : array_like of shape (n_samples,)
            Their labels.
        sample_weight : array_like of shape (n_samples,), optional
            Weights.

        Returns
        -------
        float
            The share of rows, or of their weight, that are predicted as labelled.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As for `decision_function`; also if `y` or the weights do not fit.
        """
        refuse_masked(sample_weight, "sample_weight")
        return float(super().score(X, plain_labels(y), sample_weight))

    def decision_function(self, X: ArrayLike) -> _Array:
        """Logits of each class.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Finite data; for logistic regressions also a sparse matrix.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            Logits; for two classes, that of ``classes_[1]`` less that of ``classes_[0]``.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` is of the wrong type or shape, or contains NaN or infinity.
        """
        logits = self._predict_with(_core.predict_logits, X)
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: ArrayLike) -> _Array:
        """Label of the most likely class; the first of equals.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Finite data; for logistic regressions also a sparse matrix.

        Returns
        -------
        ndarray of shape (n_samples,)
            Labels, of the dtype of `classes_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As for `decision_function`.
        """
        if self._is_binary():
            return self.classes_[(self.decision_function(X) > 0).astype(np.intp)]
        return self.classes_[self._predict_with(_core.predict_class, X, _INDEX)]

    def predict_proba(self, X: ArrayLike) -> _Array:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Finite data; for logistic regressions also a sparse matrix.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; each row adds up to one.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As for `decision_function`.
        """
        if self._is_binary():
            return softmax(self._two_logits(X), n_threads=self.n_threads)
        return self._predict_with(_core.predict_probs, X)

    def predict_log_proba(self, X: ArrayLike) -> _Array:
        """Logarithms of the probabilities of the classes, exact where those round to zero.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Finite data; for logistic regressions also a sparse matrix.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As for `decision_function`.
        """
        if self._is_binary():
            return log_softmax(self._two_logits(X), n_threads=self.n_threads)
        return self._predict_with(_core.predict_log_probs, X)

    def _is_binary(self) -> bool:
        require_fitted(self)
        return len(self.classes_) == 2

    def _two_logits(self, X: ArrayLike) -> _Array:
        positive = self.decision_function(X)
        return np.stack([np.zeros_like(positive), positive], axis=1)

    def _predict_with(
        self, kernel: Callable[..., bool], X: ArrayLike, labels: np.dtype[Any] | None = None
    ) -> _Array:
        """Logits, probabilities or (with a dtype for them) class indices, by a kernel."""
        require_fitted(self)
        X = check_X(self, X, reset=False, sparse=self.accepts_sparse)
        W, b = self.coef_, self.intercept_
        few = _OF_FEW[kernel](X, W, b, self.input_scale, self.n_threads)
        if few is not None and len(W) == self._n_outputs():
            return few
        shape = (self._n_outputs(), X.shape[1])
        has_plain_b = type(b) is np.ndarray and b.shape == shape[:1] and b.dtype.kind == "f"
        if not (has_plain_b and is_plain(W) and W.shape == shape):
            W, b = self._weights_set_by_hand(shape[1])
        scale = check_number(self.input_scale, "input_scale", exclusive=True)
        threads = threads_or_default(self.n_threads)
        return predict_rows(kernel, X, W, b, scale, threads, labels=labels)

    def _weights_set_by_hand(self, n_features: int) -> tuple[_Array, _Array]:
        shape = np.shape(self.coef_)
        # A model that was put together by hand may know its number of features by coef_ alone.
        if not hasattr(self, "n_features_in_") and len(shape) == 2 and shape[1] != n_features:
            raise ValueError(f"X has {n_features} features, but coef_ is for {shape[1]}")
        self._check_weights("prediction", n_features)
        return np.asarray(self.coef_), np.asarray(self.intercept_)


def predict_rows(
    kernel: Callable[..., bool],
    X: Any,
    coef: _Array,
    intercept: _Array,
    input_scale: float,
    n_threads: int,
    *,
    labels: np.dtype[Any] | None = None,
) -> _Array:
    """What a kernel makes of the rows of `X`, dense or CSR, in slices that Ctrl-C can end."""
    W, b, storage, copied = coef, intercept, X.dtype, 0
    is_dense = type(X) is np.ndarray
    if is_dense and not (is_readable(X) or is_readable_by_columns(X)):
        storage = storage_dtype(storage)
        copied = storage.itemsize * W.shape[1]  # bytes of a row
    holds_X = storage.itemsize <= W.dtype.itemsize
    if not (holds_X and is_plain(W) and b.dtype is W.dtype and b.flags.c_contiguous):
        dtype = np.result_type(W, floating_dtype(storage))
        W, b = np.require(W, dtype, ["C", "A"]), np.require(b, dtype, ["C", "A"])
    if input_scale != 1.0:
        check_scale(input_scale, "input_scale", W.dtype)
    n_rows = X.shape[0]
    out = new_output((n_rows,) if labels else (n_rows, len(W)), labels or W.dtype)
    work = work_of_row(W.shape[1] if is_dense else X.nnz // n_rows + 1, len(W))
    if not copied and is_short(n_rows, work):
        whole = X if is_dense else _rows(X, slice(0, n_rows), False)
        is_finite = kernel(whole, W, b, input_scale, out, n_threads)
    else:
        is_finite = all(
            kernel(_rows(X, rows, copied > 0), W, b, input_scale, out[rows], n_threads)
            for rows in interruptible_slices(n_rows, work, copied)
        )
    if not is_finite:
        raise ValueError(nonfinite_message(X) or _overflow(W.dtype))
    return out


def _rows(X: Any, rows: slice, copied: bool) -> Any:
    """Some rows as kernels take them; of CSR its parts."""
    if isinstance(X, np.ndarray):
        return readable(X[rows]) if copied else X[rows]
    return X.data, X.indices, X.indptr[rows.start : rows.stop + 1]  # to where the last one ends


def _overflow(dtype: np.dtype[Any]) -> str:
    return (
        f"the logits are not finite although X is: coef_ is not finite, or the products "
        f"overflow {dtype}"
    )
