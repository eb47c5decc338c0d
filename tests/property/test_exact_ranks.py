"""Ranks found block by block equal those over all scores at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import index_builder.evaluation.exact_ranks as module
from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE, ranks_of_first_positive
from index_builder.evaluation.exact_ranks import exact_ranks, right_rows


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(1, 200),
    st.integers(1, 5),
)
@settings(max_examples=80, deadline=None)
def test_ranks_equal_the_plain_definition(seed, tiles, queries, block_numbers, shards):
    rng = np.random.default_rng(seed)
    # Coarse numbers: equal scores are frequent, and sums are exact in any order.
    vectors = rng.integers(-2, 3, (tiles, 4)).astype(np.float16)
    embeddings = rng.integers(-2, 3, (queries, 4)).astype(np.float32)
    positives = rng.random((queries, tiles)) < rng.choice([0.0, 0.1, 0.5])
    right = [np.flatnonzero(row) for row in positives]
    before = module._BLOCK_NUMBERS
    module._BLOCK_NUMBERS = block_numbers
    try:
        found = exact_ranks(embeddings, np.array_split(vectors, shards), right)
    finally:
        module._BLOCK_NUMBERS = before
    scores = embeddings @ vectors.astype(np.float32).T
    assert np.array_equal(found, ranks_of_first_positive(scores, positives))


class Tiles:
    def __init__(self, lon, lat, size_m):
        self.lon, self.lat, self.size_m = lon, lat, size_m


@given(st.integers(0, 2**32 - 1), st.floats(-179.999, 179.999), st.floats(-84, 84))
@settings(max_examples=60, deadline=None)
def test_right_tiles_are_those_near_enough(seed, lon, lat):
    rng = np.random.default_rng(seed)
    tiles = Tiles(
        (lon + rng.normal(0, 3e-4, 300) + 180) % 360 - 180,
        lat + rng.normal(0, 3e-4, 300),
        rng.choice([40.0, 96.0, 400.0], 300),
    )
    away_m = distance_m(tiles.lon, tiles.lat, lon, lat)
    plain = np.flatnonzero(away_m <= POSITIVE_RADIUS_SHARE * tiles.size_m)
    assert np.array_equal(right_rows(tiles, lon, lat), plain)
