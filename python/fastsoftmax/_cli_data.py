"""The data that the command works on: named data sets, and arrays from .npz and .npy files."""

import errno
import io
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._arrays import storage_dtype
from ._labels import check_two_classes, uniform_labels
from ._validation import nonfinite_message

Array = NDArray[Any]

_NAMED = {"digits": 16, "mnist": 255}  # their largest input
_KERAS = {"x_train", "y_train", "x_test", "y_test"}
_HOLD_OUT = 0.2  # of a file without a test set of its own
_FEWEST_TO_SPLIT = 5  # rows


class TrainingData(NamedTuple):
    """Rows to train on and to test with, and the factor that brings the inputs near 1."""

    X_train: Array
    y_train: Array
    X_test: Array | None
    y_test: Array | None
    classes: Array
    input_scale: float


def load_training_data(name: str, data_dir: str | None, seed: int) -> TrainingData:
    """Load ``digits``, ``mnist``, or an .npz file: its own split, or X and y to be split here.

    Parameters
    ----------
    name : str
        ``digits``, ``mnist``, or the path of a file.
    data_dir : str or None
        The directory of the MNIST files.
    seed : int
        Chooses the rows held out.

    Returns
    -------
    TrainingData
        X of shape (n, d) and y of shape (n,); no test set if there are too few rows.
    """
    _check_data_dir(name, data_dir)
    if name in _NAMED:
        (X_train, y_train), (X_test, y_test) = _load_named(name, data_dir)
        input_scale = 1 / _NAMED[name]
        return TrainingData(X_train, y_train, X_test, y_test, np.unique(y_train), input_scale)
    arrays = _read_arrays(name, {*_KERAS, "X", "y"})
    if arrays.keys() >= _KERAS:
        return _keras_split(name, arrays)
    if arrays.keys() >= {"X", "y"}:
        X, y = _rows(name, arrays, "X", "y")
        return TrainingData(*_hold_out(X, y, seed), _classes(name, y), _input_scale(X))
    raise ValueError(f"{name}: holds neither x_train, y_train, x_test and y_test nor X and y")


def load_prediction_data(name: str, data_dir: str | None) -> tuple[Array, Array | None]:
    """Load the rows to predict, and their labels if there are any.

    Parameters
    ----------
    name : str
        ``digits`` or ``mnist``, for their test sets; the path of an .npz file with X or x_test and
        perhaps y or y_test; or the path of an .npy file.
    data_dir : str or None
        The directory of the MNIST files.

    Returns
    -------
    X : ndarray of shape (n, d)
    y : ndarray of shape (n,) or None
    """
    _check_data_dir(name, data_dir)
    if name in _NAMED:
        return _load_named(name, data_dir)[1]
    arrays = _read_arrays(name, {"X", "y", "x_test", "y_test"})
    for x_name, y_name in (("X", "y"), ("x_test", "y_test")):
        if x_name in arrays and y_name in arrays:
            return _rows(name, arrays, x_name, y_name)
        if x_name in arrays:
            return _matrix(name, x_name, arrays[x_name]), None
    raise ValueError(f"{name}: holds neither X nor x_test")


def input_files(name: str, data_dir: str | None) -> list[str]:
    """List the files that data are read from, or may be."""
    from .datasets._mnist import search_path

    if name != "mnist":
        return [] if name in _NAMED else [name]
    folders = [folder for folder in search_path(data_dir) if folder.is_dir()]
    return [entry.path for folder in folders for entry in os.scandir(folder)]


def is_text(labels: Array) -> bool:
    """Tell whether labels are text, which equals no number."""
    return labels.dtype.kind in "OTU"


