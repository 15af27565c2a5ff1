"""Bad input: the error names what is wrong, and the estimator is as it was, fitted or not.

Files that are no model, no MNIST or no IDX have their own tests, beside those of their readers.
"""

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_unchanged, blobs, snapshot
from sklearn.exceptions import NotFittedError

from fastsoftmax import LogisticRegression, SoftmaxClassifier

X, Y = blobs(12, 3, 3)
STATES = ("unfitted", "fitted", "warm start")
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def make(state, **parameters):
    # A list among the attributes and a velocity: what a shallow copy would not protect.
    clf = SoftmaxClassifier(random_state=0, max_iter=2, momentum=0.5, batch_size=5)
    if state != "unfitted":
        clf.fit(X, Y)
    return clf.set_params(warm_start=state == "warm start", **parameters)


def refuses(clf, method, error, message, *arguments, **named):
    """Call a method that must raise and must leave no trace."""
    before = snapshot(clf)
    with pytest.raises(error, match=message):
        getattr(clf, method)(*arguments, **named)
    assert_unchanged(clf, before)


def with_value(value, row=7, column=1, dtype=np.float64):
    bad = X.astype(dtype)
    bad[row, column] = value
    return bad


def masked():
    return np.ma.masked_array(X, np.zeros_like(X, bool))


