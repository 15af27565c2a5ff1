"""What `import fastsoftmax` brings, and what it leaves alone."""

import importlib.metadata
import importlib.resources
import re

import pytest
from reference import run_python

import fastsoftmax as fs

HEAVY = ("sklearn", "scipy", "pandas", "polars", "pooch", "joblib", "matplotlib")


@pytest.mark.parametrize(
    "statement",
    [
        "pass",
        "fs.softmax([1.0, 2.0], n_threads=1), fs.matmul([[1.0]], [[2.0]])",
        "fs.cross_entropy([[1.0, 2.0]], [0])",
        "fs.datasets.read_idx, fs.datasets.load_mnist",
        "fs.load_model, fs.save_model",
        "dir(fs), fs.__version__",
    ],
)
def test_loads_no_more_than_numpy(statement):
    code = f"""
import sys
import fastsoftmax as fs
{statement}
print(*{{name.partition(".")[0] for name in sys.modules}})
"""
    assert not set(HEAVY) & set(run_python(code).split())


def test_has_no_side_effects():
    code = """
import os, signal, sys, threading, warnings
import numpy

def state():
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    n_tasks = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0
    return (dict(os.environ), handlers, threading.active_count(), n_tasks, numpy.geterr(),
            list(warnings.filters), os.getcwd(), list(sys.path), sys.getswitchinterval())

before = state()
import fastsoftmax
from fastsoftmax import _core
assert state() == before
"""
    assert run_python(code) == ""


def test_every_name_resolves():
    assert dir(fs) == sorted(fs.__all__)
    for name in fs.__all__:
        assert getattr(fs, name) is not None
    assert fs.SoftmaxClassifier.__module__.startswith("fastsoftmax")
    for name in fs.datasets.__all__:
        assert callable(getattr(fs.datasets, name))


@pytest.mark.parametrize("name", ["no_such_thing", "sklearn", "__path_to_nowhere__"])
def test_unknown_name(name):
    with pytest.raises(AttributeError, match=f"module 'fastsoftmax' has no attribute '{name}'"):
        getattr(fs, name)


def test_version():
    assert fs.__version__ == importlib.metadata.version("fastsoftmax")
    assert re.fullmatch(r"\d+\.\d+\.\d+", fs.__version__)


@pytest.mark.parametrize("name", ["py.typed", "_core.pyi"])
def test_is_typed(name):
    assert importlib.resources.files(fs).joinpath(name).is_file()


def test_show_versions(capsys):
    fs.show_versions()
    printed = capsys.readouterr().out
    for word in (
        fs.__version__,
        "numpy",
        "scikit-learn",
        "python",
        fs._functions._core.active_isa(),
    ):
        assert word.lower() in printed.lower()


def test_a_sub_interpreter_is_refused():
    """Not left waiting for ever, as pybind11 does with Python 3.11."""
    code = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

interpreters.run_string(interpreters.create(), '''
try:
    import fastsoftmax._core
except ImportError as error:
    print(error, flush=True)
''')
"""
    assert re.search("fastsoftmax.* sub-?interpreter", run_python(code, timeout=60))
