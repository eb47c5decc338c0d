"""The streaming ranker on cases worked out by hand, and on sizes that need several chunks."""

import tracemalloc

import numpy as np
import pytest

from crossfix.matches import Matches
from crossfix.metrics import ranks_of_first_positive, recall_at_k
from crossfix.ranking import rank_queries

LINE = np.array([[4.0], [3.0], [2.0], [2.0], [1.0]], np.float32)  # scores of the query [[1]]
ONE = np.ones((1, 1), np.float32)


def test_ties_against_and_for_by_hand():
    third = Matches.from_lists([[2]])
    against, in_favour = rank_queries(ONE, LINE, third), rank_queries(ONE, LINE, third, ties="for")
    assert (against.ranks[0], in_favour.ranks[0]) == (3, 2)
    assert against.average_precision[0] == pytest.approx(1 / 8)  # 1 / (2 (rank + 1))
    assert in_favour.average_precision[0] == pytest.approx(1 / 6)
    assert against.top_indices.tolist() == [[0, 1, 2, 3, 4]]


def test_the_hit_rate_ranking_leaves_semi_positives_out():
    found = rank_queries(
        ONE, LINE, Matches.from_lists([[2]]), semi_positives=Matches.from_lists([[0, 1, 4]])
    )
    assert found.ranks.tolist() == [3]
    assert found.ranks_without_semi.tolist() == [1]  # the equal of the positive stays


def test_average_precision_of_several_positives_by_hand():
    found = rank_queries(ONE, LINE, Matches.from_lists([[0, 4]]))
    assert found.average_precision[0] == pytest.approx((1 + (1 / 4 + 2 / 5) / 2) / 2)
    assert found.best_positive.tolist() == [0]


def test_a_query_without_positive_is_a_miss_everywhere():
    found = rank_queries(
        ONE, LINE, Matches.from_lists([[]]), semi_positives=Matches.from_lists([[0]])
    )
    assert found.ranks.tolist() == found.ranks_without_semi.tolist() == [5]
    assert found.average_precision.tolist() == [0]
    assert found.best_positive.tolist() == [-1]


def test_no_queries_give_empty_results():
    found = rank_queries(np.zeros((0, 1), np.float32), LINE, Matches.from_lists([]), top=3)
    assert found.top_indices.shape == (0, 3)
    assert found.ranks_without_semi is None
    assert len(found.ranks) == len(found.average_precision) == 0


@pytest.mark.parametrize(
    ("queries", "gallery", "positives"),
    [
        (np.ones((2, 3)), np.ones((4, 2)), [[0], [1]]),  # other dimensions
        (np.ones((2, 3)), np.ones((0, 3)), [[], []]),  # an empty gallery
        (np.ones((2, 3)), np.ones((4, 3)), [[0]]),  # too few rows of matches
        (np.ones((2, 3)), np.ones((4, 3)), [[0], [4]]),  # an index out of range
        (np.ones(3), np.ones((4, 3)), [[0]]),  # a single vector
    ],
)
def test_sizes_that_do_not_fit_are_refused(queries, gallery, positives):
    with pytest.raises(ValueError, match=r"gallery|matches|shape"):
        rank_queries(queries, gallery, Matches.from_lists(positives))


def unit(rng, count, dim):
    rows = rng.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_real_valued_embeddings_over_several_chunks():
    rng = np.random.default_rng(0)
    gallery = unit(rng, 1501, 33)
    queries = gallery[:400] + 2.0 * unit(rng, 400, 33)
    found = rank_queries(queries, gallery, Matches.one_each(np.arange(400)), chunk=64)
    scores = queries @ gallery.T
    wanted = ranks_of_first_positive(scores, np.eye(400, 1501, dtype=bool))
    assert np.abs(found.ranks - wanted).max() <= 1  # two products may round two neighbours apart
    assert (found.ranks == wanted).mean() > 0.99
    assert 0.2 < recall_at_k(found.ranks, 1) < 1


@pytest.mark.parametrize("size", [50, 997, 4099])
def test_a_collapsed_encoder_scores_zero_not_hundred(size):
    same = np.tile(unit(np.random.default_rng(1), 1, 77), (size, 1))
    found = rank_queries(same, same, Matches.one_each(np.arange(size)))
    assert recall_at_k(found.ranks, 10) == 0
    assert rank_queries(same, same, Matches.one_each(np.arange(size)), ties="for").ranks.max() == 0


def test_memory_is_that_of_a_chunk_not_of_all_scores():
    rng = np.random.default_rng(2)
    queries, gallery = unit(rng, 3000, 8), unit(rng, 3000, 8)
    tracemalloc.start()
    rank_queries(queries, gallery, Matches.one_each(np.arange(3000)), chunk=50, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 3000 * 4 / 10
