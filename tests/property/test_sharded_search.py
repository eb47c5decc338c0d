"""A gallery cut into any number of shards answers exactly like the one it was cut from."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfix.errors import PriorOutsideGallery
from crossfix.gallery import Disc, Gallery
from crossfix.gallery_manifest import BoundsModel
from crossfix.geodesy import LonLat
from crossfix.prior import Region
from crossfix.sharded_gallery import ShardedGallery
from crossfix.sharded_gallery_prior import may_hold
from tests.made_up_gallery import (
    grid_vectors,
    publish_in_shards,
    publish_plain,
    scattered_places,
    unit_vectors,
)

DIM = 8


@contextmanager
def both_kinds(vectors, lon, lat, shards):
    """A gallery of one piece and the same in shards."""
    with tempfile.TemporaryDirectory() as folder:
        publish_plain(Path(folder, "plain"), vectors, lon, lat)
        publish_in_shards(Path(folder, "sharded"), vectors, lon, lat, shards=shards)
        with ShardedGallery.open(Path(folder, "sharded")) as sharded:
            yield Gallery.open(Path(folder, "plain")), sharded


def around(lon, lat, radius_m, seed):
    """A disc or a triangle that holds the place."""
    if seed % 2:
        return Disc(LonLat(lon, lat), radius_m)
    side = radius_m / 70_000
    corners = [(lon - side, lat - side), (lon + side, lat - side), (lon, lat + side)]
    return Region((tuple(LonLat(*corner) for corner in corners),))


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(8, 160),
    shards=st.integers(1, 8),
    stacked=st.booleans(),
    k=st.integers(1, 40),
    radius_m=st.none() | st.floats(100, 60_000),
    seed=st.integers(0, 2**16),
)
def test_ids_and_scores_are_those_of_one_piece(count, shards, stacked, k, radius_m, seed):
    # Small eighths: products and sums are exact in float32, so ties are many and real.
    vectors = grid_vectors(count, DIM, seed)
    lon, lat = scattered_places(count, seed, places=max(8, count // 3) if stacked else None)
    prior = None if radius_m is None else around(float(lon[0]), float(lat[0]), radius_m, seed)
    queries = grid_vectors(3, DIM, seed + 1).astype(np.float32)
    with both_kinds(vectors, lon, lat, shards) as (plain, sharded):
        expected = plain.search(queries, k, prior=prior)
        found = sharded.search(queries, k, prior=prior)
        assert found.complete
        assert found.scores.tolist() == expected.scores.tolist()
        assert found.rows.tolist() == expected.rows.tolist()
        assert sharded.tile_ids(found.rows[0]) == [plain.tiles.ids[row] for row in found.rows[0]]
        for row in found.rows[0]:
            assert sharded.global_row(*sharded.locate(row)) == row
            assert sharded.picture(row) == plain.picture(row)


@settings(max_examples=10, deadline=None)
@given(shards=st.integers(2, 6), seed=st.integers(0, 2**16), with_prior=st.booleans())
def test_real_vectors_give_the_same_ranking(shards, seed, with_prior):
    lon, lat = scattered_places(200, seed)
    queries = unit_vectors(4, 64, seed + 1).astype(np.float32)
    prior = Disc(LonLat(10.0, 50.0), 15_000) if with_prior else None
    with both_kinds(unit_vectors(200, 64, seed), lon, lat, shards) as (plain, sharded):
        expected = plain.search(queries, 20, prior=prior)
        found = sharded.search(queries, 20, prior=prior)
        assert found.rows.tolist() == expected.rows.tolist()
        assert found.scores.tolist() == expected.scores.tolist()


@settings(max_examples=60, deadline=None)
@given(
    lon=st.floats(-180, 180),
    lat=st.floats(-89.9, 89.9),
    radius_m=st.floats(10, 3_000_000),
    seed=st.integers(0, 2**16),
)
def test_a_prior_anywhere_on_earth_never_misses_a_shard(lon, lat, radius_m, seed):
    disc = Disc(LonLat(lon, lat), radius_m)
    rng = np.random.default_rng(seed)
    # Small boxes around and far from the disc, also across the antimeridian.
    near = rng.normal(0, 1.5 * radius_m / 111_000, (2, 200))
    lons = (lon + near[0] / np.cos(np.radians(lat)) + 180) % 360 - 180
    lats = np.clip(lat + near[1], -89.99, 89.99)
    sizes = rng.uniform(0, 3, 200)
    for x, y, size in zip(lons, lats, sizes, strict=True):
        box = BoundsModel(
            west=(x - size + 180) % 360 - 180,
            east=(x + size + 180) % 360 - 180,
            south=max(-90.0, y - size),
            north=min(90.0, y + size),
        )
        if disc.contains([x], [y])[0]:
            assert may_hold(box, disc)


def test_a_disc_in_the_middle_of_nowhere_is_refused():
    lon, lat = scattered_places(30, 0)
    with both_kinds(grid_vectors(30, DIM, 0), lon, lat, 3) as galleries:
        for gallery in galleries:
            for place in (LonLat(-60.0, 10.0), LonLat(10.9, 50.5)):
                with pytest.raises(PriorOutsideGallery):
                    gallery.search(np.ones((1, DIM), np.float32), 5, prior=Disc(place, 100))
