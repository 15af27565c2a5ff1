"""Many C and folds at once give what single fits give, in scikit-learn's shapes."""

import copy
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from reference import blobs, logistic_objective
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression as ReferenceOfOneC
from sklearn.linear_model import LogisticRegressionCV as Reference
from sklearn.metrics import accuracy_score, log_loss, make_scorer, recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_validate,
)

from fastsoftmax import LogisticRegression, LogisticRegressionCV, _core, logistic_regression_path

CS = [0.01, 0.3, 10.0]


@pytest.fixture(params=[2, 3, 7], ids=lambda k: f"{k} classes")
def data(request):
    X, y = blobs(210, 6, request.param)
    return X + np.random.default_rng(3).normal(size=X.shape) / 2, y


def count_calls(monkeypatch):
    """A list that gets the number of models of each call of the core."""
    calls, original = [], _core.fit_logistic

    def counted(*arguments, **named):
        calls.append(len(arguments[4]))
        return original(*arguments, **named)

    monkeypatch.setattr(_core, "fit_logistic", counted)
    return calls


@pytest.mark.parametrize("sparse", [False, True])
def test_path_equals_single_fits(data, sparse, monkeypatch):
    X, y = data
    weights = np.random.default_rng(0).uniform(0.5, 2, size=210)
    calls = count_calls(monkeypatch)
    given = scipy.sparse.csr_array(X) if sparse else X
    path = logistic_regression_path(given, y, CS, sample_weight=weights, tol=1e-11)
    assert calls == [3]
    assert_array_equal(path.Cs, CS)
    assert_array_equal(path.classes, np.unique(y))
    for i, C in enumerate(CS):
        single = LogisticRegression(C=C, tol=1e-11).fit(X, y, weights)
        assert_allclose(path.coef[i], single.coef_, atol=1e-4)
        assert_allclose(path.intercept[i], single.intercept_, atol=1e-4)
        assert_allclose(path.objective[i], single.objective_, rtol=1e-10)
        assert path.gap[i] <= 1e-11
        assert path.n_iter[i] >= 1
        assert path.n_passes[i] >= 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64])
def test_folds_of_any_integers(data, dtype):
    X, y = data
    folds = np.arange(len(y)) % 128
    path = logistic_regression_path(X, y, [1.0], folds.astype(dtype))
    assert_array_equal(path.coef, logistic_regression_path(X, y, [1.0], folds).coef)


def test_path_with_folds_equals_fits_without_them(data, monkeypatch):
    X, y = data
    folds = np.random.default_rng(1).integers(-1, 3, size=210)
    calls = count_calls(monkeypatch)
    path = logistic_regression_path(X, y, CS, folds, tol=1e-11)
    assert calls == [9]
    assert path.coef.shape == (3, 3, *path.coef.shape[2:])
    for fold in range(3):
        kept = folds != fold
        for i, C in enumerate(CS):
            single = LogisticRegression(C=C, tol=1e-11).fit(X[kept], y[kept])
            assert_allclose(path.coef[fold, i], single.coef_, atol=1e-4)
            assert_allclose(path.objective[fold, i], single.objective_, rtol=1e-10)


def test_path_of_default_and_infinite_C(data):
    X, y = data
    path = logistic_regression_path(X, y)
    assert_allclose(path.Cs, np.logspace(-4, 4, 10))
    assert path.gap.max() <= 1e-4
    path = logistic_regression_path(X * 0.1, y, [1.0, np.inf], tol=1e-9)
    assert np.isfinite(path.coef).all()
    objective = logistic_objective(X * 0.1, y, path.coef[1], path.intercept[1], np.inf)
    assert_allclose(objective, path.objective[1], rtol=1e-10)
    assert path.objective[1] < path.objective[0]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_path_keeps_narrow_dtypes(dtype):
    X, y = blobs(300, 8, 3, dtype)
    scale = 1 / 255 if dtype == np.uint8 else 1.0
    folds = np.arange(300) % 3
    path = logistic_regression_path(X, y, CS, folds, input_scale=scale, tol=1e-5)
    assert path.coef.dtype == path.intercept.dtype == np.float32
    wide = logistic_regression_path(X * np.float64(scale), y, CS, folds, tol=1e-9)
    assert_allclose(path.objective, wide.objective, rtol=2e-5)


