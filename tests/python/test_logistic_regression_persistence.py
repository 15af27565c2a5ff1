"""save_model and load_model of logistic regressions."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from reference import assert_unchanged, blobs, snapshot

from fastsoftmax import LogisticRegression, LogisticRegressionCV, load_model, save_model
from fastsoftmax._npz import read_npz, write_npz

X, Y = blobs(60, 4, 3)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_round_trip(tmp_path, dtype, n_classes):
    X, y = blobs(60, 4, n_classes, dtype)
    clf = LogisticRegression(C=0.3, input_scale=1 / 255, class_weight="balanced", random_state=3)
    save_model(clf.fit(X, np.array(["a", "b", "c"])[y]), tmp_path / "model")
    twin = load_model(tmp_path / "model")
    assert type(twin) is LogisticRegression
    assert_unchanged(twin, snapshot(clf))
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X), strict=True)


def test_names_of_features_and_warm_start(tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    clf = LogisticRegression(warm_start=True).fit(frame, Y)
    save_model(clf, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    assert_array_equal(twin.feature_names_in_, clf.feature_names_in_, strict=True)
    assert_array_equal(twin.fit(frame, Y).coef_, clf.fit(frame, Y).coef_)


def test_without_a_penalty(tmp_path):
    clf = LogisticRegression(C=np.inf).fit(X * 0.2, Y)
    clf.gap_ = float("nan")  # as it may be
    save_model(clf, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    assert np.inf == twin.C
    assert np.isnan(twin.gap_)


def test_what_cross_validation_has_chosen(tmp_path):
    clf = LogisticRegressionCV(Cs=[0.1, 1], cv=3, class_weight={1: 2}, scoring="accuracy").fit(X, Y)
    save_model(clf, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    assert type(twin) is LogisticRegression
    assert (twin.C, twin.gap_, twin.class_weight) == (clf.C_, clf.gap_, None)
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))


def test_the_mean_of_the_folds_has_no_certificate(tmp_path):
    clf = LogisticRegressionCV(Cs=[0.1, 1], cv=3, refit=False, scoring="accuracy").fit(X, Y)
    save_model(clf, tmp_path / "model")
    twin = load_model(tmp_path / "model")
    assert np.isnan([twin.gap_, twin.objective_, twin.n_passes_]).all()
    assert_array_equal(twin.predict_proba(X), clf.predict_proba(X))


def test_refused(tmp_path):
    class Own(LogisticRegression):
        pass

    with pytest.raises(TypeError, match=r"LogisticRegressionCV of fastsoftmax, not test_.*Own"):
        save_model(Own().fit(X, Y), tmp_path / "model")
    clf = LogisticRegression().fit(X, Y)
    clf.coef_ = clf.coef_ * np.inf
    with pytest.raises(ValueError, match="coef_ has values that are not finite"):
        save_model(clf, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tol", np.inf, "parameter tol is inf"),
        ("C", float("nan"), "parameter C is nan"),
        ("C", "1", "parameter C has the wrong type"),
        ("solver", 1, "parameter solver has the wrong type"),
        ("batch_size", 1, "unknown: 'batch_size'"),
    ],
)
def test_bad_parameters_in_a_file(tmp_path, name, value, message):
    save_model(LogisticRegression().fit(X, Y), tmp_path / "model")
    arrays = read_npz(tmp_path / "model")
    header = json.loads(arrays["header"].item())
    header["parameters"][name] = value
    write_npz(tmp_path / "bad", arrays | {"header": np.array(json.dumps(header).encode())})
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "bad")


def test_arrays_of_another_class(tmp_path):
    save_model(LogisticRegression().fit(X, Y), tmp_path / "model")
    arrays = read_npz(tmp_path / "model")
    header = json.loads(arrays["header"].item()) | {"class": "SoftmaxClassifier", "parameters": {}}
    write_npz(tmp_path / "bad", arrays | {"header": np.array(json.dumps(header).encode())})
    with pytest.raises(ValueError, match="arrays missing: loss_curve_"):
        load_model(tmp_path / "bad")
