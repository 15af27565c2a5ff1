"""The steps of training against naive NumPy on the same batches, golden numbers, and real MNIST."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import blobs, fitted_pair, seed_of, train_sgd

from fastsoftmax import SoftmaxClassifier, _core
from fastsoftmax.datasets import load_mnist

SETTINGS = {
    "plain": {},
    "alpha": {"alpha": 0.1},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "all of them": {"momentum": 0.5, "nesterov": True, "alpha": 0.05, "input_scale": 0.5},
    "no intercept": {"fit_intercept": False, "momentum": 0.5},
    "no shuffle": {"shuffle": False},
    "single rows": {"batch_size": 1, "learning_rate": 0.005},
    "batch of n": {"batch_size": 83},
    "batch above n": {"batch_size": 1000},
}


def both(X, y, n_classes, n_epochs=2, weights=None, **settings):
    """Train with the library and in NumPy; also W and b before two classes are made one row."""
    settings = {"learning_rate": 0.05, "batch_size": 16} | settings
    clf = SoftmaxClassifier(**settings, max_iter=n_epochs, random_state=3)
    clf.fit(X, y, sample_weight=weights)
    shuffle = settings.pop("shuffle", True)
    orders = [
        _core.epoch_permutation(seed_of(3), epoch, len(X)) if shuffle else np.arange(len(X))
        for epoch in range(n_epochs)
    ]
    if weights is not None:
        weights = weights / weights.mean()
    W, b, curve = train_sgd(X, y, n_classes, orders, sample_weight=weights, **settings)
    return clf, W, b, curve


def assert_equal_to_1e10(clf, W, b, curve):
    for actual, expected in zip((clf.coef_, clf.intercept_), fitted_pair(W, b), strict=True):
        assert actual.dtype == np.float64
        assert_allclose(actual, expected, rtol=0, atol=1e-10 * (abs(expected).max() or 1.0))
    assert_allclose(clf.loss_curve_, curve, rtol=1e-10)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("n_classes", [2, 10])
def test_float64(settings, n_classes):
    X, y = blobs(83, 21, n_classes)
    assert_equal_to_1e10(*both(X, y, n_classes, **settings))


@pytest.mark.parametrize("n_classes", [2, 3, 10, 26])
@pytest.mark.parametrize("n_features", [1, 7, 64, 133])
def test_float64_shapes(n_classes, n_features):
    X, y = blobs(83, n_features, n_classes)
    assert_equal_to_1e10(*both(X, y, n_classes, n_epochs=1))


@pytest.mark.parametrize("settings", ["plain", "nesterov", "batch above n"])
def test_float64_weighted(settings):
    X, y = blobs(83, 21, 3)
    weights = np.random.default_rng(1).uniform(0, 5, size=83)
    weights[:9] = 0
    assert_equal_to_1e10(*both(X, y, 3, weights=weights, **SETTINGS[settings]))


def test_batch_in_several_chunks():
    # 400 x 700 float64 are 2.2 MB, more than the solver takes at once.
    X, y = blobs(900, 700, 3)
    assert_equal_to_1e10(*both(X, y, 3, batch_size=400, momentum=0.5, alpha=0.01))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("n_classes", [2, 3, 10, 26])
def test_float32(settings, dtype, n_classes):
    X, y = blobs(83, 21, n_classes, dtype)
    scale = settings.get("input_scale", 1.0) / (64 if dtype == np.uint8 else 1)
    rate = min(settings.get("learning_rate", 1), 0.02)
    settings = settings | {"input_scale": scale, "learning_rate": rate}
    weights = np.random.default_rng(1).uniform(0.5, 1.5, size=83)
    clf, W, b, curve = both(X, y, n_classes, weights=weights, **settings)
    assert clf.coef_.dtype == np.float32

    # In norms, with u the unit roundoff and x the longest row (a 1 for the intercept added). Logits
    # are sums of d + 1 terms, off by (d + 3) u |x| |W|; softmax halves that at least and adds some
    # 10 u of its own. The gradient is the mean of at most B terms of length sqrt(2) w |x|, off by
    # (B + 3) u of that. A step adds u |W| of rounding. Steps that are short for the curvature do not
    # make errors grow (the loss is convex), momentum repeats each 1 / (1 - momentum) times.
    u = np.finfo(np.float32).eps / 2
    x = np.sqrt(((X * scale) ** 2).sum(axis=1).max() + 1)
    w = (weights / weights.mean()).max()
    momentum = settings.get("momentum", 0.0)
    batch = min(settings.get("batch_size", 16), 83)
    n_steps = 2 * -(-83 // batch)
    length = 2 * np.sqrt((W**2).sum() + (b**2).sum())  # on the way it is no longer than this
    assert rate * (w * x**2 / 2 + settings.get("alpha", 0.0)) < 2
    gradient = w * x * ((21 + 3) * x * length / 2 + 10 + np.sqrt(2) * (batch + 3)) + 3 * length
    bound = n_steps * u * (rate * gradient + 3 * length) / (1 - momentum)
    if n_classes == 2:
        bound *= 2  # of a difference
    W, b = fitted_pair(W, b)
    assert np.hypot(np.linalg.norm(clf.coef_ - W), np.linalg.norm(clf.intercept_ - b)) < bound
    assert bound < 2e-3 * np.linalg.norm(W)  # so the bound says something
    assert_allclose(clf.loss_curve_, curve, rtol=0, atol=w * np.sqrt(2) * x * bound)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", ["plain", "all of them"])
def test_partial_fit(settings, weighted):
    X, y = blobs(90, 21, 3)
    settings = {"learning_rate": 0.05, "batch_size": 16} | SETTINGS[settings]
    weights = np.random.default_rng(1).uniform(0, 5, size=90) if weighted else None
    clf = SoftmaxClassifier(**settings, random_state=3)
    orders = []
    for epoch, rows in enumerate((slice(0, 40), slice(40, 41), slice(41, 90), slice(0, 90))):
        part = None if weights is None else weights[rows]
        clf.partial_fit(X[rows], y[rows], classes=[0, 1, 2], sample_weight=part)
        n_rows = rows.stop - rows.start
        orders.append(rows.start + _core.epoch_permutation(seed_of(3), epoch, n_rows))
    # Unlike fit, partial_fit takes the weights as they are.
    assert_equal_to_1e10(clf, *train_sgd(X, y, 3, orders, sample_weight=weights, **settings))


# The permutation is a promise: the same on every platform, in every version.
GOLDEN_PERMUTATIONS = {
    (0, 0): [9, 6, 5, 7, 1, 0, 3, 8, 11, 10, 2, 4],
    (0, 1): [8, 7, 9, 11, 1, 10, 6, 3, 5, 4, 2, 0],
    (1, 0): [0, 9, 2, 3, 6, 10, 8, 1, 7, 11, 4, 5],
}


@pytest.mark.parametrize(("seed", "epoch"), GOLDEN_PERMUTATIONS)
def test_golden_permutation(seed, epoch):
    order = _core.epoch_permutation(seed, epoch, 12)
    assert_array_equal(order, GOLDEN_PERMUTATIONS[seed, epoch])


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_permutations_hold_every_row_once(n):
    orders = [_core.epoch_permutation(5, epoch, n) for epoch in range(4)]
    for order in orders:
        assert_array_equal(np.sort(order), np.arange(n))
    if n == 1000:  # two random ones agree in one place on average
        assert all(np.sum(one == other) < 12 for one, other in itertools.pairwise(orders))


# By the naive NumPy of reference.py, in float64.
GOLDEN_CURVE = [1.362345257, 1.204985015, 1.062151109, 0.913344529, 0.847140999]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_golden_loss_trace(dtype):
    i, j = np.ogrid[:50, :9]
    X = ((7 * i + 13 * j + i * j) % 17).astype(dtype)
    y = X[:, :4].argmax(axis=1)
    clf = SoftmaxClassifier(
        learning_rate=0.5, batch_size=8, max_iter=5, input_scale=1 / 16, random_state=0
    )
    assert_allclose(clf.fit(X, y).loss_curve_, GOLDEN_CURVE, rtol=1e-6)


@pytest.fixture(scope="module")
def mnist(mnist_dir):
    return load_mnist(mnist_dir, download=False)


@pytest.fixture(scope="module")
def tutorial_fits(mnist):
    """The tutorial's program, for three seeds: from zero, batches of 100, rate 0.01, 10 epochs."""
    (X, y), _ = mnist
    return [
        SoftmaxClassifier(input_scale=1 / 255, random_state=seed).fit(X, y) for seed in range(3)
    ]


def test_mnist_to_90_percent(mnist, tutorial_fits):
    _, (X_test, y_test) = mnist
    for clf in tutorial_fits:
        assert clf.score(X_test, y_test) >= 0.900
        assert clf.coef_.shape == (10, 784)
        assert_allclose(clf.loss_curve_, tutorial_fits[0].loss_curve_, rtol=0.01)
    assert tutorial_fits[0].loss_curve_ != tutorial_fits[1].loss_curve_


def test_mnist_as_float32(mnist, tutorial_fits):
    (X, y), (X_test, y_test) = mnist
    X, X_test_scaled = (array.astype(np.float32) / 255 for array in (X, X_test))
    clf = SoftmaxClassifier(random_state=0).fit(X, y)
    by_bytes = tutorial_fits[0].score(X_test, y_test)
    assert abs(clf.score(X_test_scaled, y_test) - by_bytes) <= 1e-3
    assert_allclose(clf.loss_curve_, tutorial_fits[0].loss_curve_, rtol=1e-4)
