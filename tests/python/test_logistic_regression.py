"""LogisticRegression finds the optimum that scikit-learn's finds, and proves it."""

import functools
import warnings

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from reference import blobs, logistic_objective
from scipy.special import logsumexp, softmax
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Reference

from fastsoftmax import LogisticRegression, logistic_regression_path

# n, d, classes, C, what else the estimators get, and whether samples have weights.
PROBLEMS = {
    "two classes": (200, 8, 2, 1.0, {}, False),
    "two classes, weights": (300, 20, 2, 0.01, {}, True),
    "three classes": (150, 5, 3, 10.0, {}, False),
    "no intercept": (200, 7, 3, 1.0, {"fit_intercept": False}, True),
    "ten classes": (500, 30, 10, 0.1, {}, True),
    "class weights": (400, 12, 4, 1.0, {"class_weight": {0: 3.0, 2: 0.2}}, True),
    "fewer samples than features": (60, 90, 3, 0.5, {"class_weight": "balanced"}, False),
    "far fewer samples than features": (40, 400, 3, 1.0, {}, True),
    "a hundred classes": (1500, 24, 100, 1.0, {}, True),
}


def problem(name):
    n, d, n_classes, C, parameters, has_weights = PROBLEMS[name]
    X, y = blobs(n, d, n_classes)
    rng = np.random.default_rng(1)
    X = X * rng.uniform(0.3, 3, size=d) + rng.normal(size=d)
    weights = rng.uniform(0.2, 3, size=n) if has_weights else None
    return X, y, weights, {"C": C, **parameters}


