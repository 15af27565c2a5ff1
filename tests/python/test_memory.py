"""X is read where it lies: the peak of memory grows by less than any copy of it would take."""

import json
import sys

import pytest
from reference import PEAKS, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

N_BYTES = 64 << 20
# What else a fit holds: order, labels and their indices, some 30 bytes for each of at most 175000
# rows. A copy of X, or of a quarter of it, would take more.
LITTLE = 8 << 20

CODE = """
import sys
import numpy as np
from fastsoftmax import SoftmaxClassifier

n_bytes, folder = int(sys.argv[1]), sys.argv[2]

def array(dtype, order="C", n_features=384):
    shape = n_bytes // (n_features * np.dtype(dtype).itemsize), n_features
    X = np.empty(shape, dtype, order)
    X[...] = np.arange(n_features) % 3
    return X

def mapped():
    np.save(folder + "/X.npy", array("float32"))
    return np.load(folder + "/X.npy", mmap_mode="r")

def read_only():
    X = array("float32")
    X.flags.writeable = False
    return X

CASES = {
    "float32": lambda: array("float32"),
    "float64": lambda: array("float64"),
    "uint8": lambda: array("uint8"),
    "bool": lambda: array("bool"),
    "every other row": lambda: array("float32")[::2],
    "rows reversed": lambda: array("float32")[::-1],
    "range of columns": lambda: array("uint8")[:, 5:380],
    "read-only": read_only,
    "memory map": mapped,
    "F order": lambda: array("float32", "F"),
    "byte-swapped": lambda: array(">f4"),
    "float16": lambda: array("float16"),
    "int16": lambda: array("int16"),
    "int64": lambda: array("int64"),
    "int8": lambda: array("int8"),
}

def measure(make):
    X = make()
    y = np.arange(len(X)) % 3
    X.max()  # maps the file
    clf = SoftmaxClassifier(max_iter=1, batch_size=1000)
    clf.fit(X[:100], y[:100]).predict(X[:100])
    growth = []
    for method, *labels in ("fit", y), ("partial_fit", y), ("predict_proba",), ("predict",):
        before = peak()
        getattr(clf, method)(X, *labels)
        growth.append(peak() - before)
    return growth

in_children(CASES, measure)
"""


@pytest.fixture(scope="module")
def growth(tmp_path_factory):
    """By case, the growth of the peak in fit, then beyond that in the other methods."""
    # No arena of malloc keeps what others freed: each allocation that counts comes from the system.
    output = run_python(
        PEAKS + CODE, N_BYTES, tmp_path_factory.mktemp("X"), MALLOC_MMAP_THRESHOLD_="65536"
    )
    return json.loads(output)


@pytest.mark.parametrize(
    "case",
    [
        "float32",
        "float64",
        "uint8",
        "bool",
        "every other row",
        "rows reversed",
        "range of columns",
        "read-only",
        "memory map",
    ],
)
def test_read_in_place(growth, case):
    assert sum(growth[case]) < LITTLE


@pytest.mark.parametrize(
    ("case", "times"),
    [("F order", 1), ("byte-swapped", 1), ("float16", 2), ("int16", 2), ("int64", 1), ("int8", 4)],
)
def test_converted_once(growth, case, times):
    in_fit, *in_others = growth[case]
    assert abs(in_fit - times * N_BYTES) < LITTLE
    assert sum(in_others) < LITTLE
