"""Bad and odd input of LogisticRegression: an error that names it, or a finite and certified optimum."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
import scipy.sparse
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_unchanged, blobs, logistic_objective, snapshot
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as PeerRegression

from fastsoftmax import LogisticRegression, LogisticRegressionCV, logistic_regression_path

X, Y = blobs(40, 3, 3)
CSR = scipy.sparse.csr_array(np.where(X > 0, X, 0))
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def make(state, **parameters):
    clf = LogisticRegression(random_state=0)
    if state != "unfitted":
        clf.fit(X, Y)
    return clf.set_params(**{"warm_start": state == "warm start"} | parameters)


def refuses(clf, method, error, message, *arguments):
    """Call a method that must raise and must leave no trace."""
    before = snapshot(clf)
    with pytest.raises(error, match=message):
        getattr(clf, method)(*arguments)
    assert_unchanged(clf, before)


def with_value(value, row=7, column=1, dtype=np.float64):
    bad = X.astype(dtype)
    bad[row, column] = value
    return bad


def broken_csr(**parts):
    bad = CSR.copy()
    for name, (position, value) in parts.items():
        getattr(bad, name)[position] = value
    return bad


ROW = np.searchsorted(CSR.indptr, 9, side="right") - 1
BAD_X = {
    "NaN": (with_value(np.nan), ValueError, "X contains NaN at row 7, column 1"),
    "infinity": (with_value(-np.inf), ValueError, "X contains infinity at row 7, column 1"),
    "NaN in float32": (with_value(np.nan, dtype="f4"), ValueError, "NaN at row 7, column 1"),
    "NaN in CSR": (
        broken_csr(data=(9, np.nan)),
        ValueError,
        f"X contains NaN at row {ROW}, column {CSR.indices[9]}",
    ),
    "column of CSR out of range": (broken_csr(indices=(9, 3)), ValueError, "ind"),
    "negative column of CSR": (broken_csr(indices=(9, -1)), ValueError, "ind"),
    "rows of CSR out of order": (broken_csr(indptr=(5, 10**6)), ValueError, "ind"),
    "complex CSR": (CSR.astype(complex), ValueError, "(?i)complex"),
    "1-D": (X[:, 0], ValueError, "Expected 2D array, got 1D array"),
    "no rows": (X[:0], ValueError, r"0 sample\(s\).*minimum of 1"),
    "no columns": (X[:, :0], ValueError, r"0 feature\(s\).*minimum of 1"),
    "complex": (X + 0j, ValueError, "Complex data not supported"),
    "text in a frame": (pd.DataFrame(X).assign(color="red"), ValueError, "the text 'red'"),
    "masked": (np.ma.masked_array(X, np.zeros_like(X, bool)), TypeError, "masked array"),
}


@pytest.mark.parametrize("state", ["unfitted", "fitted", "warm start"])
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_in_fit(state, case):
    bad, error, message = BAD_X[case]
    refuses(make(state), "fit", error, message, bad, Y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_in_prediction(method, case):
    bad, error, message = BAD_X[case]
    refuses(make("fitted"), method, error, message, bad)


@pytest.mark.parametrize("method", METHODS)
def test_prediction_before_fit(method):
    refuses(make("unfitted"), method, NotFittedError, "not fitted yet", X)


@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_in_the_others(case):
    bad, error, message = BAD_X[case]
    refuses(LogisticRegressionCV(Cs=2, cv=2), "fit", error, message, bad, Y)
    with pytest.raises(error, match=message):
        logistic_regression_path(bad, Y)


BAD_Y = {
    "one class": (np.zeros(40), "y has one class only, 0.0"),
    "too few": (Y[:-1], "inconsistent numbers of samples"),
    "fractions": (Y + 0.5, "Unknown label type"),
    "NaN": (np.where(Y == 1, np.nan, Y), "y contains NaN at position"),
    "none": (None, "requires y to be passed"),
}


@pytest.mark.parametrize("state", ["unfitted", "fitted"])
@pytest.mark.parametrize("case", BAD_Y)
def test_bad_y(state, case):
    bad, message = BAD_Y[case]
    refuses(make(state), "fit", ValueError, message, X, bad)


def test_bad_warm_starts():
    refuses(make("warm start"), "fit", ValueError, "labels that are not among.*: 3", X, Y + 1)
    message = "warm_start: X has 2 features, but the fitted weights are for 3"
    refuses(make("warm start"), "fit", ValueError, message, X[:, :2], Y)


BAD_WEIGHTS = {
    "negative": (np.where(np.arange(40) == 5, -1.0, 1.0), ValueError, r"\[5\] is -1.0.*negative"),
    "NaN": (np.where(np.arange(40) == 5, np.nan, 1.0), ValueError, r"\[5\] is nan.*not finite"),
    "all zero": (np.zeros(40), ValueError, "zero for every sample"),
    "too many": (np.ones(41), ValueError, r"sample_weight.shape == \(41,\)"),
    "text": (["1"] * 40, TypeError, "sample_weight must be of real numbers"),
    "too large": (np.full(40, 1e308), ValueError, "the sum of 40 is not finite in float64"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_sample_weight(case):
    weights, error, message = BAD_WEIGHTS[case]
    refuses(make("fitted"), "fit", error, message, X, Y, weights)
    with pytest.raises(error, match=message):
        logistic_regression_path(X, Y, sample_weight=weights)


BAD_PARAMETERS = [
    ("C", 0, ValueError, "C must be > 0"),
    ("C", -1.0, ValueError, "C must be > 0"),
    ("C", np.nan, ValueError, "C must be > 0"),
    ("C", "1", TypeError, "C must be a number"),
    ("tol", -1e-4, ValueError, "tol must be >= 0"),
    ("tol", np.inf, ValueError, "tol must be >= 0 and finite"),
    ("max_iter", 0, ValueError, "max_iter must be >= 1"),
    ("max_iter", 1.5, TypeError, "max_iter must be an integer"),
    ("fit_intercept", 1, TypeError, "fit_intercept must be a bool"),
    ("l1_ratio", 0.5, ValueError, "l1_ratio=0.5 is not supported.*solver='saga'"),
    ("l1_ratio", 1, ValueError, "l1_ratio=1 is not supported"),
    ("penalty", "l1", ValueError, "penalty='l1' is not supported.*solver='saga'"),
    ("penalty", "elasticnet", ValueError, "penalty='elasticnet' is not supported"),
    ("penalty", np.array(["l2", "l2"]), ValueError, r"penalty=array.* is not supported"),
    ("solver", "liblinear", ValueError, "the same optimum but for what 'liblinear' makes of inter"),
    ("solver", "saga", ValueError, "solver='saga' is not supported; solver='auto'"),
    ("solver", None, ValueError, "solver=None is not supported"),
    ("class_weight", "even", ValueError, "class_weight must be a dict, 'balanced' or None"),
    ("class_weight", {7: 1}, ValueError, r"class_weight has a weight for 7.*\[0, 1, 2\]"),
    ("class_weight", {1: -1}, ValueError, r"class_weight\[1\] must be >= 0"),
    ("class_weight", {0: 0, 1: 0, 2: 0}, ValueError, "zero for every sample"),
    ("class_weight", dict.fromkeys(range(3), 1e308), ValueError, "its sum is not finite"),
    ("input_scale", 0, ValueError, "input_scale must be > 0"),
    ("input_scale", np.inf, ValueError, "input_scale must be > 0 and finite"),
    ("n_threads", 0, ValueError, "n_threads must be at least 1"),
    ("n_threads", 1.0, TypeError, "n_threads must be an integer or None"),
    ("verbose", "yes", TypeError, "verbose must be an integer"),
    ("warm_start", "yes", TypeError, "warm_start must be a bool"),
    ("random_state", "seed", ValueError, "seed"),
]


@pytest.mark.parametrize("state", ["unfitted", "fitted"])
@pytest.mark.parametrize(("name", "value", "error", "message"), BAD_PARAMETERS)
def test_bad_parameters(state, name, value, error, message):
    refuses(make(state, **{name: value}), "fit", error, message, X, Y)


def test_input_scale_out_of_the_range_of_float32():
    clf = make("unfitted", input_scale=1e-300)
    refuses(clf, "fit", ValueError, "out of the range of float32", X.astype(np.float32), Y)


BAD_CV = [
    ("Cs", 0, ValueError, "Cs must be >= 1"),
    ("Cs", [], ValueError, "Cs must be a number of values or a list"),
    ("Cs", [1.0, -1.0], ValueError, r"Cs\[1\] must be > 0"),
    ("Cs", [[1.0]], ValueError, "Cs must be a number of values or a list"),
    ("Cs", "all", TypeError, "Cs must be an integer"),
    ("l1_ratios", (0, 0.5), ValueError, "l1_ratios=0.5 is not supported"),
    ("penalty", None, ValueError, r"use LogisticRegression\(C=np.inf\)"),
    ("use_legacy_attributes", True, ValueError, "C_ is a float"),
    ("refit", "no", TypeError, "refit must be a bool"),
    ("scoring", "best", ValueError, "scoring"),
    ("cv", 1, ValueError, "n_splits=1"),
    ("cv", 50, ValueError, "n_splits=50 .*greater"),
    ("cv", [(range(20), [40])], ValueError, "cv: split 0 is not one of 40 rows: .*out of bounds"),
    ("cv", [(range(20), [20.0])], ValueError, "cv: split 0 is not one of 40 rows: .*integer"),
    ("scoring", lambda *_: np.nan, ValueError, "scoring gives NaN for every C"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD_CV)
def test_bad_parameters_of_cv(name, value, error, message):
    refuses(LogisticRegressionCV(**{name: value}), "fit", error, message, X, Y)


BAD_FOLDS = {
    "too few": (np.zeros(39, int), "folds must be 40 integers"),
    "floats": (np.zeros(40), "folds must be 40 integers.*float64"),
    "below -1": (np.arange(40) % 3 - 2, "numbers from 0 to n_folds - 1, or -1"),
    "a gap": (np.arange(40) % 2 * 2, "fold 1 has no sample"),
    "none": (np.full(40, -1), "fold 0 has no sample"),
    "all in one": (np.zeros(40, int), "all samples are in one fold"),
}


@pytest.mark.parametrize("case", BAD_FOLDS)
def test_bad_folds(case):
    folds, message = BAD_FOLDS[case]
    with pytest.raises(ValueError, match=message):
        logistic_regression_path(X, Y, folds=folds)


def test_masked_folds():
    folds = np.ma.masked_equal(np.arange(40) % 3, 0)
    with pytest.raises(TypeError, match="folds is a masked array"):
        logistic_regression_path(X, Y, folds=folds)


def certified(X, y, sample_weight=None, **parameters):
    """Fit, and check that the optimum is finite, proven, and no worse than zero weights."""
    clf = LogisticRegression(**{"tol": 1e-6} | parameters).fit(X, y, sample_weight)
    assert np.isfinite(clf.coef_).all()
    assert np.isfinite(clf.intercept_).all()
    assert 0 <= clf.gap_ <= clf.tol
    n_rows = 1 if len(clf.classes_) == 2 else len(clf.classes_)
    dense = np.asarray(X.todense() if scipy.sparse.issparse(X) else X, np.float64)
    labels = np.searchsorted(clf.classes_, y)
    scale = clf.input_scale
    at_zero = logistic_objective(
        dense, labels, np.zeros((n_rows, dense.shape[1])), np.zeros(n_rows), clf.C, sample_weight
    )
    assert clf.objective_ <= at_zero * (1 + 1e-12)
    objective = logistic_objective(
        dense * scale, labels, clf.coef_, clf.intercept_, clf.C, sample_weight
    )
    assert_allclose(objective, clf.objective_, rtol=1e-5)
    return clf


def odd_columns(kind):
    X, y = blobs(60, 5, 3)
    if kind == "constant":
        X[:, 2] = 3
    elif kind == "zero":
        X[:, 2] = 0
    elif kind == "duplicate":
        X[:, 3] = X[:, 2]
    elif kind == "all zero":
        X[:] = 0
    elif kind == "duplicate rows":
        X[:] = X[:3][y]
    return X, y


@pytest.mark.parametrize("C", [1e-3, 1e3])
@pytest.mark.parametrize(
    "kind", ["constant", "zero", "duplicate", "all zero", "duplicate rows", "plain"]
)
def test_odd_columns(kind, C):
    X, y = odd_columns(kind)
    clf = certified(X, y, C=C)
    if kind in ("zero", "all zero"):
        assert_allclose(clf.coef_[:, 2], 0, atol=1e-12)
    if kind == "duplicate":
        assert_allclose(clf.coef_[:, 2], clf.coef_[:, 3], atol=1e-2 * np.abs(clf.coef_).max())


@pytest.mark.parametrize("kind", ["constant", "zero", "duplicate", "all zero"])
def test_odd_columns_without_a_penalty(kind):
    X, y = odd_columns(kind)
    clf = LogisticRegression(C=np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether it is separable is chance
        clf.fit(X, y)
    assert np.isfinite(clf.coef_).all()
    assert clf.score(X, y) >= 0.3


DEPENDENT = {
    "ones": lambda X, rng: np.c_[X, np.ones(len(X))],
    "constant": lambda X, rng: np.c_[X, np.full(len(X), 7.3)],
    "sum of integers": lambda X, rng: np.c_[(X := np.round(3 * X)), X[:, :4].sum(axis=1)],
    "sum": lambda X, rng: np.c_[X, X[:, :3].sum(axis=1)],
    "multiple": lambda X, rng: np.c_[X, 10 * X[:, 0]],
    "one-hot": lambda X, rng: np.c_[X, np.eye(6)[rng.integers(0, 6, len(X))]],
}


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", DEPENDENT)
def test_dependent_columns_without_a_penalty(kind, n_classes, solver):
    # Nothing holds the weights along them but the solver's care: they came to 1e14, and the
    # minimum to what the rounding of such logits made of it. Scaled features of full rank, and
    # scikit-learn, have the same minimum.
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = DEPENDENT[kind](rng.normal(size=(300, 5)), rng)
        y = rng.integers(0, n_classes, len(X))
        clf = LogisticRegression(C=np.inf, solver=solver).fit(X, y)
        assert np.abs(clf.coef_).max() < 10
        centred = X - X.mean(axis=0)
        scaled = centred / np.maximum(centred.std(axis=0), 1e-6)
        U, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
        basis = U[:, sizes > 1e-6 * sizes[0]] * np.sqrt(len(X))
        peer = PeerRegression(C=1e10, tol=1e-8, max_iter=1000)
        assert_allclose(clf.predict_proba(X), peer.fit(basis, y).predict_proba(basis), atol=1e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("offset", "scale", "layout"),
    [
        (1e6, 1e8, np.asarray),
        (1e7, 1e5, np.asarray),
        (3e6, 1e6, np.asarray),
        (5e3, 1e6, lambda X: scipy.sparse.csr_array(X.astype(np.float32))),
    ],
)
def test_offsets_without_a_penalty(offset, scale, layout, n_classes, solver):
    # A feature with a mean of a million deviations, beside one that is large, is no constant.
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(400, 4))
    noise = rng.gumbel(size=(400, n_classes))
    y = (Z @ rng.normal(size=(4, n_classes)) + noise).argmax(axis=1)
    X = layout(np.c_[Z[:, 0] + offset, Z[:, 1] * scale, Z[:, 2:]])
    clf = LogisticRegression(C=np.inf, solver=solver).fit(X, y)
    dense = np.asarray(X.todense() if scipy.sparse.issparse(X) else X, np.float64)
    scaled = (dense - dense.mean(axis=0)) / dense.std(axis=0)
    peer = PeerRegression(C=1e10, tol=1e-8, max_iter=1000).fit(scaled, y)
    least = -peer.predict_log_proba(scaled)[np.arange(400), y].sum()
    assert clf.objective_ == pytest.approx(least, rel=2e-5)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_fewer_samples_than_features(n):
    certified(*blobs(n, 40, 2))
    if n > 2:
        certified(*blobs(n, 40, 3))


@pytest.mark.parametrize("n_classes", [3, 50])
def test_one_sample_for_each_class(n_classes):
    X = np.random.default_rng(0).normal(size=(n_classes, 4))
    certified(X, np.arange(n_classes))


def test_one_feature():
    certified(*blobs(50, 1, 3))
    certified(scipy.sparse.csr_array(blobs(50, 1, 3)[0]), blobs(50, 1, 3)[1])


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_huge_and_tiny_inputs(scale, dtype, n_classes, fit_intercept):
    X, y = blobs(60, 5, n_classes)
    if dtype == np.float32:
        scale = scale**0.5  # whose square float32 still holds
    inputs = (X * scale).astype(dtype)
    clf = certified(inputs, y, tol=1e-4, fit_intercept=fit_intercept)
    if scale > 1:  # a penalty that counts for nothing
        dense = inputs.astype(np.float64) / scale
        free = LogisticRegression(C=np.inf, tol=1e-10, fit_intercept=fit_intercept).fit(dense, y)
        assert_allclose(clf.objective_, free.objective_, rtol=1e-4)
        assert_allclose(clf.predict_proba(inputs), free.predict_proba(dense), atol=0.02)


# Of 20,000 of this kind those where a gap was claimed that was too small.
LARGE_MEANS = (
    1095,
    1847,
    2974,
    3682,
    3802,
    6442,
    7724,
    8067,
    8932,
    9224,
    9384,
    12303,
    13488,
    16407,
)


@pytest.mark.parametrize("seed", LARGE_MEANS)
def test_the_gap_knows_the_rounding_of_large_means(seed):
    """Columns less their first entries, which rounds nothing, have the same minimum."""
    rng = np.random.default_rng(seed + 10**6)
    n, d = int(rng.integers(10, 41)), int(rng.integers(1, 4))
    X = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-3, 2, d)
    X[:, 0] += 10.0 ** rng.uniform(9, 12.5)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    C = 10.0 ** rng.uniform(-2, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = LogisticRegression(C=C).fit(X, y)
    Z = X - X[0]
    scale = Z.std(axis=0)
    least = penalised_minimum((Z - Z.mean(axis=0)) / scale, y, 1 / (C * scale**2))
    assert (clf.objective_ - least) / least <= clf.gap_ * 1.01 + 1e-9


def penalised_minimum(Z, y, penalties):
    """By Newton's method, of one row of weights with a penalty for each and an intercept."""
    A = np.column_stack([Z, np.ones(len(Z))])
    regular, sign = np.append(penalties, 0.0), np.where(y == 1, 1.0, -1.0)
    v = np.zeros(A.shape[1])

    def objective(v):
        return np.logaddexp(0, -sign * (A @ v)).sum() + (regular * v**2).sum() / 2

    for _ in range(100):
        p = scipy.special.expit(sign * (A @ v))
        gradient = -(A.T @ (sign * (1 - p))) + regular * v
        hessian = (A.T * (p * (1 - p))) @ A + np.diag(regular)
        step = np.linalg.lstsq(hessian, gradient, rcond=1e-15)[0]
        t = 1.0
        while t > 1e-10 and objective(v - t * step) > objective(v):
            t /= 2
        v = v - t * step
    return objective(v)


