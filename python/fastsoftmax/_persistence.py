"""Save and load fitted models: the estimator's attributes as plain arrays, and back.

What a valid model is stands in _model_format.py, how bytes are written and read in _npz.py.
"""

import json
import math
import numbers
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import refuse_masked
from ._model_format import FORMAT, HUGE, KINDS, UNKNOWN, VERSION, Arrays, check_model, is_label_type
from ._npz import read_npz, write_npz

if TYPE_CHECKING:
    from ._linear_classifier import LinearClassifier
    from ._logistic_regression import LogisticRegression
    from ._logistic_regression_cv import LogisticRegressionCV
    from ._softmax_classifier import SoftmaxClassifier

    Model = SoftmaxClassifier | LogisticRegression

_FITTED = ("coef_", "intercept_", "classes_")  # without which nothing is a model


def save_model(model: "Model | LogisticRegressionCV", path: str | os.PathLike[str]) -> None:
    """Save a fitted classifier to a file that holds data only.

    The file is an uncompressed ``.npz`` archive, which `numpy.load` can open too. It is written
    beside its destination and then moved there: readers see the old file or the new one, and after
    a failure the old one is still there.

    Parameters
    ----------
    model : SoftmaxClassifier, LogisticRegression or LogisticRegressionCV
        The fitted classifier; the last is stored as the LogisticRegression that it has chosen. A
        `random_state` that is neither an int nor None is stored as None, as is a `class_weight` that
        is a dict; what is needed to go on training, with the same bits, is stored in any case.
    path : str or os.PathLike
        The file, with no suffix added.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the classifier is not fitted.
    TypeError
        If `model` is none of these, a parameter has the wrong type, or the class labels are
        neither numbers, booleans nor str.
    ValueError
        If the model's attributes do not fit together or are not finite.
    OSError
        If the file cannot be written.
    """
    from sklearn.utils.validation import check_is_fitted

    from ._logistic_regression_cv import LogisticRegressionCV

    if type(model) not in (*_classes().values(), LogisticRegressionCV):
        given = f"{type(model).__module__}.{type(model).__qualname__}"
        taken = f"{', '.join(KINDS)} or LogisticRegressionCV"
        raise TypeError(f"save_model takes a {taken} of fastsoftmax, not {given}")
    is_of_cv = isinstance(model, LogisticRegressionCV)
    check_is_fitted(model, (*_FITTED, "C_") if is_of_cv else _FITTED)
    arrays = _to_arrays(_chosen(model) if is_of_cv else model)
    try:
        check_model(arrays)  # what would not load is not saved
    except ValueError as error:
        raise ValueError(f"this model cannot be saved: {error}") from error
    write_npz(path, arrays)


def load_model(path: str | os.PathLike[str]) -> "Model":
    """Load a classifier that `save_model` wrote.

    Files from untrusted sources are safe to load: no code in them is run, no declared size is
    trusted, and everything is checked before a model is made. (Of parameters, that is the types; their
    ranges are `fit`'s to check, as those of a model that was never saved.)

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    SoftmaxClassifier or LogisticRegression
        The classifier as it was saved. Text labels come back as a fixed-width str array.

    Raises
    ------
    OSError
        If the file cannot be opened or read.
    ValueError
        If it holds no valid model; the message names the file and the fault.
    """
    try:
        arrays = read_npz(path)
        header = check_model(arrays)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: no valid fastsoftmax model: {error}") from error
    model = _classes()[header["class"]](**header["parameters"])
    for name, value in _attributes(header, arrays).items():
        setattr(model, name, value)
    return model


def _classes() -> "dict[str, type[Model]]":
    from ._logistic_regression import LogisticRegression
    from ._softmax_classifier import SoftmaxClassifier

    return {"SoftmaxClassifier": SoftmaxClassifier, "LogisticRegression": LogisticRegression}


def _chosen(model: "LogisticRegressionCV") -> "LogisticRegression":
    """What cross-validation has chosen, as an estimator of its own."""
    from ._held_out import parameters_of_one
    from ._logistic_regression import LogisticRegression

    chosen = LogisticRegression(C=model.C_, **parameters_of_one(model))
    features = ("n_features_in_", "feature_names_in_")
    for name in (*_FITTED, *features, *KINDS["LogisticRegression"].arrays):
        if name in vars(model):
            setattr(chosen, name, getattr(model, name))
    if "n_iter_" in vars(model):
        chosen.n_iter_ = model.n_iter_.max(keepdims=True).reshape(1)
    return chosen


