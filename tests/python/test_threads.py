"""The same bits for any number of threads, in forked children and side by side; GIL and Ctrl-C."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from reference import blobs, run_python, stops_at_ctrl_c

import fastsoftmax as fs
from fastsoftmax import LogisticRegression, SoftmaxClassifier, _core
from fastsoftmax._linear_classifier import _OF_FEW

# No multiple of the widest vector (16), nor of the features a thread takes at a time (64), but
# enough of those for eight threads.
N_FEATURES = 8 * 64 + 5
# What a thread must have to do, as plan_threads wants it, in products of a step (20 in a nanosecond).
PRODUCTS_FOR_8_THREADS = 8 * 5_000 * 20


@pytest.fixture(autouse=True)
def _eight_cpus(monkeypatch):
    """Let eight threads run, whatever this machine has."""
    monkeypatch.setenv("FASTSOFTMAX_CPUS", "8")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def problem(n_classes, dtype):
    """A batch that pays for 8 threads, and data of three batches and a half."""
    batch_size = max(32, -(-PRODUCTS_FOR_8_THREADS // (N_FEATURES * n_classes)))
    X, y = blobs(3 * batch_size + batch_size // 2 + 1, N_FEATURES, n_classes, dtype)
    return X, y, {"batch_size": batch_size, "input_scale": 1 / 255 if dtype == np.uint8 else 1.0}


def test_plan():
    work = PRODUCTS_FOR_8_THREADS / 20
    assert [_core.plan_threads(n, work) for n in (1, 2, 3, 8, 9, 0)] == [1, 2, 3, 8, 8, 8]
    assert _core.plan_threads(8, work / 4) == 2
    assert _core.plan_threads(8, 0) == 1


def test_plan_by_environment(monkeypatch):
    for text, expected in (("3", 3), ("2,4", 2), ("100", 8), ("0", 8), ("-1", 8), ("many", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert _core.plan_threads(0, 1e9) == expected
        assert _core.plan_threads(5, 1e9) == 5


def test_cpus_that_are_no_number(monkeypatch):
    X, y, settings = problem(3, np.float32)
    clf = SoftmaxClassifier(**settings).fit(X, y)
    before = clf.coef_.copy()
    monkeypatch.setenv("FASTSOFTMAX_CPUS", "2x")
    with pytest.raises(ValueError, match="FASTSOFTMAX_CPUS: '2x' is not a positive integer"):
        clf.fit(X[::-1], y)
    np.testing.assert_array_equal(clf.coef_, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("n_classes", [2, 3, 10, 26, 100])
def test_fit_and_predict(dtype, n_classes):
    X, y, settings = problem(n_classes, dtype)
    products = settings["batch_size"] * N_FEATURES * n_classes
    assert _core.plan_threads(8, products / 20) == 8
    weights = np.random.default_rng(0).uniform(0.5, 2, size=len(X))
    results = []
    for n_threads in (1, 2, 3, 8):
        clf = SoftmaxClassifier(
            **settings, max_iter=2, momentum=0.5, alpha=1e-3, random_state=0, n_threads=n_threads
        )
        clf.fit(X, y, sample_weight=weights)
        outputs = [clf.predict(X), clf.predict_proba(X), clf.predict_log_proba(X)]
        outputs += [clf.decision_function(X), clf.coef_, clf.intercept_, clf.loss_curve_]
        results.append(outputs)
    for others in results[1:]:
        for one, other in zip(results[0], others, strict=True):
            assert_array_equal(one, other, strict=isinstance(one, np.ndarray))
    assert len(np.unique(results[0][0])) > 1  # it learned something


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(1003, 517)).astype(dtype), rng.normal(size=(517, 133)).astype(dtype)
    x = rng.normal(size=(8001, 37)).astype(dtype)
    labels = np.arange(8001) % 37
    # A call asks for five times the work that a phase of a fit does.
    assert _core.plan_threads(8, 1003 * 517 * 10 / 20 / 5) == 8
    assert _core.plan_threads(8, x.size / 5) == 8
    calls = {
        "matmul": lambda n: fs.matmul(a, b, n_threads=n),
        "narrow matmul": lambda n: fs.matmul(a, b[:, :10], n_threads=n),
        "strided matmul": lambda n: fs.matmul(a[:, ::-1], b[::-1], n_threads=n),
        "softmax": lambda n: fs.softmax(x, n_threads=n),
        "log_softmax": lambda n: fs.log_softmax(x, axis=0, n_threads=n),
        "logsumexp": lambda n: fs.logsumexp(x, n_threads=n),
        "cross_entropy": lambda n: fs.cross_entropy(x, labels, n_threads=n),
    }
    for name, call in calls.items():
        for n_threads in (2, 3, 8):
            assert_array_equal(call(n_threads), call(1), err_msg=name)


FIT = """
import hashlib, multiprocessing, os, sys, threading
import numpy as np
from fastsoftmax import SoftmaxClassifier