def test_path_warns_once_of_all_that_are_not_there():
    X, y = blobs(2000, 30, 5)
    with pytest.warns(ConvergenceWarning, match="[12] of 2 models: max_iter=1 ended") as found:
        logistic_regression_path(X, y, [1, 100], max_iter=1, tol=1e-12)
    assert len(found) == 1
    assert found[0].filename == __file__


SPLITS = {
    "default": None,
    "3": 3,
    "shuffled": StratifiedKFold(4, shuffle=True, random_state=0),
    "not stratified": KFold(3),
    "overlapping test sets": ShuffleSplit(3, test_size=0.3, random_state=0),
    "repeated": RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "some rows are never tested": [(np.arange(0, 180), np.arange(180, 210))],
    "some rows are never used": [(np.arange(0, 100), np.arange(150, 210))],
}


def reference_cv(X, y, weights=None, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = Reference(Cs=CS, solver="newton-cg", tol=1e-10, max_iter=10_000, **parameters)
        return reference.fit(X, y, **({} if weights is None else {"sample_weight": weights}))


def scores_of(reference):
    """As one array (n_folds, n_cs), from any version of scikit-learn."""
    scores = reference.scores_
    if isinstance(scores, dict):
        scores = next(iter(scores.values()))
    return np.asarray(scores).reshape(-1, len(CS))


def scores_by_hand(X, y, splits, score):
    """Of single fits of scikit-learn, (n_folds, n_cs): before 1.9 scorers of its own get the default C."""

    def fit(C, rows):
        parameters = {"solver": "newton-cg", "tol": 1e-10, "max_iter": 10_000}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ReferenceOfOneC(C=C, **parameters).fit(X[rows], y[rows])

    return [[score(fit(C, train), X[test].copy(), y[test]) for C in CS] for train, test in splits]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("scoring", [None, "neg_log_loss", "balanced_accuracy"])
def test_cv_equals_scikit_learn(data, split, scoring):
    X, y = data
    clf = LogisticRegressionCV(Cs=CS, cv=SPLITS[split], scoring=scoring, tol=0).fit(X, y)
    reference = reference_cv(X, y, cv=SPLITS[split], scoring=scoring or "accuracy")
    assert_allclose(clf.scores_[:, 0], scores_of(reference), atol=1e-6)
    assert np.ravel(reference.C_)[0] == clf.C_
    assert_allclose(clf.coef_, reference.coef_, atol=1e-5)
    single = LogisticRegression(C=clf.C_, tol=0).fit(X, y)
    assert_allclose(clf.coef_, single.coef_, atol=1e-6)
    assert clf.gap_ <= 1e-9


def test_cv_without_refit(data):
    X, y = data
    clf = LogisticRegressionCV(Cs=CS, cv=3, refit=False, tol=0).fit(X, y)
    reference = reference_cv(X, y, cv=3, scoring="accuracy", refit=False)
    assert_allclose(clf.C_, np.ravel(reference.C_)[0])
    assert_allclose(clf.coef_, reference.coef_, atol=1e-5)
    assert np.isnan(clf.gap_)


def test_cv_attributes(data):
    X, y = data
    n_rows = 1 if len(np.unique(y)) == 2 else len(np.unique(y))
    clf = LogisticRegressionCV(Cs=CS, cv=4).fit(X, y)
    assert isinstance(clf.C_, float)
    assert_array_equal(clf.Cs_, CS)
    assert clf.scores_.shape == clf.gaps_paths_.shape == clf.n_iter_.shape == (4, 1, 3)
    assert clf.coefs_paths_.shape == (4, 1, 3, n_rows, 7)
    assert (clf.l1_ratio_, clf.l1_ratios_.tolist()) == (0.0, [0.0])
    assert clf.gaps_paths_.max() <= 1e-4
    assert LogisticRegressionCV(Cs=CS, cv=4, fit_intercept=False).fit(X, y).coefs_paths_.shape == (
        4, 1, 3, n_rows, 6,
    )  # fmt: skip
    assert clf.score(X, y) == (clf.predict(X) == y).mean()


def test_all_models_of_the_folds_are_one_call(data, monkeypatch):
    calls = count_calls(monkeypatch)
    LogisticRegressionCV(Cs=CS, cv=5).fit(*data)
    assert calls == [15, 1]
    calls.clear()
    LogisticRegressionCV(Cs=CS, cv=ShuffleSplit(4, random_state=0), refit=False).fit(*data)
    assert calls == [3, 3, 3, 3]


def test_cv_weights_samples_and_scores(data):
    X, y = data
    weights = np.random.default_rng(0).uniform(0.1, 3, size=210)
    clf = LogisticRegressionCV(Cs=CS, cv=3, tol=0, scoring="accuracy").fit(X, y, weights)
    reference = reference_cv(X, y, weights, cv=3, scoring="accuracy")
    assert_allclose(clf.scores_[:, 0], scores_of(reference), atol=1e-9)
    assert_allclose(clf.coef_, reference.coef_, atol=1e-5)


def test_cv_class_weight(data):
    X, y = data
    parameters = {"cv": 3, "scoring": "neg_log_loss", "class_weight": "balanced"}
    clf = LogisticRegressionCV(Cs=CS, tol=0, **parameters).fit(X[:200], y[:200])
    reference = reference_cv(X[:200], y[:200], **parameters)
    assert_allclose(clf.scores_[:, 0], scores_of(reference), atol=1e-6)


def test_a_class_with_no_sample_in_a_fold():
    X, y = blobs(90, 4, 3)
    fold = np.where(y == 2, 2, np.arange(90) % 2)  # one fold has all of class 2, and only that
    splits = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(3)]
    clf = LogisticRegressionCV(Cs=CS, cv=splits, scoring="accuracy", tol=1e-7).fit(X, y)
    assert clf.gaps_paths_.max() <= 1e-7
    assert np.isfinite(clf.coefs_paths_).all()
    assert_array_equal(clf.scores_[2, 0], np.zeros(3))
    # Two rows, each other's negatives, have half the squared norm of the one that is their difference.
    alone = logistic_regression_path(X[y != 2], y[y != 2], np.array(CS) * 2, tol=1e-7)
    paths = clf.coefs_paths_[2, 0]
    assert_array_equal(paths[:, 2, :4], np.zeros((3, 4)))
    assert_allclose(paths[:, 0], -paths[:, 1], atol=1e-12)
    assert_allclose(2 * paths[:, 1, :4], alone.coef[:, 0], atol=1e-3, rtol=1e-3)
    assert_allclose(2 * paths[:, 1, 4], alone.intercept[:, 0], atol=1e-3, rtol=1e-3)


