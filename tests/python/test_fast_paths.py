"""Plain arrays skip checks and copies: the same results, the same errors as by the long way."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from reference import blobs

import fastsoftmax as fs
from fastsoftmax import SoftmaxClassifier, _core
from fastsoftmax._arrays import is_plain

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class Array(np.ndarray):
    """Not plain, by its class alone."""


def random(shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def roundabout(x):
    """The same numbers in an array that is not plain."""
    return x.view(Array)


COPIED = {
    "Fortran": np.asfortranarray,
    "columns backwards": lambda X: np.ascontiguousarray(X[:, ::-1])[:, ::-1],
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: (8 * X).astype(np.int64),
    "int16": lambda X: (8 * X).astype(np.int16),
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("form", COPIED)
@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("method", METHODS)
def test_copies_slice_by_slice(method, n_classes, form, monkeypatch):
    X, y = blobs(300, 9, n_classes, np.float32)
    clf = SoftmaxClassifier(random_state=0).fit(X, y)
    given = COPIED[form](X)
    wide = np.float64 if form == "int64" else np.float32
    expected = getattr(clf, method)(np.ascontiguousarray(given, dtype=wide))
    assert_array_equal(getattr(clf, method)(given), expected, strict=True)
    monkeypatch.setattr("fastsoftmax._arrays._COPIED", 1000)
    assert_array_equal(getattr(clf, method)(given), expected, strict=True)


def test_copies_of_predictions_are_small():
    X = np.asfortranarray(random((100_000, 80)))
    clf = SoftmaxClassifier(random_state=0, max_iter=1).fit(X[:100], np.arange(100) % 3)
    tracemalloc.start()
    clf.predict(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 4


@pytest.mark.parametrize("n_columns", [9, 8193])
@pytest.mark.parametrize("n_classes", [2, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_columns_that_lie_together(dtype, n_classes, n_columns):
    """As those of frames: predicted in blocks of rows, or copied where these are wide; trained on."""
    X, y = blobs(100, n_columns, n_classes, dtype)
    given = np.asfortranarray(X)
    clf = SoftmaxClassifier(random_state=0, input_scale=1 / 64, max_iter=2).fit(X, y)
    assert_array_equal(SoftmaxClassifier(**clf.get_params()).fit(given, y).coef_, clf.coef_)
    for method in METHODS:
        expected = getattr(clf, method)(X)
        assert_array_equal(getattr(clf, method)(given), expected, strict=True)
        assert_array_equal(getattr(clf, method)(given[::2]), expected[::2], strict=True)
        wider = np.asfortranarray(np.repeat(X, 2, axis=1))[:, ::2]
        assert_array_equal(getattr(clf, method)(wider), expected, strict=True)


def test_one_that_is_not_finite_among_copies():
    X = random((200, 4), np.float16)
    clf = SoftmaxClassifier(random_state=0, max_iter=1).fit(X, np.arange(200) % 3)
    X[150, 2] = np.nan
    with pytest.raises(ValueError, match="X contains NaN at row 150, column 2"):
        clf.predict(X)


@pytest.mark.parametrize("n_classes", [2, 3, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("method", METHODS)
def test_predictions(method, dtype, n_classes):
    X, y = blobs(200, 7, n_classes, dtype)
    clf = SoftmaxClassifier(input_scale=1 / 64, random_state=0).fit(X, y)
    call = getattr(clf, method)
    for rows in (slice(0, 1), slice(3, 80)):
        expected = call(roundabout(X[rows]))
        assert type(expected) is np.ndarray
        assert_array_equal(call(X[rows]), expected, strict=True)
        assert_array_equal(call(np.asfortranarray(X[rows])), expected, strict=True)
        assert_array_equal(call(np.repeat(X[rows], 2, axis=0)[::2]), expected, strict=True)
    # The whole gives the bits of its rows.
    assert_array_equal(np.concatenate([call(X[i : i + 1]) for i in range(50)]), call(X[:50]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_dtype_of_X_differs_from_that_of_the_weights(dtype):
    X, y = blobs(60, 5, 3, np.uint8)
    for trained in (np.float32, np.float64):
        clf = SoftmaxClassifier(input_scale=1 / 255, random_state=0).fit(X.astype(trained), y)
        given = X.astype(dtype)
        result = clf.decision_function(given)
        assert result.dtype == np.result_type(clf.coef_, np.float32 if dtype == np.uint8 else dtype)
        assert_array_equal(result, clf.decision_function(roundabout(given)), strict=True)


def test_fit():
    X, y = blobs(60, 5, 3)
    clf = SoftmaxClassifier(random_state=0).fit(X, y)
    twin = SoftmaxClassifier(random_state=0).fit(roundabout(X), list(y))
    assert_array_equal(clf.coef_, twin.coef_)
    assert clf.n_features_in_ == twin.n_features_in_ == 5
    twin.fit(pd.DataFrame(X, columns=list("abcde")), y)
    assert list(twin.feature_names_in_) == list("abcde")
    twin.fit(X[:, :3].copy(), y)
    assert twin.n_features_in_ == 3
    assert not hasattr(twin, "feature_names_in_")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.fit(X, y[:-1])


def test_still_refused():
    X, y = blobs(60, 5, 3)
    clf = SoftmaxClassifier(random_state=0)
    with pytest.raises(ValueError, match="not fitted"):
        clf.predict(X)
    clf.fit(X, y)
    for bad in (X[:, :4].copy(), X[:0], X[0], X[None]):
        with pytest.raises(ValueError):  # noqa: PT011  # scikit-learn's words
            clf.predict(bad)
    for special in (np.nan, np.inf):
        broken = X.copy()
        broken[7, 2] = special
        with pytest.raises(ValueError, match="row 7, column 2"):
            clf.predict(broken)
    named = SoftmaxClassifier().fit(pd.DataFrame(X, columns=list("abcde")), y)
    with pytest.warns(UserWarning, match="valid feature names"):
        named.predict(X)
    for scale, error in ((0.0, ValueError), (np.inf, ValueError), ("1", TypeError)):
        with pytest.raises(error, match="input_scale"):
            clf.set_params(input_scale=scale).predict(X)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 4), (5, 33), (0, 3), (3, 0), (2, 70_000)])
def test_softmax(name, dtype, shape):
    function, x = getattr(fs, name), random(shape, dtype)
    expected = np.asarray(function(roundabout(x)))
    assert_array_equal(function(x), expected, strict=True)
    out = np.empty_like(x)
    assert function(x, out=out) is out
    assert_array_equal(out, expected)
    assert_array_equal(function(x[::-1], out=out)[::-1], expected)
    in_place = x.copy()
    assert function(in_place, out=in_place) is in_place
    assert_array_equal(in_place, expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert_array_equal(function(frozen), expected)
    with pytest.raises(ValueError, match="read-only"):
        function(frozen, out=frozen)
    with pytest.raises(ValueError, match="n_threads"):
        function(x, n_threads=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 4, 2), (30, 50, 70), (0, 3, 2), (3, 0, 2), (40, 9, 10)])
def test_matmul(dtype, shape):
    m, k, n = shape
    a, b = random((m, k), dtype), random((k, n), dtype)
    expected = np.asarray(fs.matmul(roundabout(a), b))
    assert_array_equal(fs.matmul(a, b), expected, strict=True)
    out = np.empty((m, n), dtype)
    assert fs.matmul(a, b, out=out) is out
    assert_array_equal(out, expected)
    with pytest.raises(ValueError, match="n_threads"):
        fs.matmul(a, b, n_threads=-1)


def test_what_is_plain():
    x = random((3, 4))
    assert is_plain(x)
    unaligned = np.frombuffer(bytearray(1 + x.nbytes), "f4", x.size, offset=1).reshape(x.shape)
    others = (
        roundabout(x),
        x[:, ::2],
        x.T,
        x[0],
        x.astype(np.float16),
        x.astype(">f4"),
        x.astype(np.uint8),
        x.tolist(),
        np.ma.masked_array(x),
        unaligned,
    )
    assert not any(is_plain(other) for other in others)


CALLS = {
    "softmax": lambda x, f: f(x, x, 1),
    "matmul": lambda x, f: f(x, x.T, np.empty((3, 3), "f4"), 1),
    "predict_class": lambda x, f: f(x, x, np.zeros(3, "f4"), 1.0, np.empty(3, np.int64), 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_without_keywords(name):
    function, x = getattr(_core, name), random((3, 4))
    CALLS[name](x, function)
    with pytest.raises(TypeError, match=r"expected \d arguments, got 0"):
        function()
    with pytest.raises(TypeError, match="keyword"):
        function(x=x)
    n_arguments = {"softmax": 3, "matmul": 4, "predict_class": 6}[name]
    for junk in (None, "x", 1.5, [[1.0]]):
        with pytest.raises(TypeError):
            function(*[junk] * n_arguments)
    for bad in (x.astype(">f4"), x.astype(np.float16), x.astype(complex)):
        with pytest.raises(TypeError, match="must be"):
            CALLS[name](bad, function)
    with pytest.raises(ValueError, match="two dimensions"):
        CALLS[name](x[0], function)


@pytest.mark.parametrize("n_threads", [None, "1", 1.0, -1, 2**40, 2**80])
def test_bad_thread_counts_of_the_core(n_threads):
    x = random((3, 4))
    with pytest.raises((TypeError, ValueError, OverflowError)):
        _core.softmax(x, x, n_threads)
