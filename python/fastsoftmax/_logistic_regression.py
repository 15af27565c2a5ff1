"""The estimator of the exact optimum: scikit-learn's parameters, and the certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._callbacks import CallbackSupportMixin, FitTask, with_callbacks
from ._linear_classifier import LinearClassifier, unchanged_on_error
from ._logistic_data import TrainingData, prepare_data
from ._logistic_models import Models, Progress, fit_models, warn_of_limits
from ._logistic_options import check_C, check_l1_ratio, check_options, check_penalty

_Array = NDArray[Any]


class LogisticRegression(CallbackSupportMixin, LinearClassifier):  # type: ignore[misc]
    """Softmax (multinomial logistic) regression at the exact, certified optimum.

    Minimizes ``sum_i s_i loss_i + |coef_|^2 / (2 C)``, where ``loss_i`` is the cross-entropy of
    ``softmax(input_scale * X @ coef_.T + intercept_)`` for sample i and ``s_i`` its weight: the
    objective of scikit-learn's class of this name. The fit ends when the objective is proven to lie
    within `tol`, relatively, of its minimum.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the L2 penalty; the intercept is not penalized. > 0; ``np.inf`` for none.
    l1_ratio : float or None, default=0.0
        Only 0: there is no L1 penalty here.
    tol : float, default=1e-4
        The relative gap ``(objective - minimum) / minimum`` that is to be proven, whatever the
        number, the scale and the weights of the samples. >= 0; with 0 the fit goes on until rounding
        ends it.
    fit_intercept : bool, default=True
        Fit an intercept; else it is zero.
    class_weight : dict, 'balanced' or None, default=None
        Factor of the sample weights for each label, 1 where a dict has none; 'balanced' gives every
        class the same total.
    random_state : int, RandomState instance or None, default=None
        Chooses the rows that the first iterations look at. None: always the same ones.
    solver : {'auto', 'lbfgs', 'newton-cg'}, default='auto'
        The way to the optimum, which is the same for all. 'newton-cg' took up to twice as long as
        'lbfgs' on most problems; 'auto' begins as 'lbfgs' and goes on as 'newton-cg' where nothing
        is known of the gap after 200 iterations. 'newton-cg' from the start is worth a try where
        'auto' ends at `max_iter`, as with heavy-tailed features or separable classes without a
        penalty, and for a few hundred rows of many classes. All are preconditioned with the
        curvature of `X`.
    max_iter : int, default=1000
        At most so many iterations over all rows, at least 1.
    verbose : int, default=0
        1 or more: print a line for each iteration.
    warm_start : bool, default=False
        `fit` goes on from the coefficients of the last `fit`, with the same classes.
    penalty : {'l2', 'deprecated'} or None, default='deprecated'
        For programs written for scikit-learn before 1.8: None means ``C=np.inf``.
    input_scale : float, default=1.0
        Every entry of `X` is multiplied with this inside the kernels, in training and in prediction:
        with ``1 / 255``, 8-bit images are trained as numbers from 0 to 1 without a copy. `coef_`
        belongs to the scaled inputs. Finite, > 0.
    n_threads : int or None, default=None
        At most so many threads. None: as many as this process may use CPUs (affinity and
        control-group quota counted), at most ``OMP_NUM_THREADS``. Small problems take fewer. The
        result has the same bits for any number.

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        The weights; for two classes those of ``classes_[1]``. float64 if `X` was float64, or if
        rounding to float32 would cost more than a tenth of `tol` (features of means that are large
        beside their spread) or move a logit by more than 0.1 (rows of 1e9 beside others of 1), else
        float32.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        The intercepts; for three classes or more their mean is zero, but for a class whose rows have
        no weight, which gets -100.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    gap_ : float
        The certificate: ``(objective_ - minimum) / minimum`` is proven to be at most this, infinity
        where nothing is. With ``C=np.inf``, or with a penalty that float64 loses beside the curvature
        of every feature (inputs of 1e6 at C = 1e7, of 1e30 at any), it is an estimate, or NaN. At
        least 3e-8 where float32 has multiplied (1e-6 with the errors below), whose rounding no bound
        knows. It is that of the float64 weights of the fit: where X is float32, ``coef_`` is rounded
        after it, which may add ``tol / 10``.
    objective_ : float
        ``sum_i s_i loss_i + |coef_|^2 / (2 C)``.
    n_iter_ : ndarray of shape (1,), int32
        Iterations over all rows.
    n_passes_ : float
        Passes over `X`: evaluations of the loss, those on a part of the rows counted as that part;
        a product with the Hessian, of which 'newton-cg' has many in an iteration, as 1.5.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features; only if `X` was a frame whose column names are all strings.

    See Also
    --------
    LogisticRegressionCV : Chooses C by cross-validation, all models in shared passes.
    logistic_regression_path : The optimum for many C.
    SoftmaxClassifier : Mini-batch gradient descent.

    Notes
    -----
    `X` of float32, float64 or uint8 (and bool) with contiguous rows is read where it lies, as are CSR
    matrices of float32 and float64; other layouts and dtypes are converted once, other sparse formats
    to CSR. float64 is multiplied in float64, float32 and uint8 in float32, or in float64 where float32
    would not show a gap of `tol`; CPUs with AMX multiply for many classes with errors of up to 2^-15 of a
    product where `tol` is at least 5e-5, which that does show. Sums over the samples, the coefficients
    and the certificate are float64 in any case.

    `sample_weight` of two is the same as a sample that comes twice.

    Without a penalty (``C=np.inf``) the optimum of separable classes is not finite; the fit says so in
    a warning and returns weights that separate them.

    scikit-learn's callbacks (its version 1.9 or later; `set_callbacks`) are told of each iteration, with
    the estimator fitted so far, and may stop the fit after any; then there is no warning of the gap.

    After any exception, Ctrl-C included, the estimator is as it was before the call.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> (X, y), (X_test, y_test) = fs.datasets.load_digits()
    >>> clf = fs.LogisticRegression(C=0.1, input_scale=1 / 16).fit(X, y)
    >>> clf.score(X_test, y_test) > 0.9, clf.gap_ <= 1e-4
    (True, True)
    """

    accepts_sparse = True

    def __init__(
        self,
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        class_weight: Mapping[Any, float] | str | None = None,
        random_state: int | np.random.RandomState | None = None,
        solver: str = "auto",
        max_iter: int = 1000,
        verbose: int = 0,
        warm_start: bool = False,
        penalty: str | None = "deprecated",
        input_scale: float = 1.0,
        n_threads: int | None = None,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.penalty = penalty
        self.input_scale = input_scale
        self.n_threads = n_threads

    @unchanged_on_error
    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Find the optimum.

        Parameters
        ----------
        X : array_like, CSR matrix or frame of shape (n_samples, n_features)
            Training data; see Notes for what is read in place.
        y : array_like of shape (n_samples,)
            Labels: integers, bools, whole floats or strings, of at least two classes.
        sample_weight : array_like of shape (n_samples,), optional
            Finite weights, none negative, not all zero.

        Returns
        -------
        self

        Raises
        ------
        TypeError
            If a parameter or an array is of the wrong type, where scikit-learn has no ValueError for it.
        ValueError
            If a parameter is out of range or not supported, the shapes do not fit, `X` contains NaN
            or infinity, or `y` has a single class; the message says which and where.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the gap is not proven to be below `tol`; the message states the gap.
        """
        options = check_options(self)
        check_l1_ratio(self.l1_ratio)
        penalty = check_C(self.C) if check_penalty(self.penalty) else 0.0
        data, goes_on = prepare_data(self, X, y, sample_weight)
        start = self._start() if goes_on else None
        task = FitTask(self, "iteration", options["max_iter"], X, y, sample_weight)
        options["callback"] = _also(options["callback"], task, data, options)
        task.begin_iteration()
        models = fit_models(data, np.array([penalty]), None, options, start)
        warn_of_limits(models, options["tol"], options["max_iter"], stacklevel=5)
        self.__dict__.update(fitted_attributes(models, data, options))
        task.end()
        return self

    def _start(self) -> Models:
        models = Models.zeros(1, *np.shape(self.coef_))
        models.coef[0], models.intercept[0] = self.coef_, self.intercept_
        return models


def fitted_attributes(
    models: Models, data: TrainingData, options: dict[str, Any]
) -> dict[str, Any]:
    """The attributes of an estimator that is this model."""
    dtype = models.coef_dtype(data, options)
    return {
        "coef_": models.coef[0].astype(dtype),
        "intercept_": models.intercept[0].astype(dtype),
        "objective_": float(models.objective[0]),
        "gap_": float(models.gap[0]),
        "n_iter_": models.n_iter.astype(np.int32),
        "n_passes_": float(models.n_passes[0]),
    }


def _also(
    report: Progress | None, task: FitTask, data: TrainingData, options: dict[str, Any]
) -> Progress | None:
    """A progress that reports and tells the callbacks."""
    if not task.has_callbacks:
        return report

    def tell(iteration: int, goes_on: bool, models: Models) -> bool:
        stop = report is not None and report(iteration, goes_on, models)
        stop |= task.end_iteration(lambda: fitted_attributes(models, data, options))
        if goes_on and not stop:
            task.begin_iteration()
        return stop

    return tell
