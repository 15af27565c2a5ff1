"""MNIST: where its files are sought, their download and the checks on what they hold."""

import contextlib
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax._optional import require

from ._idx import read_idx

Data = tuple[NDArray[Any], NDArray[Any]]


class _Pin(NamedTuple):
    size: int  # bytes
    sha256: str


TRAIN = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
REGISTRY = {
    "train-images-idx3-ubyte.gz": _Pin(
        9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": _Pin(
        28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": _Pin(
        1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": _Pin(
        4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}
TIMEOUT = 30.0  # seconds to wait for a connection, and then for each next byte


def load_mnist(
    data_home: str | os.PathLike[str] | None = None,
    download: bool = True,
    normalize: bool = False,
    one_hot: bool = False,
) -> tuple[Data, Data]:
    """Load MNIST: 70 000 handwritten digits of 28 x 28 pixels.

    The files come from the first directory that holds all four of them: `data_home` if it is
    given; otherwise the directory named by the environment variable ``FASTSOFTMAX_DATA``, then the
    user's cache directory. If none does, those missing from the last of these are downloaded into
    it; nothing is ever written to ``FASTSOFTMAX_DATA``.

    Parameters
    ----------
    data_home : str or os.PathLike, default=None
        The only directory to look in and to download to. The files may be raw or
        gzip-compressed, and named as ``train-images-idx3-ubyte`` or ``train-images.idx3-ubyte``.
    download : bool, default=True
        Download missing files. This needs pooch: ``pip install 'fastsoftmax[data]'``.
    normalize : bool, default=False
        Scale the pixels to [0, 1].
    one_hot : bool, default=False
        Encode each label as a row of ten, with a one in its column.

    Returns
    -------
    (X_train, y_train), (X_test, y_test) : tuple of tuples of ndarray
        X, of shape (60000, 784) and (10000, 784): uint8 grey levels from 0 to 255, or float32 if
        `normalize`. y: int64 labels from 0 to 9 of shape (60000,) and (10000,), or float32 of
        shape (60000, 10) and (10000, 10) if `one_hot`. All are C-contiguous.

    Raises
    ------
    FileNotFoundError
        If files are missing and `download` is False.
    ImportError
        If files are missing and pooch is not installed.
    ConnectionError
        If no mirror delivers a missing file whole and intact.
    ValueError
        If a file is damaged, or does not hold digits of 28 x 28 pixels and their labels.
    """
    files = _locate(data_home, download)
    train, test = (
        encode(
            *_read_pair(files[images], files[labels]),
            white=255,
            normalize=normalize,
            one_hot=one_hot,
        )
        for images, labels in (TRAIN, TEST)
    )
    return train, test


def encode(
    X: NDArray[np.uint8], y: NDArray[Any], *, white: int, normalize: bool, one_hot: bool
) -> Data:
    """Give pixels and labels the form the caller asked for.

    Parameters
    ----------
    X : ndarray of uint8, shape (n, d)
        Grey levels from 0 to `white`.
    y : ndarray of integers, shape (n,)
        Labels from 0 to 9.
    white : int
        The grey level that `normalize` maps to 1.
    normalize : bool
        Return X / `white` in float32.
    one_hot : bool
        Return y as float32 rows of ten.

    Returns
    -------
    X : ndarray of uint8 or float32, shape (n, d)
    y : ndarray of int64, shape (n,), or of float32, shape (n, 10)
    """
    # What lies in the buffer of a file is copied, for NumPy asks the system for huge pages: an epoch of
    # shuffled rows takes 0.87 of the time it takes on small ones (Zen 1, one thread).
    return (
        np.divide(X, white, dtype=np.float32) if normalize else X.copy(),
        np.eye(10, dtype=np.float32)[y] if one_hot else y.astype(np.int64),
    )


def _read_pair(images_path: Path, labels_path: Path) -> Data:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"{images_path}: expected uint8 images of shape (n, 28, 28), "
            f"found {images.dtype} of shape {images.shape}"
        )
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise ValueError(
            f"{labels_path}: expected uint8 labels of shape (n,), "
            f"found {labels.dtype} of shape {labels.shape}"
        )
    if len(images) != len(labels):
        raise ValueError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels"
        )
    if np.any(labels > 9):
        raise ValueError(f"{labels_path}: labels must be 0 to 9, found {labels.max()}")
    return images.reshape(len(images), 28 * 28), labels


