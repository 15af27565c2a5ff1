"""save_model and load_model: the same model comes back, and no damaged file loads as another one."""

import copy
import enum
import json
import zipfile
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from fastsoftmax import (
    LogisticRegression,
    LogisticRegressionCV,
    SoftmaxClassifier,
    load_model,
    save_model,
)

N_FEATURES = 3


def fit(labels=(0, 1, 2), dtype=np.float32, n_epochs=2, **parameters):
    """Fit a small model: 30 rows that take turns at the labels."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(30, N_FEATURES)).astype(dtype)
    y = np.resize(np.asarray(labels), 30)
    defaults = {"batch_size": 8, "input_scale": 1 / 255, "random_state": 0, "max_iter": n_epochs}
    return SoftmaxClassifier(**(defaults | parameters)).fit(X, y), X, y


def assert_same_model(actual, expected):
    assert type(actual) is SoftmaxClassifier
    assert actual.get_params() == expected.get_params()
    assert vars(actual).keys() == vars(expected).keys()
    for name in ("coef_", "intercept_", "classes_"):
        assert_array_equal(getattr(actual, name), getattr(expected, name), strict=True)
    assert actual.loss_curve_ == expected.loss_curve_
    assert actual.n_iter_ == expected.n_iter_
    assert actual.n_features_in_ == expected.n_features_in_
    assert actual._seed == expected._seed
    assert (actual._velocity is None) == (expected._velocity is None)
    if expected._velocity is not None:
        for ours, theirs in zip(actual._velocity, expected._velocity, strict=True):
            assert_array_equal(ours, theirs, strict=True)


def save_bytes(model, folder):
    path = folder / "model"
    save_model(model, path)
    return path.read_bytes()


def load_bytes(data, folder):
    path = folder / "changed"
    path.write_bytes(data)
    return load_model(path)


# The same model comes back.


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_round_trip(tmp_path, dtype, n_classes, momentum):
    model, X, _ = fit(range(n_classes), dtype, momentum=momentum)
    save_model(model, tmp_path / "model.npz")
    loaded = load_model(tmp_path / "model.npz")
    assert_same_model(loaded, model)
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X), strict=True)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 1, 2]),
        np.array([-5, 7], dtype=np.int8),
        np.array([0, 2**63], dtype=np.uint64),
        np.array([False, True]),
        np.array([0.0, 1.0, 2.0], dtype=np.float32),
        np.array(["", "Zürich", "日本", "🙂"]),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels(tmp_path, labels):
    model, _, _ = fit(labels)
    save_model(model, tmp_path / "model")
    assert_array_equal(load_model(tmp_path / "model").classes_, np.unique(labels), strict=True)


def test_object_labels_come_back_as_fixed_width_str(tmp_path):
    model, X, _ = fit(np.array(["b", "long label", "a"], dtype=object))
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    expected = np.array(["a", "b", "long label"])
    assert_array_equal(loaded.classes_, expected, strict=True)
    assert loaded.predict(X).tolist() == model.predict(X).tolist()


@pytest.mark.parametrize(
    "classes",
    [
        np.array([1, 2, 3], dtype=object),
        np.array(["a", "b", None], dtype=object),
        np.array(["a", "b", "b\0"], dtype=object),
        np.array([b"a", b"b", b"c"]),
        np.array([1, 2, 3], dtype="datetime64[s]"),
        np.array([1, 2, 3], dtype=complex),
    ],
    ids=["object", "None", "NUL", "bytes", "datetime64", "complex"],
)
def test_other_labels_are_refused_before_any_file_is_touched(tmp_path, classes):
    model, _, _ = fit()
    model.classes_ = classes
    with pytest.raises(TypeError, match="class label"):
        save_model(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_feature_names(tmp_path):
    _, X, y = fit()
    frame = pd.DataFrame(X, columns=["width", "height", "größe"])
    model = SoftmaxClassifier(random_state=0).fit(frame, y)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert_array_equal(loaded.feature_names_in_, model.feature_names_in_, strict=True)
    assert loaded.predict(frame).tolist() == model.predict(frame).tolist()  # without a warning
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["height", "width", "größe"]])


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("random_state", [7, None, np.random.RandomState(3)])
def test_training_goes_on_with_the_same_bits(tmp_path, n_classes, momentum, random_state):
    if isinstance(random_state, np.random.RandomState):
        random_state = np.random.RandomState(3)  # parametrize shares one among the cases
    _, X, y = fit(range(n_classes))
    model = SoftmaxClassifier(batch_size=8, momentum=momentum, random_state=random_state)
    model.partial_fit(X, y, classes=np.unique(y))
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for each in (model, loaded):
        each.partial_fit(X, y).partial_fit(X, y)
    assert_array_equal(loaded.coef_, model.coef_, strict=True)
    assert_array_equal(loaded.intercept_, model.intercept_, strict=True)
    assert loaded.loss_curve_ == model.loss_curve_
    assert loaded.n_iter_ == model.n_iter_ == 3


def test_parameters(tmp_path):
    parameters = {
        "learning_rate": 1,
        "batch_size": np.int64(7),
        "max_iter": 3,
        "alpha": np.float32(0.25),
        "momentum": 0.5,
        "nesterov": True,
        "shuffle": False,
        "fit_intercept": False,
        "input_scale": 0.125,
        "random_state": np.int32(5),
        "n_threads": 2,
        "warm_start": True,
        "verbose": 0,
    }
    model, _, _ = fit(**parameters)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model").get_params()
    assert loaded == parameters
    assert {type(value) for value in loaded.values()} == {int, float, bool}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "value"), [("C", 1e300), ("C", 1e-300), ("verbose", True)])
def test_parameters_at_the_edge(tmp_path, name, value):
    X, y = fit()[1:]
    model = LogisticRegression(**{name: value}, max_iter=1, tol=1).fit(X, y)
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").get_params()[name] == value


def test_numbers_of_other_types_are_stored_as_those_of_files(tmp_path):
    given = {
        "batch_size": 10**30,
        "n_threads": 10**30,
        "random_state": True,
        "max_iter": np.int8(2),
    }
    model, _, _ = fit(**given, learning_rate=Fraction(1, 2))
    model.alpha, model.verbose = 10**25, 2**63
    save_model(model, tmp_path / "model")
    stored = load_model(tmp_path / "model").get_params()
    assert (stored["learning_rate"], stored["alpha"], stored["max_iter"]) == (0.5, 1e25, 2)
    assert stored["random_state"] == 1
    assert min(stored[name] for name in ("batch_size", "n_threads", "verbose")) >= 2**62


def test_random_state_that_is_no_int_is_stored_as_none(tmp_path):
    model, _, _ = fit(random_state=np.random.RandomState(0))
    save_model(model, tmp_path / "model")
    assert load_model(tmp_path / "model").random_state is None


def test_parameter_of_a_type_that_cannot_be_stored(tmp_path):
    model, _, _ = fit()
    model.set_params(learning_rate=[0.1])
    with pytest.raises(TypeError, match="learning_rate"):
        save_model(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_loaded_arrays_are_writable_and_own_their_data(tmp_path):
    save_model(fit(momentum=0.9)[0], tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    for array in (loaded.coef_, loaded.intercept_, loaded.classes_, *loaded._velocity):
        assert array.flags.writeable
        assert array.flags.aligned
        assert array.flags.owndata


def test_same_model_same_bytes(tmp_path):
    model, _, _ = fit()
    assert save_bytes(model, tmp_path) == save_bytes(model, tmp_path)


def test_numpy_reads_the_file_without_pickle(tmp_path):
    model, _, _ = fit()
    save_model(model, tmp_path / "model")
    with np.load(tmp_path / "model", allow_pickle=False) as archive:
        assert_array_equal(archive["coef_"], model.coef_, strict=True)
        assert json.loads(archive["header"].item())["class"] == "SoftmaxClassifier"
    with zipfile.ZipFile(tmp_path / "model") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_failure_keeps_the_old_file(tmp_path, monkeypatch):
    before = save_bytes(fit()[0], tmp_path)

    def fail(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(fit(n_epochs=5)[0], tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model").read_bytes() == before


# What cannot be saved.


@pytest.mark.parametrize("estimator", [SoftmaxClassifier, LogisticRegression, LogisticRegressionCV])
def test_unfitted_model(tmp_path, estimator):
    model = estimator()
    attributes = {"coef_": np.ones((1, 2)), "intercept_": np.zeros(1), "classes_": np.arange(2)}
    if estimator is LogisticRegressionCV:
        attributes["C_"] = 2.0
    for name, value in attributes.items():  # set by hand: what is missing is no model
        with pytest.raises(NotFittedError, match="not fitted yet"):
            save_model(model, tmp_path / "model")
        setattr(model, name, value)
    assert list(tmp_path.iterdir()) == []
    save_model(model, tmp_path / "model")
    assert_array_equal(load_model(tmp_path / "model").coef_, model.coef_)


@pytest.mark.parametrize(
    "thing", [None, {}, SoftmaxClassifier, type("Sub", (SoftmaxClassifier,), {})()]
)
def test_other_objects(tmp_path, thing):
    with pytest.raises(TypeError, match="SoftmaxClassifier"):
        save_model(thing, tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coef_", np.full((3, N_FEATURES), np.nan, np.float32)),
        ("coef_", np.zeros((3, N_FEATURES + 1), np.float32)),
        ("coef_", np.zeros((3, N_FEATURES), np.complex64)),
        ("coef_", np.zeros((3, N_FEATURES)).astype(str)),
        ("intercept_", np.zeros(2, np.float32)),
        ("intercept_", np.zeros(3, object)),
        ("classes_", np.array([2, 1, 0])),
        ("learning_rate", float("nan")),
        ("alpha", float("inf")),
    ],
)
def test_broken_model_is_not_saved(tmp_path, name, value):
    model, _, _ = fit()
    setattr(model, name, value)
    with pytest.raises(ValueError, match=rf"cannot be saved: .*{name}"):
        save_model(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# What cannot be loaded.


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "missing")


@pytest.mark.parametrize("data", [b"", b"PK\x05\x06" + bytes(18), b"<html>", bytes(1000)])
def test_errors_name_the_file(tmp_path, data):
    with pytest.raises(ValueError, match=f"^{tmp_path / 'changed'}: no valid fastsoftmax model: "):
        load_bytes(data, tmp_path)


def test_every_truncation(tmp_path):
    data = save_bytes(fit(momentum=0.9)[0], tmp_path)
    for size in range(len(data)):
        with pytest.raises(ValueError, match="no valid fastsoftmax model"):
            load_bytes(data[:size], tmp_path)


def test_appended_bytes_do_no_harm(tmp_path):
    model, _, _ = fit()
    data = save_bytes(model, tmp_path)
    for extra in (b"\0", b"PK\x05\x06", data):
        try:
            loaded = load_bytes(data + extra, tmp_path)
        except ValueError:
            continue
        assert_same_model(loaded, model)


def test_every_flipped_bit(tmp_path):
    # Loads are equal only where zip has slack, such as time stamps. The members' bytes are all
    # alike to a checksum: one bit of each will do.
    model, _, _ = fit(momentum=0.9)
    data = save_bytes(model, tmp_path)
    content = set()
    with zipfile.ZipFile(tmp_path / "model") as archive:
        for info in archive.infolist():
            start = data.index(b"\x93NUMPY", info.header_offset)
            content.update(range(start, start + info.file_size))
    n_equal = 0
    for place, byte in enumerate(data):
        for bit in [place % 8] if place in content else range(8):
            flipped = data[:place] + bytes([byte ^ 1 << bit]) + data[place + 1 :]
            try:
                loaded = load_bytes(flipped, tmp_path)
            except ValueError:
                continue
            assert place not in content
            assert_same_model(loaded, model)
            n_equal += 1
    assert 0 < n_equal < 8 * (len(data) - len(content)) / 2


# Of text, yet str() of a member is its name.
Animal = enum.Enum("Animal", {"CAT": "cat", "DOG": "dog", "LONGEST": "hippopotamus"}, type=str)


def test_members_of_an_enumeration_are_saved_as_their_text(tmp_path):
    _, X, y = fit(n_epochs=1)
    animals = [list(Animal)[i] for i in y]
    clf = SoftmaxClassifier(input_scale=1 / 255).fit(X, animals)
    save_model(clf, tmp_path / "m")
    twin = load_model(tmp_path / "m")
    assert twin.classes_.tolist() == ["cat", "dog", "hippopotamus"]
    assert twin.score(X, animals) == clf.score(X, animals)


@pytest.mark.parametrize("estimator", [SoftmaxClassifier, LogisticRegression])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_a_model_put_together_by_hand(tmp_path, estimator, dtype):
    _, X, y = fit(n_epochs=1)
    fitted, clf = estimator(input_scale=1 / 255).fit(X, y), estimator(input_scale=1 / 255)
    fitted.coef_ = (10 * fitted.coef_).astype(dtype)
    clf.coef_, clf.intercept_ = fitted.coef_, fitted.intercept_.tolist()
    clf.classes_ = np.arange(3)
    save_model(clf, tmp_path / "m")
    twin = load_model(tmp_path / "m")
    assert_array_equal(twin.predict(X), fitted.predict(X))
    assert_array_equal(twin.coef_, fitted.coef_)
    assert twin.n_features_in_ == N_FEATURES
    assert np.ravel(twin.n_iter_)[0] == 0


def test_velocity_of_weights_that_have_since_been_changed(tmp_path):
    clf, X, y = fit(momentum=0.9)
    clf.coef_, clf.intercept_ = clf.coef_.astype(np.float64), clf.intercept_.astype(np.float64)
    save_model(clf, tmp_path / "m")
    twin = load_model(tmp_path / "m")
    assert_array_equal(twin.partial_fit(X, y).coef_, clf.partial_fit(X, y).coef_)
    grown = copy.deepcopy(clf)
    grown.classes_ = np.arange(4)
    grown.coef_, grown.intercept_ = np.vstack([clf.coef_, clf.coef_[:1]]), np.zeros(4)
    save_model(grown, tmp_path / "m")
    twin, labels = load_model(tmp_path / "m"), np.where(y, y, 3)
    assert_array_equal(twin.partial_fit(X, labels).coef_, grown.partial_fit(X, labels).coef_)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("classes_", [0, 1, 2], "classes_ must be an array, not a list"),
        ("classes_", list(Animal), "classes_ must be an array, not a list"),
        ("coef_", np.ma.zeros((3, N_FEATURES)), "coef_ is a masked array"),
    ],
)
def test_what_is_no_plain_array_is_not_saved(tmp_path, name, value, message):
    model, _, _ = fit()
    setattr(model, name, value)
    with pytest.raises(TypeError, match=message):
        save_model(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_cross_validation_has_chosen_keeps_names_and_iterations(tmp_path):
    _, X, y = fit(n_epochs=1)
    clf = LogisticRegressionCV(Cs=[0.1, 100.0], cv=3, input_scale=1 / 255)
    clf.fit(pd.DataFrame(X, columns=["a", "b", "c"]), y)
    save_model(clf, tmp_path / "m")
    twin = load_model(tmp_path / "m")
    assert twin.feature_names_in_.tolist() == ["a", "b", "c"]
    assert twin.n_iter_[0] == clf.n_iter_.max()


def test_class_weights_of_any_mapping(tmp_path):
    _, X, y = fit(n_epochs=1)
    weights = MappingProxyType({0: 2.0, 1: 1.0, 2: 1.0})
    clf = LogisticRegression(class_weight=weights, input_scale=1 / 255).fit(X, y)
    save_model(clf, tmp_path / "m")
    assert load_model(tmp_path / "m").class_weight is None
