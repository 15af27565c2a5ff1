"""matmul and the softmax family against SciPy and float64 NumPy.

u is the unit roundoff of the result. The bounds are those of sums in any order (Higham, section 3.1).
"""

import math
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.special
from numpy.testing import assert_array_equal
from reference import LAYOUTS, layouts

import fastsoftmax as fs
from fastsoftmax import _core

FAMILY = ("softmax", "log_softmax", "logsumexp")
# Finite in a long double, where that is wider than float64.
BEYOND = np.array(["1e400", "1"], np.longdouble)
RAGGED = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 257)


def roundoff(dtype):
    return np.finfo(dtype).eps / 2


def random(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(max(info.min, -100), min(info.max, 100), size=shape).astype(dtype)
    return (3 * rng.normal(size=shape)).astype(dtype)


def expected_of(name, x, **arguments):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns of infinity minus infinity
        return getattr(scipy.special, name)(np.asarray(x, np.float64), **arguments)


def assert_near(name, actual, x, axis=-1, **arguments):
    """Compare with SciPy in float64 on the same numbers."""
    expected = expected_of(name, x, axis=axis, **arguments)
    u, n = roundoff(actual.dtype), np.shape(x)[axis]
    spread = float(np.ptp(x)) if np.size(x) else 0.0
    # Each x - max is off by u |x - max|, an exponential by another 2 ulp = 4 u, the sum of n of them
    # by n u, the division or logarithm by 2 u: relative to a probability, absolute in a logarithm.
    bound = (spread + n + 8) * u
    if name == "softmax":
        np.testing.assert_allclose(actual, expected, rtol=bound, atol=np.finfo(actual.dtype).tiny)
    else:  # rounding the result itself adds u of it
        np.testing.assert_allclose(actual, expected, rtol=2 * u, atol=bound)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", RAGGED)
def test_ragged_rows(name, dtype, n):
    x = random((5, n), dtype)
    result = getattr(fs, name)(x)
    assert result.dtype == dtype
    assert_near(name, result, x)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 5), (2, 1, 4, 3), (1,), (1, 1, 1)])
def test_any_axis(name, shape):
    x = random(shape, np.float64)
    for axis in range(-len(shape), len(shape)):
        result = getattr(fs, name)(x, axis=axis)
        assert np.shape(result) == expected_of(name, x, axis=axis).shape
        assert_near(name, result, x, axis=axis)


def test_keepdims():
    x = random((2, 3, 4))
    assert fs.logsumexp(x, axis=1, keepdims=True).shape == (2, 1, 4)
    assert_array_equal(fs.logsumexp(x, axis=1, keepdims=True)[:, 0], fs.logsumexp(x, axis=1))
    assert fs.logsumexp(x[0, 0], keepdims=True).shape == (1,)
    assert type(fs.logsumexp(x[0, 0])) is np.float32


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_give_the_same_bits(name, layout, dtype):
    x = random((5, 13), dtype)
    given = layouts(x)[layout]
    before = given.copy()
    for axis in (0, 1):
        assert_array_equal(
            getattr(fs, name)(given, axis=axis), getattr(fs, name)(x, axis=axis), strict=True
        )
    assert_array_equal(given, before)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("shape", [(4, 1), (1, 7)])
def test_zero_strides(name, shape):
    x = np.broadcast_to(random(shape), (4, 7))
    assert_array_equal(getattr(fs, name)(x), getattr(fs, name)(x.copy()))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (0, 0), (2, 0, 3)])
def test_empty(name, shape):
    x = np.empty(shape, np.float32)
    for axis in range(len(shape)):
        result = getattr(fs, name)(x, axis=axis)
        reduced = shape[:axis] + shape[axis + 1 :]
        assert np.shape(result) == (reduced if name == "logsumexp" else shape)
        assert result.dtype == np.float32
        assert np.all(result == -np.inf) or name != "logsumexp"


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(2**40, 0), (0, 2**40), (2**20, 0, 2**20)])
def test_any_number_of_empty_rows_takes_no_time(name, shape):
    for axis in range(len(shape)):
        assert getattr(fs, name)(np.empty(shape), axis=axis).shape == shape