def test_a_penalty_that_is_lost_is_not_proven_away():
    """Its own part of the objective is no less than what the fit may be off by, and is reported."""
    X = [8541.596, 8996.3099, 58102.206, 15306.289, 94373.613, 42423.849, 1092575.996]
    X = np.array([*X, 13336.521, 17891.254, 59975.75])[:, None]
    y = np.array([0, 1, 2, 3, 4, 5, 3, 3, 5, 5])
    C = 73477076.0
    clf = LogisticRegression(C=C, tol=1e-4).fit(X, y)
    of_penalty = (clf.coef_**2).sum() / (2 * C)
    assert 1e-9 < of_penalty / clf.objective_ <= clf.gap_ < 1e-6
    with pytest.warns(ConvergenceWarning, match="rounding ended the fit at a relative gap of"):
        clf.set_params(tol=clf.gap_ / 10).fit(X, y)


@pytest.mark.parametrize("scale", [1e160, 1e300])
def test_inputs_whose_squares_are_not_finite(scale):
    X, y = blobs(60, 5, 3)
    with pytest.warns(ConvergenceWarning, match="so large that their squares are not finite"):
        clf = LogisticRegression().fit(X * scale, y)
    assert clf.gap_ == np.inf


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("scale", [1e10, 1e20, 1e50, 1e140, 1e160])
def test_one_huge_column_beside_usual_ones(scale, n_classes):
    X, y = blobs(60, 5, n_classes)
    n_rows = 1 if n_classes == 2 else n_classes

    def objective(parameters):
        W, b = parameters[: 5 * n_rows].reshape(n_rows, 5), parameters[5 * n_rows :]
        huge = W[:, 1] / scale  # whose penalty counts for nothing
        return logistic_objective(X, y, W, b, 1.0) - (W[:, 1] ** 2 - huge**2).sum() / 2

    zero = np.zeros(6 * n_rows)
    minimum = scipy.optimize.minimize(objective, zero, tol=1e-12).fun
    X[:, 1] *= scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # too much for a proof
        clf = LogisticRegression(tol=1e-6).fit(X, y)
    assert np.isfinite(clf.coef_).all()
    assert clf.objective_ / minimum - 1 <= clf.gap_ + 1e-9  # no proof of what is not so
    if scale < 1e154:  # whose square is not finite
        assert_allclose(clf.objective_, minimum, rtol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes_that_huge_inputs_separate(n_classes):
    X, y = blobs(60, 5, n_classes)
    X[:, :n_classes] = 1e30 * np.eye(n_classes)[y]
    X[:, n_classes:] *= 1e30
    with pytest.warns(ConvergenceWarning):  # the optimum is out of reach
        clf = LogisticRegression().fit(X, y)
    assert np.isfinite(clf.coef_).all()
    assert clf.score(X, y) == 1
    assert not clf.gap_ <= clf.tol


def test_class_weights_of_very_different_size():
    X, y = blobs(100, 2, 2)  # weights a factor of 1e7 apart
    certified(X, y, np.where(y == 0, 1e3, 1e-4), C=0.3, tol=1e-12)


@pytest.mark.parametrize("C", [1e-300, 1e-12, 1e12])
def test_tiny_and_huge_C(C):
    X, y = blobs(100, 3, 3)
    clf = certified(X * 0.3, y, C=C)
    if C < 1e-6:
        assert np.abs(clf.coef_).max() < 1e-9
        assert_allclose(clf.predict_proba(X)[0], np.bincount(y) / 100, rtol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_a_class_without_weight(n_classes):
    X, y = blobs(80, 4, n_classes)
    weights = np.where(y == 1, 0.0, 1.5)
    clf = certified(X, y, weights, tol=1e-9)
    assert not (clf.predict(X) == 1).any()
    assert clf.predict_proba(X)[:, 1].max() < 1e-30
    rest = LogisticRegression(tol=1e-9)
    if n_classes > 2:
        rest.fit(X[y != 1], y[y != 1], weights[y != 1])
        expected = rest.predict_proba(X)
        others = np.delete(clf.predict_proba(X), 1, axis=1)
        if n_classes == 4:  # of two classes the penalty counts one row instead of two
            assert_allclose(others, expected, atol=1e-3)
    assert clf.classes_.tolist() == list(range(n_classes))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_only_one_class_with_weight(n_classes):
    X, y = blobs(30, 3, n_classes)
    clf = LogisticRegression().fit(X, y, np.where(y == 1, 2.0, 0.0))
    assert_array_equal(clf.predict(X), np.ones(30))
    assert clf.objective_ == 0
    assert np.isfinite(clf.intercept_).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_class_without_weight_and_without_intercept(n_classes):
    X, y = blobs(80, 4, n_classes)
    certified(X, y, np.where(y == 1, 0.0, 1.0), fit_intercept=False, tol=1e-5)


def test_a_row_without_weight_is_as_if_it_were_not_there():
    X, y = blobs(100, 4, 3)
    weights = np.ones(100)
    weights[::7] = 0
    clf = LogisticRegression(tol=1e-11).fit(X, y, weights)
    rest = LogisticRegression(tol=1e-11).fit(X[weights > 0], y[weights > 0])
    assert_allclose(clf.coef_, rest.coef_, atol=1e-5)


def test_interrupted_by_its_own_report(monkeypatch):
    clf = LogisticRegression(verbose=1).fit(X, Y)
    before = snapshot(clf)
    monkeypatch.setattr("builtins.print", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clf.fit(X + 1, Y)
    assert_unchanged(clf, before)


def test_spare_room_of_csr_is_left_alone():
    given = scipy.sparse.csr_array(np.eye(6))
    given.data = np.append(given.data, np.full(10, 7.0))
    given.indices = np.append(given.indices, np.zeros(10, given.indices.dtype))
    arrays = given.data, given.indices, given.indptr
    LogisticRegression().fit(given, [0, 1] * 3).predict(given)
    assert given.data is arrays[0]
    assert given.indices is arrays[1]
    assert given.indptr is arrays[2]


@pytest.mark.parametrize("C", [Decimal("inf"), np.array(np.inf)])
def test_infinity_that_is_no_float_is_no_C(C):
    refuses(make("unfitted", C=C), "fit", TypeError, "C must be a number", X, Y)


def test_a_fold_without_weight():
    folds = np.repeat([0, 1], 20)
    weights = np.repeat([1.0, 0.0], 20)
    with pytest.raises(ValueError, match="samples to fit to have no weight"):
        logistic_regression_path(X, Y, [1.0], folds=folds, sample_weight=weights)


@pytest.mark.parametrize("method", METHODS)
def test_weights_set_by_hand_in_other_forms(method):
    clf = make("fitted")
    expected = getattr(clf, method)(X)
    clf.intercept_ = np.repeat(clf.intercept_, 2)[::2]
    assert_array_equal(getattr(clf, method)(X), expected, strict=True)
    clf.coef_ = np.asfortranarray(clf.coef_)
    assert_array_equal(getattr(clf, method)(X), expected, strict=True)
    clf.coef_ = clf.coef_.astype(np.longdouble)
    refuses(clf, method, TypeError, "coef_ is of dtype", X)


def test_coefficients_that_float32_does_not_hold_are_wide():
    tiny = (X * 1e-42).astype(np.float32)
    clf = LogisticRegression(C=1e90, max_iter=200).fit(tiny, Y > 0)
    assert clf.coef_.dtype == np.float64
    assert np.isfinite(clf.coef_).all()
    assert abs(clf.coef_).max() > np.finfo(np.float32).max
