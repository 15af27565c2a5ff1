"""What a valid model file holds: names, types, shapes and values, checked before any use.

Estimators are made and taken apart in _persistence.py; bytes are read in _npz.py.
"""

import itertools
import json
import math
from dataclasses import dataclass
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

FORMAT = "fastsoftmax model"
VERSION = 1

_HEADER_KEYS = {
    "format",
    "version",
    "class",
    "parameters",
    "n_features_in",
    "n_iter",
    "seed",
    "arrays",
}
_COMMON = {"header", "coef_", "intercept_", "classes_"}
_VELOCITY = {"velocity_coef", "velocity_intercept"}

# May be unknown: the gap without a penalty, all three of the mean of models that refit=False makes.
UNKNOWN = {"gap_", "objective_", "n_passes_"}

HUGE = 2**63  # no integer among the parameters is this large
_MANY = 2**31  # as many features or iterations there cannot be

_Types = dict[str, tuple[type, ...]]


@dataclass(frozen=True)
class Kind:
    """What the file of a class of estimators holds beside what all do."""

    parameters: _Types
    arrays: frozenset[str]  # float64
    optional: frozenset[str] = frozenset()


_COMMON_PARAMETERS: _Types = {
    "max_iter": (int,),
    "fit_intercept": (bool,),
    "input_scale": (float, int),
    "random_state": (int, NoneType),
    "n_threads": (int, NoneType),
    "warm_start": (bool,),
    "verbose": (int, bool),
}

KINDS = {
    "SoftmaxClassifier": Kind(
        parameters=_COMMON_PARAMETERS
        | {
            "learning_rate": (float, int),
            "batch_size": (int,),
            "alpha": (float, int),
            "momentum": (float, int),
            "nesterov": (bool,),
            "shuffle": (bool,),
        },
        arrays=frozenset({"loss_curve_"}),
        optional=frozenset(_VELOCITY),
    ),
    "LogisticRegression": Kind(
        parameters=_COMMON_PARAMETERS
        | {
            "C": (float, int),
            "l1_ratio": (float, int, NoneType),
            "tol": (float, int),
            "class_weight": (str, NoneType),
            "solver": (str,),
            "penalty": (str, NoneType),
        },
        arrays=frozenset({"gap_", "objective_", "n_passes_"}),
    ),
}


def check_model(arrays: Arrays) -> dict[str, Any]:
    """Return the header if all parts of a model are there, valid, and fit together."""
    if "header" not in arrays:
        raise ValueError("it has no header")
    header = _parse_header(arrays["header"])
    kind = KINDS[header["class"]]
    optional = {"feature_names_in_"} | kind.optional
    _check_keys("arrays", set(arrays), _COMMON | kind.arrays, optional)
    # One damaged length in a zip directory can hide its last entries, which may be optional ones.
    if header["arrays"] != (present := sorted(arrays.keys() - {"header"})):
        raise ValueError(f"its header lists the arrays {header['arrays']}, but it holds {present}")
    if len(_VELOCITY & set(arrays)) == 1:
        raise ValueError("half of its velocity is missing")

    n_classes = _check_classes(arrays["classes_"])
    n_features = header["n_features_in"]
    n_outputs = 1 if n_classes == 2 else n_classes
    shapes: dict[str, tuple[int | None, ...]] = {
        "coef_": (n_outputs, n_features),
        "intercept_": (n_outputs,),
        "velocity_coef": (n_outputs, n_features),
        "velocity_intercept": (n_outputs,),
        "loss_curve_": (None,),
        "gap_": (),
        "objective_": (),
        "n_passes_": (),
        "feature_names_in_": (n_features,),
    }
    for name in sorted(shapes.keys() & arrays.keys()):
        _check_shape(name, arrays[name].shape, shapes[name])
    _check_contents(arrays, kind)
    return header


