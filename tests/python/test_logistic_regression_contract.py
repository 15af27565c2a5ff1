"""What scikit-learn expects of LogisticRegression and LogisticRegressionCV, with no expected failure."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.linear_model
from numpy.testing import assert_array_equal
from reference import assert_unchanged, blobs, snapshot
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax import LogisticRegression, LogisticRegressionCV


@parametrize_with_checks(
    [
        LogisticRegression(),
        LogisticRegression(solver="lbfgs", C=0.3, n_threads=2),
        LogisticRegression(solver="newton-cg", input_scale=0.5),
        LogisticRegression(class_weight="balanced", warm_start=True),
        LogisticRegressionCV(Cs=3, cv=3),
        LogisticRegressionCV(Cs=2, cv=3, refit=False, scoring="accuracy"),
    ]
)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    X, y = blobs(150, 6, 3)
    return X, np.array(["ant", "bee", "cat"])[y]


@pytest.fixture(params=[LogisticRegression(C=0.5), LogisticRegressionCV(Cs=[0.1, 1.0], cv=3)])
def clf(request):
    return clone(request.param)


def test_clone(clf, data):
    fitted = clf.fit(*data)
    twin = clone(fitted)
    assert not hasattr(twin, "coef_")
    assert_array_equal(twin.fit(*data).coef_, fitted.coef_)
    assert is_classifier(clf)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_copies(way, fitted, clf, data):
    if fitted:
        clf.fit(*data)
    twin = pickle.loads(pickle.dumps(clf)) if way == "pickle" else copy.deepcopy(clf)
    assert_unchanged(twin, snapshot(clf))
    if fitted:
        assert_array_equal(twin.predict_proba(data[0]), clf.predict_proba(data[0]))


@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
def test_pipeline_with_set_output(container, clf, data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdef"))
    with sklearn.config_context(transform_output=container):
        pipeline = make_pipeline(StandardScaler(), clf).fit(frame, y)
        proba = pipeline.predict_proba(frame)
    assert type(proba) is np.ndarray
    assert hasattr(pipeline[-1], "feature_names_in_") == (container != "default")


def test_searches_and_meta_estimators(data):
    X, y = data
    clf = LogisticRegression()
    search = GridSearchCV(clf, {"C": [1e-9, 1.0]}, cv=3).fit(X, y)
    assert search.best_params_["C"] == 1.0
    alone = cross_val_score(clf, X, y, cv=3, scoring="neg_log_loss")
    assert_array_equal(cross_val_score(clf, X, y, cv=3, scoring="neg_log_loss", n_jobs=2), alone)
    assert OneVsRestClassifier(clf).fit(X, y).score(X, y) > 0.9
    assert CalibratedClassifierCV(clf, cv=3).fit(X, y).score(X, y) > 0.9


def test_metadata_requests():
    with sklearn.config_context(enable_metadata_routing=True):
        clf = LogisticRegression().set_fit_request(sample_weight=True)
        assert clf.get_metadata_routing().fit.requests == {"sample_weight": True}


@pytest.mark.parametrize("name", ["LogisticRegression", "LogisticRegressionCV"])
def test_parameters_are_scikit_learns(name):
    ours = {"LogisticRegression": LogisticRegression, "LogisticRegressionCV": LogisticRegressionCV}
    known = getattr(sklearn.linear_model, name)().get_params().keys()
    own = {"input_scale", "n_threads"}
    newer = {"use_legacy_attributes", "l1_ratio", "l1_ratios"}  # than scikit-learn 1.6
    assert ours[name]().get_params().keys() - known - newer == own


def test_defaults_that_mean_the_same_are_scikit_learns():
    ours = LogisticRegression().get_params()
    theirs = sklearn.linear_model.LogisticRegression().get_params()
    for name in ("C", "tol", "fit_intercept", "class_weight", "random_state", "warm_start"):
        assert ours[name] == theirs[name]


def test_tags():
    for estimator in (LogisticRegression(), LogisticRegressionCV()):
        tags = estimator.__sklearn_tags__()
        assert tags.estimator_type == "classifier"
        assert tags.input_tags.sparse
        assert not tags.input_tags.allow_nan
    assert repr(LogisticRegression(C=3)) == "LogisticRegression(C=3)"
