"""The streaming ranker against the plain definitions, where ties are frequent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfix.matches import Matches
from crossfix.metrics import average_precision, ranks_of_first_positive
from crossfix.ranking import rank_queries


@st.composite
def cases(draw):
    """Small whole numbers: every product is exact, and equal scores are common."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    queries, gallery = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    positives = rng.random((queries, gallery)) < draw(st.sampled_from([0.0, 0.05, 0.3]))
    if draw(st.booleans()):
        positives[:] = np.eye(queries, gallery, dtype=bool)
    return (
        rng.integers(-2, 3, (queries, 3)).astype(np.float32),
        rng.integers(-2, 3, (gallery, 3)).astype(np.float32),
        positives,
        rng.random((queries, gallery)) < 0.2,
    )


chunks = st.integers(1, 10)


def listed(mask):
    return Matches.from_lists([np.flatnonzero(row) for row in mask])


def plain_rank(scores, positives, others, *, favour):
    """By sorting one query's items: the best positive behind, or before, its equals."""
    if not positives.any():
        return len(scores)
    kept = positives | others
    key = -positives.astype(int) if favour else positives.astype(int)
    order = [i for i in np.lexsort((key, -scores)) if kept[i]]
    return next(rank for rank, i in enumerate(order) if positives[i])


@given(case=cases(), chunk=chunks)
def test_ties_against_agree_with_the_plain_definition(case, chunk):
    queries, gallery, positives, _ = case
    found = rank_queries(queries, gallery, listed(positives), chunk=chunk, threads=2)
    scores = queries @ gallery.T
    np.testing.assert_array_equal(found.ranks, ranks_of_first_positive(scores, positives))
    np.testing.assert_allclose(
        found.average_precision,
        [average_precision(row, mask) for row, mask in zip(scores, positives, strict=True)],
        rtol=1e-12,
    )


@given(case=cases(), chunk=chunks, ties=st.sampled_from(["for", "against"]))
def test_semi_positives_are_left_out_and_positives_never_are(case, chunk, ties):
    queries, gallery, positives, semi = case
    found = rank_queries(
        queries, gallery, listed(positives), semi_positives=listed(semi), ties=ties, chunk=chunk,
        threads=2,
    )  # fmt: skip
    scores = queries @ gallery.T
    for i, row in enumerate(scores):
        own, favour = positives[i], ties == "for"
        assert found.ranks[i] == plain_rank(row, own, ~own, favour=favour)
        without = plain_rank(row, own, ~own & ~semi[i], favour=favour)
        assert found.ranks_without_semi[i] == without


@given(case=cases(), chunk=chunks)
def test_average_precision_with_ties_for_ranks_equals_behind(case, chunk):
    queries, gallery, positives, _ = case
    found = rank_queries(queries, gallery, listed(positives), ties="for", chunk=chunk, threads=1)
    scores = queries @ gallery.T
    # A hair more for the positives, less than the distance of two whole numbers.
    lifted = scores + 0.25 * positives
    wanted = [average_precision(row, mask) for row, mask in zip(lifted, positives, strict=True)]
    np.testing.assert_allclose(found.average_precision, wanted, rtol=1e-12)


@given(case=cases(), chunk=chunks, top=st.integers(0, 45))
def test_the_top_is_a_stable_sort(case, chunk, top):
    queries, gallery, positives, _ = case
    found = rank_queries(queries, gallery, listed(positives), top=top, chunk=chunk, threads=2)
    scores = queries @ gallery.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(found.top_indices, order)
    np.testing.assert_array_equal(found.top_scores, np.take_along_axis(scores, order, axis=1))


@given(case=cases())
def test_the_best_positive_is_the_one_of_the_highest_score(case):
    queries, gallery, positives, _ = case
    found = rank_queries(queries, gallery, listed(positives))
    for row, mask, best, score in zip(
        queries @ gallery.T, positives, found.best_positive, found.best_positive_score, strict=True
    ):
        if mask.any():
            assert mask[best]
            assert row[best] == score == row[mask].max()
        else:
            assert (best, score) == (-1, -np.inf)


@given(case=cases())
def test_making_all_embeddings_equal_never_helps(case):
    queries, gallery, positives, semi = case
    matches = {"positives": listed(positives), "semi_positives": listed(semi)}
    before = rank_queries(queries, gallery, **matches)
    after = rank_queries(np.ones_like(queries), np.ones_like(gallery), **matches)
    assert (after.ranks >= before.ranks).all()
    assert (after.ranks_without_semi >= before.ranks_without_semi).all()
    assert (after.average_precision <= before.average_precision + 1e-12).all()


@given(case=cases())
def test_ties_for_are_never_worse_than_ties_against(case):
    queries, gallery, positives, _ = case
    against = rank_queries(queries, gallery, listed(positives))
    in_favour = rank_queries(queries, gallery, listed(positives), ties="for")
    assert (in_favour.ranks <= against.ranks).all()
    assert (in_favour.average_precision >= against.average_precision - 1e-12).all()


@given(
    row=st.integers(0, 8), bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e30]),
    of_gallery=st.booleans(), chunk=chunks,
)  # fmt: skip
def test_broken_embeddings_are_refused_and_counted(row, bad, of_gallery, chunk):
    queries, gallery = np.ones((9, 4), np.float32), np.ones((12, 4), np.float32)
    (gallery if of_gallery else queries)[row, 2] = bad
    what = "1 of 12 gallery" if of_gallery else "1 of 9 query"
    with pytest.raises(ValueError, match=f"{what} .*first in row {row}"):
        rank_queries(queries, gallery, Matches.one_each(np.arange(9)), chunk=chunk)