def log_likelihood(clf, X, y):
    return -log_loss(y, clf.predict_proba(X), labels=clf.classes_)


@pytest.mark.parametrize(
    ("scoring", "by_hand"),
    [("neg_log_loss", log_likelihood), ("accuracy", lambda clf, X, y: clf.score(X, y))],
)
def test_a_class_that_a_test_set_lacks(scoring, by_hand):
    X, y = blobs(60, 3, 3, seed=3)
    y[:50] = np.arange(50) % 2
    y[50:] = 2
    rows = np.arange(60)
    splits = [(np.setdiff1d(rows, test), test) for test in (rows[:20], rows[20:40])]
    clf = LogisticRegressionCV(Cs=CS, tol=1e-12, cv=splits, scoring=scoring).fit(X, y)
    assert_allclose(clf.scores_[:, 0], scores_by_hand(X, y, splits, by_hand), rtol=1e-5)


@pytest.mark.parametrize("scoring", ["f1", "neg_log_loss", "roc_auc"])
def test_the_positive_class_of_text(scoring):
    X, y = blobs(80, 3, 2)
    labels = np.array(["no", "yes"])[y]
    parameters = {"cv": 3, "scoring": scoring}
    clf = LogisticRegressionCV(Cs=CS, tol=1e-12, **parameters).fit(X, labels)
    assert_allclose(clf.scores_[:, 0], scores_of(reference_cv(X, labels, **parameters)), rtol=1e-5)


