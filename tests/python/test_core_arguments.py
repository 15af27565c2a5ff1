"""What the bindings refuse: memory safety does not rest on the Python layer, which checks first."""

import numpy as np
import pytest
import scipy.sparse
from reference import frozen, unaligned

from fastsoftmax import _core

N, D, K = 6, 4, 3


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


def longer(a):
    return np.concatenate([a, a[-1:]])


def wider(a):
    return np.concatenate([a, a[..., -1:]], axis=-1)


def not_contiguous(a):
    return np.repeat(a, 2, axis=-1)[..., ::2]


def sgd_arguments():
    rng = np.random.default_rng(0)
    return {
        "X": rng.normal(size=(N, D)).astype(np.float32),
        "labels": np.arange(N) % K,
        "sample_weight": np.ones(N, np.float32),
        "W": np.zeros((K, D), np.float32),
        "b": np.zeros(K, np.float32),
        "velocity_W": np.zeros((K, D), np.float32),
        "velocity_b": np.zeros(K, np.float32),
        "loss_curve": np.zeros(1),
    }


def fit_sgd(**arguments):
    options = {"learning_rate": 0.1, "alpha": 0.0, "momentum": 0.5, "nesterov": False}
    options |= {"shuffle": False, "fit_intercept": True, "input_scale": 1.0, "batch_size": 2}
    options |= {"first_epoch": 0, "n_epochs": 1, "seed": 0, "n_threads": 1}
    return _core.fit_sgd(*arguments.values(), **options)


def logistic_arguments():
    rng = np.random.default_rng(0)
    return {
        "X": rng.normal(size=(N, D)),
        "labels": np.arange(N) % K,
        "sample_weight": np.ones(N),
        "fold_of_row": np.arange(N, dtype=np.int32) % 2,
        "penalty": np.ones(2),
        "held_out": np.arange(2, dtype=np.int32),
        "W": np.zeros((2, K, D)),
        "b": np.zeros((2, K)),
    }


def fit_logistic(shape=None, **arguments):
    options = {"n_classes": K, "fit_intercept": True, "input_scale": 1.0, "tol": 1e-4}
    options |= {"max_iter": 5, "solver": "auto", "warm": False, "seed": 0, "n_threads": 1}
    return _core.fit_logistic(*arguments.values(), **options, shape=shape)


SHAPE = "does not have the shape that the other arguments ask for"
LAYOUT = "must be C-contiguous and aligned"
FITS = {"fit_sgd": (sgd_arguments, fit_sgd), "fit_logistic": (logistic_arguments, fit_logistic)}
INPUTS = ("labels", "sample_weight", "fold_of_row", "held_out")
OUTPUTS = ("W", "b", "velocity_W", "velocity_b", "loss_curve")


def refused(arguments, fit, error, message):
    before = {name: a.copy() for name, a in arguments.items() if isinstance(a, np.ndarray)}
    with pytest.raises(error, match=message):
        fit(**arguments)
    for name, a in before.items():
        np.testing.assert_array_equal(arguments[name], a)


@pytest.mark.parametrize(
    ("of", "name"),
    [(of, name) for of in FITS for name in FITS[of][0]() if name in INPUTS + OUTPUTS],
)
def test_arrays_that_do_not_fit(of, name):
    make, fit = FITS[of]
    fit(**make())
    shape, dtype = SHAPE, "must have dtype .* in native byte order"
    if (of, name) == ("fit_sgd", "W"):  # which says what the others' are
        shape, dtype = "W must have two dimensions|" + SHAPE, "W must be float32"
    changes = [
        (longer, ValueError, shape),
        (lambda a: a[:-1].copy(), ValueError, shape),
        (lambda a: a[None], ValueError, shape),
        (unaligned, ValueError, LAYOUT),
        (swapped, TypeError, dtype),
        (lambda a: a.astype(np.int16), TypeError, dtype),
    ]
    if name != "loss_curve":  # one number lies together whatever its stride
        changes.append((not_contiguous, ValueError, LAYOUT))
    if name in OUTPUTS:
        changes.append((frozen, ValueError, "must be writeable"))
    for change, error, message in changes:
        arguments = make()
        arguments[name] = change(arguments[name])
        refused(arguments, fit, error, message)


