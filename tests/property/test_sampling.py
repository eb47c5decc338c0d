"""Batches: no pair twice, no conflicts inside, repeatable; neighbours against plain code."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfix.errors import DataError
from training.sampling.batches import ViewItems, epoch_batches
from training.sampling.neighbours import conflicts_within, nearest_in_embedding, nearest_on_ground


def positions(seed, count, side_m=1000.0):
    return np.random.default_rng(seed).uniform(0, side_m, (count, 2))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(60, 200), radius=st.floats(0, 80),
       batch_size=st.integers(2, 16), select=st.integers(0, 12))  # fmt: skip
def test_batches_keep_their_promises(seed, count, radius, batch_size, select):
    places = positions(seed, count)
    items = {
        "ground": ViewItems(conflicts_within(places, radius)),
        "drone": ViewItems(conflicts_within(places, radius),
                           nearest_on_ground(places, 12, exclude_within_m=radius)),
    }  # fmt: skip
    plan = {"batch_size": batch_size, "neighbour_select": select, "seed": seed}
    batches = epoch_batches(items, epoch=1, **plan)
    for view in items:
        chosen = [batch.indices for batch in batches if batch.view == view]
        together = np.concatenate(chosen) if chosen else np.array([], int)
        assert len(np.unique(together)) == len(together)
        for indices in chosen:
            assert len(indices) == batch_size
            apart = np.linalg.norm(places[indices][:, None] - places[indices][None], axis=2)
            assert (apart[~np.eye(batch_size, dtype=bool)] > radius).all()
    again = epoch_batches(items, epoch=1, **plan)
    assert all(np.array_equal(a.indices, b.indices) for a, b in zip(batches, again, strict=True))


def test_epochs_differ_and_neighbour_batches_are_tighter():
    places = positions(1, 400)
    free = conflicts_within(places, 0.0)
    near = nearest_on_ground(places, 16, exclude_within_m=0.0)

    def spread(items):
        plan = {"batch_size": 16, "neighbour_select": 12, "seed": 0}
        batches = epoch_batches({"drone": items}, epoch=0, **plan)
        later = epoch_batches({"drone": items}, epoch=1, **plan)
        assert not np.array_equal(batches[0].indices, later[0].indices)
        return np.mean([places[batch.indices].std(axis=0).mean() for batch in batches])

    assert spread(ViewItems(free, near)) < 0.8 * spread(ViewItems(free))


def test_a_batch_that_cannot_be_filled_is_an_error():
    places = positions(2, 50, side_m=10.0)
    with pytest.raises(DataError, match="far enough apart"):
        epoch_batches({"drone": ViewItems(conflicts_within(places, 30.0))},
                      batch_size=4, neighbour_select=0, seed=0, epoch=0)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), radius=st.floats(0, 300), count=st.integers(1, 30))
def test_ground_neighbours_equal_plain_sorting(seed, radius, count):
    places = positions(seed, 40)
    found = nearest_on_ground(places, count, exclude_within_m=radius)
    assert found.shape == (40, count)
    for i in range(40):
        apart = np.linalg.norm(places - places[i], axis=1)
        expected = [j for j in np.argsort(apart, kind="stable") if apart[j] > radius][:count]
        assert found[i][found[i] >= 0].tolist() == expected


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), chunk=st.integers(1, 50), count=st.integers(1, 30))
def test_similar_neighbours_equal_the_full_matrix(seed, chunk, count):
    rng = np.random.default_rng(seed)
    queries, tiles = (rng.standard_normal((2, 40, 8))).astype(np.float32)
    conflicts = conflicts_within(positions(seed, 40), 200.0)
    found = nearest_in_embedding(queries, tiles, count, conflicts=conflicts, chunk=chunk)
    assert found.shape == (40, count)
    for i in range(40):
        scores = queries[i] @ tiles.T
        order = np.argsort(-scores, kind="stable")
        expected = [j for j in order if j not in conflicts[i]][:count]
        assert found[i][found[i] >= 0].tolist() == expected
