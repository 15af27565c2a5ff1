"""The format of a model file: load_model refuses whatever is no valid model, and says why."""

import json

import numpy as np
import pandas as pd
import pytest

from fastsoftmax import SoftmaxClassifier, load_model, save_model
from fastsoftmax._npz import read_npz, write_npz

N_FEATURES = 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The arrays of a valid file, by name, with every optional one."""
    path = tmp_path_factory.mktemp("model") / "model"
    X = np.random.default_rng(0).normal(size=(30, N_FEATURES)).astype(np.float32)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = SoftmaxClassifier(momentum=0.5, random_state=0, max_iter=2)
    save_model(model.fit(frame, np.arange(30) % 3), path)
    return read_npz(path)


def pack(arrays, path):
    write_npz(path, arrays)
    return path


def with_header(arrays, /, **changes):
    fields = json.loads(arrays["header"].item()) | changes
    return arrays | {"header": np.array(json.dumps(fields).encode())}


def refuse(path, *words):
    with pytest.raises(ValueError, match="no valid fastsoftmax model") as caught:
        load_model(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_the_arrays_are_valid(saved, tmp_path):
    assert load_model(pack(saved, tmp_path / "model")).n_iter_ == 2


def test_every_parameter_is_stored(saved):
    stored = json.loads(saved["header"].item())["parameters"]
    assert stored == SoftmaxClassifier(momentum=0.5, random_state=0, max_iter=2).get_params()


def test_unknown_array(saved, tmp_path):
    refuse(pack(saved | {"extra": np.zeros(3)}, tmp_path / "f"), "unknown: 'extra'")


def test_missing_arrays(saved, tmp_path):
    for name in saved:
        rest = {key: array for key, array in saved.items() if key != name}
        word = "header" if name == "header" else "arrays"
        refuse(pack(rest, tmp_path / "f"), word)
        if name.startswith("velocity"):
            listed = with_header(rest, arrays=sorted(rest.keys() - {"header"}))
            refuse(pack(listed, tmp_path / "f"), "half of its velocity")


# The saved model has 3 classes and N_FEATURES features in float32.
WRONG_ARRAYS = {
    "classes_": [
        np.array([0, 2, 1]),
        np.array([0, 1, 1]),
        np.array([0, 1]),
        np.array([0, 1, 2, 3]),
        np.array([0, 1, np.nan]),
        np.array([[0, 1, 2]]),
        np.array(1),
        np.array([0]),
        np.array([], dtype=int),
        np.array([b"a", b"b", b"c"]),
        np.array([0, 1, 2], dtype=complex),
    ],
    "coef_": [
        np.zeros((3, N_FEATURES)),
        np.zeros((3, N_FEATURES), np.float16),
        np.zeros((3, N_FEATURES), np.int32),
        np.zeros((1, N_FEATURES), np.float32),
        np.zeros((3, N_FEATURES + 1), np.float32),
        np.zeros((N_FEATURES,), np.float32),
        np.zeros((3, N_FEATURES, 1), np.float32),
        np.full((3, N_FEATURES), np.inf, np.float32),
        np.full((3, N_FEATURES), "a"),
    ],
    "intercept_": [
        np.zeros(3),
        np.zeros(2, np.float32),
        np.zeros((3, 1), np.float32),
        np.array(0, np.float32),
        np.full(3, np.nan, np.float32),
    ],
    "loss_curve_": [np.zeros(2, np.float32), np.zeros((2, 1)), np.array([1.0, np.nan])],
    "feature_names_in_": [
        np.array(["a", "b"]),
        np.array([1, 2, 3]),
    ],
    "velocity_coef": [np.zeros((2, N_FEATURES), np.float32), np.zeros((3, N_FEATURES))],
    "velocity_intercept": [np.zeros(2, np.float32), np.full(3, np.nan, np.float32)],
    "header": [np.array([b"{}"]), np.array("{}"), np.array(3)],
}


@pytest.mark.parametrize(
    ("name", "array"), [(name, array) for name, many in WRONG_ARRAYS.items() for array in many]
)
def test_wrong_array(saved, tmp_path, name, array):
    refuse(pack(saved | {name: array}, tmp_path / "f"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "something else"}, "does not say"),
        ({"version": 2}, "version 2 needs a newer fastsoftmax"),
        ({"version": 2, "new": 1, "arrays": ["new"]}, "version 2 needs a newer fastsoftmax"),
        ({"version": 0}, "version 0"),
        ({"version": "1"}, "version '1'"),
        ({"version": True}, "version True"),
        ({"class": "MLPClassifier"}, "MLPClassifier"),
        ({"extra": 1}, "unknown: 'extra'"),
        ({"n_features_in": N_FEATURES + 1}, "shape"),
        ({"n_features_in": 0}, "n_features_in"),
        ({"n_features_in": 3.0}, "n_features_in"),
        ({"n_iter": -1}, "n_iter"),
        ({"n_iter": None}, "n_iter"),
        ({"n_iter": 2**31}, "n_iter"),
        ({"seed": 0.5}, "seed"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"arrays": None}, "arrays"),
        ({"arrays": []}, "arrays"),
        ({"parameters": None}, "parameters"),
        ({"parameters": {"eta": 1}}, "'eta'"),
    ],
)
def test_wrong_header(saved, tmp_path, changes, words):
    refuse(pack(with_header(saved, **changes), tmp_path / "f"), words)


def test_missing_header_fields(saved, tmp_path):
    fields = json.loads(saved["header"].item())
    for name in fields:
        rest = {key: value for key, value in fields.items() if key != name}
        header = np.array(json.dumps(rest).encode())
        refuse(pack(saved | {"header": header}, tmp_path / "f"))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"format": "fastsoftmax model"}'],
    ids=lambda text: repr(text[:9]),
)
def test_header_that_is_no_header(saved, tmp_path, text):
    refuse(pack(saved | {"header": np.array(text)}, tmp_path / "f"))


def test_header_with_a_key_twice(saved, tmp_path):
    text = saved["header"].item().replace(b'"alpha"', b'"alpha": 1, "alpha"')
    refuse(pack(saved | {"header": np.array(text)}, tmp_path / "f"), "twice")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", "0.1"),
        ("learning_rate", None),
        ("learning_rate", True),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", 10**400),
        ("batch_size", 1.5),
        ("batch_size", True),
        ("max_iter", None),
        ("alpha", [0.0]),
        ("momentum", {}),
        ("nesterov", 1),
        ("shuffle", None),
        ("fit_intercept", "yes"),
        ("input_scale", "1/255"),
        ("random_state", 0.5),
        ("random_state", False),
        ("n_threads", 1.0),
        ("warm_start", 0),
        ("verbose", "no"),
    ],
)
def test_wrong_parameter(saved, tmp_path, name, value):
    parameters = json.loads(saved["header"].item())["parameters"] | {name: value}
    refuse(pack(with_header(saved, parameters=parameters), tmp_path / "f"), f"parameter {name}")


def test_garbage_with_valid_checksums(saved, tmp_path):
    # What the checksums of the container would stop first.
    rng = np.random.default_rng(0)
    n_refused = 0
    for _ in range(500):
        name = rng.choice(list(saved))
        data = bytearray(saved[name].tobytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        array = np.ndarray(saved[name].shape, saved[name].dtype, bytes(data))
        try:
            model = load_model(pack(saved | {name: array}, tmp_path / "f"))
        except ValueError:
            n_refused += 1
        else:
            del model.feature_names_in_
            assert set(model.predict(np.ones((2, N_FEATURES)))) <= set(model.classes_)
    assert 50 < n_refused < 450


def test_parameter_missing_in_an_older_file_takes_its_default(saved, tmp_path):
    parameters = json.loads(saved["header"].item())["parameters"]
    del parameters["nesterov"]
    model = load_model(pack(with_header(saved, parameters=parameters), tmp_path / "f"))
    assert model.nesterov is False


def test_model_without_continuation_state(saved, tmp_path):
    rest = {name: array for name, array in saved.items() if "velocity" not in name}
    rest = with_header(rest, seed=None, arrays=sorted(rest.keys() - {"header"}))
    model = load_model(pack(rest, tmp_path / "f"))
    assert model._velocity is None
    assert not hasattr(model, "_seed")
    del model.feature_names_in_
    model.partial_fit(np.ones((2, N_FEATURES)), model.classes_[:2])  # with a new seed
    assert model.n_iter_ > json.loads(saved["header"].item())["n_iter"]