def _to_arrays(model: "LinearClassifier") -> Arrays:
    # What a model that was put together by hand has not got is unknown.
    for name in _FITTED:
        refuse_masked(getattr(model, name), name)
    W, b = np.asarray(model.coef_, order="C"), np.asarray(model.intercept_, order="C")
    if W.dtype.kind in "fiu" and b.dtype.kind in "fiu":  # else it is refused
        dtype = np.result_type(W, b, np.float32)
        W, b = W.astype(dtype, copy=False), b.astype(dtype, copy=False)
    arrays = {
        "coef_": W,
        "intercept_": b,
        "classes_": _plain_labels(model.classes_),
    }
    for name in KINDS[type(model).__name__].arrays:
        unknown: Any = math.nan if name in UNKNOWN else []
        arrays[name] = np.array(getattr(model, name, unknown), dtype=np.float64)
    if hasattr(model, "feature_names_in_"):
        arrays["feature_names_in_"] = _plain_text("feature name", model.feature_names_in_)
    velocity = getattr(model, "_velocity", None)
    if velocity is not None and velocity[0].shape == W.shape:
        arrays["velocity_coef"], arrays["velocity_intercept"] = (
            part.astype(W.dtype, copy=False) for part in velocity
        )
    seed = getattr(model, "_seed", None)
    n_features = vars(model).get("n_features_in_", W.shape[-1] if W.ndim else 0)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "class": type(model).__name__,
        "parameters": _plain_parameters(model),
        "n_features_in": int(n_features),
        "n_iter": int(np.ravel(vars(model).get("n_iter_", 0))[0]),
        "seed": None if seed is None else int(seed),
        "arrays": sorted(arrays),
    }
    return {"header": np.array(json.dumps(header).encode("ascii")), **arrays}


def _attributes(header: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    """Give what `_to_arrays` stored the form of the estimator's attributes."""
    attributes = {
        "coef_": arrays["coef_"],
        "intercept_": arrays["intercept_"],
        "classes_": arrays["classes_"],
        "n_iter_": header["n_iter"],
        "n_features_in_": header["n_features_in"],
    }
    # A list, or the floats of a certificate.
    attributes |= {name: arrays[name].tolist() for name in KINDS[header["class"]].arrays}
    if header["class"] == "LogisticRegression":
        attributes["n_iter_"] = np.array([header["n_iter"]], np.int32)
    else:
        attributes["_velocity"] = None
    if "feature_names_in_" in arrays:
        attributes["feature_names_in_"] = arrays["feature_names_in_"].astype(object)
    if header["seed"] is not None:
        attributes["_seed"] = header["seed"]
    if "velocity_coef" in arrays:
        attributes["_velocity"] = arrays["velocity_coef"], arrays["velocity_intercept"]
    return attributes


def _plain_parameters(model: "LinearClassifier") -> dict[str, Any]:
    types = KINDS[type(model).__name__].parameters
    parameters = dict(model.get_params(deep=False))
    if isinstance(parameters.get("class_weight"), Mapping):
        parameters["class_weight"] = None
    if not isinstance(parameters["random_state"], numbers.Integral):
        parameters["random_state"] = None
    for name, value in parameters.items():
        parameters[name] = value = _plain_number(value, types[name])
        if type(value) not in types[name]:
            raise TypeError(f"parameter {name}={value!r} has a type that cannot be saved")
    return parameters


def _plain_number(value: Any, types: tuple[type, ...]) -> Any:
    """A parameter of another type of number in one that files take; counts beyond them as the most."""
    if isinstance(value, numbers.Real) and float in types:
        return value if isinstance(value, int) and abs(value) < HUGE else float(value)
    is_flag = isinstance(value, bool | np.bool_) and bool in types
    if isinstance(value, numbers.Integral) and not is_flag:
        return min(int(value), HUGE - 1)
    return value.item() if isinstance(value, np.generic) else value


def _plain_labels(classes: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(classes, np.ndarray):  # set by hand
        raise TypeError(f"classes_ must be an array, not a {type(classes).__name__}")
    if classes.dtype.kind in "OT":
        return _plain_text("class label", classes)
    if not is_label_type(classes.dtype):
        raise TypeError(f"class labels of type {classes.dtype} cannot be saved")
    return classes


def _plain_text(what: str, strings: NDArray[Any]) -> NDArray[Any]:
    """Convert an array of str objects to fixed width, which drops NULs at the end of a str."""
    values = strings.tolist()
    for value in values:
        if not isinstance(value, str) or value.endswith("\0"):
            raise TypeError(f"{what} {value!r} of type {type(value).__name__} cannot be saved")
    # The text itself: str(value) of a member of an enumeration is its name.
    return np.array([str.__str__(value) for value in values], dtype=str)