BAD_X = {
    "1-D": (X[:, 0], ValueError, "Expected 2D array, got 1D array"),
    "0-D": (np.float64(1), ValueError, "Expected 2D array, got scalar"),
    "3-D": (X[:, :, None], ValueError, "(?i)found array with dim 3"),
    "no rows": (X[:0], ValueError, r"0 sample\(s\).*minimum of 1"),
    "no columns": (X[:, :0], ValueError, r"0 feature\(s\).*minimum of 1"),
    "empty list": ([], ValueError, "Expected 2D array"),
    "ragged list": ([[1, 2], [3]], ValueError, "inhomogeneous"),
    "NaN": (with_value(np.nan), ValueError, "X contains NaN at row 7, column 1"),
    "infinity": (with_value(np.inf, 0, 2), ValueError, "X contains infinity at row 0, column 2"),
    "-infinity": (with_value(-np.inf), ValueError, "X contains infinity at row 7, column 1"),
    "NaN in float32": (with_value(np.nan, dtype="f4"), ValueError, "NaN at row 7, column 1"),
    "NaN in float16": (with_value(np.nan, dtype="f2"), ValueError, "NaN at row 7, column 1"),
    "NaN in F order": (np.asfortranarray(with_value(np.nan)), ValueError, "NaN at row 7, column 1"),
    "NaN in a view": (
        np.repeat(with_value(np.nan), 2, axis=0)[::2],
        ValueError,
        "NaN at row 7, column 1",
    ),
    "NaN in a list": (with_value(np.nan).tolist(), ValueError, "NaN at row 7, column 1"),
    "None in objects": (with_value(None, dtype=object), ValueError, "NaN at row 7, column 1"),
    "None in a list": (
        with_value(None, dtype=object).tolist(),
        ValueError,
        "NaN at row 7, column 1",
    ),
    "NA in a frame": (
        pd.DataFrame(X).convert_dtypes().mask(with_value(99) == 99),
        ValueError,
        "NaN at row 7, column 1",
    ),
    "complex": (X + 0j, ValueError, "Complex data not supported"),
    "text": (X.astype(str), ValueError, "(?i)str|text|U32|numeric"),
    "text in objects": (with_value("3", dtype=object), ValueError, "contains the text '3'"),
    "bytes in objects": (with_value(b"3", dtype=object), ValueError, "contains the text b'3'"),
    "text in a frame": (pd.DataFrame(X).assign(color="red"), ValueError, "the text 'red'"),
    "text in a categorical": (
        pd.DataFrame(X).assign(color=pd.Categorical(["red"] * 12)),
        ValueError,
        "the text 'red'",
    ),
    "dict in a list": (
        with_value({}, dtype=object).tolist(),
        TypeError,
        r"X must be of real numbers, but X\[7, 1\] is {} \(dict\)",
    ),
    "integer that no float holds": (
        with_value(10**400, dtype=object).tolist(),
        TypeError,
        r"X must be of real numbers, but X\[7, 1\] is 10000",
    ),
    "dict in objects": (with_value({}, dtype=object), TypeError, "dict"),
    "datetime": (np.zeros((12, 3), "M8[s]"), TypeError, "X must be of real numbers.*datetime64"),
    "timedelta": (np.zeros((12, 3), "m8[s]"), TypeError, "X must be of real numbers.*timedelta64"),
    "records": (np.zeros((12, 3), "f4,f4"), (TypeError, ValueError), "dtype|numeric"),
    "masked": (masked(), TypeError, "X is a masked array"),
    "sparse": (scipy.sparse.csr_matrix(X), TypeError, "(?i)sparse"),
    "None": (None, ValueError, "(?i)expected 2D array|scalar"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_in_fit(state, case):
    bad, error, message = BAD_X[case]
    refuses(make(state), "fit", error, message, bad, Y)
    refuses(make(state), "partial_fit", error, message, bad, Y, classes=[0, 1, 2])


def test_text_in_a_frame_of_polars():
    frame = pl.DataFrame(X.astype(str))
    refuses(make("unfitted"), "fit", ValueError, "X must be of numbers.* the text '", frame, Y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X_in_prediction(method, case):
    bad, error, message = BAD_X[case]
    refuses(make("fitted"), method, error, message, bad)


@pytest.mark.parametrize("method", METHODS)
def test_prediction_before_fit(method):
    refuses(make("unfitted"), method, NotFittedError, "not fitted yet", X)


@pytest.mark.parametrize("method", METHODS)
def test_bad_X_in_prediction_of_two_classes(method):
    clf = SoftmaxClassifier(random_state=0).fit(X, Y > 0)
    refuses(clf, method, ValueError, "NaN at row 7, column 1", with_value(np.nan))


@pytest.mark.parametrize("n_columns", [2, 4])
@pytest.mark.parametrize("method", [*METHODS, "partial_fit"])
def test_other_number_of_features(method, n_columns):
    arguments = [Y] if method == "partial_fit" else []
    message = f"X has {n_columns} features, but SoftmaxClassifier is expecting 3 features"
    refuses(make("fitted"), method, ValueError, message, np.ones((12, n_columns)), *arguments)


def test_other_number_of_features_in_warm_start():
    message = "warm_start: X has 4 features, but the fitted weights are for 3"
    refuses(make("warm start"), "fit", ValueError, message, np.ones((12, 4)), Y)


@pytest.mark.parametrize("names", [["c", "b", "a"], ["a", "b", "d"]])
@pytest.mark.parametrize("estimator", [SoftmaxClassifier, LogisticRegression])
def test_other_feature_names_in_warm_start(estimator, names):
    clf = estimator(warm_start=True).fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y)
    message = "warm_start: the features of X do not have the names"
    refuses(clf, "fit", ValueError, message, pd.DataFrame(X, columns=names), Y)
    clf.fit(X, Y)  # without names there is nothing to compare


@pytest.mark.parametrize("method", [*METHODS, "partial_fit"])
def test_other_feature_names(method):
    clf = make("unfitted").fit(pd.DataFrame(X, columns=["a", "b", "c"]), Y)
    arguments = [Y] if method == "partial_fit" else []
    frame = pd.DataFrame(X, columns=["a", "b", "d"])
    refuses(clf, method, ValueError, "feature names should match", frame, *arguments)


def labels(*last, dtype=object):
    return np.array([*Y[: 12 - len(last)].tolist(), *last], dtype)


BAD_Y = {
    "None": (None, ValueError, "requires y to be passed.*y is None"),
    "too short": (Y[:-1], ValueError, r"inconsistent numbers of samples: \[12, 11\]"),
    "too long": (np.append(Y, 0), ValueError, r"inconsistent numbers of samples: \[12, 13\]"),
    "2-D": (np.stack([Y, Y], axis=1), ValueError, r"should be a 1d array.*\(12, 2\)"),
    "0-D": (np.int64(1), ValueError, "should be a 1d array"),
    "one-hot": (np.eye(3)[Y], ValueError, r"should be a 1d array.*\(12, 3\)"),
    "NaN": (labels(np.nan, dtype=float), ValueError, "y contains NaN at position 11"),
    "infinity": (
        labels(np.inf, 0.0, dtype=float),
        ValueError,
        "y contains infinity at position 10",
    ),
    "fractions": (
        Y + 0.5,
        ValueError,
        r"Unknown label type: y contains \d\.5 at position 0; classes are discrete",
    ),
    "large floats": (np.where(Y == 0, 1e19, Y), ValueError, r"contains 1e\+19 .*below 2\*\*63"),
    "complex": (Y + 0j, ValueError, "Complex data not supported"),
    "datetime": (Y.astype("M8[D]"), ValueError, "Unknown label type.*datetime64"),
    "records": (np.zeros(12, "i4,i4"), ValueError, "Unknown label type"),
    "None in it": (labels(None), ValueError, r"y mixes .*None \(NoneType\) at position 11"),
    "NaN in objects": (labels(np.nan), ValueError, "y mixes .*NaN at position 11"),
    "NaN in text": (
        np.array(["a"] * 11 + [np.nan], object),
        ValueError,
        r"y mixes .*'a' \(str\) at position 0, NaN at position 11",
    ),
    "text and numbers in a list": (
        ["a", 1] * 6,
        ValueError,
        r"y mixes .*'a' \(str\) at position 0, 1 \(int\) at position 1",
    ),
    "None in a list": (["a", None] * 6, ValueError, r"y mixes .*None \(NoneType\) at position 1"),
    "text and numbers": (labels("2"), ValueError, r"y mixes .*'2' \(str\) at position 11"),
    "bytes": (np.array([b"a", b"b"] * 6), ValueError, r"Unknown label type.*\|S1"),
    "bytes in objects": (
        np.array([b"a", b"b"] * 6, object),
        ValueError,
        r"b'a' \(bytes\) at position 0",
    ),
    "objects": (np.array([Decimal(1)] * 12), ValueError, r"Decimal\('1'\).*at position 0"),
    "masked": (np.ma.masked_array(Y), TypeError, "y is a masked array"),
    "NA in a column": (
        pd.Series(Y).convert_dtypes().mask(np.arange(12) == 5),
        ValueError,
        "y (contains|mixes).*(NA|NaN).* at position 5",
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", BAD_Y)
def test_bad_y(state, case):
    bad, error, message = BAD_Y[case]
    refuses(make(state), "fit", error, message, X, bad)
    refuses(make(state), "partial_fit", error, message, X, bad, classes=[0, 1, 2])


@pytest.mark.parametrize("batch_size", [1, 5, 12])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_that_is_not_finite_with_two_classes(value, dtype, batch_size):
    clf = SoftmaxClassifier(random_state=0, max_iter=1, batch_size=batch_size)
    message = "X contains (NaN|infinity) at row 7, column 1"
    refuses(clf, "fit", ValueError, message, with_value(value, dtype=dtype), Y % 2)


DATE = np.datetime64("2020-01-01", "us")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [DATE] * 12, "b": Y}), "column 'a' is of datetime64"),
        (pd.DataFrame({"b": Y, "c": [DATE - DATE] * 12}), "column 'c' is of timedelta64"),
        (pd.DataFrame({"a": [DATE] * 12}), "column 'a' is of datetime64"),
        (pl.DataFrame({"a": [DATE.item()] * 12, "b": Y / 2}), "column 'a' is of Datetime"),
        (pl.DataFrame({"a": [DATE.item().date()] * 12, "b": Y / 2}), "column 'a' is of Date"),
        (pl.DataFrame({"a": [DATE.item().time()] * 12, "b": Y / 2}), "column 'a' is of Time"),
        (pl.DataFrame({"b": Y / 2, "a": [DATE.item() - DATE.item()] * 12}), "column 'a' is of Dur"),
    ],
)
def test_dates_in_a_frame(frame, message):
    message = f"X must be of real numbers, but {message}"
    refuses(make("unfitted"), "fit", TypeError, message, frame, Y)