def fit_reference(X, y, weights, parameters):
    """scikit-learn's Newton method, until it can go no further."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its line search may end at rounding, which is the aim
        reference = Reference(solver="newton-cg", tol=1e-10, max_iter=10_000, **parameters)
        return reference.fit(X, y, weights)


@functools.cache
def reference_of(name):
    """Of a hundred classes it takes seconds, and each solver is compared with it."""
    return fit_reference(*problem(name))


def effective_weights(clf, y, weights):
    weights = np.ones(len(y)) if weights is None else weights
    if clf.class_weight == "balanced":
        totals = np.bincount(y, weights)
        return weights * (totals.sum() / len(totals) / totals)[y]
    return weights * np.array([(clf.class_weight or {}).get(label, 1.0) for label in y])


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg"])
def test_coefficients(name, solver):
    X, y, weights, parameters = problem(name)
    clf = LogisticRegression(tol=0, solver=solver, **parameters).fit(X, y, weights)
    reference = reference_of(name)
    size = np.abs(reference.coef_).max()
    assert clf.coef_.shape == reference.coef_.shape
    assert_allclose(clf.coef_, reference.coef_, rtol=0, atol=1e-6 * size)
    expected = reference.intercept_ - (reference.intercept_.mean() if len(clf.classes_) > 2 else 0)
    assert_allclose(clf.intercept_, expected, rtol=0, atol=1e-6 * max(size, 1))
    ours, theirs = (
        logistic_objective(X, y, e.coef_, e.intercept_, clf.C, effective_weights(clf, y, weights))
        for e in (clf, reference)
    )
    assert ours <= theirs * (1 + 1e-9)
    assert_allclose(clf.objective_, ours, rtol=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4, 1e-7])
def test_the_gap_is_what_it_says(name, tol):
    X, y, weights, parameters = problem(name)
    clf = LogisticRegression(tol=tol, **parameters).fit(X, y, weights)
    minimum = LogisticRegression(tol=0, **parameters).fit(X, y, weights).objective_
    assert 0 <= clf.gap_ <= tol
    # Rounding of the two objectives, sums of 1500 terms: 1e-12 of them leaves a margin.
    assert -1e-12 <= clf.objective_ / minimum - 1 <= clf.gap_ + 1e-12


@pytest.mark.parametrize("n_classes", [2, 3, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_narrow_dtypes(dtype, n_classes):
    X, y = blobs(600, 20, n_classes, dtype)
    scale = 1 / 255 if dtype == np.uint8 else 1.0
    clf = LogisticRegression(tol=1e-6, input_scale=scale).fit(X, y)
    wide = LogisticRegression(tol=0).fit(X * np.float64(scale), y)
    assert clf.coef_.dtype == clf.intercept_.dtype == np.float32
    assert wide.coef_.dtype == np.float64
    assert clf.gap_ <= 1e-6
    objective = logistic_objective(X * np.float64(scale), y, clf.coef_, clf.intercept_, 1.0)
    # Logits of float32 are off by some 1e-6, and so is the loss of each sample.
    assert -1e-9 <= objective / wide.objective_ - 1 <= 2e-6
    assert_allclose(clf.objective_, objective, rtol=1e-5)
    assert_allclose(clf.predict_proba(X), wide.predict_proba(X * np.float64(scale)), atol=2e-3)


@pytest.mark.parametrize("mean", [0, 5, 30, 300, 3000, 1e5])
@pytest.mark.parametrize("tol", [1e-2, 1e-4])
def test_what_is_claimed_of_float32_holds_whatever_the_arithmetic(mean, tol):
    """Many classes, whose products may be of reduced precision: not where that shows."""
    X, y = blobs(2000, 20, 80, np.float32)
    X = X / X.std() + np.float32(mean)
    clf = LogisticRegression(tol=tol, C=10.0, max_iter=1000).fit(X, y)
    wide = X.astype(np.float64)
    minimum = LogisticRegression(tol=1e-7, C=10.0).fit(wide - wide.mean(axis=0), y).objective_
    assert clf.gap_ <= tol
    assert clf.n_passes_ < 150  # rounding in the way of the solver takes many more
    objective = logistic_objective(wide, y, clf.coef_, clf.intercept_, 10.0)
    assert -1e-7 <= objective / minimum - 1 <= tol
    # Objectives of reduced precision were off by up to 3.4e-6; coefficients of float32 may cost a
    # tenth of tol.
    assert_allclose(clf.objective_, objective, rtol=max(1e-5, 0.1 * tol))


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_weight_is_a_repetition(n_classes):
    X, y = blobs(120, 6, n_classes)
    times = np.random.default_rng(0).integers(0, 4, size=120)
    weighted = LogisticRegression(tol=0).fit(X, y, times)
    repeated = LogisticRegression(tol=0).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_allclose(weighted.coef_, repeated.coef_, atol=1e-7)
    assert_allclose(weighted.objective_, repeated.objective_, rtol=1e-12)


# n, d, classes, C, the size of the inputs, and the range of the weights. The first step goes so far
# that nothing is left of the loss, nor of its curvature.
NEARLY_SEPARATED = (
    (15, 1500, 5, 1e3, 1.0, None),
    (15, 1500, 5, 1e4, 1.0, None),
    (10, 768, 5, 1e4, 1.0, None),
    (6, 1000, 3, 1e5, 1.0, (0.1, 1)),
    (6, 1000, 3, 100.0, 1.0, None),
    (4, 200, 3, 1.0, 100.0, None),
    (3, 200, 3, 3e4, 1.0, (1e-3, 1e3)),
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", NEARLY_SEPARATED)
def test_few_rows_of_many_features(case, dtype):
    n, d, n_classes, C, size, range_of_weights = case
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = (size * rng.normal(size=(n, d))).astype(dtype)
        y = np.r_[np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)]
        weights = rng.uniform(*range_of_weights, size=n) if range_of_weights else None
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it reaches the gap
            clf = LogisticRegression(C=C).fit(X, y, weights)
        assert clf.gap_ <= clf.tol
        reference = fit_reference(X.astype(np.float64), y, weights, {"C": C})
        least, found = (
            logistic_objective(X, y, each.coef_, each.intercept_, C, weights)
            for each in (reference, clf)
        )
        assert found <= least * (1 + 1.01 * clf.tol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0])
def test_few_rows_that_a_few_directions_nearly_make_up(C, dtype):
    """As embeddings are: in all features L-BFGS takes 200 to 1600 passes of these."""
    rng = np.random.default_rng(0)
    X = 10 * rng.normal(size=(80, 10)) @ rng.normal(size=(10, 1500))
    X = (X + 0.1 * rng.normal(size=X.shape)).astype(dtype)
    y = rng.integers(3, size=80)
    clf = LogisticRegression(C=C, tol=1e-6).fit(X, y)
    assert clf.gap_ <= 1e-6
    assert clf.n_passes_ < 50
    reference = fit_reference(X.astype(float), y, None, {"C": C})
    value = [logistic_objective(X, y, c.coef_, c.intercept_, C) for c in (clf, reference)]
    assert value[0] <= value[1] * (1 + 1.1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1e6, 2.6e8, 1e10])
def test_tiny_objectives_are_proven(C, fit_intercept):
    rng = np.random.default_rng(0)
    X = np.round(rng.exponential(10 ** rng.uniform(0, 4, 290), (10, 290)))
    y = rng.permutation(np.arange(10) % 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = LogisticRegression(C=C, fit_intercept=fit_intercept).fit(X, y)
    assert clf.gap_ <= clf.tol
    newton = LogisticRegression(C=C, fit_intercept=fit_intercept, solver="newton-cg", tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it has to go by is the other way, not its proof
        newton.fit(X, y)
    least, found = (
        logistic_objective(X, y, each.coef_, each.intercept_, C) for each in (newton, clf)
    )
    assert 0 < found <= least * (1 + 1.01 * clf.tol)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_tol_means_the_same_for_any_scale(scale):
    X, y = blobs(300, 10, 3)
    plain = LogisticRegression(tol=1e-5).fit(X, y)
    # Weights times a, C over a: the same problem, its objective times a.
    weighted = LogisticRegression(tol=1e-5, C=1 / scale).fit(X, y, np.full(300, scale))
    assert weighted.gap_ <= 1e-5
    assert_allclose(weighted.objective_, scale * plain.objective_, rtol=2e-5)
    # Inputs times a, coefficients over a.
    scaled = LogisticRegression(tol=1e-5, C=1 / scale**2).fit(X * scale, y)
    assert scaled.gap_ <= 1e-5
    assert_allclose(scaled.objective_, plain.objective_, rtol=2e-5)


@pytest.mark.parametrize("solver", ["auto", "newton-cg"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scales", [4, 5, 6])
def test_more_features_than_rows_in_units_far_apart(scales, seed, solver):
    """The matrix of a preconditioner is rounding there: fits ended at 1e8 times the minimum."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(20, 40)) * 10.0 ** rng.uniform(0, scales, size=40)
    clf = LogisticRegression(C=1e4, solver=solver).fit(X, np.arange(20) % 3)
    assert clf.gap_ <= 1e-4
    assert clf.objective_ < 1e-5


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("solver", ["auto", "newton-cg"])
@pytest.mark.parametrize("seed", range(6))
def test_powers_of_a_number(seed, solver, fit_intercept):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, 100)
    y = (x > rng.uniform(4, 5)).astype(int)
    X = np.column_stack([x**power for power in range(1, 11)])
    clf = LogisticRegression(solver=solver, fit_intercept=fit_intercept).fit(X, y)
    assert clf.gap_ <= 1e-4
    theirs = fit_reference(X, y, None, {"fit_intercept": fit_intercept})
    ours, reference = (logistic_objective(X, y, e.coef_, e.intercept_, 1.0) for e in (clf, theirs))
    assert_allclose(ours, clf.objective_, rtol=1e-6)
    assert ours <= reference * (1 + 1e-4)


