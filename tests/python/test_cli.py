"""The command on good input: what it prints is true, and what it saves is what fit would train."""

import re

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import cli, datasets, load_model

EPOCH = re.compile(
    r"epoch +(\d+)/(\d+)  loss (\d+\.\d{4})  (?:test accuracy (\d\.\d{4})  )?([\d,]+) images/s"
)
FINAL = re.compile(r"(?:test accuracy (\d\.\d{4})  )?total time (\d+\.\d\d) s")


def run(capsys, *argv):
    """Run the command in this process; return what it printed once it has succeeded."""
    code = cli.main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    assert (code, "error" in err) == (0, False), err
    return out, err


def parse_training(out):
    """Split what train printed into the header, a match for each epoch, and the last line's."""
    header, *epochs, final = out.splitlines()
    matches = [EPOCH.fullmatch(line) for line in epochs]
    assert None not in matches, out
    last = FINAL.fullmatch(final)
    assert last is not None, out
    n = len(matches)
    assert [(int(m[1]), int(m[2])) for m in matches] == [(i, n) for i in range(1, n + 1)]
    assert last[1] == matches[-1][4]
    return header, matches, last


def blobs(n=60, n_features=4, n_classes=3, dtype=np.float32, seed=0):
    """Well separated clusters, their labels in turn."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centers = 150 * np.eye(n_classes, n_features) + 50
    X = (centers[y] + rng.normal(scale=10, size=(n, n_features))).clip(0, 255)
    return X.astype(dtype) if dtype == np.uint8 else (X / 255).astype(dtype), y


@pytest.fixture
def blobs_file(tmp_path):
    X, y = blobs()
    np.savez(tmp_path / "blobs.npz", X=X, y=y)
    return tmp_path / "blobs.npz"


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.npz"
    assert cli.main(["train", "--epochs", "3", "--output", str(path)]) == 0
    return path


# train


def test_train_digits(capsys, tmp_path):
    path = tmp_path / "model.npz"
    header, epochs, final = parse_training(run(capsys, "train", "--output", path)[0])
    for word in ("digits", "1437 training", "360 test", "64 features", "uint8", "10 classes"):
        assert word in header
    for name, value in cli.DIGITS.items():
        assert f"{name} {value}" in header
    assert fastsoftmax._core.active_isa() in header
    assert len(epochs) == cli.DIGITS["epochs"]

    # Over 20 seeds 0.964 to 0.972 were measured; one error of the 360 is 0.0028.
    assert float(final[1]) >= 0.955
    assert float(final[2]) < 10
    losses = [float(epoch[3]) for epoch in epochs]
    assert losses[0] < np.log(10)
    assert losses[-1] < 0.08

    model = load_model(path)
    _, (X_test, y_test) = datasets.load_digits()
    assert f"{model.score(X_test, y_test):.4f}" == final[1]
    assert [f"{loss:.4f}" for loss in model.loss_curve_] == [epoch[3] for epoch in epochs]
    assert model.n_iter_ == len(epochs)


def test_train_is_fit(capsys, tmp_path):
    options = {"learning_rate": 0.2, "batch_size": 32, "momentum": 0.5, "alpha": 1e-4}
    argv = [a for k, v in options.items() for a in (f"--{k.replace('_', '-')}", v)]
    argv += ["--nesterov", "--epochs", 4, "--seed", 7, "--threads", 1]
    run(capsys, "train", "digits", *argv, "--output", tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    model = fastsoftmax.SoftmaxClassifier(
        **options, nesterov=True, max_iter=4, random_state=7, n_threads=1, input_scale=1 / 16
    )
    assert loaded.get_params() == model.get_params()
    model.fit(*datasets.load_digits()[0])
    np.testing.assert_array_equal(loaded.coef_, model.coef_, strict=True)
    np.testing.assert_array_equal(loaded.intercept_, model.intercept_, strict=True)


def test_same_seed_same_output(capsys):
    def without_times(*argv):
        out, _ = run(capsys, "train", "--epochs", 3, *argv)
        return re.sub(r"[\d,]+ images/s|total time .*", "", out)

    assert without_times("--seed", 1) == without_times("--seed", 1)
    assert without_times("--seed", 1) != without_times("--seed", 2)


def test_train_mnist(capsys, tmp_path, mnist_dir):
    path = tmp_path / "model.npz"
    out, _ = run(capsys, "train", "mnist", "--data-dir", mnist_dir, "--output", path)
    header, epochs, final = parse_training(out)
    for word in ("60000 training", "10000 test", "epochs 10", "batch_size 100", "rate 0.01"):
        assert word in header
    assert len(epochs) == 10
    assert float(final[1]) >= 0.900
    model = load_model(path)
    assert model.input_scale == 1 / 255

    out, err = run(capsys, "predict", path, "mnist", "--data-dir", mnist_dir)
    assert err == f"accuracy {final[1]}\n"
    _, (X_test, y_test) = datasets.load_mnist(mnist_dir)
    assert f"{model.score(X_test, y_test):.4f}" == final[1]
    assert np.array_equal(np.array(out.split(), dtype=int), model.predict(X_test))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("labels", [[0, 1, 2], ["ant", "bee", "cat"], [False, True]])
def test_train_a_file_with_a_test_set(capsys, tmp_path, dtype, labels):
    X, y = blobs(75, dtype=dtype, n_classes=len(labels))
    y = np.array(labels)[y]
    data = tmp_path / "data.npz"
    np.savez(data, x_train=X[:60], y_train=y[:60], x_test=X[60:], y_test=y[60:])
    options = ("--epochs", 20, "--batch-size", 10, "--learning-rate", 0.5)
    out, _ = run(capsys, "train", data, *options, "--output", tmp_path / "model")
    header, _, final = parse_training(out)
    assert f"60 training and 15 test rows, 4 features ({np.dtype(dtype)})" in header
    assert final[1] == "1.0000"
    model = load_model(tmp_path / "model")
    assert model.input_scale == (1 / 255 if dtype == np.uint8 else 1.0)
    assert model.classes_.tolist() == labels

    out, err = run(capsys, "predict", tmp_path / "model", data)
    assert out.split() == [str(label) for label in y[60:]]
    assert err == "accuracy 1.0000\n"


def test_images_are_flattened_and_columns_of_labels_accepted(capsys, tmp_path):
    X, y = blobs(dtype=np.uint8)
    np.savez_compressed(tmp_path / "data.npz", X=X.reshape(60, 2, 2), y=y[:, None])
    header, _, _ = parse_training(run(capsys, "train", tmp_path / "data.npz")[0])
    assert "4 features" in header


def test_hold_out_is_stratified_and_seeded(capsys, tmp_path, blobs_file):
    argv = ("train", blobs_file, "--epochs", 1, "--seed", 3, "--output", tmp_path / "model")
    header, epochs, _ = parse_training(run(capsys, *argv)[0])
    assert "48 training and 12 test rows" in header
    data = cli_data(blobs_file, seed=3)
    assert np.bincount(data.y_test).tolist() == [4, 4, 4]
    accuracy = load_model(tmp_path / "model").score(data.X_test, data.y_test)
    assert epochs[-1][4] == f"{accuracy:.4f}"
    assert not np.array_equal(data.X_test, cli_data(blobs_file, seed=4).X_test)


def cli_data(path, seed):
    from fastsoftmax._cli_data import load_training_data

    return load_training_data(str(path), None, seed)


def test_hold_out_with_a_class_of_one_row(capsys, tmp_path):
    X, y = blobs()
    y[7] = 9
    np.savez(tmp_path / "data.npz", X=X, y=y)
    for seed in range(5):  # whichever side that row falls on
        argv = ("train", tmp_path / "data.npz", "--seed", seed, "--output", tmp_path / "model")
        header, _, _ = parse_training(run(capsys, *argv)[0])
        assert "48 training and 12 test rows" in header
        assert "4 classes" in header
        assert load_model(tmp_path / "model").classes_.tolist() == [0, 1, 2, 9]


@pytest.mark.parametrize(("n", "n_test"), [(3, 0), (4, 0), (5, 1), (11, 3)])
def test_hold_out_of_few_rows(capsys, tmp_path, n, n_test):
    X, y = blobs(n, n_classes=2)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    header, _, final = parse_training(run(capsys, "train", tmp_path / "data.npz")[0])
    assert f"{n - n_test} training and {n_test} test rows" in header
    assert (final[1] is None) == (n_test == 0)


# predict


def test_predict_digits(capsys, digits_model):
    out, err = run(capsys, "predict", digits_model, "digits")
    model = load_model(digits_model)
    _, (X_test, y_test) = datasets.load_digits()
    assert np.array_equal(np.array(out.split(), dtype=int), model.predict(X_test))
    assert err == f"accuracy {model.score(X_test, y_test):.4f}\n"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_are_printed_exactly(capsys, tmp_path, dtype, n_classes):
    X, y = blobs(dtype=dtype, n_classes=n_classes)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    np.save(tmp_path / "rows.npy", X)
    run(capsys, "train", tmp_path / "data.npz", "--output", tmp_path / "model")
    out, err = run(capsys, "predict", tmp_path / "model", tmp_path / "rows.npy", "--proba")
    assert err == ""
    printed = np.array([line.split("\t") for line in out.splitlines()], dtype=dtype)
    expected = load_model(tmp_path / "model").predict_proba(X)
    np.testing.assert_array_equal(printed, expected, strict=True)


@pytest.mark.parametrize("names", [("X", "y"), ("X",), ("x_test", "y_test"), ("x_test",)])
def test_predict_files(capsys, tmp_path, digits_model, names):
    _, arrays = datasets.load_digits()
    data = tmp_path / "data.npz"
    np.savez(data, **dict(zip(names, arrays, strict=False)), x_train=np.zeros(3))
    expected = run(capsys, "predict", digits_model, "digits")
    out, err = run(capsys, "predict", digits_model, data)
    assert out == expected[0]
    assert err == (expected[1] if len(names) == 2 else "")


def test_predict_output(capsys, tmp_path, digits_model):
    expected, accuracy = run(capsys, "predict", digits_model, "digits")
    written = tmp_path / "labels.txt"
    out, err = run(capsys, "predict", digits_model, "digits", "--output", written)
    assert (out, err) == ("", accuracy)
    assert written.read_text() == expected


def test_a_line_for_each_row(capsys, tmp_path):
    X, labels = np.eye(40), np.array(["one", "two\nlines", "end\n", "\r"] * 10)
    model, data = tmp_path / "model.npz", tmp_path / "data.npz"
    np.savez(data, X=X, y=labels)
    run(capsys, "train", data, "--output", model)
    out, _ = run(capsys, "predict", model, data)
    assert len(out.splitlines()) == 40
    assert set(out.splitlines()) == {"one", "'two\\nlines'", r"'end\n'", r"'\r'"}


# info, help, version


def test_info(capsys):
    out, err = run(capsys, "info")
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    core = fastsoftmax._core
    assert facts["fastsoftmax"] == fastsoftmax.__version__
    assert facts["numpy"] == np.__version__
    assert facts["instruction set"] == core.active_isa()
    assert facts["supported"].split(", ") == core.supported_isas()
    assert facts["threads"] == str(core.available_threads())
    assert facts.keys() >= {"python", "scikit-learn", "platform", "cpu"}
    assert err == ""


def test_info_is_show_versions(capsys):
    expected, _ = run(capsys, "info")
    fastsoftmax.show_versions()
    assert capsys.readouterr().out == expected


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (f"fastsoftmax {fastsoftmax.__version__}\n", "")
    out, _ = run(capsys, "--help")
    assert out.startswith("usage: fastsoftmax")
    for command in ("train", "predict", "info"):
        assert command in out
        assert run(capsys, command, "--help")[0].startswith(f"usage: fastsoftmax {command}")
    help_of_train = " ".join(run(capsys, "train", "--help")[0].split())
    for name, value in cli.DIGITS.items():
        assert f"(default: {cli.TUTORIAL[name]:g}; for digits {value:g})" in help_of_train


def test_defaults_are_those_of_the_tutorial():
    assert cli.TUTORIAL == {
        "epochs": 10,
        "batch_size": 100,
        "learning_rate": 0.01,
        "momentum": 0,
        "alpha": 0,
    }


def test_a_momentum_of_zero_is_taken(capsys):
    assert cli.main(["train", "--epochs", "1", "--momentum", "0"]) == 0
    assert "momentum 0.0" in capsys.readouterr().out


def test_what_is_predicted_of_a_file_that_has_both(tmp_path):
    from fastsoftmax._cli_data import load_prediction_data

    np.savez(tmp_path / "data.npz", X=np.zeros((3, 2)), x_test=np.zeros((5, 2)))
    assert len(load_prediction_data(str(tmp_path / "data.npz"), None)[0]) == 3
