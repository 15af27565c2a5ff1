"""The command on bad input: exit code 2 and one line that says what is wrong, never a traceback."""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax import cli, datasets, load_model


def refuse(capsys, *argv):
    """Run the command on bad input; return its one line of complaint."""
    code = cli.main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert_one_complaint(err)
    return err


def assert_one_complaint(err):
    assert err.startswith("fastsoftmax: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.npz"
    assert cli.main(["train", "--epochs", "3", "--output", str(path)]) == 0
    return path


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "trian",
        "train --epoch=0",
        "train --epochs 0",
        "train --epochs -1",
        "train --epochs 1.5",
        "train --epochs many",
        "train --batch-size 99999999999",
        "train --batch-size 0",
        "train --learning-rate 0",
        "train --learning-rate -0.1",
        "train --learning-rate nan",
        "train --learning-rate inf",
        "train --momentum 1",
        "train --momentum -0.5",
        "train --momentum nan",
        "train --alpha -1",
        "train --alpha inf",
        "train --threads 0",
        "train --threads -2",
        "train --seed -1",
        "train --seed 4294967296",
        "train --seed x",
        "train --output",
        "train --no-such-option",
        "train digits mnist",
        "predict",
        "predict model",
        "predict model digits extra",
        "info extra",
        "--no-such-option",
    ],
)
def test_wrong_usage(capsys, argv):
    assert "--help)" in refuse(capsys, *argv.split())


def test_usage_errors_name_option_and_value(capsys):
    complaint = refuse(capsys, "train", "--momentum", "2")
    assert "--momentum" in complaint
    assert "'2'" in complaint


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


