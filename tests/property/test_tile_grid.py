"""Bands and blocks: everything is covered, sides are metres, an area changes no tile."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crossfix.errors import InvalidParameter
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from index_builder.sources.grid.blocks import MAX_BLOCK_TILES, TilePixels, cut_band
from index_builder.sources.grid.tile_grid import TileGrid
from index_builder.sources.grid.tiling import Extent, stride_share

overlaps = st.integers(0, 90).map(lambda percent: percent / 100)


@st.composite
def grids(draw, anchored=None):
    lat = draw(st.floats(-84, 84))
    lon = draw(st.floats(-179, 179))
    lon_deg, lat_deg = LocalFrame(LonLat(0.0, lat)).to_lonlat(
        draw(st.floats(20, 1500)), draw(st.floats(20, 1500))
    )
    size_m, share = draw(st.floats(30, 400)), stride_share(draw(overlaps))
    assume((1500 / (float(share) * size_m)) ** 2 < 3000)
    return TileGrid(
        extent=Extent(lon, lat, lon + float(lon_deg), float(lat_deg)),
        tile_size_m=size_m,
        share=share,
        band_rows=draw(st.integers(1, 11)),
        anchored=draw(st.booleans()) if anchored is None else anchored,
    )


def tiles_of(grid, *, spans=None, south=-90.0, north=90.0):
    """{(row, column): (west, south, east, north)}."""
    pixels = TilePixels.at_least(64, grid.share)
    found = {}
    for band in grid.bands([(south, north)]):
        spans_of_band = spans or [(grid.extent.west, grid.extent.east)]
        for block, first_row, first_column in cut_band(band, spans_of_band, pixels):
            for place, box in enumerate(zip(*block.boxes(), strict=True)):
                row, column = divmod(place, block.columns)
                key = (first_row + row, first_column + column)
                assert key not in found
                found[key] = box
    return found


@given(grid=grids())
def test_every_place_of_the_extent_is_in_a_tile(grid):
    west, south, east, north = np.array(list(tiles_of(grid).values())).T
    rng = np.random.default_rng(0)
    extent = grid.extent
    for x, y in [*rng.uniform(size=(40, 2)).tolist(), [0, 0], [0, 1], [1, 0], [1, 1]]:
        lon = extent.west + x * (extent.east - extent.west)
        lat = extent.south + y * (extent.north - extent.south)
        slack = (north - south).max() * 1e-5
        inside = (west <= lon + slack) & (lon - slack <= east)
        assert (inside & (south <= lat + slack) & (lat - slack <= north)).any()


@given(grid=grids())
def test_sides_and_strides_are_metres(grid):
    for band in grid.bands():
        lat = band.lat + (band.rows - 1) / 2 * band.step_lat
        side = distance_m(band.first_lon, lat, band.first_lon + band.width_deg, lat)
        assert side == pytest.approx(grid.tile_size_m, rel=1e-4)
        high = distance_m(0, lat - band.height_deg / 2, 0, lat + band.height_deg / 2)
        assert high == pytest.approx(grid.tile_size_m, rel=1e-4)
        # The band's edges are where its width in metres is furthest off.
        side = distance_m(band.first_lon, band.lat, band.first_lon + band.width_deg, band.lat)
        assert side == pytest.approx(grid.tile_size_m, rel=2e-3)
        assert band.step_lon / band.width_deg == pytest.approx(float(grid.share), rel=1e-9)
    for below, above in pairwise(grid.bands()):
        last = below.lat + (below.rows - 1) * below.step_lat
        assert above.lat - last == pytest.approx(below.step_lat, rel=1e-4)


@given(grid=grids(anchored=False))
def test_centred_tiles_reach_less_than_half_a_stride_over_the_edge(grid):
    boxes = np.array(list(tiles_of(grid).values())).T
    extent, stride = grid.extent, float(grid.share)
    high, wide = (boxes[3] - boxes[1]).max(), (boxes[2] - boxes[0]).max()
    if high < extent.north - extent.south:
        assert extent.south - boxes[1].min() <= stride * high / 2 * 1.001
        assert boxes[3].max() - extent.north <= stride * high / 2 * 1.001
    if wide < extent.east - extent.west:
        assert extent.west - boxes[0].min() <= stride * wide / 2 * 1.001


@given(
    grid=grids(),
    x=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    y=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_asking_for_less_gives_the_same_tiles(grid, x, y):
    extent, everything = grid.extent, tiles_of(grid)
    wide, high = extent.east - extent.west, extent.north - extent.south
    west, east = (extent.west + share * wide for share in sorted(x))
    south, north = (extent.south + share * high for share in sorted(y))
    part = tiles_of(grid, spans=[(west, east)], south=south, north=north)
    for key, box in part.items():
        assert everything[key] == box
    slack = 1e-5 * high
    for key, (w, s, e, n) in everything.items():
        if w < east - slack and e > west + slack and s < north - slack and n > south + slack:
            assert key in part


@given(grid=grids(anchored=True), grow_m=st.floats(0, 2000))
def test_an_anchored_grid_keeps_its_tiles_when_the_imagery_grows(grid, grow_m):
    grown = TileGrid(
        extent=Extent(
            grid.extent.west - grow_m / 2e5,
            max(-85, grid.extent.south - grow_m / 1e5),
            grid.extent.east + grow_m / 1e5,
            min(85, grid.extent.north + grow_m / 3e5),
        ),
        tile_size_m=grid.tile_size_m,
        share=grid.share,
        band_rows=grid.band_rows,
        anchored=True,
    )
    before, after = tiles_of(grid), tiles_of(grown)
    assert all(after[key] == box for key, box in before.items())


@given(wanted=st.integers(8, 4000), overlap=overlaps)
def test_blocks_are_bounded_and_lie_on_whole_pixels(wanted, overlap):
    share = stride_share(overlap)
    pixels = TilePixels.at_least(wanted, share)
    assert wanted <= pixels.tile_px < wanted + 100
    assert Fraction(pixels.stride_px, pixels.tile_px) == share
    for rows in range(1, pixels.rows + 1):
        columns = pixels.columns(rows)
        assert rows * columns <= MAX_BLOCK_TILES
        if rows * columns > 1:
            assert pixels.span_px(rows) * pixels.span_px(columns) <= 3072**2


@pytest.mark.parametrize("lat", [85.1, -85.2, 89.0])
def test_too_near_a_pole_is_refused_at_once(lat):
    extent = Extent(10, min(lat, 80), 11, max(lat, -80))
    grid = TileGrid(extent, 500.0, Fraction(1, 2), 5, anchored=True)
    with pytest.raises(InvalidParameter, match="too near a pole"):
        grid.bands()
    inside = 80.5 if lat > 0 else -80.5
    assert list(grid.bands([(inside - 0.01, inside + 0.01)]))