@pytest.mark.parametrize("scoring", [None, "neg_log_loss"])
def test_score_before_fit(data, scoring):
    X, y = data[:2]
    with pytest.raises(NotFittedError, match="not fitted yet"):
        LogisticRegressionCV(scoring=scoring).score(X, y)


def test_score_of_masked_labels():
    X, y = blobs(80, 3, 2)
    clf = LogisticRegressionCV(Cs=CS, cv=2).fit(X, y)
    with pytest.raises(TypeError, match="y is a masked array"):
        clf.score(X, np.ma.array(y, mask=y == 0))


def test_scorers_see_the_parameters_of_the_model():
    def look(clf, X, y):
        return clf.C + 1000 * clf.fit_intercept + clf.tol

    X, y = blobs(80, 3, 2)
    clf = LogisticRegressionCV(Cs=CS, cv=2, scoring=look, fit_intercept=False, tol=0.5).fit(X, y)
    assert_array_equal(clf.scores_[:, 0], [np.add(CS, 0.5)] * 2)


def test_callable_scorers_get_an_estimator(data):
    X, y = data
    seen = []

    def score(estimator, X_test, y_test):
        seen.append((type(estimator).__mro__[1].__name__, len(X_test), estimator.coef_.shape[1]))
        half = estimator.predict_proba(X_test[::2])  # not what is known already
        assert_allclose(half, estimator.predict_proba(X_test)[::2], rtol=1e-12)
        return estimator.score(X_test, y_test)

    clf = LogisticRegressionCV(Cs=CS, cv=3, scoring=score).fit(X, y)
    assert len(seen) == 9
    assert seen[0][1:] == (70, 6)
    assert_array_equal(clf.scores_, LogisticRegressionCV(Cs=CS, cv=3).fit(X, y).scores_)
    recall = make_scorer(recall_score, average="macro")
    assert 0 < LogisticRegressionCV(Cs=CS, cv=3, scoring=recall).fit(X, y).score(X, y) <= 1


def of_a_clone(clf, X, y):
    return sklearn.base.clone(clf).fit(X, y).score(X, y)


def of_nothing(clf, X, y):
    clf = copy.copy(clf)
    clf.coef_, clf.intercept_ = clf.coef_ * 0, clf.intercept_ * 0
    return clf.predict_proba(X).max()


def without_a_feature(clf, X, y):
    before, values = clf.score(X, y), X[:, 0].copy()
    X[:, 0] = 0
    after = clf.score(X, y)
    X[:, 0] = values
    return before - after


@pytest.mark.parametrize("score", [of_a_clone, of_nothing, without_a_feature])
def test_scorers_may_do_with_the_model_what_they_like(data, score):
    X, y = data
    clf = LogisticRegressionCV(Cs=CS, cv=3, scoring=score, tol=1e-10).fit(X, y)
    splits = StratifiedKFold(3).split(X, y)
    assert_allclose(clf.scores_[:, 0], scores_by_hand(X, y, splits, score), atol=1e-6)


