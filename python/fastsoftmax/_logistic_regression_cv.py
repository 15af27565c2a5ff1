"""The estimator that chooses C by cross-validation: all C and folds in shared passes over X."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping, process_routing

from ._arrays import refuse_masked
from ._held_out import best_of, fit_folds, positions, score_folds
from ._labels import plain_labels
from ._linear_classifier import LinearClassifier, require_fitted, unchanged_on_error
from ._logistic_data import TrainingData, prepare_data
from ._logistic_models import Models, fit_models, warn_of_limits
from ._logistic_options import check_C, check_Cs, check_l1_ratio, check_options, check_penalty
from ._logistic_regression import fitted_attributes
from ._parameters import check_bool

_Array = NDArray[Any]


class LogisticRegressionCV(LinearClassifier):
    """`LogisticRegression` that chooses C by cross-validation.

    The models of all folds and C advance together, in shared passes over `X`; a model that is proven
    to be close enough to its optimum leaves them. The class mirrors scikit-learn's of this name, with
    the attributes that this has with ``use_legacy_attributes=False``.

    Parameters
    ----------
    Cs : int or array_like of shape (n_cs,), default=10
        Values of C to choose from, each > 0; or how many, from 1e-4 to 1e4, evenly in the logarithm.
    l1_ratios : sequence of float or None, default=(0.0,)
        Only zeros: there is no L1 penalty here.
    fit_intercept : bool, default=True
        Fit an intercept; else it is zero.
    cv : int, splitter, iterable of (train, test) or None, default=None
        As for scikit-learn: a number of stratified folds, 5 for None, or how to split. Test sets that
        have no sample in common, and training sets of all other samples, share their passes; other
        splits are fitted one after another.
    scoring : str, callable or None, default=None
        What a model is scored by on its test set; None: accuracy. A callable gets (estimator, X, y).
    solver : {'auto', 'lbfgs', 'newton-cg'}, default='auto'
        As for `LogisticRegression`.
    tol : float, default=1e-4
        The relative gap to be proven, for every model.
    max_iter : int, default=1000
        At most so many iterations over all rows for each model.
    class_weight : dict, 'balanced' or None, default=None
        As for `LogisticRegression`; 'balanced' counts all samples.
    verbose : int, default=0
        1 or more: print a line for each iteration.
    refit : bool, default=True
        Fit to all samples with the C of the highest mean score. Else `coef_`, `intercept_` and `C_`
        are the means over the folds of the best model of each.
    random_state : int, RandomState instance or None, default=None
        As for `LogisticRegression`; it does not concern the folds.
    penalty : {'l2', 'deprecated'}, default='deprecated'
        For programs written for scikit-learn before 1.8.
    use_legacy_attributes : bool, default=False
        Only False: the attributes are those below.
    input_scale : float, default=1.0
        As for `LogisticRegression`.
    n_threads : int or None, default=None
        As for `LogisticRegression`.

    Attributes
    ----------
    C_ : float
        The chosen C; with ``refit=False`` the mean of the best of each fold.
    Cs_ : ndarray of shape (n_cs,)
        The values to choose from.
    scores_ : ndarray of shape (n_folds, 1, n_cs)
        Score of each model on its test set. The axis of length one is for `l1_ratios`.
    coefs_paths_ : ndarray of shape (n_folds, 1, n_cs, n_outputs, n_features + 1)
        Weights of each model, the intercept last; without one the last axis is n_features long.
        n_outputs is one for two classes, else n_classes.
    gaps_paths_ : ndarray of shape (n_folds, 1, n_cs)
        The relative gap that is proven for each model.
    n_iter_ : ndarray of shape (n_folds, 1, n_cs), int32
        Iterations of each model over all rows.
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        As for `LogisticRegression`.
    gap_, objective_, n_passes_ : float
        As for `LogisticRegression`, of the fit to all samples; NaN with ``refit=False``, where there
        is none.
    l1_ratio_ : float
        Zero.
    l1_ratios_ : ndarray of shape (1,)
        Zero.

    See Also
    --------
    LogisticRegression : The optimum for one C; its Notes are valid here, too.
    logistic_regression_path : The models alone.

    Notes
    -----
    A `scoring` that asks the estimator for predictions of its test set gets those of one product for
    all C. Without `scoring` that is the only use of the test set.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> (X, y), (X_test, y_test) = fs.datasets.load_digits()
    >>> clf = fs.LogisticRegressionCV(Cs=[0.01, 0.1, 1], cv=3, input_scale=1 / 16).fit(X, y)
    >>> clf.score(X_test, y_test) > 0.9, clf.scores_.shape
    (True, (3, 1, 3))
    """

    accepts_sparse = True

    # With metadata routing weights are the scorer's, as in scikit-learn.
    __metadata_request__score: ClassVar = {"sample_weight": UNUSED}

    def __init__(
        self,
        *,
        Cs: int | ArrayLike = 10,
        l1_ratios: Sequence[float] | None = (0.0,),
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: Any = None,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int = 1000,
        class_weight: Mapping[Any, float] | str | None = None,
        verbose: int = 0,
        refit: bool = True,
        random_state: int | np.random.RandomState | None = None,
        penalty: str = "deprecated",
        use_legacy_attributes: bool = False,
        input_scale: float = 1.0,
        n_threads: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.verbose = verbose
        self.refit = refit
        self.random_state = random_state
        self.penalty = penalty
        self.use_legacy_attributes = use_legacy_attributes
        self.input_scale = input_scale
        self.n_threads = n_threads

    @unchanged_on_error
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any
    ) -> Self:
        """Choose C, and find the optimum for it.

        Parameters
        ----------
        X : array_like, CSR matrix or frame of shape (n_samples, n_features)
            Training data, as for `LogisticRegression`.
        y : array_like of shape (n_samples,)
            Labels.
        sample_weight : array_like of shape (n_samples,), optional
            Finite weights, none negative, not all zero; for training and, as in scikit-learn, for the
            scores.
        **params
            With scikit-learn's metadata routing: what the splitter and the scorer asked for.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As for `LogisticRegression.fit`, and what the splitter and the scorer raise.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the gap of a model is not proven to be below `tol`.
        """
        options, Cs, refit = self._check_parameters()
        scorer = self._scorer()
        to_splitter, to_scorer = self._route(sample_weight, params)
        data, _ = prepare_data(self, X, y, sample_weight)
        labels = self.classes_[data.indices]
        if "sample_weight" in to_scorer:  # which may be one for all
            weights = np.asarray(to_scorer["sample_weight"])
            to_scorer["sample_weight"] = np.broadcast_to(weights, labels.shape)
        splitter = check_cv(self.cv, labels, classifier=True)
        splits = positions(list(splitter.split(data.X, labels, **to_splitter)), len(labels))
        penalties = np.array([check_C(C) for C in Cs])
        models = fit_folds(data, splits, penalties, options)
        warn_of_limits(models, options["tol"], options["max_iter"], stacklevel=4)
        dtype = models.coef_dtype(data, options)
        scores = score_folds(self, data, splits, models, dtype, Cs, scorer, to_scorer)
        self._keep_paths(models, dtype, scores, Cs)
        if refit:
            self._refit(data, models, options)
        else:
            self._average(models, dtype)
        return self

    def _check_parameters(self) -> tuple[dict[str, Any], _Array, bool]:
        for ratio in () if self.l1_ratios is None else np.ravel(self.l1_ratios).tolist():
            check_l1_ratio(ratio, "l1_ratios")
        if not check_penalty(self.penalty):
            raise ValueError("penalty=None leaves no C to choose; use LogisticRegression(C=np.inf)")
        if check_bool(self.use_legacy_attributes, "use_legacy_attributes"):
            raise ValueError(
                "use_legacy_attributes=True is not supported: C_ is a float, scores_ and "
                "coefs_paths_ are arrays, as in scikit-learn with False"
            )
        return check_options(self), check_Cs(self.Cs), check_bool(self.refit, "refit")

    def _route(
        self, sample_weight: ArrayLike | None, params: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the splitter gets, and what the scorer."""
        if get_config()["enable_metadata_routing"]:
            if sample_weight is not None:
                params = {"sample_weight": sample_weight, **params}
            routed = process_routing(self, "fit", **params)
            return dict(routed.splitter.split), dict(routed.scorer.score)
        if params:
            raise ValueError(
                f"fit takes {', '.join(map(repr, params))} only with metadata routing "
                f"(sklearn.set_config(enable_metadata_routing=True))"
            )
        return {}, {} if sample_weight is None else {"sample_weight": sample_weight}

    def _scorer(self) -> Any:
        return get_scorer("accuracy" if self.scoring is None else self.scoring)

    def _keep_paths(self, models: Models, dtype: np.dtype[Any], scores: _Array, Cs: _Array) -> None:
        shape = (len(scores), 1, len(Cs))
        parts = [models.coef] + [models.intercept[:, :, None]] * bool(self.fit_intercept)
        paths = np.concatenate(parts, axis=2).astype(dtype)
        self.coefs_paths_ = paths.reshape(*shape, *paths.shape[1:])
        self.gaps_paths_ = models.gap.reshape(shape)
        self.n_iter_ = models.n_iter.astype(np.int32).reshape(shape)
        self.scores_ = scores.reshape(shape)
        self.Cs_, self.l1_ratios_, self.l1_ratio_ = Cs, np.zeros(1), 0.0

    def _refit(self, data: TrainingData, models: Models, options: dict[str, Any]) -> None:
        n_cs = len(self.Cs_)
        best = int(best_of(self.scores_.sum(axis=(0, 1))))
        self.C_ = float(self.Cs_[best])
        start = Models.zeros(1, *models.coef.shape[1:])
        start.coef[0] = models.coef[best::n_cs].mean(axis=0)
        start.intercept[0] = models.intercept[best::n_cs].mean(axis=0)
        data.fold_of_row = None
        refitted = fit_models(data, np.array([check_C(self.C_)]), None, options, start)
        warn_of_limits(refitted, options["tol"], options["max_iter"], stacklevel=5)
        attributes = fitted_attributes(refitted, data, options)
        del attributes["n_iter_"]  # the folds have theirs there
        self.__dict__.update(attributes)

    def _average(self, models: Models, dtype: np.dtype[Any]) -> None:
        n_folds, _, n_cs = self.scores_.shape
        best = best_of(self.scores_[:, 0])
        rows = np.arange(n_folds) * n_cs + best
        self.C_ = float(self.Cs_[best].mean())
        self.coef_ = models.coef[rows].mean(axis=0).astype(dtype)
        self.intercept_ = models.intercept[rows].mean(axis=0).astype(dtype)
        self.objective_ = self.gap_ = self.n_passes_ = float("nan")

    def score(  # type: ignore[override]
        self, X: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, **params: Any
    ) -> float:
        """Score of the predictions by `scoring`.

        Parameters
        ----------
        X : array_like, CSR matrix or frame of shape (n_samples, n_features)
            Finite data.
        y : array_like of shape (n_samples,)
            Their labels.
        sample_weight : array_like of shape (n_samples,), optional
            Weights, for the scorer.
        **params
            What else the scorer is to be given.

        Returns
        -------
        float
            The mean accuracy, if there is no `scoring`.

        Raises
        ------
        sklearn.exceptions.NotFittedError, TypeError, ValueError
            As for `decision_function`, and what the scorer raises.
        """
        require_fitted(self)
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
        if get_config()["enable_metadata_routing"]:
            params = dict(process_routing(self, "score", **params).scorer.score)
        refuse_masked(params.get("sample_weight"), "sample_weight")
        return float(self._scorer()(self, X, plain_labels(y), **params))

    def get_metadata_routing(self) -> MetadataRouter:
        """Where metadata go: to this estimator, the splitter and the scorer.

        Returns
        -------
        sklearn.utils.metadata_routing.MetadataRouter
        """
        to_split = MethodMapping().add(caller="fit", callee="split")
        to_score = MethodMapping().add(caller="score", callee="score")
        to_score.add(caller="fit", callee="score")
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=self.cv, method_mapping=to_split)
        return router.add(scorer=self._scorer(), method_mapping=to_score)
