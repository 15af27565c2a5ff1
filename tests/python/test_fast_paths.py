"""Plain arrays skip checks and copies: the same results, the same errors as by the long way."""

import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from reference import blobs, frozen, unaligned

import fastsoftmax as fs
from fastsoftmax import LogisticRegression, SoftmaxClassifier, _core
from fastsoftmax._arrays import is_plain

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


class Array(np.ndarray):
    """Not plain, by its class alone."""


def random(shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def roundabout(x):
    """The same numbers in an array that is not plain."""
    return x.view(Array)


def the_long_way(function, *arguments, **options):
    """What the softmax family gives where no array counts as one of few rows."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("softmax_of_few", "log_softmax_of_few", "logsumexp_of_few"):
            patch.setattr(_core, name, lambda *_: None)
        return np.asarray(function(*arguments, **options))


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


@pytest.mark.parametrize("estimator", [SoftmaxClassifier, LogisticRegression])
@pytest.mark.parametrize(
    "form", [*COPIED, "bool", "uint16", ">f8", "memory map", "every second row"]
)
def test_arrays_of_numbers_need_no_more_checks(form, estimator, tmp_path, monkeypatch):
    X, y = blobs(60, 5, 3)
    makers = {
        "bool": lambda X: X > 0,
        "uint16": lambda X: np.abs(8 * X).astype(np.uint16),
        ">f8": lambda X: X.astype(">f8"),
        "memory map": lambda X: np.memmap(tmp_path / "X", X.dtype, "w+", shape=X.shape),
        "every second row": lambda X: np.repeat(X, 2, axis=0)[::2],
    }
    given = (COPIED | makers)[form](X)
    if form == "memory map":
        given[:] = X
    plain = np.array(given, dtype=np.float64 if given.dtype.itemsize > 4 else np.float32)
    expected = estimator().fit(plain, y).predict_proba(plain)

    def refuse(*arguments, **options):
        raise AssertionError("it was called")

    monkeypatch.setattr(fs._validation, "validate_data", refuse)
    clf = estimator().fit(given, y)
    assert clf.n_features_in_ == 5
    assert_array_equal(clf.predict_proba(given), expected)
    with pytest.raises(AssertionError, match="it was called"):
        clf.predict(given[:, :4])


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
    expected = the_long_way(function, x)
    assert_array_equal(function(x), expected, strict=True)
    out = np.empty_like(x)
    assert function(x, out=out) is out
    assert_array_equal(out, expected)
    assert_array_equal(function(x[::-1], out=out)[::-1], expected)
    in_place = x.copy()
    assert function(in_place, out=in_place) is in_place
    assert_array_equal(in_place, expected)
    read_only = frozen(x)
    assert_array_equal(function(read_only), expected)
    with pytest.raises(ValueError, match="read-only"):
        function(read_only, out=read_only)
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
        unaligned(x),
    )
    assert not any(is_plain(other) for other in others)


FEW = {  # the long way, and the call that it is for plain arrays
    "softmax": (fs.softmax, _core.softmax_of_few),
    "log_softmax": (fs.log_softmax, _core.log_softmax_of_few),
    "logsumexp": (fs.logsumexp, _core.logsumexp_of_few),
}


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (1, 1), (5, 33), (2, 3, 4), (1, 3, 1, 5)])
def test_rows_of_few(name, dtype, shape):
    function, of_few = FEW[name]
    x = random(shape, dtype)
    expected = the_long_way(function, x)
    for n_threads in (None, 1, 2, 4096):
        assert_array_equal(of_few(x, None, n_threads), expected, strict=True)
    out = np.empty_like(expected)
    assert of_few(x, out, None) is out
    assert_array_equal(out, expected)


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("shape", [(7,), (5, 33), (2, 3, 4)])
def test_few_rows_by_other_names(name, shape):
    """The last axis counted from the front, and arrays that are plain once they are converted."""
    function, x = FEW[name][0], random(shape).astype(np.float16)
    expected = the_long_way(function, x)
    gaps = np.repeat(x, 2, axis=0)[::2]
    for given in (x, np.asfortranarray(x), x.astype(">f4"), roundabout(x.astype("f4")), gaps):
        for axis in (-1, len(shape) - 1):
            assert_array_equal(function(given, axis=axis), expected)
    with pytest.raises(TypeError, match="axis must be one integer"):
        function(x, axis=float(len(shape) - 1))
    with pytest.raises(np.exceptions.AxisError):
        function(x.astype(np.float32), axis=len(shape))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_few_rows_onto_memory_that_they_share(name):
    function, memory = FEW[name][0], random((8, 5))
    for x_part, out_part in (
        (slice(0, 6), slice(1, 7)),
        (slice(1, 7), slice(0, 6)),
        (slice(6), slice(6)),
    ):
        buffer = memory.copy()
        expected = the_long_way(function, memory[x_part])
        assert_array_equal(function(roundabout(buffer[x_part]), out=buffer[out_part]), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 1), (7, 1, 3), (3, 784, 10), (20, 30, 40)])
def test_product_of_few(dtype, shape):
    m, k, n = shape
    a, b = random((m, k), dtype), random((k, n), dtype)
    for right in (b, np.asfortranarray(b)):
        expected = np.asarray(fs.matmul(roundabout(a), right))
        for n_threads in (None, 1, 2, 4096):
            assert_array_equal(
                _core.matmul_of_few(a, right, None, n_threads), expected, strict=True
            )
        out = np.empty((m, n), dtype)
        assert _core.matmul_of_few(a, right, out, None) is out
        assert_array_equal(out, expected)


NOT_PLAIN = {
    "list": np.ndarray.tolist,
    "subclass": roundabout,
    "masked": np.ma.masked_array,
    "float16": lambda x: x.astype(np.float16),
    "int32": lambda x: x.astype(np.int32),
    "complex": lambda x: x.astype(np.complex64),
    "objects": lambda x: x.astype(object),
    "big-endian": lambda x: x.astype(">f4"),
    "other dtype": lambda x: x.astype(np.float64),
    "unaligned": unaligned,
    "every second": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[::-1],
    "none": lambda x: None,
    "number": lambda x: 1.0,
}


@pytest.mark.parametrize("form", NOT_PLAIN)
def test_what_few_calls_leave_to_others(form):
    x, out = random((3, 3)), np.full((3, 3), 7, "f4")
    other = NOT_PLAIN[form](x)
    for _, of_few in FEW.values():
        if form != "other dtype":  # with which nothing is wrong alone
            assert of_few(other, None, None) is None
        if form != "none":
            assert of_few(x, NOT_PLAIN[form](out), None) is None
    assert _core.matmul_of_few(other, x, None, None) is None
    assert _core.matmul_of_few(x, other, None, None) is None
    if form != "none":
        assert _core.matmul_of_few(x, x, NOT_PLAIN[form](out), None) is None
    assert_array_equal(out, 7)


def test_outputs_that_few_calls_leave_to_others():
    x = random((6, 4))
    storage = np.empty(60, "f4")
    apart = storage[:24].reshape(6, 4)
    overlapping = storage[20:44].reshape(6, 4)
    apart[:] = x
    outs = [frozen(x), np.empty((4, 6), "f4"), np.empty(24, "f4"), np.asfortranarray(x)]
    for _, of_few in FEW.values():
        for out in outs:
            assert of_few(x, out, None) is None
    assert _core.softmax_of_few(apart, overlapping, None) is None
    assert _core.softmax_of_few(apart, apart[:], None) is None
    read_only = frozen(x)
    assert _core.softmax_of_few(read_only, read_only, None) is None
    square = random((4, 4))
    for a, b, out in (
        (x, square, x),
        (square, square, square),
        (square, square.copy(), square),
        (square.copy(), square.T, square),
        (apart, square, overlapping),
        (x, square, frozen(x)),
        (x, square, np.empty((4, 6), "f4")),
        (x, square, np.empty(24, "f4")),
    ):
        before = out.copy()
        assert _core.matmul_of_few(a, b, out, None) is None
        assert_array_equal(out, before)
    end_to_end = storage[24:48].reshape(6, 4)
    assert _core.softmax_of_few(apart, end_to_end, None) is end_to_end
    assert _core.matmul_of_few(apart, square, end_to_end, None) is end_to_end


def test_shapes_and_sizes_that_few_calls_leave_to_others():
    for shape in ((), (0,), (0, 3), (3, 0), (2, 0, 3)):
        for _, of_few in FEW.values():
            assert of_few(np.zeros(shape, "f4"), None, None) is None
    x, cube = random((3, 4)), random((3, 4, 4))
    for a, b in (
        (x, x),
        (x, x[0]),
        (x[0], x.T),
        (cube, x),
        (x, cube),
        (x[:0], x.T),
        (x[:, :0], x[:0]),
    ):
        assert _core.matmul_of_few(np.ascontiguousarray(a), b, None, None) is None
    much = np.zeros((1001, 1000), "f4")
    assert _core.softmax_of_few(much, None, None) is None
    assert _core.softmax_of_few(much[:999], None, None) is not None
    assert _core.matmul_of_few(much, np.zeros((1000, 20), "f4"), None, None) is None
    assert _core.matmul_of_few(much[:970], np.zeros((1000, 20), "f4"), None, None) is not None
    # What is large comes on memory that the core keeps.
    assert _core.matmul_of_few(np.zeros((1001, 1)), np.zeros((1, 1000)), None, None) is None
    W, b = np.zeros((100, 1), "f4"), np.zeros(100, "f4")
    for _, of_few in PREDICTIONS.values():
        assert of_few(np.zeros((10_000, 1), "f4"), W, b, 1.0, None) is None


@pytest.mark.parametrize("n_threads", [0, -1, 4097, 2**80, True, 1.0, "1", np.int64(1)])
def test_thread_counts_that_few_calls_leave_to_others(n_threads):
    x = random((3, 3))
    assert _core.softmax_of_few(x, None, n_threads) is None
    assert _core.matmul_of_few(x, x.copy(), None, n_threads) is None


def test_few_calls_keep_no_references():
    x, b = random((3, 3)), random((3, 3))
    out = np.empty((3, 3), "f4")
    arrays = (x, b, out)
    before = [sys.getrefcount(array) for array in arrays]
    for _ in range(10):
        _core.softmax_of_few(x, out, None)
        _core.softmax_of_few(x, x, None)
        _core.softmax_of_few(x, out.T, None)
        _core.matmul_of_few(x, b, out, None)
        _core.matmul_of_few(x, b, x, None)
        assert sys.getrefcount(_core.matmul_of_few(x, b, None, None)) <= 2
        for _, of_few in PREDICTIONS.values():
            of_few(x, b, out[0].copy(), 1.0, None)
            of_few(x, b, x, 1.0, None)
    assert [sys.getrefcount(array) for array in arrays] == before


PREDICTIONS = {
    name: (getattr(_core, f"predict_{name}"), getattr(_core, f"predict_{name}_of_few"))
    for name in ("logits", "probs", "log_probs", "class")
}


@pytest.mark.parametrize("name", PREDICTIONS)
@pytest.mark.parametrize("x_dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (1, 784, 10), (70, 5, 2), (3, 40, 50)])
def test_prediction_of_few(name, x_dtype, dtype, n, d, k):
    kernel, of_few = PREDICTIONS[name]
    X, W, b = (8 * np.abs(random((n, d)))).astype(x_dtype), random((k, d), dtype), random(k, dtype)
    if X.itemsize > W.itemsize:
        assert of_few(X, W, b, 0.25, None) is None
        return
    out = np.empty(n, np.int64) if name == "class" else np.empty((n, k), dtype)
    assert kernel(X, W, b, 0.25, out, 1)
    for n_threads in (None, 1, 2, 4096):
        assert_array_equal(of_few(X, W, b, 0.25, n_threads), out, strict=True)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_that_few_calls_leave_to_others(name):
    of_few = PREDICTIONS[name][1]
    X, W, b = random((5, 4)), random((3, 4)), random(3)
    assert of_few(X, W, b, 1.0, 1) is not None
    for form, change in NOT_PLAIN.items():
        if form not in ("every second", "backwards"):
            assert of_few(X, W, change(b), 1.0, 1) is None
        assert of_few(X, change(W), b, 1.0, 1) is None
        assert of_few(change(X), W, b, 1.0, 1) is None
    assert of_few(X, W, np.repeat(b, 2)[::2], 1.0, 1) is None
    on_the_edge = 1.1754943e-38, 3.4028235e38  # float32's limits, when they are rounded
    for scale in (0.0, -1.0, np.nan, np.inf, *on_the_edge, 1, None, "1", np.float64(1.0)):
        assert of_few(X, W, b, scale, 1) is None
    for n_threads in (0, 4097, 2**80, True, 1.0, "1", np.int64(1)):
        assert of_few(X, W, b, 1.0, n_threads) is None
    shapes = (
        (X[0], W, b),
        (X, W[0], b),
        (X, W, W),
        (X, W[:, :3].copy(), b),
        (X, W, b[:2]),
        (X[:0], W, b),
        (X[:, :0].copy(), W[:, :0].copy(), b),
        (X, W[:0], b[:0]),
        (X[:, :, None], W, b),
        (np.zeros((3000, 3000), "f4"), np.zeros((3, 3000), "f4"), b),
    )
    for arguments in shapes:
        assert of_few(*arguments, 1.0, 1) is None
    for bad in (np.nan, np.inf, -np.inf):
        for at in range(3):
            arguments = [X.copy(), W.copy(), b.copy()]
            arguments[at].flat[1] = bad
            assert of_few(*arguments, 1.0, 1) is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_classes", [2, 5])
def test_predictions_of_few_and_of_many(method, n_classes):
    X, y = blobs(300, 9, n_classes, np.float32)
    for classifier in (SoftmaxClassifier(random_state=0), LogisticRegression()):
        clf = classifier.fit(X, y)
        expected = getattr(clf, method)(roundabout(X))
        assert_array_equal(getattr(clf, method)(X), expected, strict=True)
        for i in (0, 7, 299):
            assert_array_equal(getattr(clf, method)(X[i : i + 1]), expected[i : i + 1], strict=True)


def test_weights_for_other_classes_are_no_few():
    X, y = blobs(30, 4, 3, np.float32)
    clf = SoftmaxClassifier(random_state=0).fit(X, y)
    clf.coef_, clf.intercept_ = clf.coef_[:2].copy(), clf.intercept_[:2].copy()
    for method in METHODS:
        with pytest.raises(ValueError, match="coef_"):
            getattr(clf, method)(X)


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