X, Y = np.ones((8, 3)), np.arange(8) % 2
BAD_ARRAYS = {
    "nothing": {},
    "X alone": {"X": X},
    "half of Keras's names": {"x_train": X, "y_train": Y, "x_test": X},
    "lengths differ": {"X": X, "y": Y[:-1]},
    "1-d": {"X": X[:, 0], "y": Y},
    "0-d": {"X": np.array(1.0), "y": Y},
    "no rows": {"X": X[:0], "y": Y[:0]},
    "no features": {"X": X[:, :0], "y": Y},
    "text": {"X": X.astype(str), "y": Y},
    "complex": {"X": X.astype(complex), "y": Y},
    "objects": {"X": X.astype(object), "y": Y},
    "2-d labels": {"X": X, "y": np.eye(8)},
    "complex labels": {"X": X, "y": Y.astype(complex)},
    "object labels": {"X": X, "y": Y.astype(object)},
    "labels are no classes": {"X": X, "y": Y + 0.5},
    "one class": {"X": X, "y": 0 * Y},
    "NaN": {"X": np.where(np.eye(8, 3) > 0, np.nan, X), "y": Y},
    "widths differ": {"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y},
    "labels differ": {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y.astype(str)},
    "types differ": {"x_train": X, "y_train": Y, "x_test": X.astype(np.uint8), "y_test": Y},
}


@pytest.mark.parametrize("arrays", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_training_arrays(capsys, tmp_path, arrays):
    path = write_npz(tmp_path / "data.npz", **arrays)
    code = cli.main(["train", str(path), "--output", str(tmp_path / "model")])
    assert code == 2
    assert_one_complaint(capsys.readouterr().err)
    assert not (tmp_path / "model").exists()


def make_bad_files(folder):
    data = write_npz(folder / "good.npz", X=X, y=Y).read_bytes()
    (folder / "empty.npz").touch()
    (folder / "text.npz").write_text("X,y\n1,2\n")
    (folder / "truncated.npz").write_bytes(data[:-100])
    (folder / "damaged.npz").write_bytes(data[:300] + b"????" + data[304:])
    (folder / "folder.npz").mkdir()
    (folder / "two letters.npz").write_bytes(b"PK")
    with zipfile.ZipFile(folder / "archive of text.npz", "w") as archive:
        for name in ("X", "y.npy"):
            archive.writestr(name, "1,2,3")
    (folder / "good.npz").unlink()
    return [*folder.glob("*.npz"), folder / "missing.npz"]


def test_bad_files(capsys, tmp_path, digits_model):
    bad = make_bad_files(tmp_path)
    assert len(bad) == 8
    for path in bad:
        complaint = refuse(capsys, "train", path)
        assert path.name in complaint
        assert "allow_pickle" not in complaint
        assert path.name in refuse(capsys, "predict", digits_model, path)
        assert path.name in refuse(capsys, "predict", path, "digits")
    np.savez(tmp_path / "arrays.npz", X=X, y=Y)
    assert "no header" in refuse(capsys, "predict", tmp_path / "arrays.npz", "digits")
    np.save(tmp_path / "truncated.npy", X)
    os.truncate(tmp_path / "truncated.npy", 200)
    assert "truncated.npy" in refuse(capsys, "predict", digits_model, tmp_path / "truncated.npy")


def test_missing_mnist(capsys, tmp_path, monkeypatch):
    def load_mnist(data_home=None, **options):
        raise FileNotFoundError(f"no MNIST in {data_home}\nput it there")

    monkeypatch.setattr(datasets, "load_mnist", load_mnist)
    complaint = refuse(capsys, "train", "mnist", "--data-dir", tmp_path)
    assert f"no MNIST in {tmp_path} put it there" in complaint


def test_no_such_directory(capsys, tmp_path):
    typo = tmp_path / "mnits"
    complaint = refuse(capsys, "train", "mnist", "--data-dir", typo)
    assert f"{typo}: no such directory" in complaint
    assert not typo.exists()


def test_directory_of_other_data(capsys, tmp_path):
    complaint = refuse(capsys, "train", "digits", "--data-dir", tmp_path)
    assert "--data-dir is the directory of mnist, not of digits" in complaint


def test_labels_of_another_type(capsys, tmp_path, digits_model):
    _, (images, labels) = datasets.load_digits()
    data = write_npz(tmp_path / "data.npz", X=images, y=labels.astype(str))
    complaint = refuse(capsys, "predict", digits_model, data)
    assert "its labels are <U" in complaint
    assert "those of the model" in complaint


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_where_a_file_has_a_nan(capsys, tmp_path, dtype):
    images = np.random.default_rng(0).normal(size=(50, 4)).astype(dtype)
    images[19, 3] = np.nan
    data = write_npz(tmp_path / "data.npz", X=images, y=np.arange(50) % 3)
    complaint = refuse(capsys, "train", data)
    assert f"{data}: X contains NaN at row 19, column 3" in complaint


def test_wrong_number_of_features(capsys, tmp_path, digits_model):
    data = write_npz(tmp_path / "data.npz", X=X)
    complaint = refuse(capsys, "predict", digits_model, data)
    assert f"{data}: its rows have 3 features, those of the model 64" in complaint


def test_labels_of_long_double_are_saved(tmp_path):
    data = write_npz(tmp_path / "data.npz", X=X * Y[:, None], y=Y.astype(np.longdouble))
    assert cli.main(["train", str(data), "--output", str(tmp_path / "model")]) == 0
    assert load_model(tmp_path / "model").classes_.dtype == np.float64


def test_diverged_training(capsys, tmp_path):
    images = (1e6 * X * np.arange(8)[:, None]).astype(np.float32)
    data = write_npz(tmp_path / "data.npz", X=images, y=Y)
    argv = ["train", data, "--learning-rate", "1e38", "--output", tmp_path / "model"]
    assert cli.main([str(argument) for argument in argv]) == 2
    complaint = capsys.readouterr().err
    assert_one_complaint(complaint)
    assert "the training diverged in epoch" in complaint
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("Unable to allocate 9 EiB")])
def test_out_of_memory(capsys, monkeypatch, error):
    def load_digits():
        raise error

    monkeypatch.setattr(datasets, "load_digits", load_digits)
    assert (str(error) or "not enough memory") in refuse(capsys, "train")


def test_bugs_show_their_traceback(monkeypatch):
    def load_digits():
        raise AssertionError

    monkeypatch.setattr(datasets, "load_digits", load_digits)
    with pytest.raises(AssertionError):
        cli.main(["train"])


def test_predictions_that_cannot_all_be_written_leave_the_file(capsys, tmp_path):
    data, model, output = tmp_path / "data.npz", tmp_path / "model", tmp_path / "labels"
    write_npz(data, X=np.eye(4), y=np.array(["a", "\ud800"] * 2))  # no UTF-8 has the second
    assert cli.main(["train", str(data), "--output", str(model)]) == 0
    capsys.readouterr()
    output.write_text("precious")
    refuse(capsys, "predict", model, data, "--output", output)
    assert output.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "labels", "model"]


