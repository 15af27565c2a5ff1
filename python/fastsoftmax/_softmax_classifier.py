"""The mini-batch estimator: parameters, conventions of scikit-learn, and one call of the core."""

from __future__ import annotations

import itertools
import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._arrays import floating_dtype, readable, threads_or_default
from ._callbacks import CallbackSupportMixin, FitTask, with_callbacks
from ._labels import as_classes, check_labels, check_two_classes, encode_known
from ._linear_classifier import LinearClassifier, unchanged_on_error
from ._parameters import check_bool, check_number, check_scale, check_seed, check_verbose, draw_seed
from ._validation import check_sample_weight, check_X, nonfinite_message

_Array = NDArray[Any]


@dataclass
class _State:
    """What training changes: copies, so that nothing is lost when it fails."""

    W: _Array  # (n_outputs, n_features); for two classes one, the difference
    b: _Array  # (n_outputs,)
    velocity: tuple[_Array, _Array] | None  # like W and b; None without momentum
    seed: int
    n_iter: int
    losses: list[float]  # of the epochs since then


class SoftmaxClassifier(CallbackSupportMixin, LinearClassifier):  # type: ignore[misc]
    """Softmax (multinomial logistic) regression, trained by mini-batch gradient descent.

    Minimizes the mean cross-entropy of ``softmax(input_scale * X @ coef_.T + intercept_)`` plus
    ``alpha / 2`` times the squared norm of the weights, from weights that are zero. Each step takes
    the mean gradient over a batch; an epoch visits every sample once, the last batch may be smaller.

    Two classes are trained as two rows of weights, each the other's negative, of which `coef_` is the
    difference: the penalty is ``alpha / 4`` times its squared norm, that of
    ``LogisticRegression(C=2 / (alpha * n_samples))``, and its steps are twice those of the formulas
    below. With more classes C is ``1 / (alpha * n_samples)``.

    Parameters
    ----------
    learning_rate : float, default=0.01
        The constant length of a step along the negative gradient. Finite, > 0.
    batch_size : int, default=100
        Samples in a batch, at least 1; all of them, if there are fewer.
    max_iter : int, default=10
        Epochs (scikit-learn's word is iterations): passes over the training data, at least 1.
    alpha : float, default=0.0
        Strength of the L2 penalty on the mean loss; the intercept is not penalized. Finite, >= 0.
    momentum : float, default=0.0
        Share of the last step that is kept in the next, in [0, 1):
        ``v = momentum * v - learning_rate * gradient; coef_ += v``.
    nesterov : bool, default=False
        Nesterov's momentum [1]_: ``coef_ += momentum * v - learning_rate * gradient``.
    shuffle : bool, default=True
        Visit the samples in a new random order in every epoch; else, and where a batch is all of them,
        in the order of `X`.
    fit_intercept : bool, default=True
        Train an intercept; else it stays zero.
    input_scale : float, default=1.0
        Every entry of `X` is multiplied with this inside the kernels, in training and in prediction:
        with ``1 / 255``, 8-bit images are trained as numbers from 0 to 1 without a copy. `coef_`
        belongs to the scaled inputs. Finite, > 0.
    random_state : int, RandomState instance or None, default=None
        Seed of the order of the samples. The order for a seed is the same on every platform.
    n_threads : int or None, default=None
        At most so many threads. None: as many as this process may use CPUs (affinity and
        control-group quota counted), at most ``OMP_NUM_THREADS``. Small problems take fewer. The
        result has the same bits for any number.
    warm_start : bool, default=False
        `fit` goes on from where the last `fit` or `partial_fit` stopped, with the same classes:
        weights, momentum, order of the samples and epoch count. Else it starts from zero.
    verbose : int, default=0
        1 or more: print a line for each epoch.

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_features), or (1, n_features) for two classes
        The weights. For two classes, as in scikit-learn, those of the positive class
        ``classes_[1]`` less those of the other. Of the precision of the arithmetic (see Notes).
    intercept_ : ndarray of shape (n_classes,) or (1,)
        The intercepts, likewise.
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    n_iter_ : int
        Epochs trained since the weights were zero.
    loss_curve_ : list of float
        For each epoch the mean of the cross-entropies (without the penalty) as they were met, batch
        by batch, before the step of each; weighted by `sample_weight`. Each call of `partial_fit`
        adds one.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features; only if `X` was a frame whose column names are all strings.

    Notes
    -----
    `X` of float32, float64 or uint8 (and bool) with contiguous rows is read where it lies: C order,
    also every n-th row or a range of columns of such an array, read-only or memory-mapped. Any other
    layout is copied once, any other dtype converted once: float16 and integers of up to 16 bits to
    float32, wider integers to float64. float32 and uint8 are computed in float32, float64 in float64.

    `sample_weight` multiplies the losses. `fit` divides the weights by their mean, so that their
    scale changes nothing; `partial_fit` takes them as they are, so that they may differ between the
    chunks of a stream. With mini-batches a weight of two is not quite the same as a sample that comes
    twice, since that would change the batches.

    NaN and infinities are found in the pass itself. After any exception, Ctrl-C included, the
    estimator is as it was before the call.

    scikit-learn's callbacks (its version 1.9 or later; `set_callbacks`) are told of each epoch of `fit`,
    with the estimator fitted so far, and may stop it after any.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and
       momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> (X, y), (X_test, y_test) = fs.datasets.load_digits()
    >>> clf = fs.SoftmaxClassifier(learning_rate=0.5, input_scale=1 / 16, random_state=0)
    >>> clf.fit(X, y).score(X_test, y_test) > 0.9
    True
    """

    loss_curve_: list[float]

    def __init__(
        self,
        *,
        learning_rate: float = 0.01,
        batch_size: int = 100,
        max_iter: int = 10,
        alpha: float = 0.0,
        momentum: float = 0.0,
        nesterov: bool = False,
        shuffle: bool = True,
        fit_intercept: bool = True,
        input_scale: float = 1.0,
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.alpha = alpha
        self.momentum = momentum
        self.nesterov = nesterov
        self.shuffle = shuffle
        self.fit_intercept = fit_intercept
        self.input_scale = input_scale
        self.random_state = random_state
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.verbose = verbose

    @unchanged_on_error
    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train for `max_iter` epochs.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
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
            If a parameter is out of range, the shapes do not fit, `X` contains NaN or infinity, `y`
            has a single class, or the training diverges; the message says which and where.
        """
        options = self._options()
        n_epochs = check_number(self.max_iter, "max_iter", integer=True, minimum=1, below=2**31)
        rows, indices, goes_on = self._check_training_data(X, y)
        state = self._saved_state(rows) if goes_on else self._zero_state(rows)
        weights = check_sample_weight(sample_weight, len(rows), state.W.dtype, rescale=True)
        task = FitTask(self, "epoch", n_epochs, X, y, sample_weight)
        self._train(state, rows, indices, weights, options, n_epochs, task)
        task.end()
        return self

    @unchanged_on_error
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch over this part of the data, from where the last call stopped.

        Ten calls with the same data do what `fit` does with ``max_iter=10``.

        Parameters
        ----------
        X : array_like or frame of shape (n_samples, n_features)
            Training data.
        y : array_like of shape (n_samples,)
            Labels; any subset of the classes.
        classes : array_like of shape (n_classes,), optional
            All labels there will be; needed in the first call, and the same in later ones.
        sample_weight : array_like of shape (n_samples,), optional
            As for `fit`, but taken as they are.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As for `fit`; also if `classes` is missing in the first call or not the same in a later
            one, or `y` has a label that is not among them.
        """
        options = self._options()
        first = not hasattr(self, "coef_")
        if first and classes is None:
            raise ValueError("classes must be given in the first call of partial_fit")
        X = readable(check_X(self, X, reset=first), options["n_threads"])
        labels = check_labels(self, X, y)
        if not first:
            self._check_weights("partial_fit", X.shape[1])
            self.n_features_in_ = X.shape[1]
        if classes is not None:
            self._check_classes(classes, first)
        indices = encode_known(labels, self.classes_)
        state = self._zero_state(X) if first else self._saved_state(X)
        weights = check_sample_weight(sample_weight, len(X), state.W.dtype, rescale=False)
        self._train(state, X, indices, weights, options, n_epochs=1)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled, or is that of another: of whose list of losses this is a copy."""
        super().__setstate__(state)
        if "loss_curve_" in state:
            self.loss_curve_ = list(state["loss_curve_"])

    def _check_classes(self, classes: ArrayLike, first: bool) -> None:
        known = as_classes(classes)
        if first:
            check_two_classes(known, "classes")
            self.classes_ = known
        elif not np.array_equal(known, self.classes_):
            raise ValueError(
                f"classes {known.tolist()} are not those of the first call, "
                f"{self.classes_.tolist()}"
            )

    def _options(self) -> dict[str, Any]:
        """The parameters of the core, checked."""
        check_verbose(self.verbose)
        return {
            "learning_rate": check_number(self.learning_rate, "learning_rate", exclusive=True),
            "alpha": check_number(self.alpha, "alpha"),
            "momentum": check_number(self.momentum, "momentum", below=1.0),
            "nesterov": check_bool(self.nesterov, "nesterov"),
            "shuffle": check_bool(self.shuffle, "shuffle"),
            "fit_intercept": check_bool(self.fit_intercept, "fit_intercept"),
            "input_scale": check_number(self.input_scale, "input_scale", exclusive=True),
            "batch_size": min(
                check_number(self.batch_size, "batch_size", integer=True, minimum=1), 2**62
            ),
            "n_threads": threads_or_default(self.n_threads),
        }

    def _zero_state(self, X: _Array) -> _State:
        check_two_classes(self.classes_)
        dtype, n_outputs = floating_dtype(X.dtype), self._n_outputs()
        W, b = np.zeros((n_outputs, X.shape[1]), dtype), np.zeros(n_outputs, dtype)
        self.loss_curve_ = []
        return _State(W, b, None, draw_seed(self.random_state), 0, [])

    def _saved_state(self, X: _Array) -> _State:
        """The fitted state in the arithmetic of `X`, or in its own if that is wider."""
        check_seed(self.random_state)
        dtype = np.result_type(np.asarray(self.coef_), floating_dtype(X.dtype))
        W = np.array(self.coef_, dtype, order="C")
        b = np.array(self.intercept_, dtype) * bool(self.fit_intercept)
        # Weights set by hand may be of another shape than those that had a velocity, or be all there
        # is of a model; a file may come without a seed.
        velocity, earlier = None, getattr(self, "_velocity", None)
        if earlier is not None and earlier[0].shape == W.shape:
            velocity = (
                np.array(earlier[0], dtype, order="C"),
                np.array(earlier[1], dtype) * bool(self.fit_intercept),
            )
        own_seed = self._seed if hasattr(self, "_seed") else draw_seed(self.random_state)
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_ = []
        return _State(W, b, velocity, own_seed, getattr(self, "n_iter_", 0), [])

    def _train(
        self,
        state: _State,
        X: _Array,
        indices: NDArray[np.int64],
        weights: _Array | None,
        options: dict[str, Any],
        n_epochs: int,
        task: FitTask | None = None,
    ) -> None:
        """Run the epochs, or those before a callback says stop, and take their result over."""
        for name in ("learning_rate", "input_scale"):
            check_scale(options[name], name, state.W.dtype)
        if options["alpha"] > 1:  # a small one may round to zero
            check_scale(options["alpha"], "alpha", state.W.dtype)
        if state.W.dtype.type(options["momentum"]) >= 1:
            raise ValueError(f"momentum {options['momentum']} is 1 in {state.W.dtype}")
        if not options["momentum"]:
            state.velocity = None
        elif state.velocity is None:
            state.velocity = np.zeros_like(state.W), np.zeros_like(state.b)
        # A call for each epoch where there is something to say, else one for all.
        followed = task is not None and task.has_callbacks
        steps = itertools.repeat(1, n_epochs) if self.verbose or followed else [n_epochs]
        for step in steps:
            started = time.perf_counter()
            if task:
                task.begin_iteration()
            self._run_epochs(state, X, indices, weights, options, step)
            if self.verbose:
                rate = len(X) / (time.perf_counter() - started)
                loss = state.losses[-1]
                print(f"epoch {state.n_iter}: loss {loss:.6f}, {rate:,.0f} samples/s", flush=True)
            if task and task.end_iteration(
                lambda: {
                    **self._fitted(deepcopy(state)),
                    "loss_curve_": self.loss_curve_ + state.losses,
                }
            ):
                break
        self.__dict__.update(self._fitted(state))
        # Not a new list: with one, calls of partial_fit took longer and longer.
        self.loss_curve_ += state.losses

    def _fitted(self, state: _State) -> dict[str, Any]:
        """The attributes of an estimator in this state, but for `loss_curve_`."""
        return {
            "coef_": state.W,
            "intercept_": state.b,
            "n_iter_": state.n_iter,
            "_velocity": state.velocity,
            "_seed": state.seed,
        }

    @staticmethod
    def _run_epochs(
        state: _State,
        X: _Array,
        indices: NDArray[np.int64],
        weights: _Array | None,
        options: dict[str, Any],
        n_epochs: int,
    ) -> None:
        losses = np.empty(n_epochs)
        velocity_W, velocity_b = state.velocity or (None, None)
        n_done, diverged = _core.fit_sgd(
            X,
            indices,
            weights,
            state.W,
            state.b,
            velocity_W,
            velocity_b,
            losses,
            first_epoch=state.n_iter,
            n_epochs=n_epochs,
            seed=state.seed,
            **options,
        )
        state.n_iter += n_done
        state.losses += losses[:n_done].tolist()
        if diverged:
            raise ValueError(
                nonfinite_message(X)
                or f"the training diverged in epoch {state.n_iter}: the loss or a weight is not "
                f"finite; use a lower learning_rate{' or alpha' if options['alpha'] else ''}, or "
                f"scale X (input_scale)"
                + ("" if weights is None else ", or look at the largest of sample_weight")
            )