def is_label_type(dtype: np.dtype[Any]) -> bool:
    """Tell whether class labels of this type can be stored: numbers, booleans, fixed-width str."""
    return dtype.kind in "biuU" or (dtype.kind == "f" and dtype.itemsize <= 8)


def _check_keys(what: str, keys: set[str], required: set[str], optional: set[str]) -> None:
    if missing := sorted(required - keys):
        raise ValueError(f"{what} missing: {', '.join(missing)}")
    if unknown := sorted(keys - required - optional):
        raise ValueError(f"{what} unknown: {', '.join(map(repr, unknown))}")


def _check_shape(name: str, shape: tuple[int, ...], expected: tuple[int | None, ...]) -> None:
    pairs = itertools.zip_longest(shape, expected, fillvalue=-1)
    if any(wanted not in (None, size) for size, wanted in pairs):
        raise ValueError(f"{name} has shape {shape} where {expected} is expected")


def _check_classes(classes: NDArray[Any]) -> int:
    if not is_label_type(classes.dtype) or classes.ndim != 1:
        raise ValueError(f"classes_ is {classes.dtype} of shape {classes.shape}")
    values = classes.tolist()
    if not all(a < b for a, b in itertools.pairwise(values)):
        raise ValueError("classes_ is not sorted, or has duplicates")
    if len(values) < 2:
        raise ValueError("classes_ holds fewer than two classes")
    return len(values)


def _check_contents(arrays: Arrays, kind: Kind) -> None:
    dtype = arrays["coef_"].dtype
    for name in sorted(arrays.keys() & ({"coef_", "intercept_"} | kind.arrays | kind.optional)):
        array = arrays[name]
        expected = np.dtype(np.float64) if name in kind.arrays else dtype
        if array.dtype != expected or array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} has the wrong type, {array.dtype}")
        if name not in UNKNOWN and not np.isfinite(array).all():
            raise ValueError(f"{name} has values that are not finite")
    if "feature_names_in_" in arrays and arrays["feature_names_in_"].dtype.kind != "U":
        raise ValueError("feature_names_in_ is not text")


def _parse_header(header: NDArray[Any]) -> dict[str, Any]:
    if header.dtype.kind != "S" or header.ndim != 0:
        raise ValueError("its header is no text")
    try:
        fields = json.loads(header.item(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is no JSON ({error})") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ValueError(f"its header does not say {FORMAT!r}")
    version = fields.get("version")
    if type(version) is int and version > VERSION:
        raise ValueError(f"format version {version} needs a newer fastsoftmax")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"unknown format version {version!r}")
    _check_keys("header fields", set(fields), _HEADER_KEYS, set())
    if not isinstance(fields["class"], str) or fields["class"] not in KINDS:
        raise ValueError(f"it holds a {fields['class']!r}, not one of {', '.join(KINDS)}")
    for name, least in (("n_features_in", 1), ("n_iter", 0)):
        if type(fields[name]) is not int or not least <= fields[name] < _MANY:
            raise ValueError(f"{name} is {fields[name]!r}")
    seed = fields["seed"]
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**64):
        raise ValueError(f"seed is {seed!r}")
    _check_parameters(fields["parameters"], KINDS[fields["class"]].parameters)
    return fields


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is there twice")
    return fields


def _check_parameters(parameters: Any, types: _Types) -> None:
    if type(parameters) is not dict:
        raise ValueError("its parameters are no JSON object")
    # A parameter that is missing is newer than the file: the constructor has its default.
    _check_keys("parameters", set(parameters), set(), set(types))
    for name, value in parameters.items():
        if type(value) not in types[name]:
            raise ValueError(f"parameter {name} has the wrong type: {value!r}")
        if isinstance(value, float):
            is_fine = math.isfinite(value) or (name == "C" and value == math.inf)
        else:
            is_fine = not isinstance(value, int) or abs(value) < HUGE
        if not is_fine:
            raise ValueError(f"parameter {name} is {value}")