def test_one_weight_for_all(data):
    X, y = data
    clf = LogisticRegressionCV(Cs=CS, cv=3).fit(X, y, sample_weight=2.0)
    same = LogisticRegressionCV(Cs=CS, cv=3).fit(X, y, sample_weight=np.full(len(y), 2.0))
    assert_array_equal(clf.scores_, same.scores_)
    assert_array_equal(clf.coef_, same.coef_)


def test_leave_one_out():
    X, y = blobs(30, 3, 2)
    clf = LogisticRegressionCV(Cs=[0.1, 1], cv=LeaveOneOut()).fit(X, y)
    assert clf.scores_.shape == (30, 1, 2)


@pytest.mark.parametrize("form", ["csr", "float32", "uint8", "frame"])
def test_cv_of_other_inputs(form):
    X, y = blobs(150, 5, 3, np.uint8)
    scale = 1 / 255
    plain = LogisticRegressionCV(Cs=CS, cv=3, input_scale=scale).fit(X.astype(float), y)
    given = {
        "csr": lambda: scipy.sparse.csr_array(X.astype(float)),
        "float32": lambda: X.astype(np.float32),
        "uint8": lambda: X,
        "frame": lambda: pytest.importorskip("pandas").DataFrame(X, columns=list("abcde")),
    }[form]()
    clf = LogisticRegressionCV(Cs=CS, cv=3, input_scale=scale).fit(given, y)
    assert_allclose(clf.scores_, plain.scores_, atol=0.021)  # a sample on the border
    assert clf.coef_.dtype == (np.float64 if form == "csr" else np.float32)
    assert hasattr(clf, "feature_names_in_") == (form == "frame")


def test_score_takes_weights_by_name():
    X, y = blobs(150, 5, 3)
    X = X + np.random.default_rng(0).normal(scale=2, size=X.shape)
    weights = np.where(y == 0, 9.0, 1.0)
    clf = LogisticRegressionCV(Cs=CS, cv=3).fit(X, y)
    expected = np.average(clf.predict(X) == y, weights=weights)
    assert clf.score(X, y, sample_weight=weights) == pytest.approx(expected)
    unweighted = LogisticRegressionCV(Cs=CS, cv=3, scoring=lambda clf, X, y: 0.25).fit(X, y)
    assert unweighted.score(X, y, sample_weight=None) == 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that weights do not reach the score
        search = GridSearchCV(LogisticRegressionCV(Cs=CS, cv=3), {"fit_intercept": [True]}, cv=3)
        search.fit(X, y, sample_weight=weights)


class TestMetadataRouting:
    @pytest.fixture(autouse=True)
    def _routing(self):
        with sklearn.config_context(enable_metadata_routing=True):
            yield

    def test_groups_reach_the_splitter_and_weights_the_scorer(self):
        X, y = blobs(120, 4, 3)
        X = X + np.random.default_rng(0).normal(size=X.shape)
        groups, weights = np.arange(120) // 20, np.where(y == 0, 9.0, 1.0)
        scorer = sklearn.metrics.get_scorer("accuracy").set_score_request(sample_weight=True)
        clf = LogisticRegressionCV(Cs=CS, cv=GroupKFold(3), scoring=scorer)
        clf.set_fit_request(sample_weight=True)
        clf.fit(X, y, sample_weight=weights, groups=groups)
        reference = Reference(
            Cs=CS, cv=GroupKFold(3), scoring=scorer, solver="newton-cg", tol=1e-9
        ).set_fit_request(sample_weight=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference.fit(X, y, sample_weight=weights, groups=groups)
        assert_allclose(clf.scores_[:, 0], scores_of(reference), atol=1e-9)
        expected = np.average(clf.predict(X) == y, weights=weights)
        assert clf.score(X, y, sample_weight=weights) == pytest.approx(expected)

    def test_inside_cross_validation(self):
        X, y = blobs(120, 4, 3)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        clf = LogisticRegressionCV(Cs=[0.1, 1.0], cv=GroupKFold(2), scoring=scorer, max_iter=500)
        clf.set_fit_request(sample_weight=True)
        params = {"groups": np.arange(120) // 10, "sample_weight": np.where(y == 0, 2.0, 1.0)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            found = cross_validate(clf, X, y, params=params, cv=GroupKFold(3), error_score="raise")
        assert (found["test_score"] > 0.5).all()


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([], "cv gives no split"),
        ([(np.arange(30), [])], "the test set of split 0 is empty"),
        (
            [(np.arange(30), np.arange(5)), (np.zeros(80, bool), np.arange(5))],
            "training set of split 1",
        ),
    ],
)
def test_empty_splits(splits, message):
    X, y = blobs(80, 3, 2)
    with pytest.raises(ValueError, match=message):
        LogisticRegressionCV(Cs=CS, cv=splits).fit(X, y)


