"""Every instruction set of this machine, forced: it runs, and its results are near the others'."""

import os

import numpy as np
import pytest
from numpy.testing import assert_allclose
from reference import blobs, run_python

import fastsoftmax as fs
from fastsoftmax import SoftmaxClassifier, _core

ISAS = _core.supported_isas()
assert ISAS[-1] == "scalar"  # the best first

REPORT = """
import sys
import numpy as np
from fastsoftmax import _core
sys.path.insert(0, sys.argv[1])
from test_isa import results
print(_core.active_isa())
np.savez(sys.argv[2], **results())
"""


def results():
    """All kernels once, by name."""
    found = {}
    for dtype in (np.float32, np.float64, np.uint8):
        X, y = blobs(97, 133, 10, dtype)
        scale = 1 / 128 if dtype == np.uint8 else 1.0
        clf = SoftmaxClassifier(input_scale=scale, batch_size=32, momentum=0.5, random_state=0)
        clf.fit(X, y)
        found |= {
            f"coef of {dtype.__name__}": clf.coef_,
            f"proba of {dtype.__name__}": clf.predict_proba(X),
            f"product of {dtype.__name__}": fs.matmul(X, X.T.astype(clf.coef_.dtype)),
            f"narrow product of {dtype.__name__}": fs.matmul(X, clf.coef_.T),
            f"softmax of {dtype.__name__}": fs.softmax(X),
            f"log_softmax of {dtype.__name__}": fs.log_softmax(X),
            f"logsumexp of {dtype.__name__}": fs.logsumexp(X),
            f"losses of {dtype.__name__}": fs.cross_entropy(X, y, reduction="none"),
        }
    return found


@pytest.fixture(scope="module")
def by_isa(tmp_path_factory):
    """What each instruction set finds, and what it calls itself, in a process of its own."""
    folder, found = tmp_path_factory.mktemp("isa"), {}
    here = os.path.dirname(__file__)
    for isa in ISAS:
        file = folder / f"{isa}.npz"
        name = run_python(REPORT, here, file, FASTSOFTMAX_ISA=isa).strip()
        with np.load(file) as arrays:
            found[isa] = name, dict(arrays)
    return found


@pytest.mark.parametrize("isa", ISAS)
def test_is_active(by_isa, isa):
    assert by_isa[isa][0] == isa


@pytest.mark.parametrize("isa", ISAS[:-1])
def test_is_near_the_scalar_kernels(by_isa, isa):
    # Sums of at most 133 products, 10 epochs of 4 steps: at most some 1000 roundings of the largest.
    results, expected = by_isa[isa][1], by_isa["scalar"][1]
    for name, array in expected.items():
        bound = 1000 * np.finfo(array.dtype).eps * abs(array).max()
        assert_allclose(results[name], array, rtol=0, atol=bound, err_msg=name)


@pytest.mark.parametrize("isa", ISAS[:-1])
def test_its_own_kernels_ran(by_isa, isa):
    # Sums in another order have other bits: each of these would be equal only if scalar code ran.
    results, expected = by_isa[isa][1], by_isa["scalar"][1]
    for name in results:
        if "product" in name and "uint8" not in name:
            assert not np.array_equal(results[name], expected[name]), name


FIT_AND_CATCH = """
import fastsoftmax as fs
from fastsoftmax import _core
clf = fs.SoftmaxClassifier()
before = dict(vars(clf))
for call in (
    lambda: fs.softmax([1.0, 2.0]),
    lambda: fs.matmul([[1.0]], [[1.0]]),
    lambda: clf.fit([[0.0], [1.0]], [0, 1]),
    _core.active_isa,
):
    try:
        call()
    except ValueError as error:
        print(error)
assert vars(clf) == before
_core.set_active_isa("scalar")
clf.fit([[0.0], [1.0]], [0, 1])
"""


@pytest.mark.parametrize("name", ["nonsense", "AVX2", " scalar"])
def test_unknown_name_in_the_environment(name):
    messages = run_python(FIT_AND_CATCH, FASTSOFTMAX_ISA=name).splitlines()
    assert len(messages) == 4
    for message in messages:
        assert f"FASTSOFTMAX_ISA: '{name}' is not an instruction set" in message
        assert message.endswith("choose one of " + " ".join(ISAS))


def test_the_best_is_the_default():
    code = "from fastsoftmax import _core; print(_core.active_isa())"
    assert run_python(code, FASTSOFTMAX_ISA="").strip() == ISAS[0]


def test_set_active_isa():
    saved = _core.active_isa()
    a, b = blobs(30, 133, 2)[0], blobs(133, 30, 2)[0]
    try:
        for isa in ISAS:
            _core.set_active_isa(isa)
            assert _core.active_isa() == isa
            assert_allclose(fs.matmul(a, b), a @ b, atol=1e-12)
        for bad in ("nonsense", "", "Scalar"):
            with pytest.raises(ValueError, match=f"'{bad}' .* choose one of {' '.join(ISAS)}$"):
                _core.set_active_isa(bad)
            assert _core.active_isa() == ISAS[-1]
    finally:
        _core.set_active_isa(saved)
