"""Tiles cut from tile sets: colours, holes, zooms, blocks, areas."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

from crossfix.errors import InvalidParameter, SourceError
from crossfix.geodesy import LocalFrame, LonLat, TileId, distance_m, tile_bounds
from index_builder.sources.grid.area import Area
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tile_sets.tile_coverage import TileCoverage
from index_builder.sources.tile_sets.tile_set_opening import open_tile_set
from tests.tiny_tile_sets import (
    Painting,
    encode,
    painted,
    patch,
    pixel_centres,
    serve_tiles,
    square_area,
    write_folder,
    write_mbtiles,
    write_pmtiles,
)

LON, LAT = 11.57, 48.14
PAINTING = Painting(17)
TILES = patch(17, LON, LAT, columns=3, rows=3)


def open_folder(folder, *, tile_px=64, **options):
    return open_tile_set(SourceSpec(location=str(folder), **options), name="set", tile_px=tile_px)


def cut(source, size_m, overlap=0.5, area=None):
    plans = list(source.plan(size_m, overlap, area))
    return plans, [source.read(plan) for plan in plans]


def error_of(plan, image, painting=PAINTING):
    """Mean difference in grey levels between a tile and the painting."""
    return np.abs(image - painting.at(*pixel_centres(plan.bounds, len(image)))).mean()


def is_whole(image):
    return image is not None and bool((image.max(axis=2) > 0).all())


@pytest.fixture(scope="module")
def images():
    return painted(TILES, PAINTING)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("tiles"), images)


def test_squares_show_what_the_painting_has_there(folder):
    source = open_folder(folder, tile_px=256)
    plans, squares = cut(source, 80.0)
    assert len(plans) > 100
    whole = [(p, s) for p, s in zip(plans, squares, strict=True) if is_whole(s)]
    assert len(whole) > 0.7 * len(plans)  # the rest reaches over the edge
    assert max(error_of(plan, square) for plan, square in whole) < 1.0
    source.close()


def test_plans_say_what_the_tiles_are(folder):
    source = open_folder(folder, tile_px=64, attribution="me", licence="CC0", date="2024-05")
    plan = next(iter(source.plan(100.0, 0.0)))
    assert (plan.attribution, plan.licence, plan.date) == ("me", "CC0", "2024-05")
    assert plan.tile_id.startswith("set-100m-r")
    assert plan.resolution_m == pytest.approx(100 / 64)
    bounds = plan.bounds
    assert distance_m(plan.lon, bounds.south, plan.lon, bounds.north) == pytest.approx(
        100, rel=1e-3
    )
    assert distance_m(bounds.west, plan.lat, bounds.east, plan.lat) == pytest.approx(100, rel=1e-3)
    described = source.describe()
    assert (described.crs, described.attribution) == ("EPSG:3857", "me")
    assert described.fingerprint == source.fingerprint()


def test_a_square_is_no_finer_than_the_tiles(folder):
    source = open_folder(folder, tile_px=4096)
    plans, squares = cut(source, 40.0)
    plan, side_px = plans[0], len(next(square for square in squares if square is not None))
    ground_m = 40_075_016.7 * np.cos(np.radians(LAT)) / 2**17 / 256
    assert 40 / ground_m <= side_px < 40 / ground_m * 1.02 + 1
    assert plan.resolution_m == pytest.approx(ground_m, rel=5e-3)


def test_all_stores_give_identical_squares(folder, images, tmp_path):
    locations = [
        (folder, {}),
        (write_folder(tmp_path / "flat", images, flat=True), {}),
        (write_folder(tmp_path / "tms", images, from_south=True), {"kind": "tms"}),
        (write_mbtiles(tmp_path / "a.mbtiles", images), {}),
        (write_pmtiles(tmp_path / "a.pmtiles", images), {}),
    ]
    area = Area.from_geojson(square_area(TILES[4:5]))
    with serve_tiles(images) as server:
        locations.append(
            (
                f"{server.host}/{{z}}/{{x}}/{{y}}.png",
                {
                    "attribution": "us",
                    "zoom": 17,
                    "cache": str(tmp_path / "cache"),
                    "requests_per_s": 1000,
                },
            )
        )
        for size_m in (None, 70.0):
            results = []
            for location, options in locations:
                source = open_folder(location, **options)
                plans, squares = cut(source, size_m, area=area)
                results.append(
                    {p.tile_id: (p.bounds, s) for p, s in zip(plans, squares, strict=True)}
                )
                source.close()
            assert len(results[0]) > 0
            for other in results[1:]:
                assert set(other) >= set(results[0])
                for tile_id, (bounds, pixels) in results[0].items():
                    assert other[tile_id][0] == bounds
                    np.testing.assert_array_equal(other[tile_id][1], pixels)


def test_an_area_changes_no_pixel_of_what_it_keeps(folder):
    source = open_folder(folder)
    everything = {p.tile_id: s for p, s in zip(*cut(source, 60.0), strict=True)}
    small = LocalFrame(LonLat(LON, LAT)).square(50.0)
    ring = [
        [small.west, small.south],
        [small.east, small.south],
        [small.east, small.north],
        [small.west, small.south],
    ]
    area = Area.from_geojson({"type": "Polygon", "coordinates": [ring]})
    plans, squares = cut(source, 60.0, area=area)
    assert 0 < len(plans) < len(everything) / 4
    assert all(area.touches(plan.bounds) for plan in plans)
    for plan, square in zip(plans, squares, strict=True):
        np.testing.assert_array_equal(square, everything[plan.tile_id])


def test_a_store_that_grows_keeps_its_squares(folder, images, tmp_path):
    more = {**images, **painted(patch(17, LON + 0.02, LAT + 0.01, columns=2, rows=2), PAINTING)}
    before = {p.tile_id: p.bounds for p in open_folder(folder).plan(60.0, 0.5)}
    after = {p.tile_id: p.bounds for p in
             open_folder(write_folder(tmp_path, more)).plan(60.0, 0.5)}  # fmt: skip
    assert len(after) > len(before)
    assert {tile_id: after[tile_id] for tile_id in before} == before


def test_reading_needs_no_planning_and_any_order(folder):
    plans = pickle.loads(pickle.dumps(list(open_folder(folder).plan(70.0, 0.5))))
    source, other = open_folder(folder), open_folder(folder)
    in_order = [source.read(plan) for plan in plans]
    for number in np.random.default_rng(1).permutation(len(plans))[:20]:
        np.testing.assert_array_equal(other.read(plans[number]), in_order[number])


def test_plans_are_the_same_at_every_call_and_blocks_stay_together(folder):
    source = open_folder(folder)
    plans = list(source.plan(30.0, 0.5))
    assert plans == list(source.plan(30.0, 0.5))
    assert len({plan.tile_id for plan in plans}) == len(plans)
    groups = [plan.group for plan in plans]
    changes = sum(one != other for one, other in pairwise(groups))
    assert changes == len(set(groups)) - 1 > 0


def test_own_tiles_are_the_stores_pixels(folder):
    source = open_folder(folder)
    plans, pixels = cut(source, None)
    assert [plan.tile_id for plan in plans] == [f"set-z17-x{t.x}-y{t.y}" for t in TILES]
    for tile, plan, found in zip(TILES, plans, pixels, strict=True):
        np.testing.assert_array_equal(found, PAINTING.tile(tile))
        assert plan.bounds == tile_bounds(tile)
        high = distance_m(plan.lon, plan.bounds.south, plan.lon, plan.bounds.north)
        wide = distance_m(plan.bounds.west, plan.lat, plan.bounds.east, plan.lat)
        assert plan.size_m == pytest.approx(np.sqrt(high * wide), rel=1e-4)
        assert plan.resolution_m == pytest.approx(plan.size_m / 256)
    assert not source.has_own_sizes


def test_own_tiles_of_a_low_zoom_are_refused(tmp_path):
    for tile in (TileId(5, 3, 3), TileId(9, 256, 255)):
        folder = write_folder(tmp_path / str(tile.zoom), painted([tile], PAINTING, 16))
        with pytest.raises(SourceError, match=f"zoom {tile.zoom} .* too large"):
            list(open_folder(folder).plan(None, 0.0))


def test_tiles_of_512_pixels_are_read_at_their_resolution(tmp_path):
    source = open_folder(write_folder(tmp_path, painted(TILES, PAINTING, 512)), tile_px=1024)
    plans, squares = cut(source, 80.0)
    assert squares[len(squares) // 2].shape[0] == pytest.approx(80 / (0.797 / 2), rel=0.02)
    assert error_of(plans[len(plans) // 2], squares[len(squares) // 2]) < 0.5


def test_mixed_tile_sides_count_as_one_picture(tmp_path):
    mixed = {**painted(TILES, PAINTING), **painted(TILES[4:5], PAINTING, 512)}
    source = open_folder(write_folder(tmp_path, mixed), tile_px=256)
    plans, squares = cut(source, 80.0)
    whole = [(p, s) for p, s in zip(plans, squares, strict=True) if is_whole(s)]
    assert max(error_of(plan, square) for plan, square in whole) < 1.5


def test_holes_and_transparent_pixels_are_empty(tmp_path):
    images = painted(TILES, PAINTING)
    del images[TILES[4]]  # the middle one
    clear = np.dstack([PAINTING.tile(TILES[1]), np.full((256, 256), 255, np.uint8)])
    clear[:, :128, 3] = 0
    images[TILES[1]] = encode(clear)
    source = open_folder(write_folder(tmp_path, images), tile_px=64)
    plans, squares = cut(source, 50.0)
    hole, half = tile_bounds(TILES[4]), tile_bounds(TILES[1])
    lines = half.west + (half.east - half.west) / 2
    for plan, square in zip(plans, squares, strict=True):
        lon, lat = pixel_centres(plan.bounds, 64)
        empty = (hole.west < lon) & (lon < hole.east) & (hole.south < lat) & (lat < hole.north)
        empty |= (half.west < lon) & (lon < lines) & (half.south < lat) & (lat < half.north)
        boxes = [tile_bounds(tile) for tile in TILES]
        empty |= (lon < min(b.west for b in boxes)) | (lon > max(b.east for b in boxes))
        empty |= (lat < min(b.south for b in boxes)) | (lat > max(b.north for b in boxes))
        if square is None:
            assert empty.mean() > 0.48
        else:
            assert empty.mean() < 0.52
            # Which pixel an edge belongs to may differ by one.
            assert ((square.max(axis=2) == 0) != empty).mean() < 0.05
    assert not any(
        hole.west < p.bounds.west and p.bounds.east < hole.east
        and hole.south < p.bounds.south and p.bounds.north < hole.north
        for p in plans
    )  # fmt: skip


def test_a_transparent_tile_of_its_own_is_dropped(tmp_path):
    clear = np.dstack([PAINTING.tile(TILES[0]), np.zeros((256, 256), np.uint8)])
    clear[:100, :, 3] = 255
    folder = write_folder(tmp_path, {**painted(TILES[1:], PAINTING), TILES[0]: encode(clear)})
    assert [image is None for image in cut(open_folder(folder), None)[1]] == [True] + [False] * 8


def test_a_palette_with_transparency_is_understood(tmp_path):
    from PIL import Image

    grey = Image.new("P", (16, 16), 1)
    grey.putpalette([0, 0, 0, 200, 100, 50])
    grey.paste(0, (0, 0, 4, 16))
    path = tmp_path / "17" / str(TILES[0].x) / f"{TILES[0].y}.png"
    path.parent.mkdir(parents=True)
    grey.save(path, transparency=0)
    (image,) = cut(open_folder(tmp_path), None)[1]
    assert (image[:, 4:] == [200, 100, 50]).all()
    assert (image[:, :4] == 0).all()


def finest_lines(tiles):
    """Black and white columns of one pixel: pure noise to anyone who does not average."""
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[:, ::2] = 255
    return dict.fromkeys(tiles, encode(pixels))


def test_shrinking_averages_over_all_pixels(tmp_path):
    tiles = patch(17, LON, LAT, columns=6, rows=6)
    source = open_folder(write_folder(tmp_path, finest_lines(tiles)), tile_px=32)
    for size_m in (60.0, 300.0, 500.0):
        _, squares = cut(source, size_m)
        errors = [np.abs(s.astype(float) - 127.5) for s in squares if is_whole(s)]
        assert max(np.median(error) for error in errors) <= 1.5, size_m
        assert max(error.max() for error in errors) < 10, size_m  # at the edges of the map


def test_a_lower_zoom_is_read_when_shrinking(tmp_path):
    """It is painted otherwise here, to see where pixels come from."""
    tiles = patch(17, LON, LAT, columns=6, rows=6)
    fine, coarse = np.full((256, 256, 3), 50, np.uint8), np.full((256, 256, 3), 200, np.uint8)
    images = dict.fromkeys(tiles, encode(fine))
    parents = {TileId(16, t.x // 2, t.y // 2) for t in tiles}
    images |= dict.fromkeys(parents, encode(coarse))
    source = open_folder(write_folder(tmp_path, images), tile_px=64)
    middle = {}
    for size_m in (60.0, 90.0, 110.0, 180.0, 220.0):
        squares = [s for s in cut(source, size_m)[1] if is_whole(s)]
        (middle[size_m],) = {int(s[len(s) // 2, len(s) // 2, 0]) for s in squares}
    # 64 pixels of 0.8 m: from 102 m on half of them will do. From 204 m on a quarter would, which
    # is made of the halves, since that level is missing.
    assert middle == {60.0: 50, 90.0: 50, 110.0: 200, 180.0: 200, 220.0: 200}


def test_a_gap_in_a_lower_zoom_is_filled_from_the_finer_one(tmp_path):
    tiles = patch(17, LON, LAT, columns=6, rows=6)
    parents = sorted({TileId(16, t.x // 2, t.y // 2) for t in tiles}, key=str)
    images = painted(tiles, PAINTING) | painted(parents[::2], PAINTING)
    source = open_folder(write_folder(tmp_path, images), tile_px=64)
    plans, squares = cut(source, 110.0)
    whole = [(p, s) for p, s in zip(plans, squares, strict=True) if is_whole(s)]
    assert len(whole) > 10
    assert (
        max(error_of(plan, square) for plan, square in whole) < 8
    )  # waves of 15 pixels are softer


def test_threads_share_a_source(folder):
    from concurrent.futures import ThreadPoolExecutor

    source = open_folder(folder)
    plans, expected = cut(source, 50.0)
    with ThreadPoolExecutor(4) as pool:
        for found, square in zip(pool.map(source.read, plans), expected, strict=True):
            np.testing.assert_array_equal(found, square)
    source.close()


def test_a_damaged_tile_is_named(tmp_path):
    images = painted(TILES, PAINTING)
    images[TILES[4]] = images[TILES[4]][:3000]
    source = open_folder(write_folder(tmp_path, images))
    with pytest.raises(SourceError, match=f"tile 17/{TILES[4].x}/{TILES[4].y} of .* is damaged"):
        cut(source, 60.0)


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8), np.uint16)], ids=["oblong", "16-bit"]
)
def test_odd_images_are_refused(tmp_path, pixels):
    source = open_folder(write_folder(tmp_path, {TILES[0]: encode(pixels)}))
    with pytest.raises(SourceError, match="pixels of kind"):
        source.plan(None, 0.0)


def test_sizes_out_of_range_are_refused(folder):
    source = open_folder(folder)
    for size_m, overlap in ((0.5, 0.5), (30_000.0, 0.5), (50.0, 1.0)):
        with pytest.raises(InvalidParameter):
            source.plan(size_m, overlap)


def test_tiles_too_far_apart_to_fill_a_square_are_refused(tmp_path):
    source = open_folder(write_folder(tmp_path, painted(TILES[:1], PAINTING)))
    with pytest.raises(SourceError, match="every tile of 5000 m empty"):
        list(source.plan(5000.0, 0.0))


def test_cities_on_two_continents_are_planned_without_the_ocean_between(tmp_path):
    places = [patch(17, lon, lat, columns=2, rows=2) for lon, lat in ((LON, LAT), (-70.6, -33.4))]
    images = painted([tile for tiles in places for tile in tiles], PAINTING, 16)
    plans = list(open_folder(write_folder(tmp_path, images)).plan(40.0, 0.5))
    assert 800 < len(plans) < 1300
    assert {(round(plan.lon), round(plan.lat)) for plan in plans} == {(12, 48), (-71, -33)}


def test_coverage_in_bounded_memory_covers_no_less():
    random = np.random.default_rng(0)
    tiles = random.integers(0, 2**12, (5000, 2))
    exact = TileCoverage([tiles[:2500], tiles[2500:]], 12)
    coarse = TileCoverage([tiles], 12, max_cells=300)
    assert (exact.level, len(exact._cells)) == (12, len(np.unique(tiles, axis=0)))
    assert coarse.level < 12
    assert len(coarse._cells) <= 300
    cells = {(x >> 12 - coarse.level, y >> 12 - coarse.level) for x, y in tiles.tolist()}
    assert {(c & 0xFFFFFFFF, c >> 32) for c in coarse._cells.tolist()} == cells
