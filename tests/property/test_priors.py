"""Priors over Morton runs against asking every row: the same rows, wherever on Earth."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfix import morton_cover
from crossfix.errors import InvalidParameter
from crossfix.geodesy import LonLat, distance_m, morton_code
from crossfix.index_rows import RowRuns
from crossfix.index_scan import score_rows
from crossfix.morton_cover import MortonRows
from crossfix.prior import Disc, Region
from crossfix.vector_search import ExactIndex

ANTIMERIDIAN, NORTH_POLE, SOUTH_POLE = LonLat(180, 10), LonLat(0, 90), LonLat(77, -90)


def in_morton_order(lon, lat):
    order = np.argsort(morton_code(lon, lat), kind="stable")
    return lon[order], lat[order]


def scattered(seed, count, centre, spread_deg):
    """Places around a centre, wrapped over antimeridian and poles, some of them twice."""
    rng = np.random.default_rng(seed)
    lat = centre.lat + spread_deg * rng.uniform(-1, 1, count)
    lon = centre.lon + spread_deg * rng.uniform(-1, 1, count) / max(
        np.cos(np.radians(centre.lat)), 0.02
    )
    over = np.abs(lat) > 90
    lat = np.where(over, np.sign(lat) * 180 - lat, lat)
    lon = (lon + 180 * over + 180) % 360 - 180
    lon[: count // 8], lat[: count // 8] = lon[0], lat[0]
    lon[count // 4], lon[count // 4 + 1] = 180.0, -180.0
    lat[count // 3] = 90.0
    return in_morton_order(lon, lat)


def assert_finds_all(prior, lon, lat):
    expected = np.flatnonzero(prior.contains(lon, lat))
    runs = MortonRows(lon, lat).inside(prior)
    np.testing.assert_array_equal(runs.rows(), expected)
    assert (runs.starts[1:] > runs.stops[:-1]).all()


centres = st.one_of(
    st.builds(LonLat, st.floats(-180, 180), st.floats(-90, 90)),
    st.sampled_from([ANTIMERIDIAN, NORTH_POLE, SOUTH_POLE, LonLat(-180, 89.9), LonLat(0, 0)]),
)
spreads = st.sampled_from([1e-4, 0.01, 1.0, 40.0, 180.0])


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    middle=centres,
    spread=spreads,
    share=st.floats(-0.5, 2.0),
    east=st.floats(-1, 1),
    few=st.sampled_from([0, 64]),
)
def test_a_disc_finds_what_asking_every_row_finds(seed, middle, spread, share, east, few):
    lon, lat = scattered(seed, 400, middle, spread)
    radius_m = min(spread * 111_000 * 10.0**share, 20_100_000)
    centre = LonLat((middle.lon + east * spread + 180) % 360 - 180, middle.lat)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(morton_cover, "_FEW_ROWS", few)
        assert_finds_all(Disc(centre, radius_m), lon, lat)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    middle=centres,
    spread=spreads,
    corners=st.integers(3, 9),
    few=st.sampled_from([0, 64]),
)
def test_a_region_with_a_hole_finds_what_asking_every_row_finds(seed, middle, spread, corners, few):
    lon, lat = scattered(seed, 400, middle, spread)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + seed
    rings = []
    for size in (1.0, 0.4):
        ring_lat = np.clip(middle.lat + size * spread * np.sin(angles), -90, 90)
        ring_lon = middle.lon + min(size * spread, 80.0) * np.cos(angles)
        rings.append(tuple(map(LonLat, (ring_lon + 180) % 360 - 180, ring_lat)))
    try:
        region = Region(tuple(rings))
    except InvalidParameter:
        return  # at a pole a small ring may have no height
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(morton_cover, "_FEW_ROWS", few)
        assert_finds_all(region, lon, lat)


meridians = st.sampled_from([-180.0, -179.9, -170.0, -90.0, 0.0, 90.0, 170.0, 179.9, 180.0])


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 1000),
    west=meridians,
    east=meridians,
    lean=st.sampled_from([0.0, 0.01, 5.0]),
    few=st.sampled_from([0, 64]),
)
def test_regions_and_discs_that_touch_180_find_rows_at_either_180(seed, west, east, lean, few):
    rng = np.random.default_rng(seed)
    lon = rng.choice([-180.0, 180.0, -179.99, 179.99, -175.0, 175.0, 10.0], 400)
    lon, lat = in_morton_order(lon, rng.uniform(-10, 10, 400))
    corners = [(west, -6), (east, -6), (east - lean, 6), (west + lean, 6)]
    priors = [Disc(LonLat(west, 1.0), float(distance_m(west, 1.0, 180.0, 1.0)) + 1.0)]
    try:
        priors.append(Region((tuple(LonLat(*corner) for corner in corners),)))
    except InvalidParameter:
        pass  # no width, or beyond the map
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(morton_cover, "_FEW_ROWS", few)
        for prior in priors:
            assert_finds_all(prior, lon, lat)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), corners=st.integers(3, 8))
def test_a_region_holds_what_shapely_says(seed, corners):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    ring = np.column_stack([10 + 3 * np.cos(angles), 50 + 2 * np.sin(angles)])
    polygon = shapely.Polygon(ring)
    lon, lat = rng.uniform(6, 14, 500), rng.uniform(47, 53, 500)
    region = Region((tuple(LonLat(*corner) for corner in ring.tolist()),))
    clear = shapely.distance(polygon.boundary, shapely.points(lon, lat)) > 1e-9
    inside = shapely.contains_xy(polygon, lon, lat)
    np.testing.assert_array_equal(region.contains(lon, lat)[clear], inside[clear])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    radius_m=st.sampled_from([0.01, 30.0, 500.0, 3000.0, 20_000_000.0]),
    queries=st.sampled_from([1, 20]),
)
def test_search_inside_a_prior_has_recall_one_and_the_plain_order(seed, radius_m, queries):
    rng = np.random.default_rng(seed)
    lon, lat = scattered(seed, 1000, LonLat(179.99, 60), 0.02)
    vectors = rng.standard_normal((1000, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float16)
    vectors[500:600] = vectors[0]  # equal tiles: ties
    asked = vectors[rng.integers(0, 1000, queries)].astype(np.float32)
    disc = Disc(LonLat(float(lon[7]), float(lat[7])), radius_m)
    inside = np.flatnonzero(distance_m(lon, lat, disc.centre.lon, disc.centre.lat) <= disc.radius_m)
    scores = score_rows(vectors, np.tile(inside, (queries, 1)), asked)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    found = ExactIndex(vectors).search(asked, 10, rows=MortonRows(lon, lat).inside(disc))
    np.testing.assert_array_equal(found.rows, inside[order])
    np.testing.assert_array_equal(found.scores, np.take_along_axis(scores, order, axis=1))


@settings(max_examples=100, deadline=None)
@given(rows=st.sets(st.integers(0, 100), max_size=60), spare=st.integers(1, 20))
def test_runs_and_bitmaps_keep_rows(rows, spare):
    numbers = np.array(sorted(rows), np.int64)
    runs = RowRuns.of(numbers)
    np.testing.assert_array_equal(runs.rows(), numbers)
    total = 100 + spare
    inside = np.zeros(total, np.bool_)
    inside[numbers] = True
    np.testing.assert_array_equal(runs.bitmap(total), np.packbits(inside, bitorder="little"))