@pytest.mark.parametrize("label", [0, -3.0, "only", True])
@pytest.mark.parametrize("state", ["unfitted", "fitted"])
def test_one_class(state, label):
    message = f"y has one class only, {label!r}; a classifier needs at least two"
    refuses(make(state), "fit", ValueError, message, X, np.array([label] * 12))


@pytest.mark.parametrize("estimator", [LogisticRegression, SoftmaxClassifier])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_one_class_in_a_warm_start(estimator, n_classes):
    clf = estimator(warm_start=True).fit(X, Y % n_classes)
    refuses(clf, "fit", ValueError, "y has one class only, 1;", X, np.ones(12, int))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.where(Y == 0, 7, Y), "not among the classes: 7"),
        (Y + 10, "not among the classes: 10, 11, 12"),
        (np.arange(12) + 100, "not among the classes: 100, 101, 102, 103, 104, .."),
        (np.where(Y == 0, -1.0, Y), "not among the classes: -1.0"),
        (Y.astype(str), "y has labels like '[012]', but the classes are like 0"),
    ],
)
def test_unseen_classes(bad, message):
    message = f"{message}$"
    refuses(make("fitted"), "partial_fit", ValueError, message, X, bad)
    refuses(make("unfitted"), "partial_fit", ValueError, message, X, bad, classes=[0, 1, 2])
    refuses(make("warm start"), "fit", ValueError, message, X, bad)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (None, "classes must be given in the first call of partial_fit"),
        ([], r"classes must be a 1-D array of labels, not of shape \(0,\)"),
        ([[0, 1, 2]], r"classes must be a 1-D array of labels, not of shape \(1, 3\)"),
        (2, r"classes must be a 1-D array of labels, not of shape \(\)"),
        ([0.0, 1.0, np.nan], "contains NaN at position 2"),
        ([0, 1, "2"], r"mixes labels .*'2' \(str\) at position 2"),
        (np.array([0, 1, "2"], object), r"mixes labels .*'2' \(str\) at position 2"),
        ([0, 1], "not among the classes: 2"),
    ],
)
def test_bad_classes(classes, message):
    refuses(make("unfitted"), "partial_fit", ValueError, message, X, Y, classes=classes)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 2, np.nan], "classes contains NaN"),
        ([0, 1, "a"], "classes mixes labels"),
        (np.array([0, "a"], object), "classes mixes labels"),
        ([10**30, 1], "classes contains integers that no type of 64 bits holds"),
    ],
)
def test_messages_name_the_classes(classes, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier().partial_fit(X, Y, classes=classes)


def test_a_single_class_is_that_of_classes():
    with pytest.raises(ValueError, match="classes has one class only, 0; a classifier needs"):
        SoftmaxClassifier().partial_fit(X, Y * 0, classes=[0])


@pytest.mark.parametrize("labels", [np.full(12, 2.0**53), np.full(12, 2**53)])
def test_classes_that_float64_cannot_tell_from_a_label(labels):
    with pytest.raises(ValueError, match="not among the classes: 9007199254740992"):
        SoftmaxClassifier().partial_fit(X, labels, classes=[2**53 + 1, 2**53 + 3])


def test_weights_of_two_classes_that_are_not_finite():
    clf = SoftmaxClassifier(learning_rate=1e308, max_iter=1, batch_size=2)
    refuses(clf, "fit", ValueError, "the training diverged in epoch 1", [[3.0], [-3.0]], [1, 0])


def test_masked_classes():
    classes = np.ma.array([0, 1, 2], mask=[False, False, True])
    with pytest.raises(TypeError, match="classes is a masked array"):
        SoftmaxClassifier().partial_fit(X, Y, classes=classes)


@pytest.mark.parametrize("way", ["warm_start", "partial_fit"])
@pytest.mark.parametrize("attribute", ["coef_", "intercept_"])
def test_going_on_from_weights_that_do_not_fit(way, attribute):
    clf = SoftmaxClassifier(warm_start=True).fit(X, Y)
    go_on = clf.partial_fit if way == "partial_fit" else clf.fit
    weights = getattr(clf, attribute)
    setattr(clf, attribute, np.full_like(weights, np.nan))
    with pytest.raises(ValueError, match=f"{way}: {attribute} is not finite"):
        go_on(X, Y)
    setattr(clf, attribute, weights[:2])
    with pytest.raises(ValueError, match=rf"{way}: {attribute} has shape \(2,.*, not \(3,"):
        go_on(X, Y)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="long double is float64 here")