@pytest.mark.parametrize("of", FITS)
def test_inputs_that_the_core_does_not_read(of):
    make, fit = FITS[of]
    for change, error, message in [
        (lambda X: X[0], ValueError, "X must have two dimensions"),
        (unaligned, ValueError, "X must be aligned"),
        (not_contiguous, ValueError, "X must have contiguous columns"),
        (np.asfortranarray, ValueError, "X must have contiguous columns"),
        (swapped, TypeError, "X must be float32, float64 or uint8 in native byte order"),
        (lambda X: X.astype(np.int32), TypeError, "X must be float32, float64 or uint8"),
        (wider, ValueError, SHAPE),  # of W
    ]:
        arguments = make()
        arguments["X"] = change(arguments["X"])
        refused(arguments, fit, error, message)


@pytest.mark.parametrize("of", FITS)
@pytest.mark.parametrize("label", [-1, K])
def test_labels_out_of_range(of, label):
    make, fit = FITS[of]
    arguments = make()
    arguments["labels"][2] = label
    refused(arguments, fit, ValueError, rf"labels\[2\] is {label}, not in 0..{K - 1}")


@pytest.mark.parametrize("missing", ["velocity_W", "velocity_b"])
def test_half_a_velocity(missing):
    arguments = sgd_arguments() | {missing: None}
    refused(arguments, fit_sgd, ValueError, "velocity_W and velocity_b go together")


def test_arithmetic_narrower_than_the_input():
    arguments = sgd_arguments()
    arguments["X"] = arguments["X"].astype(np.float64)
    refused(arguments, fit_sgd, ValueError, "float64 input needs float64 arithmetic")


def test_folds_held_out_of_rows_that_have_none():
    arguments = logistic_arguments() | {"fold_of_row": None}
    refused(arguments, fit_logistic, ValueError, "held_out needs fold_of_row")


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_and_penalties(weight):
    for name in ("sample_weight", "penalty"):
        arguments = logistic_arguments()
        arguments[name][1] = weight
        refused(arguments, fit_logistic, ValueError, f"{name} must be finite and not negative")


def set_third(value):
    return lambda a: np.where(np.arange(len(a)) == 3, value, a)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (0, lambda data: data[:-1].copy(), SHAPE),
        (1, set_third(D), "X.indices must be columns of X"),
        (1, set_third(-1), "X.indices must be columns of X"),
        (1, longer, SHAPE),
        (2, set_third(100), "X.indptr must ascend within the number of entries"),
        (2, set_third(-1), "X.indptr must ascend within the number of entries"),
        (2, set_third(0), "X.indptr must ascend within the number of entries"),
        (2, lambda starts: np.append(starts[:-1], starts[-1] + 1), "X.indptr must ascend within"),
        (2, lambda starts: starts[:-1].copy(), "X does not have the shape of its parts"),
        (2, lambda starts: starts[:0].copy(), "X does not have the shape of its parts"),
    ],
)
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_sparse_parts_that_do_not_fit(part, change, message, index):
    X = scipy.sparse.random(N, D, density=0.5, format="csr", random_state=1)
    parts = [X.data, X.indices.astype(index), X.indptr.astype(index)]
    assert 0 < parts[2][2] < 11
    arguments = logistic_arguments() | {"X": tuple(parts), "shape": (N, D)}
    fit_logistic(**arguments)
    parts[part] = change(parts[part]).astype(parts[part].dtype)
    arguments = logistic_arguments() | {"X": tuple(parts), "shape": (N, D)}
    refused(arguments, fit_logistic, ValueError, message)