def test_columns_of_very_different_scales():
    X, y = make_classification(400, 8, n_informative=6, n_classes=3, random_state=0)
    factors = np.array([1e6, 1e-6, 1, 1e3, 1e-3, 255, 1, 1e4])
    clf = LogisticRegression(C=1e2, tol=1e-6, max_iter=300).fit(X * factors, y)
    assert clf.gap_ <= 1e-6


@pytest.mark.parametrize("n_classes", [2, 3])
def test_warm_start(n_classes):
    X, y = blobs(2000, 30, n_classes)  # smaller ones go on to the last digit, whatever tol
    cold = LogisticRegression(tol=1e-8, C=1.1).fit(X, y)
    clf = LogisticRegression(tol=1e-8, warm_start=True).fit(X, y).set_params(C=1.1)
    clf.fit(X, y)
    assert_allclose(clf.coef_, cold.coef_, atol=1e-3)
    assert clf.n_iter_[0] <= cold.n_iter_[0]
    again = clf.coef_.copy()
    assert clf.fit(X, y).n_iter_[0] <= 2
    assert_allclose(clf.coef_, again, atol=1e-3)


@pytest.mark.parametrize("absent", [1, 2])
def test_warm_start_where_classes_are_absent(absent):
    X, y = blobs(4000, 30, 4)
    there = y >= absent
    clf = LogisticRegression(tol=1e-8, warm_start=True).fit(X, y)
    first = clf.fit(X[there], y[there]).n_iter_[0]
    # Two rows of weights, each other's negatives, have half the penalty of their difference.
    cold = LogisticRegression(tol=1e-8, C=absent).fit(X[there], y[there])
    coef = clf.coef_.copy()
    assert_allclose(clf.objective_, cold.objective_, rtol=2e-8)
    assert_allclose(clf.coef_[absent:], cold.coef_ if absent == 1 else pair(cold), atol=1e-3)
    assert (clf.coef_[:absent] == 0).all()
    assert (clf.intercept_[:absent] == -100).all()
    assert clf.fit(X[there], y[there]).n_iter_[0] <= min(2, first)
    assert_allclose(clf.coef_, coef, atol=1e-3)