NON_FINITE_ROWS = (
    [np.inf],
    [-np.inf],
    [np.nan],
    [-np.inf, -np.inf],
    [np.inf, np.inf],
    [np.inf, -np.inf],
    [-np.inf, 1.0],
    [np.inf, 1.0],
    [np.nan, 1.0],
    [np.nan, np.inf],
    [np.nan, -np.inf],
    [3e38, -3e38],
    [1e-45, -1e-45],
)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("special", NON_FINITE_ROWS, ids=str)
def test_non_finite(name, dtype, special):
    for n in (1, 2, 5, 16, 19, 40):
        for at in {0, n // 2, max(n - len(special), 0)}:
            x = random((3, n), dtype)
            x[1, at : at + len(special)] = special[: n - at]
            result = getattr(fs, name)(x)
            expected = expected_of(name, x, axis=-1)
            with np.errstate(over="ignore"):  # -6e38 is a logarithm that float32 does not hold
                np.testing.assert_allclose(result, expected.astype(dtype), rtol=1e-5, atol=1e-5)
            others = [0, 2]
            assert_array_equal(result[others], getattr(fs, name)(x[others]))


@pytest.mark.parametrize("name", FAMILY)
def test_far_from_zero(name):
    x = random((4, 9), np.float64)
    for shift in (-1e4, 1e4):
        result = getattr(fs, name)(x + shift)
        assert_near(name, result, x + shift)
        assert np.isfinite(result).all()


DTYPES = {
    np.float16: np.float32,
    np.float32: np.float32,
    np.float64: np.float64,
    np.longdouble: np.float64,
    np.bool_: np.float32,
    np.int8: np.float32,
    np.int16: np.float32,
    np.int32: np.float64,
    np.int64: np.float64,
    np.uint8: np.float32,
    np.uint16: np.float32,
    np.uint32: np.float64,
    np.uint64: np.float64,
}


@pytest.mark.parametrize(("dtype", "arithmetic"), DTYPES.items(), ids=str)
def test_dtypes(dtype, arithmetic):
    x = random((4, 5), dtype if np.issubdtype(dtype, np.integer) else np.int8).astype(dtype)
    for name in FAMILY:
        result = getattr(fs, name)(x)
        assert result.dtype == arithmetic
        assert_near(name, result, x.astype(arithmetic))
    assert fs.matmul(x, x.T).dtype == arithmetic
    assert_array_equal(fs.matmul(x, x.T), x.astype(np.float64) @ x.T.astype(np.float64))
    assert fs.cross_entropy(x, [0, 1, 2, 3]).dtype == arithmetic


def test_lists_are_arrays():
    assert_array_equal(fs.softmax([[0, 0], [5, 5]]), np.full((2, 2), 0.5))
    assert_array_equal(fs.matmul([[1, 2]], [[3], [4]]), [[11.0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_read_in_place(dtype):
    x, b = random((1000, 500), dtype), random((500, 2), np.float32)
    calls = [lambda: fs.matmul(x, b), lambda: fs.matmul(x[::2, 1::3], b[:167])]
    if dtype != np.uint8:
        calls += [lambda: fs.softmax(x, out=out), lambda: fs.logsumexp(x)]
    out = np.empty_like(x)
    for call in calls:
        call()  # which may import
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100_000  # x has 500 000 numbers


SHAPES_OF_COLUMNS = (
    *((1, 2), (2, 3), (5, 1), (3, 17, 5), (32, 129), (33, 100), (2, 40, 33), (1000, 3), (7, 1, 6)),
    *((3, 5000), (300, 70), (2, 3, 4, 5), (0, 3), (3, 0), (2, 0, 3)),
    *((1000, 15), (600, 20), (3, 200, 4), (70_000, 2)),  # few columns for each thread
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("shape", SHAPES_OF_COLUMNS, ids=str)
def test_columns_have_the_bits_of_rows(shape, name, dtype):
    function, size = getattr(fs, name), math.prod(shape)
    for offset in (0, 1, 5):  # from a cache line
        x = np.random.default_rng(1).normal(0, 9, size + offset).astype(dtype)[offset:]
        x = x.reshape(shape)
        if size > 3:
            x.flat[[1, 3]] = np.inf, np.nan
        for axis in range(-len(shape), 0):
            rows = function(np.moveaxis(x, axis, -1).copy())
            expected = rows if name == "logsumexp" else np.moveaxis(rows, -1, axis)
            for n_threads in (1, 2, 5):
                assert_array_equal(function(x, axis=axis, n_threads=n_threads), expected)
            if name != "logsumexp":
                again = x.copy()
                assert function(again, axis=axis, out=again) is again
                assert_array_equal(again, expected)


@pytest.mark.parametrize("name", FAMILY)
def test_parts_of_columns(name, monkeypatch):
    # Ctrl-C is heard between them.
    x = np.random.default_rng(2).normal(0, 9, (3, 50, 40))
    expected = getattr(fs, name)(x, axis=1)
    step = 7

    def slices(n_rows, work_per_row):
        return (slice(start, start + step) for start in range(0, n_rows, step))

    monkeypatch.setattr(fs._functions, "interruptible_slices", slices)
    assert_array_equal(getattr(fs, name)(x, axis=1), expected)


class TestOut:
    @pytest.fixture(params=["softmax", "log_softmax"])
    def function(self, request):
        return getattr(fs, request.param)

    @pytest.mark.parametrize("axis", [0, 1])
    @pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
    def test_is_filled_and_returned(self, function, axis, layout):
        x = random((5, 13))
        out = layouts(np.zeros_like(x))[layout]
        if layout == "byte-swapped":
            with pytest.raises(TypeError, match="dtype float32"):
                function(x, axis=axis, out=out)
        else:
            assert function(x, axis=axis, out=out) is out
            assert_array_equal(out, function(x, axis=axis))

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_in_place(self, function, axis, order):
        x = np.asarray(random((3, 4, 5)), order=order)
        expected = function(x, axis=axis)
        assert function(x, axis=axis, out=x) is x
        assert_array_equal(x, expected)

    @pytest.mark.parametrize("shift", [-5, -1, 1, 5])
    def test_overlapping(self, function, shift):
        buffer = random(60)
        x, out = buffer[5:45].reshape(5, 8), buffer[5 + shift : 45 + shift].reshape(5, 8)
        expected = function(x.copy())
        assert_array_equal(function(x, out=out), expected)

    def test_reversed_view_of_the_input(self, function):
        x = random((5, 8))
        expected = function(x.copy())
        assert_array_equal(function(x, out=x[::-1]), expected)

    @pytest.mark.parametrize(
        ("out", "error", "message"),
        [
            (np.empty((2, 3), np.float64), TypeError, "dtype float32"),
            ([[0.0] * 3] * 2, TypeError, "ndarray"),
            (np.empty((3, 2), np.float32), ValueError, r"\(3, 2\).*\(2, 3\)"),
            (np.broadcast_to(np.float32(0), (2, 3)), ValueError, "read-only"),
            (np.ma.zeros((2, 3), np.float32), TypeError, "out is a masked array"),
            (np.ma.zeros((2, 3), np.float32, order="F"), TypeError, "out is a masked array"),
        ],
    )
    def test_refused(self, function, out, error, message):
        with pytest.raises(error, match=message):
            function(random((2, 3)), out=out)
        with pytest.raises(error, match=message):
            fs.matmul(random((2, 4)), random((4, 3)), out=out)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_out_may_be_a_matrix(name, axis):
    x, out = random((2, 3)), np.zeros((2, 3), np.float32).view(np.matrix)
    expected = getattr(fs, name)(x, axis=axis)
    assert getattr(fs, name)(x, axis=axis, out=out) is out
    assert_array_equal(np.asarray(out), expected)
    in_place = x.copy().view(np.matrix)
    assert getattr(fs, name)(in_place, axis=axis, out=in_place) is in_place
    assert_array_equal(np.asarray(in_place), expected)


def assert_product(actual, a, b):
    """Compare with float64: a sum of k products is off by at most k u times that of their sizes.

    Each product in tiles lacks up to 2 u, before the sum is rounded.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    n_roundings = max(3, a.shape[1]) if fs._core.active_isa() == "amx" else a.shape[1]
    bound = n_roundings * roundoff(actual.dtype) * (abs(a) @ abs(b))
    if actual.dtype == np.float64:
        bound = 2 * bound  # NumPy's product is rounded too
    assert np.all(abs(actual - a @ b) <= bound)


class TestMatmul:
    SHAPES = (
        *((m, k, n) for m in (1, 5, 33) for k in (1, 7, 65) for n in (1, 3, 17, 40)),
        (100, 784, 10),
        (7, 300, 1030),
        (200, 517, 26),
    )

    @pytest.mark.parametrize("a_dtype", [np.float32, np.float64, np.uint8])
    @pytest.mark.parametrize("b_dtype", [np.float32, np.float64])
    def test_shapes(self, a_dtype, b_dtype):
        for m, k, n in self.SHAPES:
            a, b = random((m, k), a_dtype), random((k, n), b_dtype, seed=1)
            result = fs.matmul(a, b)
            assert result.dtype == (np.float64 if np.float64 in (a_dtype, b_dtype) else np.float32)
            assert result.shape == (m, n)
            assert result.flags.c_contiguous
            assert_product(result, a, b)

    @pytest.mark.parametrize("n", [5, 40])  # narrow and wide products are different loops
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_layouts(self, layout, dtype, n):
        a, b = random((13, 21), dtype), random((21, n), seed=1)
        assert_product(fs.matmul(layouts(a)[layout], b), a, b)
        b = random((21, n), np.float64 if dtype == np.float64 else np.float32, seed=1)
        assert_product(fs.matmul(a, layouts(b)[layout]), a, b)

    @pytest.mark.parametrize("n", [5, 40])
    @pytest.mark.parametrize("dtype", [np.float16, np.int32, np.float32, np.uint8])
    @pytest.mark.parametrize("order", ["CC", "CF", "FC", "FF"])
    def test_a_row_has_the_same_bits_alone(self, n, dtype, order):
        a = np.array(random((40, 1300), np.uint8), dtype, order=order[0])
        b = np.array(random((1300, n), np.float32, seed=1), order=order[1])
        together = fs.matmul(a, b)
        for m in (1, 5, 16, 17):  # few rows and many are different loops
            assert_array_equal(fs.matmul(a[:m], b), together[:m])
        for i in (7, 39):
            assert_array_equal(fs.matmul(a[i : i + 1], b), together[i : i + 1])

    @pytest.mark.parametrize("a_dtype", [np.float32, np.float64, np.uint8])
    @pytest.mark.parametrize("b_dtype", [np.float32, np.float64])
    def test_few_columns_of_a_transposed_matrix(self, a_dtype, b_dtype):
        # Shorter rows in memory than 256, and longer; slices of 512 and 256, chunks of 128.
        for m, k in ((1, 700), (10, 2100), (255, 129), (256, 1025), (1100, 640), (2000, 3)):
            a = random((k, m), a_dtype).T
            for n in (1, 2, 5, 16):
                b = random((k, n), b_dtype, seed=1)
                result = fs.matmul(a, b)
                assert_product(result, a, b)
                for n_threads in (1, 3, 7):
                    assert_array_equal(fs.matmul(a, b, n_threads=n_threads), result)

    @pytest.mark.parametrize("a_dtype", [np.float32, np.float64, np.uint8])
    def test_few_rows(self, a_dtype):
        b_dtype = np.float64 if a_dtype == np.float64 else np.float32
        for m, k, n in ((1, 600, 3000), (7, 2100, 17), (16, 300, 260), (3, 1, 5000)):
            b = random((k, n), b_dtype, seed=1)
            for a in (random((m, k), a_dtype), random((k, m), a_dtype).T):
                result = fs.matmul(a, b)
                assert_product(result, a, b)
                assert_product(fs.matmul(a, np.asfortranarray(b)), a, b)
                for n_threads in (1, 3, 7):
                    assert_array_equal(fs.matmul(a, b, n_threads=n_threads), result)

    @pytest.mark.parametrize("n", [5, 40])
    def test_zero_strides(self, n):
        row, column = random((1, 21)), random((13, 1))
        for a in (np.broadcast_to(row, (13, 21)), np.broadcast_to(column, (13, 21))):
            b = np.broadcast_to(random((1, n), seed=1), (21, n))
            assert_product(fs.matmul(a, b), a, b)

    @pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
    def test_empty(self, shape):
        m, k, n = shape
        result = fs.matmul(np.ones((m, k)), np.ones((k, n)))
        assert_array_equal(result, np.zeros((m, n)), strict=True)

    def test_non_finite(self):
        a = np.array([[1.0, np.inf, 2.0], [0.0, 1.0, np.nan]], np.float32)
        for n in (3, 40):
            b = np.ones((3, n), np.float32)
            b[1, 0] = 0.0
            with np.errstate(invalid="ignore"):
                assert_array_equal(fs.matmul(a, b), a @ b)

    @pytest.mark.parametrize("n", [6, 40])
    def test_out_may_overlap(self, n):
        a, b = random((n, n)), random((n, n), seed=1)
        expected = fs.matmul(a, b)
        for out in (a, b):
            saved = out.copy()
            assert fs.matmul(a, b, out=out) is out
            assert_array_equal(out, expected)
            out[...] = saved
        assert_array_equal(fs.matmul(a, b, out=np.empty((n, 2 * n), "f4")[:, ::2]), expected)

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            (np.ones(3), np.ones((3, 2)), r"a must have two dimensions.*\(3,\)"),
            (np.ones((2, 3)), np.ones(3), r"b must have two dimensions.*\(3,\)"),
            (np.ones((2, 3)), np.ones((2, 3)), r"\(2, 3\) has 3 columns.*\(2, 3\) has 2 rows"),
            (np.ones((1, 2, 3)), np.ones((3, 2)), r"a must have two dimensions"),
        ],
    )
    def test_refused(self, a, b, message):
        with pytest.raises(ValueError, match=message):
            fs.matmul(a, b)


class TestCrossEntropy:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n", RAGGED)
    def test_against_scipy(self, dtype, n):
        logits, labels = random((11, n), dtype), np.arange(11) % n
        weights = np.linspace(0, 2, 11)
        expected = -expected_of("log_softmax", logits, axis=1)[np.arange(11), labels]
        # As in assert_near; the mean of the losses is off by no more than each.
        bound = {"rtol": 3 * roundoff(dtype)}
        bound["atol"] = (np.ptp(logits) + n + 8) * roundoff(dtype)
        losses = fs.cross_entropy(logits, labels, reduction="none")
        np.testing.assert_allclose(losses, expected, **bound)
        assert losses.dtype == dtype
        mean = fs.cross_entropy(logits, labels)
        np.testing.assert_allclose(mean, expected.mean(), **bound)
        assert type(mean) is dtype
        total = fs.cross_entropy(logits, labels, reduction="sum") / 11
        np.testing.assert_allclose(total, expected.mean(), **bound)
        weighted = fs.cross_entropy(logits, labels, sample_weight=weights)
        np.testing.assert_allclose(weighted, np.average(expected, weights=weights), **bound)
        weighted = fs.cross_entropy(logits, labels, weights, "none")
        np.testing.assert_allclose(weighted, expected * weights.astype(dtype), **bound)

    def test_more_dimensions(self):
        logits, labels = random((2, 3, 4)), np.array([[0, 1, 2], [3, 2, 1]])
        losses = fs.cross_entropy(logits, labels, reduction="none")
        flat = fs.cross_entropy(logits.reshape(6, 4), labels.ravel(), reduction="none")
        assert_array_equal(losses, flat.reshape(2, 3))
        assert fs.cross_entropy(logits[0, 0], 2) == fs.cross_entropy(logits[:1, 0], [2])

    @pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, ">i4"])
    def test_label_dtypes(self, dtype):
        logits, labels = random((4, 3)), np.array([0, 1, 2, 1])
        assert fs.cross_entropy(logits, labels.astype(dtype)) == fs.cross_entropy(logits, labels)

    def test_labels_are_copies(self, monkeypatch):
        """So nobody can make them point elsewhere once they are checked."""
        labels, seen = np.array([0, 2, 1]), []
        original = _core.cross_entropy
        monkeypatch.setattr(
            _core, "cross_entropy", lambda *args: (seen.append(args[1]), original(*args))
        )
        fs.cross_entropy(np.eye(3), labels)
        assert_array_equal(seen, [labels])
        assert not np.may_share_memory(seen[0], labels)

    def test_non_finite(self):
        logits = np.array([[0, -np.inf], [-np.inf, 0], [np.nan, 0]], np.float32)
        losses = fs.cross_entropy(logits, [0, 0, 0], reduction="none")
        assert_array_equal(losses, np.array([0, np.inf, np.nan], np.float32))

    def test_what_has_no_weight_counts_as_nothing(self):
        self.check_without_the_first(np.array([[-np.inf, 0], [0, 0]]))
        self.check_without_the_first(np.array([[np.nan, 0], [0, 0]]))

    def check_without_the_first(self, logits):
        for reduction, expected in (("mean", 1), ("sum", 1), ("none", [0, 1])):
            found = fs.cross_entropy(logits, [0, 0], [0.0, 1.0], reduction)
            np.testing.assert_allclose(found, np.log(2) * np.array(expected), rtol=1e-15)

    def test_a_sum_beyond_the_range_is_infinite(self):
        assert fs.cross_entropy(np.eye(2), [1, 0], [1e308, 1e308], "sum") == np.inf

    def test_of_nothing(self):
        nothing = np.empty((0, 3)), np.empty(0, int)
        assert np.isnan(fs.cross_entropy(*nothing))
        assert fs.cross_entropy(*nothing, reduction="sum") == 0
        assert fs.cross_entropy(*nothing, reduction="none").shape == (0,)
        assert np.isnan(fs.cross_entropy(np.ones((1, 3)), [0], sample_weight=[0.0]))

    def test_weights_may_vanish(self):
        with np.errstate(all="raise"):
            assert fs.cross_entropy(np.eye(2), [0, 1], [1e-300, 1e300]) == pytest.approx(0.31326169)
            losses = fs.cross_entropy(np.eye(2, dtype="f4"), [0, 1], [1e-40, 1.0], "none")
        assert losses[1] == pytest.approx(0.31326169)

    def test_a_bad_label_is_named_by_its_place(self):
        with pytest.raises(ValueError, match=r"label 9 at position 2 is not in 0\.\.2"):
            fs.cross_entropy(np.ones((3, 3)), [0, 1, 9])
        with pytest.raises(ValueError, match=r"label -1 at position \(1, 0\) is not in 0\.\.2"):
            fs.cross_entropy(np.ones((2, 2, 3)), [[0, 1], [-1, 9]])
        with pytest.raises(ValueError, match=r"label 3 at position \(\) is not in 0\.\.2"):
            fs.cross_entropy(np.ones(3), 3)
        with pytest.raises(ValueError, match="the logits are of no class"):
            fs.cross_entropy(np.ones((2, 0)), [0, 0])

    @pytest.mark.parametrize("factor", [1e-300, 1e-46, 1e46, 1e300])
    def test_the_mean_has_no_unit_of_weights(self, factor):
        logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        weights = np.array([1.0, 3, 0, 2, 1e8])
        expected = fs.cross_entropy(logits, [0, 1, 2, 0, 1], weights)
        scaled = fs.cross_entropy(logits, [0, 1, 2, 0, 1], factor * weights)
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, expected, rtol=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (([0, 3],), ValueError, r"label 3 at position 1 is not in 0\.\.2"),
            (([-1, 0],), ValueError, "label -1 at position 0"),
            (([0.0, 1.0],), TypeError, "labels must be integers, not float64"),
            (([True, False],), TypeError, "labels must be integers, not bool"),
            ((["a", "b"],), TypeError, "labels must be integers"),
            (([0],), ValueError, r"labels have shape \(1,\)"),
            (([0, 1], [1.0]), ValueError, r"sample_weight has shape \(1,\)"),
            (([0, 1], [1.0, -1.0]), ValueError, r"not negative, but sample_weight\[1\] is -1.0"),
            (([0, 1], [1.0, np.nan]), ValueError, "sample_weight must be finite and not negative"),
            (([0, 1], ["a", "b"]), TypeError, "sample_weight must be of real numbers"),
            (([0, 1], BEYOND), ValueError, "sample_weight must be finite and not negative"),
            (([0, 1], None, "max"), ValueError, "reduction must be .* not 'max'"),
        ],
    )
    def test_refused(self, arguments, error, message):
        with pytest.raises(error, match=message):
            fs.cross_entropy(np.zeros((2, 3)), *arguments)


BAD_ARRAYS = {
    "complex": (np.ones((2, 2), complex), TypeError, "complex128"),
    "text": (np.array([["1", "2"]]), TypeError, "<U1"),
    "object": (np.array([[1, None]]), TypeError, "object"),
    "datetime": (np.zeros((2, 2), "M8[s]"), TypeError, "datetime64"),
    "masked": (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), TypeError, "masked"),
}


@pytest.mark.parametrize("name", [*FAMILY, "cross_entropy", "matmul"])
@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_bad_arrays(name, case):
    array, error, message = BAD_ARRAYS[case]
    second = {"cross_entropy": [[0, 0]], "matmul": [np.ones((2, 2))]}.get(name, [])
    with pytest.raises(error, match=message):
        getattr(fs, name)(array, *second)
    if name == "matmul":
        with pytest.raises(error, match=message):
            fs.matmul(np.ones((2, len(array))), array)


@pytest.mark.parametrize("dtypes", [{}, {"a": "boolean", "b": "Float64", "c": "Float64"}])
def test_frames_of_pandas_are_numbers(dtypes):
    frame = pd.DataFrame(random((5, 3), np.float64), columns=list("abc"))
    frame["a"] = frame["a"] > 0
    expected = frame.astype(float).to_numpy()
    frame = frame.astype(dtypes)
    assert_array_equal(fs.softmax(frame), fs.softmax(expected))
    assert_array_equal(fs.matmul(frame, expected.T), fs.matmul(expected, expected.T))
    assert_array_equal(
        fs.cross_entropy(frame, [0, 1, 2, 0, 1]), fs.cross_entropy(expected, [0, 1, 2, 0, 1])
    )


def test_a_missing_value_of_a_frame_is_nan():
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": pd.array([1.0, 2.5], "Float64")})
    assert_array_equal(fs.softmax(frame), [[0.5, 0.5], [np.nan, np.nan]])
    with pytest.raises(TypeError, match="x must be of real numbers"):
        fs.softmax(frame.assign(c="text"))


@pytest.mark.parametrize("name", FAMILY)
def test_bad_axis(name):
    for axis in (2, -3):
        with pytest.raises(np.exceptions.AxisError, match=f"{axis} is out of bounds"):
            getattr(fs, name)(np.ones((2, 2)), axis=axis)
    with pytest.raises(ValueError, match="at least one dimension"):
        getattr(fs, name)(1.0)


@pytest.mark.parametrize("name", [*FAMILY, "cross_entropy", "matmul"])
@pytest.mark.parametrize(
    ("n_threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_n_threads(name, n_threads, error):
    second = {"cross_entropy": [[0, 0]], "matmul": [np.ones((2, 2))]}.get(name, [])
    with pytest.raises(error, match="n_threads must be"):
        getattr(fs, name)(np.ones((2, 2)), *second, n_threads=n_threads)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("axis", [None, (0, 1), 1.0, "0", -1.0, np.array([-1]), np.array([-1, -1])])
def test_axis_is_one_integer(name, axis):
    message = r"axis must be one integer, not (None|tuple|float|str|ndarray)"
    with pytest.raises(TypeError, match=message):
        getattr(fs, name)(np.zeros((2, 3)), axis=axis)
    with pytest.raises(np.exceptions.AxisError):
        getattr(fs, name)(np.zeros((2, 3)), axis=2**70)


def test_masked_labels_are_refused():
    with pytest.raises(TypeError, match="masked"):
        fs.cross_entropy(np.ones((2, 3)), np.ma.masked_array([0, 1], [0, 1]))


def test_a_mean_by_weights_whose_sum_overflows():
    assert abs(fs.cross_entropy(np.zeros((2, 3)), [0, 1], [1e308, 1e308]) - math.log(3)) < 1e-12


def test_more_threads_than_anyone_has():
    assert_array_equal(fs.softmax(np.ones((3, 4)), n_threads=10**30), np.full((3, 4), 0.25))