def test_parameters_of_fit_need_routing(data):
    with pytest.raises(ValueError, match="'groups' only with metadata routing"):
        LogisticRegressionCV(cv=GroupKFold(3)).fit(*data, groups=np.arange(210))


def test_folds_that_overlap_have_the_weights():
    X, y = np.random.default_rng(0).standard_normal((80, 3)), np.arange(80) % 2
    weights = np.where(np.arange(80) < 40, 1.0, 5.0)
    folds = list(ShuffleSplit(3, test_size=0.5, random_state=0).split(X))
    clf = LogisticRegressionCV(Cs=[1.0], cv=folds, tol=1e-8).fit(X, y, sample_weight=weights)
    for fold, (rows, _) in enumerate(folds):
        one = LogisticRegression(tol=1e-8).fit(X[rows], y[rows], weights[rows])
        assert_allclose(clf.coefs_paths_[fold, 0, 0, :, :3], one.coef_, atol=1e-3)


@pytest.mark.parametrize("refit", [True, False])
def test_a_score_that_is_nan_is_not_the_best(refit):
    def scorer(estimator, X, y):
        return np.nan if estimator.C < 1 else estimator.C

    X, y = blobs(60, 5, 3)
    clf = LogisticRegressionCV(Cs=[0.1, 1.0, 10.0], cv=3, scoring=scorer, refit=refit).fit(X, y)
    assert clf.C_ == 10.0


def test_the_options_of_a_path():
    X, y = np.random.default_rng(0).standard_normal((60, 5)), np.arange(60) % 3
    class_weight = {0: 5.0, 1: 1.0, 2: 1.0}
    path = logistic_regression_path(X, y, Cs=[1.0], class_weight=class_weight)
    one = LogisticRegression(class_weight=class_weight).fit(X, y)
    assert_allclose(path.coef[0], one.coef_, atol=1e-3)
    with pytest.raises(ValueError, match="n_threads"):
        logistic_regression_path(X, y, n_threads=0)
    with pytest.raises(ValueError, match="RandomState"):
        logistic_regression_path(X, y, random_state="x")


def test_a_fold_without_a_class_and_no_intercept():
    X, y = blobs(60, 5, 3)
    path = logistic_regression_path(X, y, [1.0], folds=np.where(y == 2, 0, -1), fit_intercept=False)
    assert (path.intercept == 0).all()
    assert np.abs(path.coef[0, 0, 2]).max() > 1e-3


def test_warnings_point_to_the_caller():
    X, y = np.random.default_rng(0).standard_normal((60, 5)), np.arange(60) % 3
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        LogisticRegressionCV(Cs=[1e3], cv=2, max_iter=1, tol=1e-10).fit(X, y)
    assert [warning.filename for warning in found] == [__file__, __file__]


def test_verbose_says_the_largest_objective_of_a_path(capsys):
    X, y = blobs(60, 5, 3)
    path = logistic_regression_path(X, y, [1e-3, 1e3], verbose=1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert path.objective.argmax() != path.objective.argmin()
    said = float(last.split("objective ")[1].split(",")[0])
    assert_allclose(said, path.objective.max(), rtol=1e-4)
