"""Map tiles from gallery pictures: at the right place, without gaps, few pictures, remembered."""

import asyncio
import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossfix.geodesy import LonLat, TileId, from_web_mercator, tile_at, tile_bounds
from crossfix.tile_table import TileTable
from service.errors import ClientGone, Overloaded
from service.galleries.map_index import MapIndex, world_boxes
from service.galleries.map_tiles import (
    MAX_PICTURES,
    SAMPLES_ACROSS,
    MapTiles,
    encoded,
    paint,
    plan_pieces,
)
from service.galleries.served import Painted
from service.routes.map import MapDesk

DEG_PER_M = 1 / 111_320
GROWN = np.array([-1.0, -1.0, 1.0, 1.0])  # a box a pixel larger on each side


class PaintedGallery:
    """Tiles of one colour each, told by row; counts the pictures read."""

    def __init__(self, lon, lat, size_m):
        lon, lat = np.asarray(lon, float), np.asarray(lat, float)
        size_m = np.broadcast_to(np.asarray(size_m, float), lon.shape)
        half_lat = size_m * DEG_PER_M / 2
        half_lon = half_lat / np.cos(np.radians(lat))
        self.tiles = TileTable(
            ids=[str(i) for i in range(len(lon))],
            lon=lon,
            lat=lat,
            west=(lon - half_lon + 180) % 360 - 180,
            east=(lon + half_lon + 180) % 360 - 180,
            south=lat - half_lat,
            north=lat + half_lat,
            size_m=size_m.copy(),
            resolution_m=size_m / 64,
            **{
                name: [""] * len(lon)
                for name in ("source", "date", "attribution", "licence", "pixels_hash")
            },
        )
        self.read = []

    def picture(self, row):
        self.read.append(row)
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), colour_of(row)).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()


def colour_of(row):
    rng = np.random.default_rng(row)
    return tuple(int(v) for v in rng.integers(20, 236, 3))


def town(across=12, *, step=0.5, size_m=100.0, lon=8.0, lat=50.0):
    """across x across tiles, neighbours a share `step` of a tile's side apart."""
    north_deg = size_m * step * DEG_PER_M
    east_deg = north_deg / np.cos(np.radians(lat))
    x, y = np.meshgrid(np.arange(across), np.arange(across))
    return PaintedGallery(lon + x.ravel() * east_deg, lat + y.ravel() * north_deg, size_m)


def drawn(gallery, tile):
    canvas = paint(gallery, MapIndex(gallery.tiles), tile)
    assert canvas.size == (256, 256)
    return np.asarray(canvas, int)


def boxes_px(gallery, tile):
    """Every gallery tile's edges in pixels of the map tile, (N, 4)."""
    edges = np.stack(world_boxes(gallery.tiles, np.arange(len(gallery.tiles))), axis=1)
    return (edges * 2.0**tile.zoom - [tile.x, tile.y, tile.x, tile.y]) * 256


@pytest.mark.parametrize("zoom", [14, 15, 16, 17, 18, 20])
def test_every_pixel_shows_a_tile_that_holds_its_place(zoom):
    gallery = town()
    tile = tile_at(LonLat(lon=8.002, lat=50.002), zoom)
    pixels = drawn(gallery, tile)
    boxes = boxes_px(gallery, tile)
    colours = np.array([colour_of(row) for row in range(len(gallery.tiles))])
    checked = 0
    for x, y in np.random.default_rng(zoom).integers(0, 256, (400, 2)):
        left, top, right, bottom = (boxes + GROWN * 1.5).T
        near = (left < x + 0.5) & (x + 0.5 < right) & (top < y + 0.5) & (y + 0.5 < bottom)
        if not near.any():
            assert pixels[y, x, 3] == 0
            continue
        left, top, right, bottom = (boxes - GROWN).T
        if ((left < x) & (x + 1 < right) & (top < y) & (y + 1 < bottom)).any():
            assert pixels[y, x, 3] == 255, "a gap inside the gallery"
            if (boxes[0, 2] - boxes[0, 0]) > 8:  # in smaller ones resampling mixes neighbours
                assert np.abs(colours[near] - pixels[y, x, :3]).max(axis=1).min() < 16
            checked += 1
    assert checked > 20


