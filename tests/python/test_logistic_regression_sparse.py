"""LogisticRegression on sparse rows: any form of them, columns that few rows have, or none."""

import warnings

import numpy as np
import pytest
import scipy.sparse
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
