"""What scikit-learn and the libraries around it expect of an estimator."""

import copy
import pickle
import tracemalloc
from decimal import Decimal
from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from reference import assert_unchanged, blobs, snapshot
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import DataConversionWarning
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax import SoftmaxClassifier

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")

MINI_BATCHES = {
    "check_sample_weight_equivalence_on_dense_data": "repeated samples change the mini-batches"
}


def expected_failures(clf):
    # The check has fewer than 100 samples: one batch, in which a weight is a repetition.
    return {} if clf.batch_size >= 100 else MINI_BATCHES


@parametrize_with_checks(
    [
        SoftmaxClassifier(),
        SoftmaxClassifier(batch_size=10**6, learning_rate=0.1, max_iter=100),
        SoftmaxClassifier(batch_size=7, momentum=0.9, nesterov=True, alpha=0.01, max_iter=3),
        SoftmaxClassifier(batch_size=1, learning_rate=0.1, n_threads=1),
        SoftmaxClassifier(shuffle=False, fit_intercept=False, n_threads=2, input_scale=0.5),
    ],
    expected_failed_checks=expected_failures,
)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    X, y = blobs(150, 6, 3)
    return X, np.array(["ant", "bee", "cat"])[y]


@pytest.fixture
def clf():
    return SoftmaxClassifier(learning_rate=0.1, momentum=0.5, batch_size=16, random_state=0)


def test_clone(clf, data):
    fitted = clf.fit(*data)
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    assert not hasattr(twin, "coef_")
    assert_array_equal(twin.fit(*data).coef_, fitted.coef_)
    assert is_classifier(clf)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("way", ["pickle", "joblib", "memory map", "deepcopy"])
def test_copies(way, fitted, clf, data, tmp_path):
    if fitted:
        clf.fit(*data)
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(clf))
    elif way == "deepcopy":
        twin = copy.deepcopy(clf)
    else:
        joblib.dump(clf, tmp_path / "model")
        twin = joblib.load(tmp_path / "model", mmap_mode="r" if way == "memory map" else None)
    assert twin is not clf
    if not fitted:
        assert_unchanged(twin, snapshot(clf))
        return
    if way != "memory map":  # whose arrays are of another class
        assert_unchanged(twin, snapshot(clf))
    for method in METHODS:
        assert_array_equal(getattr(twin, method)(data[0]), getattr(clf, method)(data[0]))
    # The copy goes on where the other would, without touching it.
    before = snapshot(clf)
    twin.partial_fit(*data)
    assert_unchanged(clf, before)
    assert_array_equal(twin.coef_, clf.partial_fit(*data).coef_)


def test_pipeline(clf, data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), clf).fit(1000 + 50 * X, y)
    assert pipeline.score(1000 + 50 * X, y) > 0.9
    assert_array_equal(pipeline.classes_, ["ant", "bee", "cat"])


