"""What SoftmaxClassifier computes and how it behaves; its steps are in test_trajectory.py."""

import copy
import enum
import warnings

import numpy as np
import pytest
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal
from reference import LAYOUTS, assert_unchanged, blobs, layouts, snapshot
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from fastsoftmax import SoftmaxClassifier

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def make(**parameters):
    defaults = {"learning_rate": 0.1, "batch_size": 16, "max_iter": 5, "random_state": 0}
    return SoftmaxClassifier(**(defaults | parameters))


def assert_same_fit(one, other):
    assert_array_equal(one.coef_, other.coef_, strict=True)
    assert_array_equal(one.intercept_, other.intercept_, strict=True)
    assert one.loss_curve_ == other.loss_curve_
    assert one.n_iter_ == other.n_iter_


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_attributes(dtype, n_classes):
    X, y = blobs(60, 7, n_classes, dtype)
    clf = make(input_scale=1 / 255 if dtype == np.uint8 else 1.0)
    assert clf.fit(X, y) is clf
    n_rows = 1 if n_classes == 2 else n_classes
    assert clf.coef_.shape == (n_rows, 7)
    assert clf.intercept_.shape == (n_rows,)
    expected = np.float64 if dtype == np.float64 else np.float32
    assert clf.coef_.dtype == clf.intercept_.dtype == expected
    assert_array_equal(clf.classes_, np.arange(n_classes))
    assert clf.n_iter_ == len(clf.loss_curve_) == 5
    assert clf.n_features_in_ == 7
    assert all(type(loss) is float for loss in clf.loss_curve_)
    assert clf.loss_curve_[-1] < clf.loss_curve_[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("n_classes", [2, 3, 26])
@pytest.mark.parametrize("n_samples", [1, 2, 67])
def test_predictions(dtype, n_classes, n_samples):
    X, y = blobs(90, 13, n_classes, dtype)
    scale = 1 / 128 if dtype == np.uint8 else 1.0
    clf = make(input_scale=scale).fit(X, y)
    X = X[:n_samples]
    logits = (scale * X.astype(np.float64)) @ clf.coef_.T.astype(np.float64) + clf.intercept_
    if n_classes == 2:
        logits = np.hstack([np.zeros_like(logits), logits])
    # Sums of 13 products of size up to 8 x 1, then a softmax: some hundred roundings of size one.
    bound = {"rtol": 0, "atol": 200 * np.finfo(clf.coef_.dtype).eps}
    decision = clf.decision_function(X)
    assert decision.shape == ((n_samples,) if n_classes == 2 else (n_samples, n_classes))
    assert_allclose(decision, logits[:, 1] if n_classes == 2 else logits, **bound)
    assert_allclose(clf.predict_proba(X), scipy.special.softmax(logits, axis=1), **bound)
    assert_allclose(clf.predict_log_proba(X), scipy.special.log_softmax(logits, axis=1), **bound)
    assert_array_equal(clf.predict(X), logits.argmax(axis=1))
    assert clf.predict_proba(X).dtype == clf.coef_.dtype


def test_certain_predictions():
    clf = make().fit(*blobs(20, 1, 3))
    clf.coef_, clf.intercept_ = np.array([[0.0], [1.0], [2.0]]), np.zeros(3)
    assert_array_equal(clf.predict_proba([[1e4]]), [[0, 0, 1]])
    assert_array_equal(clf.predict_log_proba([[1e4]]), [[-2e4, -1e4, 0]])
    clf = make().fit(*blobs(20, 1, 2))
    clf.coef_, clf.intercept_ = np.array([[1.0]]), np.zeros(1)
    assert_array_equal(clf.predict_proba([[1e4], [-1e4]]), [[0, 1], [1, 0]])
    assert_array_equal(clf.predict_log_proba([[1e4]]), [[-1e4, 0]])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_first_of_equals(n_classes):
    clf = make().fit(*blobs(20, 2, n_classes))
    clf.coef_ = np.zeros_like(clf.coef_)
    clf.intercept_ = np.zeros_like(clf.intercept_)
    assert_array_equal(clf.predict([[1.0, 2.0]]), [0])


def test_attributes_set_by_hand():
    X, y = blobs(40, 6, 3)
    clf = make().fit(X, y)
    expected = clf.predict_proba(X)
    clf.coef_ = np.repeat(np.asfortranarray(clf.coef_), 2, axis=0)[::2]
    clf.intercept_ = clf.intercept_.astype(">f8")
    assert_array_equal(clf.predict_proba(X), expected)


LABELS = {
    "int64": np.array([3, 1, 7]),
    "negative": np.array([-1, 0, -7]),
    "uint8": np.array([200, 0, 255], np.uint8),
    "close int16": np.array([3, 1, 7], np.int16),
    "close, above int64": np.array([2**63 + 1, 2**63, 2**63 + 5], np.uint64),
    "close, lowest": np.array([1, 0, 5]) + np.iinfo(np.int64).min,
    "wide apart": np.array([-(2**63), 0, 2**63 - 1]),
    "text": np.array(["cat", "ant", "bee"]),
    "text objects": np.array(["cat", "ant", "bee"], object),
    "text of variable width": np.array(["cat", "ant", "bee"], np.dtypes.StringDType()),
    "whole floats": np.array([3.0, -1.0, 7.0]),
    "whole float16": np.array([3.0, -1.0, 7.0], np.float16),
    "two integers": np.array([5, -5]),
    "two bools": np.array([True, False]),
    "two texts": np.array(["spam", "ham"]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels(labels):
    X, y = blobs(80, 9, len(labels))
    by_index = make(max_iter=30).fit(X, np.unique(labels, return_inverse=True)[1][y])
    given = labels[y]
    clf = make(max_iter=30).fit(X, given)
    if labels.dtype.kind == "T":
        labels = labels.astype(object)
    assert_array_equal(clf.classes_, np.sort(labels), strict=True)
    assert_same_fit(clf, by_index)
    predicted = clf.predict(X)
    assert predicted.dtype == labels.dtype
    assert clf.score(X, given) == np.mean(predicted == labels[y])
    assert np.mean(predicted == labels[y]) == clf.score(X, labels[y]) > 0.9
    again = make(max_iter=30)
    for _ in range(30):
        again.partial_fit(X, labels[y], classes=labels)
    assert_same_fit(again, clf)


@pytest.mark.parametrize("labels", [[True, False] * 10, [1, 0] * 10, ["b", "a"] * 10], ids=str)
def test_lists(labels):
    X = [[0, 1], [1, 0]] * 10
    for y in (labels, np.array(labels, object)):
        clf = make().fit(X, y)
        assert clf.predict(X).tolist() == labels
        assert clf.coef_.dtype == np.float64


class Direction(str, enum.Enum):  # noqa: UP042, another str than its text
    UP, US, DOWN = "up", "us", "down"


def test_members_of_an_enumeration():
    X, y = blobs(60, 5, 3)
    labels = [list(Direction)[i] for i in y]
    for given in (labels, np.array(labels, object)):
        clf = make(max_iter=30).fit(X, given)
        assert list(clf.classes_) == sorted(Direction)
        assert set(clf.predict(X)) <= set(Direction)
        assert clf.score(X, given) == make(max_iter=30).fit(X, y).score(X, y)
        assert_same_fit(
            make(max_iter=1).partial_fit(X, given, list(Direction)), make(max_iter=1).fit(X, given)
        )


def test_integers_of_64_bits_in_objects_and_lists():
    large = [2**63 + 1, 2**64 - 1, 5] * 20
    X = np.random.default_rng(0).normal(size=(60, 3))
    for given in (large, np.array(large, object)):
        clf = make().fit(X, given)
        assert clf.classes_.tolist() == [5, 2**63 + 1, 2**64 - 1]
        assert clf.score(X, given) == np.mean(clf.predict(X) == np.array(large))
    for given in ([-1, 2**63, 2**63 + 1] * 20, [1, 2**64] * 30):
        for labels in (given, np.array(given, object)):
            with pytest.raises(ValueError, match="integers that no type of 64 bits holds all of"):
                make().fit(X, labels)


def test_column_vector_of_labels_warns():
    X, y = blobs(20, 2, 3)
    with pytest.warns(UserWarning, match="column-vector y was passed"):
        clf = make().fit(X, y[:, None])
    assert_same_fit(clf, make().fit(X, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_X(layout, dtype):
    X, y = blobs(50, 13, 3, dtype)
    given = layouts(X)[layout]
    before = given.copy()
    settings = {"input_scale": 1 / 255 if dtype == np.uint8 else 1.0}
    clf, plain = make(**settings).fit(given, y), make(**settings).fit(X, y)
    assert_same_fit(clf, plain)
    for method in METHODS:
        assert_array_equal(getattr(clf, method)(given), getattr(plain, method)(X))
    assert_array_equal(given, before)


def test_memory_map(tmp_path):
    X, y = blobs(50, 13, 3, np.float32)
    np.save(tmp_path / "X.npy", X)
    clf = make().fit(np.load(tmp_path / "X.npy", mmap_mode="r"), y)
    assert_same_fit(clf, make().fit(X, y))


@pytest.mark.parametrize("width", [1, 5, 13])
def test_ranges_of_columns(width):
    X, y = blobs(50, 20, 3, np.float32)
    assert_same_fit(make().fit(X[:, 4 : 4 + width], y), make().fit(X[:, 4 : 4 + width].copy(), y))


@pytest.mark.parametrize(
    ("dtype", "arithmetic"),
    [
        *((name, np.float32) for name in ("bool", "int8", "int16", "uint16", "float16")),
        *((name, np.float64) for name in ("int32", "uint32", "int64", "uint64", "longdouble")),
    ],
)
def test_converted_dtypes(dtype, arithmetic):
    X, y = blobs(50, 6, 3, np.uint8)
    X = (X > 128 if dtype == "bool" else X // 2).astype(dtype)
    clf = make(input_scale=1 / 127).fit(X, y)
    assert_same_fit(clf, make(input_scale=1 / 127).fit(X.astype(arithmetic), y))
    assert clf.coef_.dtype == arithmetic


def test_input_scale():
    X, y = blobs(50, 6, 3)
    scaled, plain = make(input_scale=0.25).fit(X, y), make().fit(X * 0.25, y)
    assert_same_fit(scaled, plain)  # a power of two rounds nothing
    assert_array_equal(scaled.predict_proba(X), plain.predict_proba(X * 0.25))


def test_random_state():
    X, y = blobs(50, 6, 3)
    assert_same_fit(make(random_state=7).fit(X, y), make(random_state=7).fit(X, y))
    same = make(random_state=np.random.RandomState(7)).fit(X, y)
    assert_same_fit(same, make(random_state=7).fit(X, y))
    others = [make(random_state=state).fit(X, y).coef_ for state in (7, 8, None, None)]
    assert len({coef.tobytes() for coef in others}) == 4
    unshuffled = [make(random_state=s, shuffle=False).fit(X, y).coef_ for s in (7, None)]
    assert_array_equal(*unshuffled)


def test_intercept():
    X, y = blobs(50, 6, 3)
    assert_array_equal(make(fit_intercept=False).fit(X, y).intercept_, np.zeros(3))
    # Without features to learn from, it learns the shares of the classes.
    y = np.repeat([0, 1], [10, 40])
    clf = make(batch_size=50, learning_rate=1, max_iter=200).fit(np.zeros((50, 1)), y)
    assert_allclose(clf.predict_proba([[0.0]]), [[0.2, 0.8]], rtol=1e-6)
    assert_array_equal(clf.coef_, [[0.0]])


# An old scikit-learn gives a new SciPy options that it no longer likes.
@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_optimum_is_that_of_scikit_learn(n_classes):
    # Gradient descent on a strongly convex loss shrinks the distance by 1 - rate * alpha each step,
    # and 0.8^1000 is nothing. Two classes: coef_ = W[1] - W[0] with W[0] = -W[1], so
    # alpha / 2 |W|^2 is alpha / 4 |coef_|^2, half of scikit-learn's for the same C.
    X, y = blobs(60, 5, n_classes)
    alpha = 0.2
    clf = make(alpha=alpha, batch_size=60, learning_rate=1.0, max_iter=1000).fit(X, y)
    C = (2 if n_classes == 2 else 1) / (alpha * 60)
    theirs = LogisticRegression(C=C, tol=1e-10, max_iter=1000).fit(X, y)
    assert_allclose(clf.coef_, theirs.coef_, atol=1e-6)
    assert_allclose(clf.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_first_loss_is_that_of_guessing():
    X, y = blobs(50, 6, 5)
    clf = make(batch_size=50, max_iter=1).fit(X, y)
    assert_allclose(clf.loss_curve_, [np.log(5)], rtol=1e-12)


CONTINUED = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9, "nesterov": True, "alpha": 0.1},
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("settings", CONTINUED.values(), ids=CONTINUED)
def test_training_in_parts(settings, n_classes, dtype):
    X, y = blobs(50, 6, n_classes, dtype)
    whole = make(max_iter=6, **settings).fit(X, y)

    warm = make(max_iter=2, warm_start=True, **settings).fit(X, y)
    assert_same_fit(warm.set_params(max_iter=4).fit(X, y), whole)

    parts = make(**settings)
    for _ in range(6):
        assert parts.partial_fit(X, y, classes=np.arange(n_classes)[::-1]) is parts
    assert_same_fit(parts, whole)

    mixed = make(max_iter=3, **settings).fit(X, y)
    assert_same_fit(mixed.partial_fit(X, y).partial_fit(X, y).partial_fit(X, y), whole)


def test_fit_starts_over():
    X, y = blobs(50, 6, 3)
    first = make(momentum=0.9).fit(X, y)
    assert_same_fit(first, make(momentum=0.9).fit(X[:, ::-1], y + 1).fit(X, y))
    assert_same_fit(first, make(momentum=0.9).partial_fit(X, y, [0, 1, 2]).fit(X, y))


def test_warm_start_takes_any_of_the_classes():
    X, y = blobs(50, 6, 3)
    clf = make(warm_start=True).fit(X, y).fit(X[y > 0], y[y > 0])
    assert_array_equal(clf.classes_, [0, 1, 2])
    assert clf.n_iter_ == 10


def test_partial_fit_takes_any_of_the_classes():
    X, y = blobs(50, 6, 3)
    clf = make().partial_fit(X[y == 1], y[y == 1], classes=[2, 0, 1])
    assert_array_equal(clf.classes_, [0, 1, 2])
    for _ in range(20):
        for label in range(3):
            clf.partial_fit(X[y == label], y[y == label])
    assert clf.score(X, y) > 0.9


def test_arithmetic_widens_and_never_narrows():
    X, y = blobs(50, 6, 3, np.float32)
    narrow, wide = make().fit(X, y), make().fit(X.astype(np.float64), y)
    assert narrow.predict_proba(X.astype(np.float64)).dtype == np.float64
    assert wide.predict_proba(X).dtype == np.float64
    assert_allclose(wide.predict_proba(X), narrow.predict_proba(X), atol=1e-5)
    assert wide.partial_fit(X, y).coef_.dtype == np.float64
    assert narrow.partial_fit(X.astype(np.float64), y).coef_.dtype == np.float64


class TestSampleWeight:
    X, y = blobs(50, 6, 3)

    def test_scale_changes_nothing_in_fit(self):
        weights = np.random.default_rng(0).uniform(1, 3, size=50)
        once = make().fit(self.X, self.y, weights)
        assert_same_fit(make().fit(self.X, self.y, 8 * weights), once)
        other = make().fit(self.X, self.y, 7e5 * weights)
        assert_allclose(other.coef_, once.coef_, rtol=1e-12)

    def test_partial_fit_takes_it_as_it_is(self):
        arguments = self.X, self.y, [0, 1, 2]
        once = make(batch_size=50).partial_fit(*arguments, np.ones(50))
        twice = make(batch_size=50).partial_fit(*arguments, np.full(50, 2.0))
        assert_array_equal(twice.coef_, 2 * once.coef_)  # the first step from zero
        assert twice.loss_curve_ == once.loss_curve_

    @pytest.mark.parametrize("weights", [1, 2.5, np.ones(50), np.ones(50, int), [True] * 50])
    def test_equal_weights_are_none(self, weights):
        assert_same_fit(make().fit(self.X, self.y, weights), make().fit(self.X, self.y))

    def test_zero_is_absence(self):
        settings = {"batch_size": 50, "shuffle": False}
        there = np.arange(50) % 3 > 0
        weighted = make(**settings).fit(self.X, self.y, there)
        removed = make(**settings).fit(self.X[there], self.y[there])
        assert_allclose(weighted.coef_, removed.coef_, rtol=1e-10)
        assert_allclose(weighted.loss_curve_, removed.loss_curve_, rtol=1e-12)

    def test_is_left_alone(self):
        weights = np.random.default_rng(0).uniform(1, 3, size=50)
        before = weights.copy()
        make().fit(self.X, self.y, weights)
        assert_array_equal(weights, before)

    def test_score(self):
        clf = make().fit(self.X, self.y)
        weights = np.where(clf.predict(self.X) == self.y, 1.0, 5.0)
        right = np.mean(clf.predict(self.X) == self.y)
        assert clf.score(self.X, self.y) == right
        assert clf.score(self.X, self.y, weights) == np.average(weights == 1, weights=weights)

    @pytest.mark.parametrize("kind", [int, bool])
    def test_labels_that_are_objects(self, kind):
        labels = np.array([kind(label) for label in self.y % 2], dtype=object)
        clf = make().fit(self.X, labels)
        assert clf.score(self.X, labels) == np.mean(clf.predict(self.X) == labels)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_going_on_without_intercept(momentum):
    X, y = blobs(50, 6, 3)
    clf = make(warm_start=True, momentum=momentum).fit(X, y)
    assert clf.intercept_.any()
    clf.set_params(fit_intercept=False).fit(X, y)
    assert not clf.intercept_.any()


def test_verbose(capsys):
    X, y = blobs(50, 6, 3)
    quiet = make().fit(X, y)
    assert capsys.readouterr().out == ""
    loud = make(verbose=1).fit(X, y)
    assert_same_fit(loud, quiet)
    lines = capsys.readouterr().out.splitlines()
    for epoch, (line, loss) in enumerate(zip(lines, quiet.loss_curve_, strict=True), 1):
        assert line.startswith(f"epoch {epoch}: loss {loss:.6f}, ")
        assert line.endswith(" samples/s")
    loud.partial_fit(X, y)
    assert capsys.readouterr().out.startswith("epoch 6: ")


def test_prediction_changes_nothing():
    X, y = blobs(50, 6, 3)
    clf = make().fit(X, y)
    before = snapshot(clf)
    with warnings.catch_warnings(action="error"):
        for method in METHODS:
            getattr(clf, method)(X)
    assert_unchanged(clf, before)


def test_losses_are_appended_and_stay_with_their_estimator():
    """A new list for each call of `partial_fit` made a stream of 10^5 of them quadratic."""
    X, y = blobs(50, 4, 3)
    clf = make().partial_fit(X, y, [0, 1, 2])
    curve = clf.loss_curve_
    shallow, deep = copy.copy(clf), copy.deepcopy(clf)
    assert clf.partial_fit(X, y).loss_curve_ is curve
    assert [len(each.loss_curve_) for each in (clf, shallow, deep)] == [2, 1, 1]
    assert len(shallow.partial_fit(X, y).loss_curve_) == len(clf.loss_curve_) == 2
    fitted = make(max_iter=3).fit(X, y)
    first = fitted.loss_curve_
    assert len(fitted.fit(X, y).loss_curve_) == len(first) == 3
    assert first is not fitted.loss_curve_


def test_losses_of_a_fit_that_fails_at_its_end_are_forgotten(monkeypatch):
    X, y = blobs(50, 4, 3)
    clf = make(max_iter=2, warm_start=True).fit(X, y)
    before = copy.deepcopy(vars(clf))

    def fail(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastsoftmax._softmax_classifier.FitTask.end", fail)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert clf.loss_curve_ == before["loss_curve_"]
    assert clf.n_iter_ == before["n_iter_"] == 2


def test_weights_set_by_hand_that_do_not_fit_are_named():
    X, y = blobs(20, 4, 2)
    clf = make().fit(X, y)
    clf.coef_ = np.concatenate([-clf.coef_, clf.coef_])
    for method in ("predict", "predict_proba", "decision_function"):
        with pytest.raises(ValueError, match=r"prediction: coef_ has shape \(2, 4\), not \(1, 4\)"):
            getattr(clf, method)(X)


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("coef_", lambda w: w[:, :3], ValueError, r"coef_ has shape \(3, 3\), not \(3, 4\)"),
        ("coef_", lambda w: w.astype(complex), TypeError, "coef_ is of dtype complex128"),
        ("coef_", lambda w: w.astype(str), TypeError, "coef_ is of dtype <U"),
        ("coef_", np.ma.asarray, TypeError, "coef_ is a masked array"),
        ("intercept_", lambda b: b.astype(complex), TypeError, "intercept_ is of dtype complex128"),
        ("intercept_", lambda b: b.astype(str), TypeError, "intercept_ is of dtype <U"),
        ("intercept_", lambda b: b[:2], ValueError, r"intercept_ has shape \(2,\), not \(3,\)"),
        ("intercept_", lambda b: 0.0, ValueError, r"intercept_ has shape \(\), not \(3,\)"),
    ],
)
def test_what_is_wrong_with_weights_set_by_hand_is_named(name, change, error, message):
    X, y = blobs(20, 4, 3)
    clf = make().fit(X, y)
    setattr(clf, name, change(getattr(clf, name)))
    for method in (clf.predict, clf.predict_proba, lambda X: clf.partial_fit(X, y)):
        with pytest.raises(error, match=message):
            method(X)


def test_a_model_put_together_by_hand():
    X, y = blobs(20, 4, 3)
    fitted, clf = make().fit(X, y), make()
    clf.classes_ = fitted.classes_
    clf.coef_, clf.intercept_ = fitted.coef_.tolist(), fitted.intercept_.tolist()
    assert_array_equal(clf.predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(ValueError, match="X has 3 features, but coef_ is for 4"):
        clf.predict(X[:, :3])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("as_list", [False, True])
def test_training_goes_on_from_weights_set_by_hand(momentum, as_list):
    """As federated learning does: from zero they are those of a fit from the start."""
    X, y = blobs(40, 4, 3)
    fitted = make(momentum=momentum, max_iter=3).fit(X, y)
    for train in (lambda clf: clf.fit(X, y), lambda clf: [clf.partial_fit(X, y) for _ in range(3)]):
        clf = make(momentum=momentum, max_iter=3, warm_start=True)
        zeros = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
        clf.coef_, clf.intercept_ = (each.tolist() if as_list else each for each in zeros)
        clf.classes_ = np.arange(3)
        with pytest.raises(ValueError, match=r"coef_ has shape \(3, 4\), not \(3, 3\)"):
            clf.fit(X[:, :3], y)
        train(clf)
        assert_allclose(clf.coef_, fitted.coef_, rtol=1e-5 if as_list else 0)  # lists are float64
        assert clf.n_features_in_ == 4
        assert len(clf.loss_curve_) == clf.n_iter_ == 3


def test_a_velocity_of_weights_of_another_shape_is_dropped():
    X, y = blobs(40, 4, 4)
    first = y < 3
    clf = make(momentum=0.9).fit(X[first], y[first])
    clf.classes_ = np.arange(4)
    clf.coef_ = np.vstack([clf.coef_, np.zeros((1, 4), clf.coef_.dtype)])
    clf.intercept_ = np.append(clf.intercept_, np.float32(0))
    plain = make(momentum=0.9, warm_start=True)
    plain.classes_, plain.coef_, plain.intercept_ = clf.classes_, clf.coef_, clf.intercept_
    plain._seed, plain.n_iter_ = clf._seed, clf.n_iter_
    assert_array_equal(clf.partial_fit(X, y).coef_, plain.partial_fit(X, y).coef_)


def test_weights_that_are_nothing_beside_others_underflow_silently():
    X, y = blobs(40, 4, 3)
    weights = np.ones(40)
    weights[0] = 1e-60
    none = np.where(weights < 1, 0, weights)
    with np.errstate(all="raise"):
        fitted = make().fit(X, y, weights)
    assert_allclose(fitted.coef_, make().fit(X, y, none).coef_, rtol=1e-6)
    with np.errstate(all="raise"):
        make().fit(X, y, weights * np.where(weights < 1, 1e-240, 1e300))
        make().partial_fit(X, y, np.arange(3), weights)


def test_weights_alone_are_no_model():
    X, y = blobs(40, 4, 3)
    clf = make(warm_start=True)
    clf.coef_, clf.intercept_ = np.zeros((3, 4)), np.zeros(3)
    for use in (clf.predict, lambda X: clf.fit(X, y), lambda X: clf.partial_fit(X, y)):
        with pytest.raises(NotFittedError, match="not fitted"):
            use(X)


def test_without_momentum_no_velocity_is_left():
    X, y = blobs(60, 5, 3)
    kept, dropped = (SoftmaxClassifier(momentum=0.9, max_iter=2, random_state=0) for _ in range(2))
    for clf in kept, dropped:
        clf.fit(X, y).set_params(momentum=0.0)
    del dropped._velocity
    assert_array_equal(kept.partial_fit(X, y).coef_, dropped.partial_fit(X, y).coef_)
    assert kept._velocity is None


def test_without_intercepts_these_have_no_velocity():
    X, y = blobs(60, 5, 3)
    clf = SoftmaxClassifier(momentum=0.9, max_iter=3).fit(X, y)
    clf.set_params(fit_intercept=False).partial_fit(X, y)
    assert (clf.intercept_ == 0).all()
    assert (clf._velocity[1] == 0).all()


@pytest.mark.parametrize("density", [0.2, 1.0])
@pytest.mark.parametrize("n_classes", [10, 26, 31, 100])
def test_what_all_intercepts_have_in_common_changes_nothing(n_classes, density):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(200, 64)) * (rng.random((200, 64)) < density)).astype(np.float32)
    y = np.arange(200) % n_classes
    fits = []
    for common in (0.0, -100.0, 100.0):
        clf = make()
        clf.classes_ = np.arange(n_classes)
        clf.coef_ = np.zeros((n_classes, 64), np.float32)
        clf.intercept_ = np.full(n_classes, common, np.float32)
        fits.append(clf.partial_fit(X, y).partial_fit(X, y))
    for clf in fits[1:]:
        # A logit near 100 is off by 2^-18, and so are probabilities, relative to their size.
        assert_allclose(clf.loss_curve_, fits[0].loss_curve_, rtol=1e-5)
        assert_allclose(clf.coef_, fits[0].coef_, atol=1e-5)