def test_long_double_labels():
    clf = SoftmaxClassifier().fit(X, Y.astype(np.longdouble))
    assert clf.classes_.dtype == np.float64
    for large in (np.longdouble(2.0) ** 53 + Y, np.ldexp(np.longdouble(1.0), 1100) * (1 + Y)):
        with pytest.raises(ValueError, match="which float64 cannot hold"):
            clf.fit(X, large)


def test_large_labels_of_another_integer_type():
    large = Y.astype(np.int64) + 2**60
    clf = SoftmaxClassifier(warm_start=True).fit(X, large)
    clf.fit(X, large.astype(np.uint64))
    with pytest.raises(ValueError, match="not among the classes: 1152921504606847000"):
        clf.fit(X, np.where(Y == 0, 2**60 + 24, large).astype(np.uint64))
    with pytest.raises(ValueError, match="not among the classes: 18446744073709551615"):
        clf.fit(X, np.where(Y == 0, 2**64 - 1, large.astype(np.uint64)))


def test_one_class_in_partial_fit():
    refuses(make("unfitted"), "partial_fit", ValueError, "one class only", X, Y * 0, classes=[0])


@pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2, 3], [1, 2, 3], ["0", "1", "2"]])
def test_other_classes_than_before(classes):
    message = re.escape(f"classes {classes} are not those of the first call, [0, 1, 2]")
    refuses(make("fitted"), "partial_fit", ValueError, message, X, Y, classes=classes)