@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
def test_pipeline_with_set_output(container, clf, data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdef"))
    with sklearn.config_context(transform_output=container):
        pipeline = make_pipeline(StandardScaler(), clf).fit(frame, y)
        proba = pipeline.predict_proba(frame)
    assert type(proba) is np.ndarray
    assert hasattr(pipeline[-1], "feature_names_in_") == (container != "default")
    expected = clone(clf).fit(StandardScaler().fit_transform(X), y)
    expected = expected.predict_proba(StandardScaler().fit_transform(X))
    assert_allclose(proba, expected, rtol=1e-12)  # the frame's means are summed in another order


def test_grid_search(clf, data):
    grid = {"learning_rate": [1e-5, 0.1], "batch_size": [10, 1000], "shuffle": [True, False]}
    search = GridSearchCV(clf, grid, cv=3).fit(*data)
    assert search.best_params_["learning_rate"] == 0.1
    assert search.best_score_ > 0.9
    assert search.predict(data[0]).shape == (150,)


def test_cross_val_score_in_processes(clf, data):
    alone = cross_val_score(clf, *data, cv=3, scoring="neg_log_loss")
    assert_array_equal(cross_val_score(clf, *data, cv=3, scoring="neg_log_loss", n_jobs=2), alone)
    with joblib.parallel_backend("threading"):
        parallel = cross_val_score(clf, *data, cv=3, scoring="neg_log_loss", n_jobs=2)
    assert_array_equal(parallel, alone)
    assert alone.min() > -0.5


def test_meta_estimators(clf, data):
    X, y = data
    assert OneVsRestClassifier(clf).fit(X, y).score(X, y) > 0.9
    assert CalibratedClassifierCV(clf, cv=3).fit(X, y).score(X, y) > 0.9
    assert SelectFromModel(clf, max_features=2).fit(X, y).transform(X).shape == (150, 2)


FRAMES = {
    "pandas": pd.DataFrame,
    "polars": lambda X, columns: pl.DataFrame(X, schema=columns),
    "pandas mixed": lambda X, columns: pd.DataFrame(X, columns=columns).astype({"b": "float32"}),
    "pandas nullable": lambda X, columns: pd.DataFrame(X, columns=columns).astype("Float64"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(kind, clf, data):
    X, y = data
    X = X.astype(np.float32).astype(np.float64)  # so that float32 columns hold the same numbers
    names = list("abcdef")
    frame = FRAMES[kind](X, columns=names)
    target = pl.Series(y) if kind == "polars" else pd.Series(y, name="animal")
    clf.fit(frame, target)
    assert_array_equal(clf.feature_names_in_, names)
    assert clf.coef_.dtype == np.float64
    plain = clone(clf).fit(X, y)
    assert_array_equal(clf.coef_, plain.coef_)
    for method in METHODS:
        assert_array_equal(getattr(clf, method)(frame), getattr(plain, method)(X))
    with pytest.raises(ValueError, match="in the same order"):
        clf.predict(frame[names[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        clf.predict(X)
    assert not hasattr(clone(clf).fit(X, y), "feature_names_in_")
    # The names are those of the weights, so a warm start keeps them.
    clf.set_params(warm_start=True).fit(X, y)
    assert_array_equal(clf.feature_names_in_, names)
    with pytest.raises(ValueError, match="not in the order"):
        clf.fit(frame[names[::-1]], target)
    assert not hasattr(clf.set_params(warm_start=False).fit(X, y), "feature_names_in_")


@pytest.mark.parametrize("dtype", ["bool", "boolean", "Int64"])
def test_a_frame_of_unlike_columns_is_no_array_of_objects(clf, dtype):
    X, y = blobs(20_000, 10, 3)
    X[:, 1] = X[:, 1] > 0
    frame = pd.DataFrame(X, columns=list("abcdefghij")).astype({"b": dtype})
    clf.fit(frame, y)
    tracemalloc.start()
    clf.fit(frame, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * X.nbytes  # of objects it would be five times that
    assert_array_equal(clf.coef_, clone(clf).fit(X, y).coef_)


@pytest.mark.parametrize("number", [Decimal, Fraction, lambda x: int(x) * 2**70])
@pytest.mark.parametrize("container", [list, lambda X: np.array(X, object)])
def test_numbers_of_other_types(clf, number, container):
    X, y = np.arange(12).reshape(6, 2), [0, 1, 2] * 2
    numbers = [[number(int(x)) for x in row] for row in X]
    expected = clone(clf).set_params(input_scale=1e-22).fit(np.array(numbers, float), y)
    clf.set_params(input_scale=1e-22).fit(container(numbers), y, [Decimal(1)] * 6)
    assert_array_equal(clf.coef_, expected.coef_)
    if number is Decimal:
        frame = pl.DataFrame(numbers, schema=list("ab"), orient="row")
        assert_array_equal(clf.fit(frame, y).coef_, expected.coef_)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32", "bool"])
def test_frame_dtypes(dtype, clf):
    X, y = blobs(50, 4, 3, np.uint8)
    frame = pd.DataFrame((X > 128 if dtype == "bool" else X).astype(dtype), columns=list("abcd"))
    clf.set_params(input_scale=1 / 255).fit(frame, y)
    assert clf.coef_.dtype == (np.float64 if dtype == "int32" else np.float32)
    plain = clone(clf).fit(frame.to_numpy(), y)
    assert_array_equal(clf.coef_, plain.coef_)


@pytest.mark.parametrize(
    "y",
    [
        pd.Series(["x", "y"] * 10, dtype="category"),
        pd.Series(["x", "y"] * 10, dtype="str"),
        pd.Series([1, 0] * 10, dtype="Int64"),
        pd.Series([True, False] * 10, dtype="boolean"),
        pl.Series(["x", "y"] * 10),
        pl.Series([True, False] * 10),
    ],
    ids=lambda y: f"{type(y).__module__.split('.')[0]} {y.dtype}",
)
def test_label_columns(y, clf):
    X = np.tile([[0.0, 1.0], [1.0, 0.0]], (10, 1))
    assert_array_equal(clf.fit(X, y).predict(X), np.array(y.to_list()))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "bool"])
def test_nullable_labels_are_those_of_numpy(dtype, clf):
    X = np.tile([[0.0, 1.0], [1.0, 0.0]], (10, 1))
    y = (np.array([1, 0] * 10) + (0 if dtype == "bool" else 2**53)).astype(dtype)
    nullable = {"int64": "Int64", "uint64": "UInt64", "bool": "boolean"}[dtype]
    clf.fit(X, pd.Series(y, dtype=nullable))
    assert clf.score(X, pd.Series(y, dtype=nullable)) == np.mean(clf.predict(X) == y)
    assert clf.score(X, pd.Series(np.roll(y, 1), dtype=nullable)) < 1
    assert clf.classes_.dtype == dtype
    assert_array_equal(clf.classes_, np.unique(y))
    with pytest.warns(DataConversionWarning):
        clf.fit(X, pd.DataFrame({"y": pd.Series(y, dtype=nullable)}))
    assert clf.classes_.dtype == dtype
    missing = pd.Series([None, *y[1:]], dtype=nullable)
    with pytest.raises(ValueError, match=r"NaN|NA"):
        clf.fit(X, missing)


class TestMetadataRouting:
    @pytest.fixture(autouse=True)
    def _routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    def test_sample_weight_reaches_fit_and_score(self, clf, data):
        X, y = data
        weights = np.where(y == "bee", 50.0, 1.0)
        clf.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        X_shifted = X + 3 * np.random.default_rng(0).normal(size=X.shape)  # too hard to be perfect
        rows = np.arange(150)
        split = [(rows[:100], rows[100:])]
        result = cross_validate(
            clf,
            X_shifted,
            y,
            params={"sample_weight": weights},
            cv=split,
            return_estimator=True,
        )
        expected = clone(clf).fit(X_shifted[:100], y[:100], weights[:100])
        assert_array_equal(result["estimator"][0].coef_, expected.coef_)
        score = expected.score(X_shifted[100:], y[100:], weights[100:])
        assert result["test_score"][0] == score
        assert score != expected.score(X_shifted[100:], y[100:])

    def test_requests(self, clf):
        assert clf.set_partial_fit_request(sample_weight=True, classes=False) is clf
        request = clf.get_metadata_routing()
        assert request.partial_fit.requests == {"sample_weight": True, "classes": False}
        assert request.fit.requests == {"sample_weight": None}


def test_repr_and_params():
    assert repr(SoftmaxClassifier(alpha=0.5)) == "SoftmaxClassifier(alpha=0.5)"
    clf = SoftmaxClassifier()
    assert clf.set_params(alpha=0.5) is clf
    assert clf.get_params()["alpha"] == 0.5
    with pytest.raises(ValueError, match="Invalid parameter 'gamma'"):
        clf.set_params(gamma=1)
    with pytest.raises(TypeError, match="positional"):
        SoftmaxClassifier(0.1)
    assert "SoftmaxClassifier" in clf._repr_html_()


def test_tags():
    tags = SoftmaxClassifier().__sklearn_tags__()
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_class
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
