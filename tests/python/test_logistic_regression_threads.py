"""LogisticRegression: the same bits for any number of threads, memory, the GIL and Ctrl-C."""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal
from reference import PEAKS, blobs, run_python, stops_at_ctrl_c

from fastsoftmax import LogisticRegression, logistic_regression_path


@pytest.fixture(autouse=True)
def _eight_cpus(monkeypatch):
    """Let eight threads run, whatever this machine has."""
    monkeypatch.setenv("FASTSOFTMAX_CPUS", "8")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def data(n_classes, dtype, sparse=False):
    """Enough for eight threads, and for the first iterations to look at some rows only."""
    X, y = blobs(6007, 133, n_classes, np.uint8 if dtype == np.uint8 else np.float64)
    X = X.astype(dtype)
    if sparse:
        return scipy.sparse.csr_array(np.where(X > 0.8, X, 0).astype(dtype)), y
    return X, y


@pytest.mark.parametrize("n_classes", [2, 3, 10, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_same_bits(dtype, n_classes):
    X, y = data(n_classes, dtype)
    weights = np.random.default_rng(0).uniform(0.5, 2, size=len(X))
    scale = 1 / 255 if dtype == np.uint8 else 1.0
    check_same_bits(X, y, weights, scale)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_of_csr(dtype, n_classes):
    check_same_bits(*data(n_classes, dtype, sparse=True), None, 1.0)


def check_same_bits(X, y, weights, scale):
    fits = [
        LogisticRegression(n_threads=n, tol=1e-3, C=0.1, input_scale=scale).fit(X, y, weights)
        for n in (1, 2, 3, 8)
    ]
    for clf in fits[1:]:
        for name in ("coef_", "intercept_", "n_iter_", "objective_", "gap_", "n_passes_"):
            assert_array_equal(getattr(clf, name), getattr(fits[0], name), err_msg=name)


@pytest.mark.parametrize("sparse", [False, True])
def test_same_bits_of_many_models(sparse):
    X, y = data(4, np.float32, sparse)
    folds = np.arange(len(y)) % 3
    paths = [
        logistic_regression_path(X, y, [0.01, 0.1], folds, tol=1e-3, n_threads=n) for n in (1, 2, 8)
    ]
    for path in paths[1:]:
        for name, value in path._asdict().items():
            assert_array_equal(value, getattr(paths[0], name), err_msg=name)


def test_fits_side_by_side():
    X, y = data(5, np.float32)

    def coef_of(C):
        return LogisticRegression(C=C, n_threads=8, tol=1e-3).fit(X, y).coef_

    Cs = [0.01, 0.03, 0.1, 0.3]
    expected = [coef_of(C) for C in Cs]
    with ThreadPoolExecutor(2) as pool:
        for result, coef in zip(pool.map(coef_of, Cs), expected, strict=True):
            assert_array_equal(result, coef)


def test_others_run_meanwhile():
    X, y = blobs(20_000, 200, 10, np.float32)
    clf, ticks = LogisticRegression(tol=1e-6, C=10, n_threads=1), 0
    worker = threading.Thread(target=clf.fit, args=(X, y))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)  # threads change only where one gives the GIL up
    try:
        worker.start()
        while worker.is_alive():
            ticks += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(interval)
    assert ticks > 10


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forked_children():
    run_python(
        """
import os
import numpy as np
from fastsoftmax import LogisticRegression

def fit(n_threads=8):
    X = np.random.default_rng(0).normal(size=(3000, 100)).astype(np.float32)
    return LogisticRegression(n_threads=n_threads).fit(X, np.arange(3000) % 7).coef_.tobytes()

expected = fit()
child = os.fork()
if child == 0:
    os._exit(0 if fit() == fit(1) == expected else 1)
assert os.waitpid(child, 0)[1] == 0
""",
        FASTSOFTMAX_CPUS="8",
    )


INTERRUPTED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import scipy.sparse
from reference import assert_unchanged, blobs, snapshot
from fastsoftmax import LogisticRegression

n_samples, n_features, n_classes = map(int, sys.argv[2].split("x"))
X, y = blobs(n_samples, n_features, n_classes, np.float32)
y = np.random.default_rng(0).permutation(y)  # a hard problem, to be solved to the last bit
if sys.argv[3] == "csr":
    X = scipy.sparse.csr_array(X * (X > 0.5))
clf = LogisticRegression(C=1e6, tol=1e-15, max_iter=10**8, n_threads=2)
clf.set_params(warm_start=True)
small = clf.set_params(tol=0.5).fit(X[:500], np.arange(500) % n_classes)
clf.tol = 1e-15
before = snapshot(clf)
print("ready", flush=True)
try:
    clf.fit(X, y)
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert_unchanged(clf, before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
@pytest.mark.parametrize(
    ("shape", "form"),
    [("40000x500x10", "dense"), ("10000x400x200", "dense"), ("40000x300x20", "csr")],
)
def test_ctrl_c(shape, form):
    stops_at_ctrl_c(INTERRUPTED, Path(__file__).parent, shape, form)


MEMORY = """
import sys, warnings
import numpy as np
import scipy.sparse
from fastsoftmax import LogisticRegression, LogisticRegressionCV, logistic_regression_path

def array(n_bytes, dtype, n_features=192, n_classes=5):
    shape = n_bytes // (n_features * np.dtype(dtype).itemsize), n_features
    y = np.arange(shape[0]) % n_classes
    X = np.empty(shape, dtype)
    X[...] = np.arange(n_features) % 3 + y[:, None] % 2
    return X, y

def csr(n_bytes):
    X, y = array(n_bytes, "float32")
    indices = np.tile(np.arange(192, dtype=np.int32), len(X))
    indptr = np.arange(0, X.size + 1, 192, dtype=np.int32)
    return scipy.sparse.csr_array((X.ravel(), indices, indptr), shape=X.shape, copy=False), y

CASES = {
    "float32": lambda: array(N, "float32"),
    "float64": lambda: array(N, "float64"),
    "uint8": lambda: array(N, "uint8"),
    "csr": lambda: csr(N),
    "a hundred classes": lambda: array(N, "float32", n_classes=100),
}

def measure(make):
    X, y = make()
    X.max()
    clf = LogisticRegression(max_iter=3, tol=1e-9, C=1e-3, n_threads=2)
    clf.fit(X[:1000], y[:1000]).predict(X[:100])
    growth = []
    before = peak()
    clf.fit(X, y)
    growth.append(peak() - before)
    logistic_regression_path(X, y, [1e-5, 1e-4], np.arange(len(y)) % 2, max_iter=2, n_threads=2)
    growth.append(peak() - before)
    return growth

warnings.simplefilter("ignore")
N = int(sys.argv[1])
in_children(CASES, measure)
"""


@pytest.fixture(scope="module")
def growth():
    """By case, the growth of the peak in a fit, and after four models more."""
    output = run_python(PEAKS + MEMORY, 128 << 20, MALLOC_MMAP_THRESHOLD_="65536")
    return json.loads(output)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", ["float32", "float64", "uint8", "csr", "a hundred classes"])
def test_memory(growth, case):
    # The history of 50 steps and gradients of at most 100 x 193 float64 is 16 MB for one model and
    # 62 MB for four; labels, weights and orders take some 40 bytes for each of at most 700,000 rows.
    # A copy of X would take 128 MB, logits of all rows and 100 classes 67 MB in float32.
    n_rows = (128 << 20) // 192 // (1 if case == "uint8" else 8 if case == "float64" else 4)
    parameters = 193 * 8 * (100 if case == "a hundred classes" else 5)
    fit, path = growth[case]
    little = (16 << 20) + 40 * n_rows
    assert fit < little + 108 * parameters
    assert path < little + 4 * 108 * parameters + 8 * n_rows


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_proof_is_the_same_wherever_memory_lies():
    """Of a point that is added when the solver has forgotten its pairs it read beyond their end."""
    rng = np.random.default_rng(312)
    X = rng.standard_normal((8, 14)) + 1e6
    weights = 10.0 ** rng.uniform(-8, 8, 8)
    gaps = set()
    for _ in range(25):
        others = [np.random.default_rng().random(rng.integers(1, 3000)) for _ in range(50)]
        clf = LogisticRegression(C=100.0, n_threads=1, max_iter=300)
        gaps.add(clf.fit(X, np.arange(8) % 3, weights).gap_)
        del others
    assert len(gaps) == 1
