"""Softmax (multinomial logistic) regression on the CPU at the speed the hardware allows.

Importing this package loads nothing else; NumPy, and for the estimators scikit-learn, on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import datasets as datasets
    from ._functions import cross_entropy, log_softmax, logsumexp, matmul, softmax
    from ._logistic_regression import LogisticRegression
    from ._logistic_regression_cv import LogisticRegressionCV
    from ._logistic_regression_path import logistic_regression_path
    from ._persistence import load_model, save_model
    from ._show_versions import show_versions
    from ._softmax_classifier import SoftmaxClassifier

    __version__: str

__all__ = [
    "LogisticRegression",
    "LogisticRegressionCV",
    "SoftmaxClassifier",
    "__version__",
    "cross_entropy",
    "datasets",
    "load_model",
    "log_softmax",
    "logistic_regression_path",
    "logsumexp",
    "matmul",
    "save_model",
    "show_versions",
    "softmax",
]

_MODULE_OF = {
    "LogisticRegression": "._logistic_regression",
    "LogisticRegressionCV": "._logistic_regression_cv",
    "SoftmaxClassifier": "._softmax_classifier",
    "cross_entropy": "._functions",
    "load_model": "._persistence",
    "log_softmax": "._functions",
    "logistic_regression_path": "._logistic_regression_path",
    "logsumexp": "._functions",
    "matmul": "._functions",
    "save_model": "._persistence",
    "show_versions": "._show_versions",
    "softmax": "._functions",
}


def __getattr__(name: str) -> object:
    """Load a public name on first use (Scientific Python SPEC 1)."""
    if name == "datasets":
        return importlib.import_module(".datasets", __name__)
    if name == "__version__":
        from importlib.metadata import version  # 30 ms, so not before it is needed

        return version("fastsoftmax")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
