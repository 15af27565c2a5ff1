"""LogisticRegression on sparse rows: any form of them, columns that few rows have, or none."""

import warnings

import numpy as np
import pytest
import scipy.sparse
import scipy.special
from numpy.testing import assert_allclose, assert_array_equal
from reference import blobs
from sklearn.exceptions import ConvergenceWarning

from fastsoftmax import LogisticRegression, LogisticRegressionCV


@pytest.mark.parametrize("n_classes", [2, 3, 12])
@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_csr_equals_dense(dtype, index, n_classes):
    X, y = blobs(300, 40, n_classes, dtype)
    X = (X * (np.random.default_rng(2).random(X.shape) < 0.2)).astype(dtype)
    X[7] = 0
    csr = scipy.sparse.csr_array(X)
    csr.indices, csr.indptr = csr.indices.astype(index), csr.indptr.astype(index)
    before = csr.copy()
    clf = LogisticRegression(tol=1e-8, input_scale=0.5).fit(csr, y)
    dense = LogisticRegression(tol=1e-8, input_scale=0.5).fit(X, y)
    assert clf.coef_.dtype == dtype
    assert_allclose(clf.objective_, dense.objective_, rtol=2e-7)
    assert_allclose(clf.coef_, dense.coef_, atol=2e-3 if dtype == np.float32 else 1e-3)
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        expected = getattr(clf, method)(X)
        atol = 1e-5 if dtype == np.float32 else 1e-12
        assert_allclose(getattr(clf, method)(csr), expected, rtol=0, atol=atol)
        assert getattr(clf, method)(csr).dtype == dtype
    assert_array_equal(clf.predict(csr), clf.predict(X))
    for part in ("data", "indices", "indptr"):
        assert_array_equal(getattr(csr, part), getattr(before, part), strict=True)


@pytest.mark.parametrize(
    "form", ["csc", "coo", "lil", "matrix", "integers", "descending", "repeated"]
)
def test_other_sparse_forms(form):
    X, y = blobs(80, 10, 3, np.uint8)
    X = (X > 120).astype(np.float64) * (np.arange(10) % 3)
    expected = LogisticRegression(tol=1e-10).fit(scipy.sparse.csr_array(X), y)
    csr = scipy.sparse.csr_array(X)
    given = {
        "csc": csr.tocsc(),
        "coo": csr.tocoo(),
        "lil": csr.tolil(),
        "matrix": scipy.sparse.csr_matrix(X),
        "integers": csr.astype(np.int64),
        "descending": scipy.sparse.csr_array(
            (csr.data[::-1], csr.indices[::-1], csr.nnz - csr.indptr[::-1]), shape=X.shape
        )[::-1],
        "repeated": scipy.sparse.csr_array(
            (np.repeat(csr.data, 2) / 2, np.repeat(csr.indices, 2), 2 * csr.indptr), shape=X.shape
        ),
    }[form]
    clf = LogisticRegression(tol=1e-10).fit(given, y)
    assert_allclose(clf.coef_, expected.coef_, atol=1e-6)
    assert_array_equal(clf.predict(given), clf.predict(X))


METHODS = ("decision_function", "predict_proba", "predict_log_proba", "predict")


def with_weights(n_classes, n_features, dtype):
    """A model of random weights, and some of its inputs: CSR of 500 rows, the last ones empty."""
    rng = np.random.default_rng(3)
    clf = LogisticRegression(n_threads=1, input_scale=0.5)
    n_outputs = 1 if n_classes == 2 else n_classes
    clf.classes_, clf.n_features_in_ = np.arange(n_classes) * 3, n_features
    clf.coef_ = rng.standard_normal((n_outputs, n_features)).astype(dtype)
    clf.intercept_ = rng.standard_normal(n_outputs).astype(dtype)
    X = scipy.sparse.random(500, n_features, density=9 / n_features, random_state=3, dtype=dtype)
    return clf, scipy.sparse.vstack(
        [X, scipy.sparse.csr_array((3, n_features), dtype=dtype)]
    ).tocsr()