X = np.random.default_rng(0).normal(size=(2000, 600)).astype(np.float32)
y = np.arange(2000) % 10

def train(n_threads):
    clf = SoftmaxClassifier(batch_size=300, max_iter=3, random_state=0, n_threads=n_threads)
    return clf.fit(X, y)

def fit(n_threads=8):
    clf = train(n_threads)
    return hashlib.sha256(clf.coef_.tobytes() + clf.predict_proba(X).tobytes()).hexdigest()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_eight_threads_do_run():
    code = """
def n_running():
    return len(os.listdir("/proc/self/task"))

def watch():
    while not done.is_set():
        numbers.append(n_running())

done, numbers = threading.Event(), []
watcher = threading.Thread(target=watch)  # one: when it has been joined it may be seen for a while
watcher.start()
before = n_running()
for n_threads in 1, 8:
    numbers.clear()
    train(n_threads)
    numbers.append(n_running())  # OpenMP keeps its threads; the watcher may have had no CPU
    print(max(numbers) - before)
done.set()
"""
    assert run_python(FIT + code).split() == ["0", "7"]


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forked_children():
    # A child of a process that has used threads must not hang, and gets the same bits.
    code = """
expected = fit()
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, (fit() + fit(1)).encode())
    os._exit(0)
os.close(writing)
with open(reading) as pipe:
    assert pipe.read() == 2 * expected
assert os.waitpid(child, 0)[1] == 0
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(fit, [8, 1, 3]) == [expected] * 3
assert fit() == expected  # and the parent still works
"""
    run_python(FIT + code)


def test_spawned_child(tmp_path):
    script = tmp_path / "script.py"  # the child imports it
    script.write_text(
        FIT
        + """
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(fit, [8, 3]) == [fit()] * 2
"""
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=180)


def test_threads_share_a_model():
    X, y, settings = problem(10, np.float32)
    clf = SoftmaxClassifier(**settings, random_state=0, n_threads=8).fit(X, y)
    expected = clf.predict_proba(X)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(clf.predict_proba, [X] * 24):
            assert_array_equal(result, expected)


def test_fits_side_by_side():
    X, y, settings = problem(10, np.float32)

    def coef_of(seed):
        return SoftmaxClassifier(**settings, random_state=seed, n_threads=8).fit(X, y).coef_

    expected = [coef_of(seed) for seed in range(4)]
    with ThreadPoolExecutor(2) as pool:
        for result, coef in zip(pool.map(coef_of, range(4)), expected, strict=True):
            assert_array_equal(result, coef)