@pytest.mark.parametrize("command", ["train", "predict"])
@pytest.mark.parametrize("output", ["missing/file", ".", "", "file/x", "a" * 300, "loop"])
def test_unwritable_output_is_found_at_once(
    capsys, tmp_path, monkeypatch, digits_model, command, output
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    os.symlink("loop", "loop")
    monkeypatch.setattr(datasets, "load_digits", lambda: pytest.fail("too late"))
    argv = ["train"] if command == "train" else ["predict", digits_model, "digits"]
    assert "cannot be written" in refuse(capsys, *argv, "--output", output)
    assert sorted(os.listdir()) == ["file", "loop"]


@pytest.mark.parametrize("which", ["x_train", "x_test"])
def test_a_bad_entry_is_found_before_training(capsys, tmp_path, which):
    data = tmp_path / "data.npz"
    arrays = {"x_train": X.astype(float), "y_train": Y, "x_test": X.astype(float), "y_test": Y}
    arrays[which][2, 1] = np.inf
    np.savez(data, **arrays)
    assert f"{data}: {which} contains infinity at row 2, column 1" in refuse(capsys, "train", data)


@pytest.mark.parametrize("name", ["itself", "symbolic link", "hard link"])
@pytest.mark.parametrize(
    ("command", "which"), [("train", "data"), ("predict", "model"), ("predict", "data")]
)
def test_no_output_overwrites_an_input(capsys, tmp_path, digits_model, which, command, name):
    model, data = tmp_path / "model.npz", tmp_path / "data.npz"
    model.write_bytes(Path(digits_model).read_bytes())
    np.savez(data, X=np.zeros((3, 64)), y=np.arange(3))
    given = {"model": model, "data": data}[which]
    before = given.read_bytes()
    output = given
    if name != "itself":
        output = tmp_path / "link"
        (output.symlink_to if name == "symbolic link" else output.hardlink_to)(given)
    argv = ["train", data] if command == "train" else ["predict", model, data]
    assert f"would overwrite {given}" in refuse(capsys, *argv, "--output", output)
    assert given.read_bytes() == before


def test_a_model_does_not_overwrite_mnist(capsys, tmp_path):
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(b"images")
    argv = ["train", "mnist", "--data-dir", tmp_path, "--output", file]
    assert f"would overwrite {file}" in refuse(capsys, *argv)
    assert file.read_bytes() == b"images"


def test_a_model_does_not_overwrite_mnist_that_the_environment_names(capsys, tmp_path, monkeypatch):
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(b"images")
    monkeypatch.setenv("FASTSOFTMAX_DATA", str(tmp_path))
    assert f"would overwrite {file}" in refuse(capsys, "train", "mnist", "--output", file)
    assert file.read_bytes() == b"images"


def test_a_file_that_claims_more_than_there_is_memory_is_named(capsys, tmp_path, digits_model):
    path = tmp_path / "X.npy"
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000, 10000000), }"
    start = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    path.write_bytes(start + header.ljust(117).encode() + b"\n")
    assert f"error: {path}: Unable to allocate" in refuse(capsys, "predict", digits_model, path)


def test_labels_to_test_with_that_are_no_classes_are_named(capsys, tmp_path, digits_model):
    data = tmp_path / "data.npz"
    np.savez(data, X=np.zeros((9, 64), np.uint8), y=np.arange(5, 14))
    assert cli.main(["predict", str(digits_model), str(data)]) == 0
    said = "no classes of the model, but labels to test with: 10, 11, 12, 13\n"
    assert said in capsys.readouterr().err
    np.savez(data, x_train=X, y_train=Y, x_test=X, y_test=Y + 100)
    assert cli.main(["train", str(data), "--epochs", "1"]) == 0
    assert "labels to test with: 100, 101" in capsys.readouterr().err


def test_what_is_wrong_with_labels_names_the_file(capsys, tmp_path):
    data = tmp_path / "data.npz"
    for labels, message in (
        (np.array([0, 1, np.nan, 1]), "y contains NaN at position 2"),
        (np.zeros(4), "y has one class only"),
    ):
        np.savez(data, X=np.eye(4), y=labels)
        assert f"{data}: {message}" in refuse(capsys, "train", data)


def test_a_library_that_is_not_there_is_named(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("FASTSOFTMAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "pip install" in refuse(capsys, "train", "mnist")


def test_other_integers_than_bytes_are_inputs_as_they_are(tmp_path, capsys):
    random = np.random.default_rng(0)
    X, y = random.integers(0, 5, (60, 4)), np.arange(60) % 3
    losses = []
    for dtype in (np.uint8, np.uint16, np.float32):
        path = write_npz(tmp_path / f"{dtype.__name__}.npz", X=X.astype(dtype), y=y)
        assert cli.main(["train", str(path), "--epochs", "2"]) == 0
        losses.append([line for line in capsys.readouterr().out.splitlines() if "loss" in line])
    of_bytes, of_integers, of_floats = (
        [line.split("loss")[1][:9] for line in each] for each in losses
    )
    assert of_integers == of_floats != of_bytes
