"""Coverage: no tile is left out, the area is right, also where the world is cut."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.galleries.coverage import RECTANGLES_AT_MOST, cover, unite

SIDE = 0.001
NEAR = 2e-7  # coordinates are rounded to 1e-7


def wrap(lon):
    return (lon + 180) % 360 - 180


def tiles(lon, lat, width=SIDE, height=SIDE):
    """What `cover` needs of a tile table; longitudes beyond 180 are wrapped as galleries do."""
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    return SimpleNamespace(
        lon=wrap(lon),
        lat=lat,
        west=wrap(lon - width / 2),
        east=wrap(lon + width / 2),
        south=lat - height / 2,
        north=lat + height / 2,
    )


def boxes_of(coverage):
    """(R, 4) west, south, east, north; checks that it is GeoJSON of plain rectangles."""
    assert coverage["type"] == "MultiPolygon"
    assert json.loads(json.dumps(coverage, allow_nan=False)) == coverage
    boxes = []
    for (ring,) in coverage["coordinates"]:
        (west, south), (east, _), (_, north) = ring[0], ring[1], ring[2]
        assert ring == [[west, south], [east, south], [east, north], [west, north], [west, south]]
        assert -180 <= west < east <= 180
        assert south < north
        boxes.append((west, south, east, north))
    return np.array(boxes)


def covered(boxes, lon, lat):
    west, south, east, north = boxes.T[:, :, None]
    inside = (lon >= west - NEAR) & (lon <= east + NEAR)
    return (inside & (lat >= south - NEAR) & (lat <= north + NEAR)).any(axis=0)


def area(boxes):
    return float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())


def overlap(boxes):
    """Area that two rectangles share, summed over pairs."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    return float(np.triu(shared, 1).sum())


def lattice(cells, lon=8.0, lat=50.0, step=SIDE):
    column, row = np.array(sorted(cells)).T
    return tiles(lon + column * step, lat + row * step)


cells = st.sets(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=250)


@given(cells, st.floats(-180, 180), st.floats(-80, 80))
def test_few_tiles_are_covered_exactly_anywhere(some, lon, lat):
    table = lattice(some, lon, lat)
    boxes = boxes_of(cover(table))
    assert covered(boxes, table.lon, table.lat).all()
    assert len(boxes) <= 2 * RECTANGLES_AT_MOST
    assert area(boxes) == pytest.approx(len(some) * SIDE**2, rel=0.01)
    assert overlap(boxes) < 0.01 * area(boxes)


@given(
    st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-89, 89), st.floats(1e-6, 0.5)),
        min_size=1,
        max_size=400,
    )
)
def test_every_centre_is_covered_however_tiles_lie(some):
    lon, lat, side = np.array(some).T
    table = tiles(lon, lat, side, side)
    boxes = boxes_of(cover(table))
    assert covered(boxes, table.lon, table.lat).all()
    assert len(boxes) <= 2 * RECTANGLES_AT_MOST


@pytest.mark.parametrize("overlap_share", [0.0, 0.25, 0.5, 0.75])
def test_overlapping_tiles_are_counted_once(overlap_share):
    step = SIDE * (1 - overlap_share)
    table = lattice({(x, y) for x in range(100) for y in range(60)}, step=step)
    truth = (99 * step + SIDE) * (59 * step + SIDE)
    boxes = boxes_of(cover(table))
    assert area(boxes) == pytest.approx(truth, rel=0.03)
    assert len(boxes) == 1


def test_tiles_of_several_sizes():
    small = vars(lattice({(x, y) for x in range(40) for y in range(40)}))
    large = vars(tiles(8.0195 + np.array([0.0, 0.1]), np.full(2, 50.0195), 0.04, 0.04))
    both = {name: np.concatenate([values, large[name]]) for name, values in small.items()}
    table = SimpleNamespace(**both)
    assert area(boxes_of(cover(table))) == pytest.approx(2 * 0.04**2, rel=0.02)


def test_a_gallery_over_the_antimeridian_is_cut_there():
    table = lattice({(x, y) for x in range(40) for y in range(10)}, lon=179.98)
    boxes = boxes_of(cover(table))
    assert len(boxes) == 2
    assert {180.0} == set(boxes[:, 2]) - {boxes[boxes[:, 0] == -180, 2][0]}
    assert area(boxes) == pytest.approx(400 * SIDE**2, rel=0.01)
    assert covered(boxes, table.lon, table.lat).all()


def test_a_gallery_around_the_world():
    table = tiles(np.arange(-180, 180, 0.5), np.zeros(720), 0.5, 0.5)
    boxes = boxes_of(cover(table))
    assert area(boxes) == pytest.approx(360 * 0.5, rel=0.01)
    assert covered(boxes, table.lon, table.lat).all()


@pytest.mark.parametrize("side", [300, 1000])
def test_large_galleries_take_few_rectangles_of_nearly_the_true_area(side):
    """A round one: no rectangles fit it exactly."""
    middle = side / 2
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    inside = (column - middle) ** 2 + (row - middle) ** 2 < middle**2
    table = tiles(8 + column[inside] * SIDE, 50 + row[inside] * SIDE)
    boxes = boxes_of(cover(table))
    assert len(boxes) <= RECTANGLES_AT_MOST
    assert area(boxes) == pytest.approx(len(table.lon) * SIDE**2, rel=0.02)
    assert overlap(boxes) < 0.001 * area(boxes)
    assert covered(boxes, table.lon[::97], table.lat[::97]).all()


def test_towns_far_apart_are_not_joined():
    one = {(x, y) for x in range(40) for y in range(40) if (x - 20) ** 2 + (y - 20) ** 2 < 400}
    lon = np.concatenate([20.0 * town + np.array([x for x, _ in one]) * SIDE for town in range(8)])
    lat = np.concatenate([7.0 * town + np.array([y for _, y in one]) * SIDE for town in range(8)])
    boxes = boxes_of(cover(tiles(lon, lat)))
    assert len(boxes) <= RECTANGLES_AT_MOST
    assert area(boxes) == pytest.approx(8 * len(one) * SIDE**2, rel=0.1)


def test_a_tile_without_extent_is_still_a_place():
    boxes = boxes_of(cover(tiles([8.0], [50.0], 0.0, 0.0)))
    assert covered(boxes, np.array([8.0]), np.array([50.0])).all()


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.003, 0.05]))
def test_united_coverages_cover_the_same_without_overlaps(count, seed, spread):
    rng = np.random.default_rng(seed)
    places = rng.uniform(-spread, spread, (3, 2, count))
    parts = [cover(tiles(8 + lon, 50 + lat), at_most=8) for lon, lat in places]
    united = unite(parts)
    boxes, together = boxes_of(united), np.concatenate([boxes_of(part) for part in parts])
    for lon, lat in np.array([8, 50]) + rng.uniform(-spread, spread, (200, 2)):
        inside = [
            ((b[:, 0] < lon) & (lon < b[:, 2]) & (b[:, 1] < lat) & (lat < b[:, 3])).sum()
            for b in (boxes, together)
        ]
        assert inside[0] == min(inside[1], 1)