def test_a_tile_inside_the_gallery_is_a_full_jpeg():
    gallery = town(across=16)
    canvas = paint(gallery, MapIndex(gallery.tiles), tile_at(LonLat(lon=8.005, lat=50.003), 18))
    picture = encoded(canvas)
    assert picture.media_type == "image/jpeg"
    with Image.open(io.BytesIO(picture.data)) as image:
        apart = np.abs(np.asarray(image, int) - np.asarray(canvas, int)[..., :3])
    assert np.median(apart) < 3


def test_far_from_the_gallery_everything_is_transparent_and_nothing_is_read():
    gallery = town()
    pixels = drawn(gallery, tile_at(LonLat(lon=-70.0, lat=-20.0), 12))
    assert (pixels[..., 3] == 0).all()
    assert not gallery.read


def test_a_tile_across_the_antimeridian_is_drawn_on_both_sides():
    gallery = PaintedGallery([180.0], [0.001], 2000.0)
    east = drawn(gallery, tile_at(LonLat(lon=179.9999, lat=0.001), 15))
    west = drawn(gallery, tile_at(LonLat(lon=-179.9999, lat=0.001), 15))
    assert (east[:, -1, 3] == 255).any()
    assert (west[:, 0, 3] == 255).any()
    assert (drawn(gallery, tile_at(LonLat(lon=179.9, lat=0.001), 15))[..., 3] == 0).all()


def test_rows_follow_mercator_and_not_latitude():
    gallery = PaintedGallery([10.0], [60.0], 400_000.0)
    tile = tile_at(LonLat(lon=10.0, lat=60.0), 4)
    pixels = drawn(gallery, tile)
    filled = np.flatnonzero(pixels[:, 128, 3] == 255)
    assert filled.size
    edges = (filled[0], gallery.tiles.north[0]), (filled[-1] + 1, gallery.tiles.south[0])
    for row, edge in edges:
        _, lat = from_web_mercator(0.5, (tile.y + row / 256) / 2**tile.zoom)
        inside_map = tile_bounds(tile).south < edge < tile_bounds(tile).north
        assert not inside_map or abs(lat - edge) < 0.06


def test_of_several_sizes_the_one_that_fits_the_zoom_is_taken():
    fine, coarse = town(across=20, step=1.0, size_m=50.0), town(across=5, step=1.0, size_m=200.0)
    lon = np.concatenate([fine.tiles.lon, coarse.tiles.lon])
    lat = np.concatenate([fine.tiles.lat, coarse.tiles.lat])
    both = PaintedGallery(lon, lat, np.repeat([50.0, 200.0], [400, 25]))
    index = MapIndex(both.tiles)
    assert [kind.size_m for kind in index.classes] == [50.0, 200.0]
    close, _ = plan_pieces(both, index, tile_at(LonLat(lon=8.006, lat=50.004), 18))
    wide, _ = plan_pieces(both, index, tile_at(LonLat(lon=8.006, lat=50.004), 16))
    assert {piece.row < 400 for piece in close} == {True}
    assert sum(piece.row >= 400 for piece in wide) >= len(wide) / 2


def test_a_denser_size_does_not_blur_what_a_coarser_one_shows_sharply():
    """At the gallery's edge the coarse tiles leave some of the map tile free."""
    fine = town(across=400, step=0.5, size_m=25.0, lon=8.01)
    coarse = town(across=25, step=0.5, size_m=400.0, lon=8.01)
    lon = np.concatenate([fine.tiles.lon, coarse.tiles.lon])
    lat = np.concatenate([fine.tiles.lat, coarse.tiles.lat])
    both = PaintedGallery(lon, lat, np.repeat([25.0, 400.0], [len(fine.tiles), len(coarse.tiles)]))
    tile = tile_at(LonLat(lon=float(coarse.tiles.west.min()), lat=50.02), 14)
    index = MapIndex(both.tiles)
    alone, is_whole = plan_pieces(coarse, MapIndex(coarse.tiles), tile)
    assert (len(alone) > 0, is_whole) == (True, True)
    assert index.classes[0].near(tile, limit=4096) is None, "the fine size is too dense here"
    pieces, is_whole = plan_pieces(both, index, tile)
    assert [piece.box for piece in pieces] == [piece.box for piece in alone]
    assert not is_whole, "an overview stands in for the fine size"