LONG_CALLS = {
    "fit_sgd": lambda X, y: SoftmaxClassifier(max_iter=30, n_threads=1).fit(X, y),
    "predict_probs": lambda X, y: (
        SoftmaxClassifier(n_threads=1).fit(X[:100], y[:100]).predict_proba(X)
    ),
    "matmul": lambda X, y: fs.matmul(X[:4000], X[:1000].T, n_threads=1),
    "softmax": lambda X, y: fs.softmax(X, n_threads=1),
    "matmul_of_few": lambda X, y: [fs.matmul(X[:100], X[:100].T, n_threads=1) for _ in range(20)],
    "softmax_of_few": lambda X, y: [fs.softmax(X[:1000], n_threads=1) for _ in range(20)],
    "predict_class_of_few": lambda X, y: [
        clf.predict(X[:1000]) for clf in [SoftmaxClassifier(n_threads=1).fit(X[:100], y[:100])] * 20
    ],
}


@pytest.mark.parametrize("name", LONG_CALLS)
def test_others_run_meanwhile(name, monkeypatch):
    X, y = blobs(30_000, 700, 10, np.float32)
    kernel, ticks, seen = getattr(_core, name), 0, []

    def watched(*arguments, **named):
        before = ticks
        try:
            return kernel(*arguments, **named)
        finally:
            seen.append(ticks - before)

    monkeypatch.setattr(_core, name, watched)
    monkeypatch.setitem(_OF_FEW, watched, lambda *arguments: None)
    monkeypatch.setitem(_OF_FEW, _core.predict_class, _core.predict_class_of_few)
    # The interpreter takes the GIL from nobody: threads change only where one gives it up.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        worker = threading.Thread(target=LONG_CALLS[name], args=(X, y))
        worker.start()
        while worker.is_alive():
            ticks += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(interval)
    assert max(seen) > 0


INTERRUPTED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from reference import assert_unchanged, blobs, snapshot
from fastsoftmax import SoftmaxClassifier

n_samples, n_features, n_classes = map(int, sys.argv[2].split("x"))
X, y = blobs(n_samples, n_features, n_classes, np.float32)
clf = SoftmaxClassifier(
    batch_size=n_samples, momentum=0.5, random_state=0, max_iter=2, n_threads=8, warm_start=True,
    learning_rate=1e-6,
)
if sys.argv[3] == "fitted":
    clf.fit(X, y)
clf.max_iter = 10**8
before = snapshot(clf)
print("ready", flush=True)
try:
    clf.fit(X, y)
except KeyboardInterrupt:
    print("interrupted", flush=True)
else:
    sys.exit("not interrupted")
assert_unchanged(clf, before)
clf.max_iter = 1
assert clf.fit(X, y).n_iter_ == (3 if sys.argv[3] == "fitted" else 1)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a child")
@pytest.mark.parametrize(
    ("shape", "state"),
    [("3x1x2", "unfitted"), ("5000x700x10", "fitted"), ("50000x20x100", "fitted")],
)
def test_ctrl_c(shape, state):
    stops_at_ctrl_c(INTERRUPTED, Path(__file__).parent, shape, state)


INTERRUPTED_CALL = """
import sys
import numpy as np
import fastsoftmax as fs

X = np.lib.stride_tricks.as_strided(np.ones((1, 64), np.float32), (10**8, 64), (0, 4))
clf = fs.SoftmaxClassifier(max_iter=1).fit(X[:500], np.arange(500) % 100)
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    "call",
    ["clf.predict(X)", "fs.matmul(X, np.ones((64, 1), np.float32))"],
)
def test_ctrl_c_in_long_calls(call):
    stops_at_ctrl_c(INTERRUPTED_CALL.format(call=call))


@pytest.mark.parametrize(
    ("method", "function"), [("predict_proba", "softmax"), ("predict_log_proba", "log_softmax")]
)
def test_threads_of_two_classes(method, function, monkeypatch):
    X, y = blobs(60, 5, 2)
    clf = LogisticRegression(n_threads=1).fit(X, y)
    given = []

    def watched(*arguments, **named):
        given.append(named)
        return getattr(fs, function)(*arguments, **named)

    monkeypatch.setattr(f"fastsoftmax._linear_classifier.{function}", watched)
    getattr(clf, method)(X)
    assert given == [{"n_threads": 1}]
