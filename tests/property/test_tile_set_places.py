"""A pixel of a square lies where its bounds say, anywhere on the map; shares are areas."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from crossfix.geodesy import Bounds, LonLat, TileId, tile_at, tile_bounds
from index_builder.sources.grid.blocks import Boxes, PixelGrid
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tile_sets.decoded_tiles import DecodedTiles
from index_builder.sources.tile_sets.tile_coverage import TileCoverage
from index_builder.sources.tile_sets.tile_mosaic import cut
from index_builder.sources.tile_sets.tile_set_source import TileSetSource
from index_builder.sources.tile_sets.tile_store import TileSetFacts
from tests.tiny_tile_sets import Painting, encode, pixel_centres


class PaintedWorld:
    """A store with every tile of a painting, of 64 pixels, or those of a list."""

    kind = "xyz"
    place = "the painted world"
    facts = TileSetFacts()
    is_listed = True

    def __init__(self, painting, zoom, tiles=()):
        self.zooms = (zoom,)
        self._painting = painting
        self._tiles = tiles

    def get(self, tile):
        return encode(self._painting.tile(tile, 64), compress_level=0)

    def tiles(self, zoom, area=None):  # noqa: ARG002
        yield np.array([(tile.x, tile.y) for tile in self._tiles], np.int64)

    def fingerprint(self):
        return ""

    def close(self):
        pass


def shift_px(found, bounds, painting):
    """How far the colours lie from where they should be, in output pixels: (x, y)."""
    side = len(found)
    expected = painting.at(*pixel_centres(bounds, side))
    down, right, _ = np.gradient(expected)
    slopes = np.stack([right.ravel(), down.ravel()], axis=1)
    moved, *_ = np.linalg.lstsq(slopes, (expected - found).ravel(), rcond=None)
    return moved


places = st.tuples(st.floats(-180, 180), st.floats(-84.8, 84.8))


@settings(max_examples=60, deadline=None)
@given(place=places, size_px=st.floats(100, 300), zoom=st.integers(8, 20))
@example(place=(179.99999, -17.0), size_px=200.0, zoom=18)
@example(place=(-180.0, 84.8), size_px=250.0, zoom=12)
@example(place=(33.0, -84.7), size_px=299.0, zoom=8)
@example(place=(5.0, 60.0), size_px=299.0, zoom=8)
def test_a_grid_of_pixels_lies_where_it_says(place, size_px, zoom):
    """Any square box in Mercator shape, 128 pixels, cut from tiles up to twice as fine."""
    lon, lat = place
    width = size_px / (64 * 2**zoom) * 360
    height = width * np.cos(np.radians(lat))
    assume(abs(lat) + height < 85.04)
    painting = Painting(zoom - 2, wave_px=60.0)  # 256 px at two zooms less: the pixels here
    side = 128
    grid = PixelGrid(lon - width / 2, lat + height / 2, width / side, height / side, side, side)
    tiles = DecodedTiles(PaintedWorld(painting, zoom), zoom=zoom, side_px=64)
    found, valid = cut(tiles, grid, zoom)
    assert valid.all()
    bounds = Bounds(grid.west, grid.south, grid.east, grid.north)
    half = side // 2
    lats = np.linspace(grid.north, grid.south, 3)
    for row in (0, 1):
        # Both halves of their own: bent rows would cancel in the whole.
        part = Bounds(bounds.west, lats[row + 1], bounds.east, lats[row])
        expected = painting.at(*_centres(part, side, half))
        down, right, _ = np.gradient(expected)
        slopes = np.stack([right.ravel(), down.ravel()], axis=1)
        rows = slice(row * half, row * half + half)
        moved, *_ = np.linalg.lstsq(slopes, (expected - found[rows]).ravel(), rcond=None)
        assert np.abs(moved).max() < 0.05


def _centres(bounds, width_px, height_px):
    lon = bounds.west + (np.arange(width_px) + 0.5) / width_px * (bounds.east - bounds.west)
    lat = bounds.north - (np.arange(height_px) + 0.5) / height_px * (bounds.north - bounds.south)
    return np.meshgrid(lon, lat)


@settings(max_examples=30, deadline=None)
@given(place=places, zoom=st.integers(14, 18), share=st.floats(0.5, 1.2))
@example(place=(180.0, -17.0), zoom=18, share=1.0)
@example(place=(-179.9999, 70.0), zoom=16, share=0.8)
@example(place=(100.0, 84.8), zoom=14, share=0.7)
@example(place=(100.0, -84.8), zoom=14, share=1.0)
def test_planned_squares_lie_where_they_say(place, zoom, share):
    painting = Painting(zoom - 2, wave_px=60.0)
    middle = tile_at(LonLat(*place), zoom)
    tiles = [
        TileId(zoom, (middle.x + column) % 2**zoom, middle.y + row)
        for column in (-1, 0, 1)
        for row in (-1, 0, 1)
    ]
    store = PaintedWorld(painting, zoom, tiles)
    bounds = tile_bounds(middle)
    size_m = share * (bounds.north - bounds.south) * 111_000
    source = TileSetSource(SourceSpec(location="x"), name="set", tile_px=64, store=store)
    plans = list(source.plan(size_m, 0.5))
    crossing = min(tile.x for tile in tiles) == 0 and max(t.x for t in tiles) == 2**zoom - 1
    if crossing:  # three columns of tiles are no trip round the world
        assert len(plans) < 200  # 13 x 13 at most; round the world there are 50,000 and more
        assert any(plan.bounds.west > plan.bounds.east for plan in plans)
    nearest = min(
        plans, key=lambda p: abs(p.lat - place[1]) + abs((p.lon - place[0] + 180) % 360 - 180)
    )
    found = source.read(nearest)
    if found.min() > 0:
        assert np.abs(shift_px(found, nearest.bounds, painting)).max() < 0.05


@given(
    cells=st.lists(st.tuples(st.integers(0, 15), st.integers(2, 13)), min_size=1, max_size=40),
    west=st.floats(-180, 180),
    width=st.floats(0.1, 60),
    north=st.floats(-60, 80),
)
@example(cells=[(0, 2)], west=-180.00000000000003, width=1.0, north=0.0)
def test_shares_are_those_of_counting_points(cells, west, width, north):
    coverage = TileCoverage([np.array(cells, np.int64)], 4)
    extent = coverage.extent
    west = west + 360 * np.ceil((extent.west - west) / 360)  # as longitudes are counted here
    south = north - 7.0
    side = 60
    lon, lat = _centres(Bounds(west, south, west + width, north), side, side)
    x = np.floor((lon + 180) / 360 * 16).astype(int) % 16
    y = np.floor(16 * (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2).astype(int)
    present = np.isin(y * 16 + x, [row * 16 + column for column, row in cells])
    assume(west + width <= extent.west + 360)
    box = Boxes(*(np.array([side]) for side in (west, south, west + width, north)))
    assert coverage.shares(box)[0] == pytest.approx(present.mean(), abs=0.09)
    spans = coverage.spans(south, north)
    if present.any():
        assert any(low < west + width and high > west for low, high in spans)
    assert spans == sorted(spans)
    assert extent.west - 1e-9 <= spans[0][0] if spans else True