def test_no_map_tile_reads_more_pictures_than_allowed():
    gallery = town(across=300, step=0.5, size_m=20.0)
    for zoom in range(8, 20):
        gallery.read.clear()
        pixels = drawn(gallery, tile_at(LonLat(lon=8.02, lat=50.012), zoom))
        assert len(gallery.read) <= MAX_PICTURES
        assert (pixels[..., 3] > 0).any()


def test_an_overview_shows_where_imagery_is_in_its_mean_colours():
    gallery = town(across=300, step=0.5, size_m=20.0)
    tile = tile_at(LonLat(lon=8.02, lat=50.012), 14)
    assert plan_pieces(gallery, MapIndex(gallery.tiles), tile) == ([], False)
    pixels = drawn(gallery, tile)
    assert len(gallery.read) <= SAMPLES_ACROSS**2
    boxes = boxes_px(gallery, tile)
    for x, y in np.random.default_rng(0).integers(0, 256, (200, 2)):
        left, top, right, bottom = (boxes + GROWN * 9).T  # a step of the edge has 8 pixels
        if not ((left < x) & (x < right) & (top < y) & (y < bottom)).any():
            assert pixels[y, x, 3] == 0


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-80, 80), st.sampled_from([40.0, 300.0, 5000.0])),
        min_size=1,
        max_size=40,
    ),
    pick=st.integers(0, 39),
    zoom=st.integers(0, 22),
)
def test_no_tile_whose_box_touches_a_map_tile_is_missed(places, pick, zoom):
    lon, lat, size_m = (np.array(values) for values in zip(*places, strict=True))
    gallery = PaintedGallery(lon, lat, size_m)
    i = pick % len(places)
    tile = tile_at(LonLat(lon=float(lon[i]), lat=float(lat[i])), zoom)
    found = set()
    for kind in MapIndex(gallery.tiles).classes:
        found |= set(kind.near(tile, limit=10**6).tolist())
    boxes = boxes_px(gallery, tile)
    for around in (-1, 0, 1):
        moved = boxes + np.array([1, 0, 1, 0]) * around * 256 * 2.0**zoom
        touching = (moved[:, :2] < 256).all(axis=1) & (moved[:, 2:] > 0).all(axis=1)
        assert set(np.flatnonzero(touching).tolist()) <= found


def snapshot_of(gallery, version):
    index = MapIndex(gallery.tiles)
    served = SimpleNamespace(paint=lambda tile: Painted(paint(gallery, index, tile)))
    return SimpleNamespace(gallery=served, version=version)


def test_a_drawn_tile_is_remembered_until_the_version_changes():
    gallery, tiles = town(), MapTiles()
    tile = tile_at(LonLat(lon=8.002, lat=50.002), 17)
    first = tiles.draw(snapshot_of(gallery, "v1"), tile)
    read = len(gallery.read)
    assert tiles.draw(snapshot_of(gallery, "v1"), tile) is first
    assert len(gallery.read) == read
    assert tiles.remembered("v2", tile) is None
    tiles.draw(snapshot_of(gallery, "v2"), tile)
    assert len(gallery.read) == 2 * read
    assert tiles.remembered("v1", tile) is None


class _Request:
    def __init__(self, gone=False):
        self.gone = gone

    async def is_disconnected(self):
        return self.gone


def test_too_many_waiting_are_refused_and_those_who_left_cost_nothing():
    gallery = town()
    snapshot = snapshot_of(gallery, "v1")

    async def run():
        desk = MapDesk(MapTiles(), waiting_at_most=2)
        asked = [
            asyncio.create_task(desk.draw(_Request(gone=i == 1), snapshot, TileId(17, i, 1)))
            for i in range(3)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        desk.close()
        return answers

    first, left, refused = asyncio.run(run())
    assert first.media_type == "image/png"
    assert isinstance(left, ClientGone)
    assert isinstance(refused, Overloaded)
    assert refused.reason == "map_queue_full"
