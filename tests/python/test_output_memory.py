"""Large results lie on memory that earlier ones left: never on that of one still in use."""

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from reference import run_python
from scipy.special import softmax as reference

import fastsoftmax as fs
from fastsoftmax import SoftmaxClassifier, _core

LARGE = (1100, 8000)  # 35 MB of float32


def rows(seed=0, shape=LARGE, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def address(array):
    return array.__array_interface__["data"][0]


def test_results_in_use_are_apart():
    x = rows()
    results = [fs.softmax(x), fs.log_softmax(x), fs.softmax(-x)]
    expected = [reference(x, axis=1), np.log(reference(x, axis=1)), reference(-x, axis=1)]
    for result, right in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, right, rtol=2e-5)
    assert not np.may_share_memory(results[0], results[1])
    assert not np.may_share_memory(results[1], results[2])


def test_what_is_freed_is_used_again_and_views_keep_it():
    x = rows()
    first = fs.softmax(x)
    where, before = address(first), first[3].copy()
    view = first[3]
    del first
    second = fs.softmax(-x)
    assert address(second) != where, "a view is alive"
    np.testing.assert_array_equal(view, before)
    del view
    third = fs.log_softmax(x)
    assert address(third) == where
    # Another shape and dtype of nearly the size.
    del third
    x = rows(1, (500, 8800), np.float64)
    fourth = fs.softmax(x)
    assert address(fourth) == where
    np.testing.assert_allclose(fourth, reference(x, axis=1), rtol=1e-12)


def test_results_are_arrays_like_others():
    result = fs.softmax(rows())
    assert type(result) is np.ndarray
    assert result.shape == LARGE
    assert result.flags.c_contiguous
    assert result.flags.aligned
    assert result.flags.writeable
    result[0] = 7
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(result)), result)


def test_predictions_and_products():
    X, y = rows(2, (300, 20)), np.arange(300) % 3
    clf = SoftmaxClassifier(max_iter=1, random_state=0).fit(X, y)
    many = np.tile(X, (10_000, 1))
    probabilities = clf.predict_proba(many)
    assert probabilities.nbytes > 1 << 25
    np.testing.assert_array_equal(probabilities[-300:], clf.predict_proba(X))
    a, b = rows(3, (3000, 5)), rows(4, (5, 3000))
    np.testing.assert_allclose(fs.matmul(a, b), a.astype(float) @ b, atol=1e-5)


def test_threads_do_not_share():
    x = [rows(seed) for seed in range(4)]
    expected = [fs.softmax(each, out=np.empty_like(each)) for each in x]
    wrong = []

    def work(i):
        for _ in range(5):
            result = fs.softmax(x[i], n_threads=1)
            if not np.array_equal(result, expected[i]):
                wrong.append(i)
            del result

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


MAPPED = """
import os
import numpy as np
from fastsoftmax import _core
mapped = lambda: int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE") >> 20
before = mapped()
for size in (40, 90, 150, 40, 200, 60):
    results = [_core.large_output((size << 20,), np.dtype(np.uint8)) for _ in range(3)]
    results[0][::4096] = 1
    del results
print(mapped() - before)
print(_core.large_output((600 << 20,), np.dtype(np.uint8)).nbytes >> 20)
print(mapped() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_no_more_is_kept_than_256_mb():
    kept, largest, after = map(int, run_python(MAPPED).split())
    assert 100 < kept <= 258  # some of the interpreter's own
    assert largest == 600
    assert abs(after - kept) <= 2, "what is too large to be kept drives nothing else out"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_has_its_own():
    code = (
        "import os, numpy as np, fastsoftmax as fs\n"
        "x = np.zeros((1100, 8000), np.float32)\n"
        "x[:, 0] = 1\n"
        "expected = fs.softmax(x, out=np.empty_like(x))\n"
        "fs.softmax(x)\n"  # freed, and inherited
        "child = os.fork()\n"
        "right = np.array_equal(fs.softmax(x if child else x + 1), expected)\n"
        "if not child: os._exit(0 if right else 1)\n"
        "print(right, os.waitpid(child, 0)[1])\n"
    )
    assert run_python(code).split() == ["True", "0"]


def test_impossible_shapes():
    with pytest.raises(MemoryError):
        _core.large_output((1 << 50,), np.dtype(np.uint8))
    for shape in (1 << 62, 1 << 62), (-1, 5):
        with pytest.raises(ValueError, match="no array can have this shape"):
            _core.large_output(shape, np.dtype(np.float32))
