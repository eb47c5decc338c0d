"""Boxes on the map against tiles and shards, above all where the Earth's longitudes begin again."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfix.bounds import find_bounds, meet_in_longitude
from crossfix.gallery_manifest import BoundsModel
from service.galleries.box import Box

TURN = 3600  # tenths of a degree, so that touching is exact
ENDS = st.one_of(
    st.integers(-TURN // 2, TURN // 2),
    st.sampled_from([-TURN // 2, 1 - TURN // 2, TURN // 2 - 1, TURN // 2]),
)


def meridians(west: int, east: int) -> set[int]:
    """All tenths of a degree from west to east."""
    length = TURN if east - west == TURN else (east - west) % TURN
    return {(west + step) % TURN for step in range(length + 1)}


@given(ENDS, ENDS, ENDS, ENDS)
def test_ranges_meet_where_they_share_a_meridian(west, east, other_west, other_east):
    expected = bool(meridians(west, east) & meridians(other_west, other_east))
    degrees = (value / 10 for value in (west, east, other_west, other_east))
    assert bool(meet_in_longitude(*degrees)) is expected


@pytest.mark.parametrize("step", [0.1, 0.0007, 1e-5])
@pytest.mark.parametrize("box_is_west", [True, False])
def test_a_box_meets_tiles_and_shards_that_only_touch_the_antimeridian(step, box_is_west):
    east_of_it, west_of_it = (-180.0, -180.0 + step), (180.0 - step, 180.0)
    mine, theirs = (west_of_it, east_of_it) if box_is_west else (east_of_it, west_of_it)
    box = Box(west=mine[0], south=1.0, east=mine[1], north=2.0)
    assert box.overlaps(BoundsModel(west=theirs[0], south=1.5, east=theirs[1], north=3.0))
    tiles = table([theirs], south=1.5, north=3.0)
    assert box.rows(tiles).tolist() == [0]
    assert not box.overlaps(BoundsModel(west=theirs[0], south=2.5, east=theirs[1], north=3.0))


@given(ENDS, ENDS, st.lists(st.tuples(ENDS, st.integers(1, 40)), min_size=1, max_size=5))
def test_a_shard_with_a_tile_in_the_box_is_always_asked(west, east, tiles):
    box = Box(west=west / 10, south=1.0, east=east / 10, north=2.0)
    wests_easts = [(one / 10, ((one + TURN // 2 + wide) % TURN - TURN // 2) / 10)
                   for one, wide in tiles]  # fmt: skip
    of_shard = table(wests_easts, south=1.0, north=2.0)
    bounds = find_bounds(of_shard.west, of_shard.south, of_shard.east, of_shard.north)
    if len(box.rows(of_shard)):
        assert box.overlaps(bounds)


def table(wests_easts, *, south: float, north: float) -> SimpleNamespace:
    west, east = np.array(wests_easts, np.float64).T
    return SimpleNamespace(
        west=west, east=east, south=np.full(len(west), south), north=np.full(len(west), north)
    )
