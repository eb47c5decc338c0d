"""Search against the plain matrix product: exact, by runs, by many queries, with equal tiles."""

import threading

import numpy as np
import pytest

from crossfix import index_scan
from crossfix.index_rows import ReadingOrder, RowRuns
from crossfix.index_scan import score_rows, widen
from crossfix.vector_search import ExactIndex

COUNT, DIM = 3000, 24


def unit(count, dim, seed):
    values = np.random.default_rng(seed).standard_normal((count, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    return unit(COUNT, DIM, 0).astype(np.float16)


@pytest.fixture
def queries(vectors):
    return vectors[:300].astype(np.float32) + 0.1 * unit(300, DIM, 1)


def plain(vectors, queries, k, rows=None):
    """All scores, sorted; of equals the smaller row first."""
    rows = np.arange(len(vectors)) if rows is None else np.asarray(rows)
    scores = score_rows(vectors, np.tile(rows, (len(queries), 1)), queries)
    best = np.lexsort((np.tile(rows, (len(queries), 1)), -scores), axis=1)[:, :k]
    return rows[best], np.take_along_axis(scores, best, axis=1)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.rows, expected[0])
    np.testing.assert_array_equal(found.scores, expected[1])


def test_scores_are_inner_products_in_float32(vectors, queries):
    rows = np.random.default_rng(0).integers(0, COUNT, (300, 50))
    expected = np.einsum("qd,qcd->qc", queries, vectors[rows].astype(np.float32))
    np.testing.assert_allclose(score_rows(vectors, rows, queries), expected, atol=1e-6)


def test_a_score_does_not_depend_on_what_else_is_asked(vectors, queries):
    rows = np.arange(COUNT)[None]
    whole = score_rows(vectors, rows, queries[:1])[0]
    for count in (1, 2, 7, 64, 1000):
        alone = score_rows(vectors, rows[:, :count], queries[:1])[0]
        np.testing.assert_array_equal(alone, whole[:count])


def test_widened_numbers_are_exact_for_every_finite_half():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)][None]
    wide = widen(halves, np.empty(halves.shape, np.int32))
    np.testing.assert_array_equal(wide.astype(np.float64) * 2.0**112, halves.astype(np.float64))


@pytest.mark.parametrize("count", [1, 3, 15, 16, 300])
@pytest.mark.parametrize("k", [1, 10, 990, COUNT])
def test_few_and_many_queries_equal_the_plain_sort(vectors, queries, count, k):
    found = ExactIndex(vectors).search(queries[:count], k)
    assert_same(found, plain(vectors, queries[:count], k))


def test_blocks_smaller_than_the_gallery_change_nothing(vectors, queries, monkeypatch):
    monkeypatch.setattr(index_scan, "_NUMBERS_AT_ONCE", 100 * DIM)
    monkeypatch.setattr(index_scan, "_NUMBERS_PER_SCAN", 70 * DIM)
    for count in (2, 40):
        found = ExactIndex(vectors).search(queries[:count], 10)
        assert_same(found, plain(vectors, queries[:count], 10))


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_rows_of_a_prior_equal_the_plain_sort_of_them(vectors, queries, count, share):
    rows = np.flatnonzero(np.random.default_rng(2).random(COUNT) < share)
    found = ExactIndex(vectors).search(queries[:count], 9, rows=RowRuns.of(rows))
    assert_same(found, plain(vectors, queries[:count], 9, rows))


@pytest.mark.parametrize("count", [2, 40])
def test_of_equal_tiles_the_smaller_rows_are_found(queries, count):
    few = unit(7, DIM, 3).astype(np.float16)
    vectors = np.repeat(few, 500, axis=0)[np.random.default_rng(4).permutation(3500)]
    found = ExactIndex(vectors).search(queries[:count], 20)
    assert_same(found, plain(vectors, queries[:count], 20))


def test_k_is_cut_to_what_there_is(vectors, queries):
    index = ExactIndex(vectors[:3])
    assert index.search(queries[:2], 10).rows.shape == (2, 3)
    assert index.search(queries[:2], 10, rows=RowRuns.of([1])).rows.tolist() == [[1], [1]]
    assert index.search(queries[:0], 10).rows.shape == (0, 3)


def test_threads_do_not_disturb_each_other(vectors, queries):
    index, wrong = ExactIndex(vectors), []
    rows, _ = plain(vectors, queries[:64], 5)

    def ask(first):
        for query in range(first, 64, 4):
            found = index.search(queries[query : query + 1], 5)
            if found.rows[0].tolist() != rows[query].tolist():
                wrong.append(query)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_runs_and_rows_are_two_ways_to_say_the_same():
    rows = np.array([0, 1, 2, 5, 7, 8, 9, 10, 99])
    runs = RowRuns.of(rows)
    assert runs.starts.tolist() == [0, 5, 7, 99]
    assert runs.stops.tolist() == [3, 6, 11, 100]
    assert runs.rows().tolist() == rows.tolist()
    assert runs.count == 9
    assert np.unpackbits(runs.bitmap(101), bitorder="little").nonzero()[0].tolist() == rows.tolist()
    assert RowRuns.of([]).count == 0
    assert RowRuns.of([]).rows().tolist() == []


def test_blocks_hold_every_chosen_row_once(vectors):
    rows = np.flatnonzero(np.random.default_rng(5).random(COUNT) < 0.97)
    order = ReadingOrder(vectors, RowRuns.of(rows))
    seen = []
    for position, values in order.blocks(64):
        here = order.rows_at(np.arange(position, position + len(values)))
        np.testing.assert_array_equal(values, vectors[here])
        seen += here.tolist()
    assert sorted(seen) == rows.tolist()
