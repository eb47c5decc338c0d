"""Ground covered by many boxes, against plain ways of finding it."""

import json

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.inspection.coverage_clusters import find_clusters
from index_builder.inspection.coverage_panel import Frame, count_tiles, grid_lines
from index_builder.inspection.footprints import split_at_antimeridian
from index_builder.inspection.ground_cover import Boxes, area_km2, merge_rows, outline


@st.composite
def boxes(draw, lon=(-50, 50)):
    """Boxes on a coarse grid, so that many touch, overlap and repeat."""
    count = draw(st.integers(1, 25))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    west, south = rng.integers(*lon, count) / 1.0, rng.integers(-6, 6, count) / 1.0
    return Boxes(west, south, west + rng.integers(1, 4, count), south + rng.integers(1, 3, count))


def plain_union(some):
    return shapely.union_all(shapely.box(some.west, some.south, some.east, some.north))


@given(boxes())
@settings(max_examples=60, deadline=None)
def test_merged_rows_cover_the_same_ground(some):
    merged = merge_rows(some)
    assert len(merged) <= len(some)
    assert plain_union(merged).equals(plain_union(some))
    assert outline(some).equals(plain_union(some))


@given(boxes())
@settings(max_examples=30, deadline=None)
def test_area_is_that_of_the_union(some):
    area, exact = area_km2(some)
    cells = {
        (column, row)
        for west, south, east, north in zip(
            some.west, some.south, some.east, some.north, strict=True
        )
        for column in range(int(west), int(east))
        for row in range(int(south), int(north))
    }
    one_by_one = sum(
        area_km2(Boxes(*(np.array([value], float) for value in (x, y, x + 1, y + 1))))[0]
        for x, y in cells
    )
    assert exact
    assert np.isclose(area, one_by_one, rtol=1e-9)


@given(boxes(), st.integers(100, 300), st.integers(100, 300))
@settings(max_examples=40, deadline=None)
def test_counts_of_tiles_are_those_of_drawing_each(some, width, height):
    frame = Frame.around(some, (0, 0, width + 150, height + 100))
    left, top, right, bottom = frame.box
    plain = np.zeros((bottom - top, right - left), int)
    for i in range(len(some)):
        x0, x1 = (float(frame.x(side[i])) - left for side in (some.west, some.east))
        y0, y1 = (float(frame.y(side[i])) - top for side in (some.north, some.south))
        rows = slice(int(np.floor(y0)), max(int(np.ceil(y1)), int(np.floor(y0)) + 1))
        columns = slice(int(np.floor(x0)), max(int(np.ceil(x1)), int(np.floor(x0)) + 1))
        plain[rows, columns] += 1
    counts = count_tiles(frame, some)
    assert (counts == plain).mean() > 0.98  # a tile of less than a pixel may be a pixel off
    assert counts.max() <= len(some)


@given(st.floats(-170, 170), st.floats(1e-4, 300), st.integers(3, 12))
def test_grid_lines_are_few_round_and_inside(low, span, most):
    found = grid_lines(low, low + span, most=most)
    assert 1 <= len(found) <= most + 1 or span < 1e-3
    assert all(low - 1e-6 * span <= line <= low + span * (1 + 1e-6) for line in found)
    assert found == sorted(set(found))


@given(boxes(lon=(100, 260)))
@settings(max_examples=60, deadline=None)
def test_outlines_are_cut_at_the_antimeridian(some):
    union = plain_union(some)
    cut = shapely.from_geojson(json.dumps(split_at_antimeridian(union)))
    west, _, east, _ = cut.bounds
    assert -180 <= west <= east <= 180
    assert cut.is_valid
    assert np.isclose(cut.area, union.area)
    for part in shapely.get_parts(cut):
        assert part.exterior.is_ccw


@given(boxes(), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_clusters_share_out_all_tiles(some, most):
    clusters = find_clusters(some, most=most)
    assert 1 <= len(clusters) <= most
    rows = np.concatenate([one.rows for one in clusters])
    assert sorted(rows.tolist()) == list(range(len(some)))