def weights(value, position=4):
    result = np.ones(12)
    result[position] = value
    return result


BAD_WEIGHTS = {
    "short": (np.ones(11), ValueError, r"sample_weight.shape == \(11,\), expected \(12,\)"),
    "2-D": (np.ones((12, 1)), ValueError, r"1D array or scalar, not of shape \(12, 1\)"),
    "negative": (weights(-1), ValueError, r"sample_weight\[4\] is -1.0, which is negative"),
    "NaN": (weights(np.nan), ValueError, r"sample_weight\[4\] is nan, which is not finite"),
    "infinity": (weights(np.inf), ValueError, r"sample_weight\[4\] is inf, which is not finite"),
    "all zero": (np.zeros(12), ValueError, "sample_weight is zero for every sample"),
    "zero": (0, ValueError, "sample_weight is zero for every sample"),
    "text": (["1"] * 12, TypeError, "sample_weight must be of real numbers"),
    "text in objects": (
        np.array(["1"] * 12, object),
        ValueError,
        "sample_weight must be of numbers, but contains the text '1'",
    ),
    "complex": (np.ones(12) + 0j, TypeError, "sample_weight must be of real numbers"),
    "None in it": ([None] * 12, ValueError, r"sample_weight\[0\] is nan, which is not finite"),
    "masked": (np.ma.masked_array(np.ones(12)), TypeError, "sample_weight is a masked array"),
    "string": ("balanced", TypeError, "sample_weight must be of real numbers"),
    "sparse": (
        scipy.sparse.csr_array(np.ones((12, 1))),
        TypeError,
        "sample_weight must be an array, not a sparse matrix",
    ),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_sample_weight(state, case):
    bad, error, message = BAD_WEIGHTS[case]
    refuses(make(state), "fit", error, message, X, Y, sample_weight=bad)
    refuses(make(state), "partial_fit", error, message, X, Y, [0, 1, 2], sample_weight=bad)


def test_the_scale_of_sample_weight_changes_nothing():
    w = np.arange(1.0, 13.0)
    one, *others = [
        SoftmaxClassifier(max_iter=2, random_state=0).fit(X, Y, sample_weight=w * scale)
        for scale in (1.0, 2.0**-1060, 2.0**1020)
    ]
    for other in others:
        assert_allclose(other.coef_, one.coef_, rtol=1e-12)
    w = (np.arange(12) == 5).astype(float)  # 5e-324, divided by 12, is nothing
    one, other = [
        SoftmaxClassifier(max_iter=2, random_state=0).fit(X, Y, sample_weight=w * scale)
        for scale in (1.0, 5e-324)
    ]
    assert_array_equal(other.coef_, one.coef_)


@pytest.mark.parametrize("state", STATES)
def test_sample_weight_whose_sum_is_not_finite(state):
    message = "sample_weight is too large, up to 1e.308: the sum of 12 is not finite in float64"
    huge = np.full(12, 1e308)
    refuses(make(state), "partial_fit", ValueError, message, X, Y, [0, 1, 2], sample_weight=huge)


@pytest.mark.parametrize("weight", [1e-39, 1e-46])
def test_sample_weight_without_digits(weight):
    few = np.full(12, weight)
    clf = make("unfitted")
    assert_allclose(clf.partial_fit(X, Y, [0, 1, 2], few).loss_curve_, np.log(3))
    narrow = X.astype(np.float32), Y, [0, 1, 2], few
    refuses(make("unfitted"), "partial_fit", ValueError, "sample_weight is too small", *narrow)


@pytest.mark.parametrize("which", ["y", "sample_weight"])
def test_score_of_what_is_masked(which):
    masked_array = np.ma.array(Y, mask=np.arange(12) < 3)
    arguments = (X, masked_array) if which == "y" else (X, Y, masked_array)
    refuses(make("fitted"), "score", TypeError, f"{which} is a masked array", *arguments)


def test_sample_weight_of_objects():
    weights = np.arange(1, 13)
    fitted = [
        SoftmaxClassifier(max_iter=2, random_state=0).fit(X, Y, sample_weight=w)
        for w in (weights, weights.astype(object))
    ]
    assert_array_equal(fitted[0].coef_, fitted[1].coef_)


NOT_NUMBERS = ("0.1", None, True, [0.1], 1j)
FLOATS = {
    "learning_rate": (0, 0.0, -0.1, np.nan, np.inf, -np.inf, 10**400),
    "input_scale": (0, -1.0, np.nan, np.inf),
    "alpha": (-1e-9, np.nan, np.inf),
    "momentum": (-0.1, 1, 1.0, 1.5, np.nan, np.inf),
}
INTEGERS = {"batch_size": (0, -1), "max_iter": (0, -5), "verbose": (-1,), "n_threads": (0, -1)}
BAD_PARAMETERS = (
    *((name, value, ValueError) for name, values in FLOATS.items() for value in values),
    *((name, value, TypeError) for name in FLOATS for value in NOT_NUMBERS),
    *((name, value, ValueError) for name, values in INTEGERS.items() for value in values),
    *(
        (name, value, TypeError)
        for name in INTEGERS
        for value in (1.0, np.nan, "2", [1], np.array(1))
    ),
    *((name, True, TypeError) for name in INTEGERS if name != "verbose"),  # as in scikit-learn
    *((name, None, TypeError) for name in INTEGERS if name != "n_threads"),
    *(
        (name, value, TypeError)
        for name in ("nesterov", "shuffle", "fit_intercept", "warm_start")
        for value in (0, 1, "yes", None)
    ),
)


@pytest.mark.parametrize(("name", "value", "error"), BAD_PARAMETERS)
def test_bad_parameters(name, value, error):
    for state in STATES if name != "warm_start" else STATES[:2]:
        clf = make(state).set_params(**{name: value})
        refuses(clf, "fit", error, f"^{name} must be", X, Y)
        if name not in ("max_iter", "warm_start"):  # those that partial_fit has no use for
            refuses(clf, "partial_fit", error, f"^{name} must be", X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("value", ["abc", -1, 1.5])
def test_bad_random_state(value):
    for state in STATES:
        refuses(make(state, random_state=value), "fit", ValueError, "(?i)seed", X, Y)
    refuses(make("fitted", random_state=value), "partial_fit", ValueError, "(?i)seed", X, Y)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("input_scale", np.nan, ValueError),
        ("n_threads", 0, ValueError),
        ("n_threads", "2", TypeError),
    ],
)
def test_bad_parameters_in_prediction(method, name, value, error):
    refuses(make("fitted", **{name: value}), method, error, f"{name} must be", X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("verbose", [0, 1])
def test_divergence_names_the_epoch(dtype, n_classes, verbose, capsys):
    # Steps of alpha * learning_rate = 1e10 times the weights: those grow by 1e10 a step, two steps
    # an epoch, and pass the largest number in its step of that power.
    far, y = blobs(20, 3, n_classes, dtype)
    clf = SoftmaxClassifier(
        learning_rate=1e10, alpha=1, batch_size=10, max_iter=40, random_state=0, verbose=verbose
    )
    expected = 2 if dtype == np.float32 else 16
    message = (
        rf"diverged in epoch ({'|'.join(map(str, range(expected - 1, expected + 2)))}):.*learn"
    )
    refuses(clf, "fit", ValueError, message, far, y)
    printed = capsys.readouterr().out
    assert ("epoch 1:" in printed) == bool(verbose)
    assert "nan" not in printed

    clf.set_params(max_iter=1).fit(far, y)
    while clf.n_iter_ < 40:
        before = snapshot(clf)
        try:
            clf.partial_fit(far, y)
        except ValueError:
            break
    assert clf.n_iter_ < 40
    assert_unchanged(clf, before)
    assert np.isfinite(clf.coef_).all()


def test_overflow_in_prediction_is_no_fault_of_X():
    clf = SoftmaxClassifier(random_state=0).fit(X.astype(np.float32), Y)
    for method in METHODS:
        large = np.full((1, 3), 3e38, np.float32)
        clf.coef_ = np.abs(clf.coef_) + 10
        refuses(clf, method, ValueError, "not finite although X is.*overflow float32", large)


# And what looks bad but is fine.


def test_batch_larger_than_n():
    whole = SoftmaxClassifier(batch_size=12, random_state=0).fit(X, Y)
    for batch_size in (13, 10**9, 2**63, 10**30, np.int64(100), np.uint8(255)):
        clf = SoftmaxClassifier(batch_size=batch_size, random_state=0).fit(X, Y)
        np.testing.assert_array_equal(clf.coef_, whole.coef_)


@pytest.mark.parametrize("name", ["momentum", "alpha", "learning_rate", "input_scale"])
def test_numpy_scalars_are_numbers(name):
    for value in (np.float32(0.5), np.float64(0.5)):
        SoftmaxClassifier(**{name: value}).fit(X, Y)


def test_labels_above_int64():
    y = np.where(Y > 0, np.uint64(2**64 - 1), np.uint64(0))
    clf = SoftmaxClassifier(random_state=0).fit(X, y)
    assert clf.classes_.tolist() == [0, 2**64 - 1]
    assert set(clf.predict(X).tolist()) <= {0, 2**64 - 1}


@pytest.mark.parametrize("name", ["learning_rate", "input_scale"])
@pytest.mark.parametrize("value", [1e-60, 1e60])
def test_beyond_the_range_of_float32(name, value):
    X, y = blobs(20, 3, 3, np.float32)
    with pytest.raises(
        ValueError, match=re.escape(f"{name} {value} is out of the range of float32")
    ):
        SoftmaxClassifier(**{name: value}).fit(X, y)
    if value < 1:
        SoftmaxClassifier(**{name: value}).fit(X.astype(np.float64), y)


def test_a_penalty_above_the_range_of_float32():
    X, y = blobs(20, 3, 3, np.float32)
    with pytest.raises(ValueError, match=r"alpha 1e\+39 is out of the range of float32"):
        SoftmaxClassifier(alpha=1e39).fit(X, y)


def test_momentum_that_float32_rounds_to_one():
    X, y = blobs(20, 3, 3, np.float32)
    clf = SoftmaxClassifier(momentum=1 - 1e-9)
    with pytest.raises(ValueError, match=r"momentum 0\.999999999 is 1 in float32"):
        clf.fit(X, y)
    clf.fit(X.astype(np.float64), y)


@pytest.mark.parametrize("value", [1e-60, 1e60])
def test_scales_of_predictions_beyond_the_range_of_float32(value):
    X, y = blobs(20, 3, 3, np.float32)
    clf = SoftmaxClassifier().fit(X, y).set_params(input_scale=value)
    with pytest.raises(ValueError, match=re.escape(f"input_scale {value} is out of the range")):
        clf.predict(X)


def test_too_many_epochs():
    X, y = blobs(20, 3, 3, np.float32)
    with pytest.raises(ValueError, match=r"max_iter must be >= 1 and < 2\.147"):
        SoftmaxClassifier(max_iter=10**30).fit(X, y)


def test_failed_fit_draws_nothing_from_the_random_state():
    X, y = blobs(20, 3, 3, np.float32)
    random = np.random.RandomState(3)
    clf = SoftmaxClassifier(random_state=random)
    X_bad = X.copy()
    X_bad[7, 2] = np.nan
    with pytest.raises(ValueError, match="row 7, column 2"):
        clf.fit(X_bad, y)
    assert random.randint(2**31 - 1) == np.random.RandomState(3).randint(2**31 - 1)