def pair(of_two):
    """The weights of both classes whose difference a model of two has."""
    return np.concatenate([-of_two.coef_, of_two.coef_]) / 2


@pytest.mark.parametrize("n_classes", [2, 3])
def test_warm_start_without_the_intercept_of_before(n_classes):
    X, y = blobs(300, 8, n_classes)
    clf = LogisticRegression(tol=1e-8, warm_start=True).fit(X + 0.3, y)
    assert np.abs(clf.intercept_).max() > 0.01
    clf.set_params(fit_intercept=False).fit(X + 0.3, y)
    cold = LogisticRegression(tol=1e-8, fit_intercept=False).fit(X + 0.3, y)
    assert (clf.intercept_ == 0).all()
    assert_allclose(clf.objective_, cold.objective_, rtol=2e-8)
    assert_allclose(clf.predict_proba(X), cold.predict_proba(X), atol=1e-3)


def test_warm_start_from_float32_goes_on_in_float64():
    X, y = blobs(200, 5, 3, np.float32)
    clf = LogisticRegression(tol=1e-5, warm_start=True).fit(X, y)
    clf.fit(X.astype(np.float64), y)
    assert clf.coef_.dtype == np.float64


@pytest.mark.parametrize("n_classes", [2, 3])
def test_without_a_penalty(n_classes):
    X, y = blobs(400, 4, n_classes)
    X = X * 0.4  # so that the classes overlap
    reference = fit_reference(X, y, None, {"C": np.inf})
    for parameters in ({"C": np.inf}, {"penalty": None}):
        clf = LogisticRegression(tol=1e-12, **parameters).fit(X, y)
        expected = reference.coef_ - (reference.coef_.mean(axis=0) if n_classes > 2 else 0)
        assert_allclose(clf.coef_, expected, atol=1e-5)
        assert_allclose(clf.predict_proba(X), reference.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_without_a_penalty_what_classes_have_in_common_stays_nothing(solver):
    """Small problems go on until gradients are rounding, and along that nothing has a curvature."""
    for seed in range(60):  # of which some ended in coefficients without their last 40 bits
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((150, 4)), np.arange(150) % 3
        clf = LogisticRegression(C=np.inf, solver=solver).fit(X, y)
        logits = X @ clf.coef_.T + clf.intercept_
        losses = logsumexp(logits, axis=1) - logits[np.arange(150), y]
        assert_allclose(clf.objective_, losses.sum(), rtol=1e-13)
        gradient = X.T @ (softmax(logits, axis=1) - np.eye(3)[y])
        assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e4, 1e6, 1e10, 1e20, 1e30])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_what_classes_have_in_common_stays_nothing(solver, C, dtype):
    """A weak penalty, its only curvature, makes large steps of what rounding leaves in gradients."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 20)).astype(dtype)
    y = np.argmax(X @ rng.standard_normal((20, 5)) + 3 * rng.gumbel(size=(3000, 5)), axis=1)
    clf = LogisticRegression(C=C, solver=solver).fit(X, y)
    assert clf.gap_ <= 1e-4
    assert clf.n_passes_ < 150 or C > 1e20  # 8 to 121
    assert np.abs(clf.coef_.mean(axis=0)).max() < 1e-6
    assert_allclose(logistic_objective(X, y, clf.coef_, clf.intercept_, C), clf.objective_, 1e-6)
    least = LogisticRegression(C=C, tol=1e-12).fit(X.astype(np.float64), y).objective_
    assert clf.objective_ <= least * (1 + 1e-4 + 1e-7)


def test_a_warm_start_loses_what_classes_have_in_common():
    X, y = blobs(300, 8, 3)
    clf = LogisticRegression(C=1e6, tol=1e-8, warm_start=True).fit(X, y)
    expected = clf.coef_
    clf.coef_ = expected + np.arange(8)
    clf.intercept_ = clf.intercept_ + 3
    clf.fit(X, y)
    assert_allclose(clf.coef_, expected, atol=1e-2 * np.abs(expected).max())
    assert_allclose(clf.coef_.mean(axis=0), 0, atol=1e-12 * np.abs(expected).max())


def test_balanced_is_a_weight():
    X, y = blobs(300, 6, 3)
    y = np.where(y == 2, y, np.where(np.arange(300) % 4 == 0, y, 0))
    weights = np.random.default_rng(0).uniform(0, 2, size=300)
    clf = LogisticRegression(class_weight="balanced", tol=1e-10).fit(X, y, weights)
    totals = np.bincount(y, weights)
    by_hand = LogisticRegression(tol=1e-10).fit(X, y, weights * (totals.sum() / 3 / totals)[y])
    assert_allclose(clf.coef_, by_hand.coef_, atol=1e-5)


def test_class_weight_of_a_label_that_is_not_there():
    X, y = blobs(200, 6, 3)
    weight = {0: 1.0, 1: 2.0, 2: 0.5}
    expected = LogisticRegression(class_weight=weight).fit(X, y)
    clf = LogisticRegression(class_weight=weight | {7: 9.0}).fit(X, y)
    assert_array_equal(clf.coef_, expected.coef_)


@pytest.mark.parametrize("offset", [0.0, 1e5, 1e6])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_what_is_returned_is_what_is_certified(offset, fit_intercept, make):
    """Rounded to float32, weights of features with large means are not worth their tol."""
    rng = np.random.default_rng(4)
    spread = rng.normal(size=(3000, 6))
    y = np.argmax(2 * spread[:, :3] + rng.gumbel(size=(3000, 3)), axis=1)
    X = (spread + offset).astype(np.float32)
    clf = LogisticRegression(tol=1e-5, fit_intercept=fit_intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # without an intercept
        clf.fit(make(X), y)
    reached = logistic_objective(X.astype(np.float64), y, clf.coef_, clf.intercept_, C=1.0)
    assert reached <= clf.objective_ * (1 + 2e-6)
    assert clf.coef_.dtype == clf.intercept_.dtype
    if offset == 0:
        assert clf.coef_.dtype == np.float32
    if offset == 1e6:
        assert clf.coef_.dtype == np.float64


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mean", [1e5, 1e7, 1.7e9, 1e12])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_fit_is_worse_than_the_shares_of_the_classes(mean, n_classes, weighted):
    """The bound may not believe what rounding leaves of the squares of large means."""
    worst = 0.0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = mean + 10.0 ** rng.integers(0, 3) * rng.normal(size=(200, 1 + seed % 3))
        y = np.where(rng.random(200) < 0.1, rng.integers(0, n_classes, 200), 0)
        y[:n_classes] = range(n_classes)
        weights = np.where(y == 0, 10.0 ** rng.integers(0, 7), 1.0) if weighted else np.ones(200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            clf = LogisticRegression().fit(X, y, weights)
        share = np.bincount(y, weights) / weights.sum()
        of_shares = -weights.sum() * (share * np.log(share)).sum()
        assert clf.objective_ <= of_shares * (1 + max(1e-9, clf.gap_))
        centred = LogisticRegression(tol=1e-9).fit(X - X.mean(axis=0), y, weights)
        least = centred.objective_ / (1 + centred.gap_)
        # The mean is off by its own rounding, and so is X - mean: nothing beside the tolerance.
        worst = max(worst, (clf.objective_ / least - 1) / (max(clf.gap_, 1e-4) + 1e-6))
    # With 1e12 the gradients' own rounding counts, which no bound knows: 2.0 with the scalar kernels.
    assert worst <= (1.0 if mean < 1e10 else 4.0)


def test_bytes_of_separable_classes_reach_the_gap():
    """In float32 their gradient is nothing but rounding."""
    rng = np.random.default_rng(5)
    X = rng.integers(256, size=(300, 60)).astype(np.uint8)
    y = np.argmax(X[:, :3] + 10.0 * rng.gumbel(size=(300, 3)), axis=1)
    clf = LogisticRegression(C=1e4).fit(X, y)
    assert clf.gap_ <= 1e-4
    assert clf.n_passes_ > 60  # or this asks nothing
    exact = LogisticRegression(C=1e4, tol=1e-8).fit(X.astype(np.float64), y)
    assert_allclose(clf.objective_, exact.objective_, rtol=1e-4)


def test_class_weight_of_text_labels():
    X, y = blobs(100, 4, 2)
    labels = np.array(["no", "yes"])[y]
    clf = LogisticRegression(class_weight={"yes": 5}, tol=1e-9).fit(X, labels)
    by_hand = LogisticRegression(tol=1e-9).fit(X, labels, np.where(y, 5.0, 1.0))
    assert_allclose(clf.coef_, by_hand.coef_, atol=1e-4)


def test_attributes():
    X, y = blobs(300, 10, 3)
    clf = LogisticRegression().fit(X, y)
    assert clf.n_iter_.shape == (1,)
    assert clf.n_iter_[0] >= 1
    assert clf.n_passes_ >= 1
    assert clf.n_features_in_ == 10
    assert isinstance(clf.gap_, float)
    assert isinstance(clf.objective_, float)
    assert_allclose(clf.intercept_.mean(), 0, atol=1e-12)
    logits = X @ clf.coef_.T + clf.intercept_
    assert_allclose(clf.decision_function(X), logits, atol=1e-10)
    assert_allclose(clf.predict_proba(X), softmax(logits, axis=1), atol=1e-10)


def test_no_intercept_is_zero():
    X, y = blobs(100, 4, 3)
    assert_array_equal(LogisticRegression(fit_intercept=False).fit(X, y).intercept_, np.zeros(3))


def test_max_iter_is_said_with_the_gap_reached():
    X, y = blobs(2000, 30, 5)
    clf = LogisticRegression(max_iter=1, tol=1e-12, C=100)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1 ended the fit at a relative gap of"):
        clf.fit(X, y)
    assert clf.gap_ > 1e-12
    assert clf.n_iter_[0] == 1
    message = str(warnings_of(lambda: clf.fit(X, y))[0])
    assert f"{clf.gap_:.2g}" in message


def warnings_of(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [entry.message for entry in found]


def test_the_warning_points_at_the_caller():
    X, y = blobs(2000, 30, 5)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        LogisticRegression(max_iter=1, tol=1e-12, C=100).fit(X, y)
    assert found[0].filename == __file__


@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_classes_without_a_penalty(n_classes):
    y = np.arange(60) % n_classes
    X = 5.0 * np.eye(n_classes)[y] + np.random.default_rng(0).uniform(size=(60, n_classes))
    clf = LogisticRegression(C=np.inf)
    with pytest.warns(ConvergenceWarning, match="separable.*choose a finite C"):
        clf.fit(X, y)
    assert np.isfinite(clf.coef_).all()
    assert np.isfinite(clf.intercept_).all()
    assert clf.score(X, y) == 1


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
def test_no_gap_is_claimed_where_sparse_rows_are_separable(solver):
    # The curvature falls with the objective there, and L-BFGS takes the little that a step gains for
    # all that there is: it stopped at an objective of 7 with a gap of 6e-6.
    rng = np.random.default_rng(2)
    X = rng.normal(size=(400, 6))
    y = (X[:, :3] + rng.normal(size=(400, 3))).argmax(axis=1) > 0
    X = scipy.sparse.random(400, 200, density=0.02, random_state=2, format="csr")
    with pytest.warns(ConvergenceWarning):
        clf = LogisticRegression(C=np.inf, solver=solver).fit(X, y)
    assert clf.gap_ > 0.1 or clf.objective_ < 1e-3


def test_gap_without_a_penalty_where_some_weights_have_no_end():
    rng = np.random.default_rng(5)
    X = scipy.sparse.random(400, 200, density=0.02, random_state=5, format="csr").toarray()
    y = rng.random(400) < 0.4
    objectives = [
        LogisticRegression(C=np.inf, tol=tol, solver=solver).fit(X, y).objective_
        for tol, solver in ((1e-4, "lbfgs"), (1e-4, "newton-cg"), (1e-8, "lbfgs"))
    ]
    assert_allclose(objectives[:2], objectives[2], rtol=1e-4)


def test_verbose_prints_a_line_for_each_iteration(capsys):
    X, y = blobs(300, 10, 3)
    LogisticRegression(verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("iteration ") for line in lines)
    assert "relative gap" in lines[-1]


def test_random_state():
    X, y = blobs(5000, 20, 4, np.float32)
    fits = [LogisticRegression(random_state=seed).fit(X, y) for seed in (None, None, 3, 3)]
    assert_array_equal(fits[0].coef_, fits[1].coef_)
    assert_array_equal(fits[2].coef_, fits[3].coef_)


def test_a_gap_that_nobody_would_take_is_said_with_tol_zero_too():
    """Who asks for the end of rounding wants to hear where that is far away."""
    X = np.array([[1e160, 1.0], [-1e160, 2.0], [1e150, 3.0], [3.0, -1e155]] * 5)
    with pytest.warns(ConvergenceWarning, match="nothing could be proven"):
        clf = LogisticRegression(tol=0).fit(X, np.arange(20) % 3)
    assert clf.gap_ == np.inf


@pytest.mark.parametrize("seed", [7, 24, 63, 156, 204])
def test_a_first_step_that_leads_nowhere_is_not_the_end(seed):
    """Of few rows with large means the curvature may be rounding: without it there is a way."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4, 5)) + 10.0 ** rng.uniform(2, 4, 5)
    weights = 1e12 * rng.random(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = LogisticRegression(C=1e4).fit(X, [0, 1, 0, 0], weights)
    assert clf.objective_ < 1e-3 * weights.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("C", [1e-12, 1e-6])
def test_no_gap_is_below_the_rounding_of_float32(C, dtype):
    X, y = blobs(800, 20, 4)
    X = np.clip(128 + 20 * X, 0, 255).astype(dtype)
    clf = LogisticRegression(C=C, tol=1e-6, input_scale=1 / 255).fit(X, y)
    least = LogisticRegression(C=C, tol=1e-12, input_scale=1 / 255).fit(X.astype(float), y)
    assert 3e-8 <= clf.gap_ <= 1e-6
    assert clf.objective_ <= least.objective_ * (1 + clf.gap_)


def test_a_warm_start_from_weights_set_by_hand():
    X, y = blobs(60, 4, 3)
    fitted = LogisticRegression(tol=1e-8).fit(X, y)
    clf = LogisticRegression(tol=1e-8, warm_start=True)
    clf.classes_ = fitted.classes_
    clf.coef_, clf.intercept_ = fitted.coef_.tolist(), fitted.intercept_.tolist()
    assert clf.fit(X, y).gap_ <= 1e-8
    assert clf.n_passes_ < fitted.n_passes_
    assert_allclose(clf.coef_, fitted.coef_, atol=1e-3)


@pytest.mark.parametrize(("n_classes", "seed"), [(2, 7), (2, 10), (3, 0), (3, 1)])
def test_the_end_of_separable_classes(n_classes, seed):
    """It is one where next to nothing is left; and of next to nothing the rest is a large part."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 4))
    y = (X @ rng.normal(size=(n_classes, 4)).T).argmax(1)
    with pytest.warns(ConvergenceWarning, match="separate"):
        clf = LogisticRegression(C=np.inf).fit(X, y)
    assert clf.objective_ <= 1e-6 * 30 * np.log(n_classes)
    assert clf.gap_ > 0.5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("size", [1e9, 1e10])
def test_coefficients_are_wide_where_rounding_moves_a_row_beyond_its_margin(sparse, size):
    """A row that is all but certain has no curvature by which to tell what rounding costs."""
    rng = np.random.default_rng(3)
    X, W = rng.standard_normal((200, 5)), rng.standard_normal((3, 5))
    y = (X @ W.T + rng.gumbel(size=(200, 3))).argmax(1)
    X[0] *= size
    y[0] = (X[0] @ W.T).argmin()
    X = X.astype(np.float32)
    wide = X.astype(np.float64)
    clf = LogisticRegression().fit(scipy.sparse.csr_array(X) if sparse else X, y)
    found = logistic_objective(wide, y, clf.coef_, clf.intercept_, 1.0)
    assert found <= clf.objective_ * (1 + 1e-3)  # logits of 1e9 have been summed in float32
    path = logistic_regression_path(scipy.sparse.csr_array(X) if sparse else X, y, Cs=[1.0])
    found = logistic_objective(wide, y, path.coef[0], path.intercept[0], 1.0)
    assert found <= path.objective[0] * (1 + 1e-3)


def test_coefficients_of_plain_numbers_in_any_units_stay_float32():
    X, y = blobs(200, 5, 3, np.float32)
    for units in (1, 1e-20, 1e20):
        assert LogisticRegression().fit(X * np.float32(units), y).coef_.dtype == np.float32
    # Here a bound by the largest number and all weights would not do: the exact steps are small.
    X[:, 0] *= 1e9
    assert LogisticRegression().fit(X, y).coef_.dtype == np.float32


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_bound_is_made_of_what_rounding_leaves_of_a_difference():
    for seed in range(31):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((9, 28)) * 10.0 ** rng.uniform(5, 12)
        y = rng.integers(0, 2, 9)
        y[:2] = 0, 1
        sparse = LogisticRegression(C=1e4).fit(scipy.sparse.csr_array(X), y)
        dense = LogisticRegression(C=1e4).fit(X, y)
        assert sparse.objective_ / (1 + sparse.gap_) <= dense.objective_ * (1 + 1e-6)


def test_a_gap_below_tol_is_no_reason_to_warn():
    """Nor is one of rounding, where less was asked for than arithmetic can tell."""
    X, y = np.random.default_rng(0).standard_normal((60, 5)), np.arange(60) % 3
    LogisticRegression(C=10.0, max_iter=3, tol=0.9).fit(X, y)
    LogisticRegression(C=5e-324).fit(X, y)
    LogisticRegression(l1_ratio=None).fit(X, y)
    clf = LogisticRegression(tol=0).fit(X.astype(np.float32), y)
    assert clf.coef_.dtype == np.float32
