"""The parameters that all forms of logistic regression share: checked, and as the core takes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import threads_or_default
from ._logistic_models import Models, Progress
from ._parameters import check_bool, check_number, check_verbose, draw_seed

SOLVERS = ("auto", "lbfgs", "newton-cg")


def check_options(estimator: Any) -> dict[str, Any]:
    """The core's options from an estimator's parameters."""
    return {
        "fit_intercept": check_bool(estimator.fit_intercept, "fit_intercept"),
        "input_scale": check_number(estimator.input_scale, "input_scale", exclusive=True),
        "tol": check_number(estimator.tol, "tol"),
        "max_iter": check_number(
            estimator.max_iter, "max_iter", integer=True, minimum=1, below=2**31
        ),
        "solver": _check_solver(estimator.solver),
        # Of the subsets of rows: without a `random_state` always the same ones.
        "seed": 0 if estimator.random_state is None else draw_seed(estimator.random_state),
        "n_threads": threads_or_default(estimator.n_threads),
        "callback": _reporter(estimator.verbose),
    }


def check_C(C: object, name: str = "C") -> float:
    """1 / C: zero for infinity."""
    if isinstance(C, float | np.floating) and math.inf == C:
        return 0.0
    strength: float = check_number(C, name, exclusive=True, limit="finite, or np.inf")
    return min(1 / strength, 1e300) if strength > 1e-300 else 1e300


def check_Cs(Cs: object) -> NDArray[np.float64]:
    """The values of C: those given, or so many from 1e-4 to 1e4, evenly in the logarithm."""
    if np.ndim(Cs) == 0:  # type: ignore[arg-type]
        count = check_number(Cs, "Cs", integer=True, minimum=1, below=2**31)
        return np.logspace(-4, 4, count)
    if np.ndim(Cs) != 1 or np.size(Cs) == 0:  # type: ignore[arg-type]
        raise ValueError(f"Cs must be a number of values or a list of them, not {Cs!r}")
    values = list(Cs)  # type: ignore[call-overload]
    for position, C in enumerate(values):
        check_C(C, f"Cs[{position}]")
    return np.array(values, np.float64)


def check_l1_ratio(l1_ratio: object, name: str = "l1_ratio") -> None:
    """Refuse every penalty but L2."""
    if l1_ratio is not None and check_number(l1_ratio, name) != 0:
        raise ValueError(
            f"{name}={l1_ratio!r} is not supported, L2 is the only penalty ({name}=0); L1 and "
            f"elastic net are in sklearn.linear_model with solver='saga'"
        )


def check_penalty(penalty: object) -> bool:
    """Tell whether scikit-learn's former parameter leaves the penalty to `C`."""
    if penalty is None:
        return False
    if not (isinstance(penalty, str) and penalty in ("l2", "deprecated")):
        raise ValueError(
            f"penalty={penalty!r} is not supported: 'l2' and None are; L1 and elastic net are in "
            f"sklearn.linear_model with solver='saga'"
        )
    return True


def _check_solver(solver: object) -> str:
    if not isinstance(solver, str) or solver not in SOLVERS:
        # It penalizes the intercept, and fits a class against the rest.
        other = " but for what 'liblinear' makes of intercepts" if solver == "liblinear" else ""
        raise ValueError(
            f"solver={solver!r} is not supported; solver='auto' finds the same optimum{other} "
            f"(others are {', '.join(map(repr, SOLVERS[1:]))})"
        )
    return str(solver)


def _reporter(verbose: object) -> Progress | None:
    if not check_verbose(verbose):
        return None

    def report(iteration: int, goes_on: bool, models: Models) -> bool:
        print(
            f"iteration {iteration}: objective {models.objective.max():.6g}, "
            f"relative gap {models.gap.max():.2g}",
            flush=True,
        )
        return False

    return report