def _keras_split(path: str, arrays: dict[str, Array]) -> TrainingData:
    X_train, y_train = _rows(path, arrays, "x_train", "y_train")
    X_test, y_test = _rows(path, arrays, "x_test", "y_test")
    if X_train.dtype != X_test.dtype or X_train.shape[1] != X_test.shape[1]:
        raise ValueError(
            f"{path}: x_train is {X_train.dtype} with {X_train.shape[1]} features, "
            f"but x_test is {X_test.dtype} with {X_test.shape[1]}"
        )
    if is_text(y_train) != is_text(y_test):
        raise ValueError(f"{path}: y_train is {y_train.dtype}, but y_test is {y_test.dtype}")
    classes = _classes(path, y_train)
    return TrainingData(X_train, y_train, X_test, y_test, classes, _input_scale(X_train))


def _classes(path: str, y: Array) -> Array:
    classes = np.unique(y)
    with _naming(path):
        check_two_classes(classes)
    return classes


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Let a complaint begin with the name of the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_data_dir(name: str, data_dir: str | None) -> None:
    if data_dir is not None and name != "mnist":
        raise ValueError(f"--data-dir is the directory of mnist, not of {name}")


def _input_scale(X: Array) -> float:
    return 1 / 255 if X.dtype == np.uint8 else 1.0


def _load_named(name: str, data_dir: str | None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    from . import datasets

    if data_dir is not None and not os.path.isdir(data_dir):
        raise NotADirectoryError(errno.ENOTDIR, "no such directory", data_dir)
    return datasets.load_digits() if name == "digits" else datasets.load_mnist(data_dir)


def _read_arrays(path: str, wanted: Collection[str]) -> dict[str, Array]:
    """Read those of the wanted arrays that an .npz file has, or an .npy file as X."""
    with open(path, "rb") as opened:
        magic = opened.read(6)
        if not magic.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")):
            raise ValueError(f"{path}: neither an .npz nor an .npy file")
        try:
            # A pipe is read to its end: archives are read from there.
            file = opened if opened.seekable() else io.BytesIO(magic + opened.read())
            file.seek(0)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"X": loaded}
            with loaded:
                arrays = {name: loaded[name] for name in wanted if name in loaded}
            for name, array in arrays.items():
                if not isinstance(array, np.ndarray):  # but the bytes of another file
                    raise ValueError(f"{name} is not an .npy array")
            return arrays
        except MemoryError as error:
            raise MemoryError(f"{path}: {error}") from error
        # numpy.load lets TokenError, TypeError, zlib.error and more out on damaged files.
        except Exception as error:
            raise ValueError(f"{path}: {error}") from error


def _rows(path: str, arrays: dict[str, Array], x_name: str, y_name: str) -> tuple[Array, Array]:
    X, y = _matrix(path, x_name, arrays[x_name]), arrays[y_name]
    if y.ndim == 2 and y.shape[1] == 1:  # Keras's CIFAR files
        y = y[:, 0]
    if y.shape != (len(X),):
        raise ValueError(f"{path}: {y_name} has shape {y.shape}, but {x_name} has {len(X)} rows")
    if y.dtype.kind not in "biufU":
        raise ValueError(f"{path}: {y_name} holds {y.dtype}, not labels")
    with _naming(path):
        return X, uniform_labels(y, y_name)


def _matrix(path: str, name: str, X: Array) -> Array:
    if X.ndim < 2 or X.size == 0:
        raise ValueError(f"{path}: {name} has shape {X.shape}, not (n_samples, n_features)")
    if X.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} holds {X.dtype}, not numbers")
    X = X.reshape(len(X), -1)
    if X.dtype.kind == "f":  # now, while rows have the numbers they have in the file
        message = nonfinite_message(np.require(X, storage_dtype(X.dtype), ["C", "A"]))
        if message:
            raise ValueError(f"{path}: {message.replace('X', name, 1)}")
    return X


def _hold_out(X: Array, y: Array, seed: int) -> tuple[Array, Array, Array | None, Array | None]:
    from sklearn.model_selection import train_test_split

    if len(X) < _FEWEST_TO_SPLIT:
        return X, y, None, None
    counts = np.unique(y, return_counts=True)[1]
    can_stratify = counts.min() >= 2 and len(counts) <= _HOLD_OUT * len(X)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=_HOLD_OUT, random_state=seed, stratify=y if can_stratify else None
    )
    return X_train, y_train, X_test, y_test
