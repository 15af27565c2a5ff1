"""scikit-learn's callbacks on the estimators: what they are told, when, and what their word changes."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from reference import assert_unchanged, run_python, snapshot
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fastsoftmax import LogisticRegression, SoftmaxClassifier

try:
    from sklearn.callback import ScoringMonitor
except ImportError:
    ScoringMonitor = None

needs_callbacks = pytest.mark.skipif(ScoringMonitor is None, reason="scikit-learn before 1.9")

SGD = SoftmaxClassifier(max_iter=6, batch_size=20, learning_rate=0.1, momentum=0.5, random_state=3)
OPTIMUM = LogisticRegression(C=0.3, tol=1e-8)
both = pytest.mark.parametrize("model", [SGD, OPTIMUM], ids=["sgd", "optimum"])
n_classes = pytest.mark.parametrize("n_classes", [2, 4])


def data(n_classes, dtype=np.float32):
    random = np.random.default_rng(n_classes)
    y = np.arange(200) % n_classes
    X = random.normal(size=(200, 9)) + random.normal(size=(n_classes, 9))[y]
    return X.astype(dtype), np.array(["a", "b", "c", "d"])[y]


class Recorder:
    """Keeps all that it is told, and says stop at one iteration."""

    def __init__(self, stop_at=None, fail_at=None):
        self.events, self.fitted, self.given = [], [], []
        self.stop_at, self.fail_at = stop_at, fail_at

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self.events.append(f"end {context.task_name}")
        self.given.append((X, y, metadata))
        self.fitted.append(fitted_estimator)
        iterations = sum(event.startswith("end") for event in self.events)
        if iterations == self.fail_at:
            raise RuntimeError("no more")
        return iterations == self.stop_at


def fit(model, recorder, X, y, **weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return clone(model).set_callbacks(recorder).fit(X, y, **weights)


def same(a, b):
    return (
        a.coef_.tobytes() == b.coef_.tobytes() and a.intercept_.tobytes() == b.intercept_.tobytes()
    )


@needs_callbacks
@both
@n_classes
def test_each_iteration_is_a_task(model, n_classes):
    X, y = data(n_classes)
    recorder = Recorder()
    fitted = fit(model, recorder, X, y)
    n_iter = int(np.ravel(fitted.n_iter_)[0])
    assert n_iter > 3
    name = "epoch" if isinstance(model, SoftmaxClassifier) else "iteration"
    iteration = [f"begin {name}", f"end {name}"]
    assert recorder.events == [
        "setup", "begin fit", *iteration * n_iter, "end fit", "teardown",
    ]  # fmt: skip
    assert same(fitted, clone(model).fit(X, y)), "being followed changes nothing"
    for given in recorder.given:
        assert given[0] is X
        assert given[1] is y
        assert given[2] is None


@needs_callbacks
@n_classes
def test_the_estimator_of_an_epoch_is_that_of_as_many_epochs(n_classes):
    X, y = data(n_classes)
    recorder = Recorder()
    fit(SGD, recorder, X, y)
    for epoch, fitted in enumerate(recorder.fitted[:-1], 1):
        alone = clone(SGD).set_params(max_iter=epoch).fit(X, y)
        assert same(fitted, alone)
        assert fitted.loss_curve_ == alone.loss_curve_
        # It goes on from there, momentum included.
        assert same(fitted.partial_fit(X, y), clone(alone).set_params(max_iter=epoch + 1).fit(X, y))


@needs_callbacks
@n_classes
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_estimator_of_an_iteration_has_the_objective_it_tells(n_classes, dtype):
    X, y = data(n_classes, dtype)
    recorder = Recorder()
    fitted = fit(OPTIMUM, recorder, X, y)
    for each in recorder.fitted:
        logs = each.predict_log_proba(X.astype(np.float64))
        loss = -logs[np.arange(len(y)), np.searchsorted(each.classes_, y)].sum()
        penalty = (each.coef_.astype(np.float64) ** 2).sum() / (2 * each.C)
        # float32 sums of 9 products in the logits, and a coefficient rounded to it.
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        assert loss + penalty == pytest.approx(each.objective_, rel=tolerance)
        assert each.coef_.dtype == dtype
    objectives = np.array([each.objective_ for each in recorder.fitted])
    assert (np.diff(objectives) <= 1e-9 * objectives[1:]).all()
    assert same(recorder.fitted[-1], fitted)


@needs_callbacks
def test_stop_ends_the_epochs():
    X, y = data(4)
    stopped = fit(SGD, Recorder(stop_at=4), X, y)
    assert stopped.n_iter_ == 4
    assert same(stopped, clone(SGD).set_params(max_iter=4).fit(X, y))


@needs_callbacks
def test_stop_ends_the_iterations_without_a_warning():
    X, y = data(4)
    recorder = Recorder(stop_at=3)
    stopped = fit(OPTIMUM, recorder, X, y)
    assert stopped.n_iter_[0] == 3
    assert stopped.gap_ > OPTIMUM.tol
    assert recorder.events[-3:] == ["end iteration", "end fit", "teardown"]
    assert same(stopped, recorder.fitted[2])


@needs_callbacks
@both
def test_an_error_in_a_callback_leaves_everything_as_it_was(model):
    X, y = data(4)
    recorder = Recorder(fail_at=2)
    estimator = clone(model).fit(*data(2))
    before = snapshot(estimator) | {"_skl_callbacks": [recorder]}
    estimator.set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="no more"):
        estimator.fit(X, y)
    assert_unchanged(estimator, before)
    assert recorder.events[-1] == "teardown"


@needs_callbacks
@both
def test_bad_input_is_not_a_task(model):
    recorder = Recorder()
    with pytest.raises(ValueError, match="samples"):
        fit(model, recorder, np.zeros((3, 2)), [1, 2])
    assert recorder.events == []


@needs_callbacks
@both
def test_weights_are_metadata(model):
    X, y = data(4)
    weights = np.arange(200.0)
    recorder = Recorder()
    fit(model, recorder, X, y, sample_weight=weights)
    assert all(given[2]["sample_weight"] is weights for given in recorder.given)


@needs_callbacks
def test_a_class_without_weight_is_there_all_along():
    X, y = data(4)
    recorder = Recorder()
    fitted = fit(OPTIMUM, recorder, X, y, sample_weight=np.where(y == "c", 0.0, 1.0))
    assert len(recorder.fitted) > 3
    for each in recorder.fitted:
        assert each.coef_.shape == fitted.coef_.shape
        assert (each.coef_[2] == 0).all()
        assert each.intercept_[2] == -100


@needs_callbacks
@both
def test_scores_are_monitored(model):
    X, y = data(4)
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(9)])
    monitor = ScoringMonitor(scoring="accuracy")
    fitted = fit(model, monitor, frame, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data]
    assert len(scores) == int(np.ravel(fitted.n_iter_)[0]) + 1  # and the whole fit
    assert fitted.score(frame, y) in scores
    assert max(scores) > 0.8


@needs_callbacks
@both
def test_callbacks_of_a_search_reach_the_estimators(model):
    X, y = data(4)
    monitor = ScoringMonitor(scoring="accuracy")
    name = "learning_rate" if isinstance(model, SoftmaxClassifier) else "C"
    inner = clone(model).set_callbacks(monitor)
    GridSearchCV(inner, {name: [0.1, 1.0]}, cv=2).fit(X, y)
    assert len(monitor.get_logs(select="all")) > 0


def test_before_there_were_callbacks():
    program = (
        "import sys; sys.modules['sklearn.callback'] = None\n"
        "import numpy as np\n"
        "from fastsoftmax import LogisticRegression, SoftmaxClassifier\n"
        "X, y = np.eye(6), [0, 1, 2, 0, 1, 2]\n"
        "for model in LogisticRegression(), SoftmaxClassifier():\n"
        "    assert model.fit(X, y).coef_.shape == (3, 6)\n"
        "    try: model.set_callbacks()\n"
        "    except ImportError as error: print(error)\n"
    )
    printed = run_python(program)
    assert printed.count("callbacks need scikit-learn 1.9 or later") == 2


@needs_callbacks
def test_the_estimator_of_an_iteration_knows_columns_without_an_entry():
    X, y = data(4)
    wide = scipy.sparse.csr_array(np.hstack([X, np.zeros((len(X), 20), X.dtype)]))
    recorder = Recorder()
    fitted = fit(OPTIMUM, recorder, wide, y)
    assert len(recorder.fitted) > 2
    for each in recorder.fitted:
        assert each.coef_.shape == (4, 29)
        assert not each.coef_[:, 9:].any()
    assert same(recorder.fitted[-2], fitted)


@needs_callbacks
def test_no_iteration_begins_after_a_stop():
    X, y = data(4)
    for model, name in ((SGD, "epoch"), (OPTIMUM, "iteration")):
        recorder = Recorder(stop_at=2)
        fit(model, recorder, X, y)
        assert recorder.events == [
            "setup", "begin fit", *[f"begin {name}", f"end {name}"] * 2, "end fit", "teardown",
        ]  # fmt: skip


@needs_callbacks
def test_how_many_iterations_there_may_be():
    most = []

    class Counts(Recorder):
        def on_fit_task_begin(self, estimator, context):
            super().on_fit_task_begin(estimator, context)
            most.append(context.max_subtasks)

    X, y = data(2)
    fit(SGD, Counts(), X, y)
    assert most[0] == 6
    most.clear()
    fit(clone(OPTIMUM).set_params(max_iter=77), Counts(), X, y)
    assert most[0] == 77