def _locate(data_home: str | os.PathLike[str] | None, download: bool) -> dict[str, Path]:
    missing_from: dict[Path, list[str]] = {}
    for folder in search_path(data_home):
        files = _find_files(folder)
        missing = [name for name in TRAIN + TEST if name not in files]
        if not missing:
            return files
        missing_from[folder] = missing

    if not download:
        lacks = "; ".join(f"{f} lacks {', '.join(names)}" for f, names in missing_from.items())
        raise FileNotFoundError(f"no MNIST: {lacks}. {_by_hand(folder)}")
    for name in missing:
        _download(f"{name}.gz", folder)
    return _find_files(folder)


def search_path(data_home: str | os.PathLike[str] | None) -> Iterator[Path]:
    if data_home is not None:
        yield Path(data_home).expanduser()
        return
    if named := os.environ.get("FASTSOFTMAX_DATA"):
        yield Path(named).expanduser()
    yield _cache_dir()


def _cache_dir() -> Path:
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "fastsoftmax"
    if sys.platform == "win32" and (root := os.environ.get("LOCALAPPDATA")):
        return Path(root) / "fastsoftmax"
    root = "Library/Caches" if sys.platform == "darwin" else ".cache"
    return Path.home() / root / "fastsoftmax"


def _find_files(folder: Path) -> dict[str, Path]:
    """Map the MNIST names that `folder` holds, in any spelling, to their paths."""
    files = {}
    for name in TRAIN + TEST:
        dotted = name.replace("-idx", ".idx")
        for spelling in (name, dotted, f"{name}.gz", f"{dotted}.gz"):
            if (folder / spelling).is_file():
                files[name] = folder / spelling
                break
    return files


def _by_hand(folder: Path) -> str:
    return (
        f"By hand: put {', '.join(TRAIN + TEST)}, raw or .gz, in {folder}, or in a directory named "
        "by data_home or by the environment variable FASTSOFTMAX_DATA."
    )


def _download(name: str, folder: Path) -> None:
    pooch = require("pooch", extra="data", purpose="the download of MNIST")
    from requests import RequestException

    size, sha256 = REGISTRY[name]
    failures = []
    for mirror in MIRRORS:
        try:
            with _quiet(pooch.get_logger()):
                # pooch writes beside the target and renames only once the hash is right.
                pooch.retrieve(
                    mirror + name,
                    f"sha256:{sha256}",
                    name,
                    folder,
                    downloader=_exactly(size, pooch),
                )
            return
        # Errors of the disk, such as a full one, are no fault of the mirror: let them out.
        except (RequestException, ValueError) as error:
            failures.append(f"{mirror}: {_in_short(error)}")
    raise ConnectionError(
        "\n  ".join([f"{name} could not be downloaded:", *failures]) + f"\n{_by_hand(folder)}"
    )


def _in_short(error: Exception) -> str:
    # requests hides why there was no connection in the story of its retries.
    story = error.args[0] if error.args else None
    return textwrap.shorten(str(getattr(story, "reason", error)), 160, placeholder=" ...")


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _exactly(size: int, pooch: ModuleType) -> Callable[[str, str, Any], None]:
    """Make a pooch downloader that stops a server which sends more than `size` bytes."""
    http = pooch.HTTPDownloader(timeout=TIMEOUT)

    def download(url: str, output_file: str, caller: Any) -> None:
        with open(output_file, "wb") as file:
            http(url, _Capped(file, size), caller)
            if file.tell() != size:
                raise ValueError(f"expected {size} bytes, got {file.tell()}")

    return download


class _Capped:
    """The part of a file that pooch writes to, up to a number of bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        self.size = size

    def write(self, data: bytes) -> None:
        if self.file.tell() + len(data) > self.size:
            raise ValueError(f"expected {self.size} bytes, got more")
        self.file.write(data)

    def flush(self) -> None:
        self.file.flush()