@pytest.mark.parametrize("n_classes", [2, 3, 5, 20, 300])
@pytest.mark.parametrize("weights", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions(dtype, weights, n_classes):
    clf, X = with_weights(n_classes, 2000, weights)
    X = X.astype(dtype)
    arithmetic = np.result_type(dtype, weights)
    logits = 0.5 * (X.astype(np.float64) @ clf.coef_.T.astype(np.float64)) + clf.intercept_
    two = np.hstack([np.zeros_like(logits), logits]) if n_classes == 2 else logits
    log_probs = scipy.special.log_softmax(two, axis=1)
    expected = {
        "decision_function": logits[:, 0] if n_classes == 2 else logits,
        "predict_proba": np.exp(log_probs),
        "predict_log_proba": log_probs,
    }
    # Rows have at most 30 entries below 1, weights are below 5.
    atol = 30 * 5 * 40 * np.finfo(arithmetic).eps
    for name, values in expected.items():
        found = getattr(clf, name)(X)
        assert found.dtype == arithmetic
        assert_allclose(found, values, rtol=0, atol=atol)
    assert_array_equal(clf.predict(X), clf.classes_[np.argmax(clf.predict_proba(X), axis=1)])


@pytest.mark.parametrize("n_classes", [2, 4, 11])
@pytest.mark.parametrize("method", METHODS)
def test_bits_of_a_row_are_its_own(method, n_classes, monkeypatch):
    """Whatever the number of threads, of rows beside it, and of rows to a slice."""
    clf, X = with_weights(n_classes, 900, np.float32)  # all rows: laid anew; few: brought together
    expected = getattr(clf, method)(X)
    for row in (0, 77, 501):
        assert_array_equal(getattr(clf, method)(X[[row]])[0], expected[row])
    monkeypatch.setenv("FASTSOFTMAX_CPUS", "8")
    for n_threads in (2, 3, 8):
        assert_array_equal(getattr(clf.set_params(n_threads=n_threads), method)(X), expected)
    monkeypatch.setattr("fastsoftmax._arrays._SHORT_WORK", 0)
    monkeypatch.setattr("fastsoftmax._arrays._SLICE_WORK", 50_000)
    assert_array_equal(getattr(clf, method)(X), expected)


def spread(array):
    """The same numbers, each second one of an array."""
    return np.repeat(array, 2)[::2]


CHANGES = {
    "wide indices": lambda X: (X.data, X.indices.astype(np.int64), X.indptr),
    "wide ends": lambda X: (X.data, X.indices, X.indptr.astype(np.int64)),
    "big-endian": lambda X: tuple(
        part.astype(part.dtype.newbyteorder(">")) for part in (X.data, X.indices, X.indptr)
    ),
    "strided": lambda X: tuple(map(spread, (X.data, X.indices, X.indptr))),
    "spare room": lambda X: (np.append(X.data, np.nan), np.append(X.indices, 10**6), X.indptr),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("method", METHODS)
def test_predictions_of_other_arrays(change, method):
    clf, X = with_weights(5, 300, np.float64)
    given = X.copy()
    given.data, given.indices, given.indptr = CHANGES[change](X)
    before = [part.copy() for part in (given.data, given.indices, given.indptr)]
    assert_array_equal(getattr(clf, method)(given), getattr(clf, method)(X))
    for part, same in zip((given.data, given.indices, given.indptr), before, strict=True):
        assert_array_equal(part, same, strict=True)


@pytest.mark.parametrize("change", ["big-endian", "strided"])
def test_fit_on_other_arrays(change):
    X, y = blobs(80, 10, 3, np.float64)
    csr = scipy.sparse.csr_array(X * (X > 0.5))
    expected = LogisticRegression().fit(csr, y)
    given = csr.copy()
    given.data, given.indices, given.indptr = CHANGES[change](csr)
    assert_array_equal(LogisticRegression().fit(given, y).coef_, expected.coef_)


def test_entries_out_of_order_and_repeated_are_predicted():
    clf, X = with_weights(4, 50, np.float64)
    turned = X[::-1].copy()
    turned.data, turned.indices = turned.data.copy(), turned.indices.copy()
    for i in range(X.shape[0]):
        of_row = slice(turned.indptr[i], turned.indptr[i + 1])
        for part in (turned.data, turned.indices):
            part[of_row] = part[of_row][::-1].copy()
    twice = scipy.sparse.csr_array(
        (np.repeat(turned.data, 2) / 2, np.repeat(turned.indices, 2), 2 * turned.indptr),
        shape=turned.shape,
    )
    expected = clf.decision_function(X)[::-1]
    for given in (turned, twice):
        assert_allclose(clf.decision_function(given), expected, atol=1e-13)
    assert twice.nnz == 2 * X.nnz


def test_what_is_wrong_with_csr_to_predict():
    clf, X = with_weights(4, 50, np.float32)
    assert clf.predict(X).shape == (503,)

    def broken(part, position, value):
        bad = X.copy()
        getattr(bad, part)[position] = value
        return bad

    row = int(np.searchsorted(X.indptr, 40, side="right")) - 1
    where = f"X contains NaN at row {row}, column {X.indices[40]}"
    cases = [
        (broken("data", 40, np.nan), where),
        (broken("indices", 40, 50), "X.indices must be columns of X"),
        (broken("indices", 40, -1), "X.indices must be columns of X"),
        (broken("indptr", 0, 1), "should start with 0"),
        (broken("indptr", 3, 10**6), "X.indptr must ascend"),
        (broken("indptr", 3, -1), "X.indptr must ascend"),
        (broken("indptr", 3, X.indptr[4] + 1), "X.indptr must ascend"),
        (X[:, :49], "X has 49 features, but LogisticRegression is expecting 50 features"),
        (X[:0], "0 sample"),
    ]
    for bad, message in cases:
        for method in METHODS:
            with pytest.raises(ValueError, match=message):
                getattr(clf, method)(bad)


def test_logits_that_are_not_finite_are_not_blamed_on_spare_room():
    clf, X = with_weights(4, 50, np.float64)
    X = X.copy()
    X.data[0] = 1e308
    X.data, X.indices = np.append(X.data, np.nan), np.append(X.indices, 2)
    clf.coef_ = clf.coef_ * 1e10
    with pytest.raises(ValueError, match="the logits are not finite although X is"):
        clf.predict(X)


def test_names_of_features_are_missed_in_sparse_rows():
    pandas = pytest.importorskip("pandas")
    X, y = blobs(40, 3, 2)
    clf = LogisticRegression().fit(pandas.DataFrame(X, columns=["a", "b", "c"]), y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        clf.predict(scipy.sparse.csr_array(X))


def test_uint8_csr_is_float32():
    X, y = blobs(50, 6, 3, np.uint8)
    csr = scipy.sparse.csr_array(X * (X > 100))
    assert LogisticRegression(input_scale=1 / 255).fit(csr, y).coef_.dtype == np.float32


def texts(n, n_words, length, n_columns, n_classes, *, noise=1.0, seed=1):
    """Rows of so many words, some much more frequent than others, in any of the columns."""
    rng = np.random.default_rng(seed)
    frequency = np.arange(1, n_words + 1) ** -0.8
    columns = np.sort(rng.choice(n_columns, n_words, replace=False))
    word = rng.choice(n_words, n * length, p=frequency / frequency.sum())
    rows = np.repeat(np.arange(n), length)
    X = scipy.sparse.csr_array((np.ones(n * length), (rows, columns[word])), shape=(n, n_columns))
    X.sum_duplicates()
    logits = X[:, columns] @ rng.normal(size=(n_words, n_classes))
    return X, (logits + noise * rng.gumbel(size=logits.shape)).argmax(1)


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_columns_without_an_entry_have_no_weight(n_classes, warm, C):
    X, y = texts(400, 60, 8, 5000, n_classes, noise=8.0)
    used = np.flatnonzero(X.sum(axis=0))
    few = X[:, used]
    clf, expected = (LogisticRegression(tol=1e-6, warm_start=warm) for _ in range(2))
    if warm:
        # A start that has weights where no row of X has an entry.
        dense, label = np.random.default_rng(0).random((200, 5000)), np.arange(200) % n_classes
        clf.fit(dense, label)
        expected.fit(dense[:, used], label)
        expected.coef_, expected.intercept_ = clf.coef_[:, used], clf.intercept_
    for each in (clf, expected):
        each.set_params(C=C)
    clf.fit(X, y)
    expected.fit(few, y)
    assert clf.coef_.shape == (1 if n_classes == 2 else n_classes, 5000)
    assert_array_equal(clf.coef_[:, used], expected.coef_)
    assert not np.delete(clf.coef_, used, axis=1).any()
    for name in ("intercept_", "objective_", "gap_", "n_iter_"):
        assert_array_equal(getattr(clf, name), getattr(expected, name))
    assert_array_equal(clf.predict_proba(X), expected.predict_proba(few))


def test_rows_without_any_entry():
    X = scipy.sparse.csr_array((6, 100))
    clf = LogisticRegression(tol=1e-10).fit(X, [0, 1, 1, 0, 1, 1])
    assert not clf.coef_.any()
    assert_allclose(clf.predict_proba(X), np.tile([1 / 3, 2 / 3], (6, 1)), rtol=1e-6)


def test_folds_on_columns_without_an_entry():
    X, y = texts(300, 50, 6, 4000, 3)
    used = np.flatnonzero(X.sum(axis=0))
    clf = LogisticRegressionCV(Cs=3, cv=3).fit(X, y)
    expected = LogisticRegressionCV(Cs=3, cv=3).fit(X[:, used], y)
    assert clf.coefs_paths_.shape[-1] == 4001
    assert_array_equal(clf.coefs_paths_[..., np.append(used, 4000)], expected.coefs_paths_)
    assert_array_equal(clf.scores_, expected.scores_)


def test_columns_of_a_few_rows_have_the_curvature_of_all():
    """One-hot columns: half of the rows would miss a third of them, and their steps be endless."""
    rng = np.random.default_rng(1)
    n, n_categories = 16384, 2457
    rows, ones = np.arange(n), np.ones(n)
    parts = [
        scipy.sparse.csr_array((ones, (rows, rng.integers(0, n_categories, n))), (n, n_categories))
        for _ in range(2)
    ]
    X = scipy.sparse.hstack(parts, format="csr")
    logits = X @ rng.normal(size=(2 * n_categories, 2))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    clf = LogisticRegression(C=1e4).fit(X, y)
    assert clf.gap_ <= 1e-4
    assert clf.n_passes_ < 150  # 79; from half of the rows 592


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_columns_that_a_sample_of_the_rows_misses(fit_intercept):
    """Dense, as the curvature of these is of some rows alone."""
    rng = np.random.default_rng(1)
    n, d = 20_000, 100
    frequency = 10 ** rng.uniform(-4.3, -1, d)
    X = (rng.random((n, d)) < frequency).astype(np.float32)
    X[0, frequency < 1e-4] = 1  # who would be seen in no row at all
    y = (X @ rng.normal(scale=2, size=(d, 2)) + rng.gumbel(size=(n, 2))).argmax(1)
    clf = LogisticRegression(C=1e5, fit_intercept=fit_intercept).fit(X, y)
    assert clf.gap_ <= 1e-4
    assert clf.n_passes_ < 90


def test_where_lbfgs_gets_nowhere_newton_takes_over():
    X, y = texts(1000, 350, 10, 350, 2, noise=2.0)
    with pytest.warns(ConvergenceWarning, match="max_iter=1000 ended the fit at"):
        slow = LogisticRegression(C=1e6, solver="lbfgs").fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = LogisticRegression(C=1e6).fit(X, y)
        newton = LogisticRegression(C=1e6, solver="newton-cg").fit(X, y)
    assert clf.gap_ <= 1e-4 < slow.gap_
    assert_allclose(clf.objective_, newton.objective_, rtol=1e-4)


def test_the_matrix_of_the_caller_stays_as_it_is():
    values = np.array([1.0, 2, 3, 4, 5])
    indices = np.array([1, 0, 0, 1, 1])  # unsorted, and one twice
    X = scipy.sparse.csr_matrix((values, indices, np.array([0, 2, 3, 5])), shape=(3, 2))
    before = X.data.copy(), X.indices.copy(), X.indptr.copy()
    LogisticRegression().fit(X, [0, 1, 0])
    for array, copy in zip((X.data, X.indices, X.indptr), before, strict=True):
        assert_array_equal(array, copy)


def test_the_entry_that_is_not_finite_is_named():
    X = scipy.sparse.csr_matrix(
        (np.array([1.0, 2.0, np.nan]), np.array([0, 1, 0]), np.array([0, 1, 2, 3])), shape=(3, 2)
    )
    with pytest.raises(ValueError, match="row 2, column 0"):
        LogisticRegression().fit(X, [0, 1, 0])


@pytest.mark.parametrize("change", [lambda p: p[:-3], lambda p: np.append(p, p[-1])])
def test_row_pointers_of_another_length_are_refused_in_predictions(change):
    X, y = blobs(60, 5, 3)
    clf = LogisticRegression().fit(X, y)
    csr = scipy.sparse.csr_matrix(X)
    csr.indptr = change(csr.indptr).astype(np.int32)
    with pytest.raises(ValueError, match="index pointer size"):
        clf.predict(csr)
