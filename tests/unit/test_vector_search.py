"""Exact search against the plain matrix product."""

import numpy as np
import pytest

from crossfix.vector_search import ExactIndex


@pytest.fixture
def vectors():
    values = np.random.default_rng(0).standard_normal((500, 24))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def queries(vectors):
    noise = np.random.default_rng(1).standard_normal((300, 24)) * 0.1
    return (vectors[:300].astype(np.float32) + noise).astype(np.float32)


def test_all_rows_equal_the_matrix_product(vectors, queries):
    plain = queries @ vectors.astype(np.float32).T
    found = ExactIndex(vectors).search(queries, 7)
    np.testing.assert_allclose(found.scores, -np.sort(-plain, axis=1)[:, :7], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(plain, found.rows, 1), found.scores, atol=1e-5)


def test_some_rows_equal_the_masked_matrix_product(vectors, queries):
    rows = np.sort(np.random.default_rng(2).choice(500, 60, replace=False))
    plain = queries @ vectors[rows].astype(np.float32).T
    found = ExactIndex(vectors).search_rows(queries, 9, rows)
    np.testing.assert_allclose(found.scores, -np.sort(-plain, axis=1)[:, :9], atol=1e-5)
    assert set(found.rows.ravel()) <= set(rows)


def test_k_is_cut_to_what_there_is(vectors, queries):
    index = ExactIndex(vectors[:3])
    assert index.search(queries[:2], 10).rows.shape == (2, 3)
    assert index.search_rows(queries[:2], 10, np.array([1])).rows.tolist() == [[1], [1]]
