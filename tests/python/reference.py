"""What several test files share: naive NumPy, data and its layouts, states, fresh interpreters."""

import copy
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from scipy.special import log_softmax, softmax


def seed_of(random_state):
    """Draw the seed of the permutations as the estimator does from an integer `random_state`."""
    return int(np.random.RandomState(random_state).randint(np.iinfo(np.int32).max))


def train_sgd(
    X,
    labels,
    n_classes,
    permutations,
    *,
    learning_rate=0.01,
    batch_size=100,
    alpha=0.0,
    momentum=0.0,
    nesterov=False,
    fit_intercept=True,
    input_scale=1.0,
    sample_weight=None,
):
    """Train in float64 for one epoch per permutation (of all rows or some); return W, b, losses."""
    X = np.asarray(X, np.float64) * input_scale
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    W, b = np.zeros((n_classes, X.shape[1])), np.zeros(n_classes)
    velocity_W, velocity_b = np.zeros_like(W), np.zeros_like(b)
    curve = []
    for order in permutations:
        loss = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            logits = X[rows] @ W.T + b
            loss -= w[rows] @ log_softmax(logits, axis=1)[np.arange(len(rows)), labels[rows]]
            dlogits = softmax(logits, axis=1) - np.eye(n_classes)[labels[rows]]
            dlogits *= w[rows, None] / len(rows)
            step_W = -learning_rate * (dlogits.T @ X[rows] + alpha * W)
            step_b = -learning_rate * dlogits.sum(axis=0) * fit_intercept
            velocity_W = momentum * velocity_W + step_W
            velocity_b = momentum * velocity_b + step_b
            W = W + (momentum * velocity_W + step_W if nesterov else velocity_W)
            b = b + (momentum * velocity_b + step_b if nesterov else velocity_b)
        curve.append(loss / w[order].sum())
    return W, b, curve


def fitted_pair(W, b):
    """Bring W and b into the shapes of coef_ and intercept_."""
    return (W[1:] - W[:1], b[1:] - b[:1]) if len(W) == 2 else (W, b)


def blobs(n_samples, n_features, n_classes, dtype=np.float64, seed=0):
    """Noisy clusters that softmax regression learns; uint8 covers 0..255, the others about -2..2."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_samples) % n_classes)
    X = rng.normal(size=(n_classes, n_features))[y] + rng.normal(size=(n_samples, n_features))
    if dtype == np.uint8:
        return np.clip(128 + 40 * X, 0, 255).astype(np.uint8), y
    return (X / 2).astype(dtype), y


def frozen(x):
    """The same numbers in an array that may not be written to."""
    copied = x.copy()
    copied.flags.writeable = False
    return copied


def unaligned(x):
    """The same numbers one byte beyond where they should be, in memory that may be written to."""
    buffer = bytearray(b"\0" + x.tobytes())
    return np.frombuffer(buffer, x.dtype, x.size, offset=1).reshape(x.shape)


def layouts(x):
    """The same 2-D numbers in every kind of memory; zero strides are tested on their own."""
    wide = np.empty((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    wide[::2, ::3] = x
    # A field of a packed record: its strides are no multiple of the item size.
    records = np.empty(x.shape, [("tag", "u1"), ("x", x.dtype)])
    records["x"] = x
    return {
        "C": x.copy(),
        "F": np.asfortranarray(x),
        "rows reversed": x[::-1].copy()[::-1],
        "columns reversed": x[:, ::-1].copy()[:, ::-1],
        "every third of every second": wide[::2, ::3],
        "misaligned": unaligned(x),
        "odd strides": records["x"],
        "byte-swapped": x.astype(x.dtype.newbyteorder()),
        "read-only": frozen(x),
    }


LAYOUTS = tuple(layouts(np.zeros((2, 2))))


def snapshot(estimator):
    return copy.deepcopy(vars(estimator))


def assert_unchanged(estimator, before):
    """Compare all attributes, deeply and to the bit, with an earlier snapshot."""
    after = vars(estimator)
    assert after.keys() == before.keys()
    for name, value in before.items():
        _assert_identical(after[name], value, name)


def _assert_identical(actual, expected, name):
    assert type(actual) is type(expected), name
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(actual, expected, err_msg=name, strict=True)
    elif isinstance(expected, tuple | list):
        assert len(actual) == len(expected), name
        for one, other in zip(actual, expected, strict=True):
            _assert_identical(one, other, name)
    else:
        assert actual is expected or actual == expected, name  # NaN is itself, but not its equal


def run_python(code, *arguments, timeout=180, **environment):
    """Run code in a fresh interpreter and return what it printed; a hang or a failure is an error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Where the tests run in the background of a shell, Ctrl-C is ignored, and children inherit that.
HEED_CTRL_C = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"


def stops_at_ctrl_c(code, *arguments):
    """Run code that prints "ready", then send Ctrl-C, on which it must print "interrupted" at once."""
    seconds = []
    command = [sys.executable, "-c", HEED_CTRL_C + code, *map(str, arguments)]
    while len(seconds) < 3:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watchdog = threading.Timer(180, child.kill)
        watchdog.start()
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)
        started = time.perf_counter()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        seconds.append(time.perf_counter() - started)
        child.stdout.close()
        assert child.wait() == 0
        watchdog.cancel()
        if seconds[-1] < 0.5:
            return  # another chance only where other programs keep the machine busy
    raise AssertionError(f"took {seconds} s to stop")


# For code that measures memory: the peak of this process, and a child for each case, whose peak starts
# at what it has, without the second that imports take.
PEAKS = """
import json, os

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

def in_children(cases, measure):
    growth = {}
    for name, make in cases.items():
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, json.dumps(measure(make)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            growth[name] = json.loads(pipe.read())
        os.waitpid(child, 0)
    print(json.dumps(growth))
"""


def logistic_objective(X, labels, coef, intercept, C, sample_weight=None):
    """Sum of the weighted cross-entropies plus |coef|^2 / (2 C), in float64; one row of two classes."""
    logits = np.asarray(X @ np.asarray(coef, np.float64).T) + np.asarray(intercept, np.float64)
    if len(coef) == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    losses = -log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    weights = np.ones(len(labels)) if sample_weight is None else sample_weight
    return weights @ losses + (np.asarray(coef, np.float64) ** 2).sum() / (2 * C)
