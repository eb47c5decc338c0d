"""Mosaics: order, gaps, different systems and number types, one stretch, many files."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio

from crossfix.errors import SourceError
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from index_builder.sources.rasters.mosaic_source import MosaicSource
from index_builder.sources.rasters.raster_source import RasterSource
from index_builder.sources.spec import SourceSpec
from tests.marked_raster import find_marks, write_marked_raster
from tests.tiny_encoder import CENTRE, random_texture, write_geotiff

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "imagery" / "geotiff_samples"
FRAME = LocalFrame(LonLat(*CENTRE))


def at(east_m, north_m):
    lon, lat = FRAME.to_lonlat(east_m, north_m)
    return float(lon), float(lat)


def flat(path, colour, *, east_m=0.0, north_m=0.0, side_px=200, dtype=np.uint8, **more):
    """A raster of one colour, 100 m wide unless told."""
    pixels = np.full((side_px, side_px, 3), colour, dtype)
    return write_geotiff(path, pixels=pixels, centre=at(east_m, north_m), **more)


def open_mosaic(location, *, tile_px=64, **more):
    return MosaicSource(SourceSpec(location=str(location), **more), name="all", tile_px=tile_px)


def read_all(source, size_m=40.0, overlap=0.5, area=None):
    return {plan.tile_id: (plan, source.read(plan)) for plan in source.plan(size_m, overlap, area)}


def colours_at(tiles):
    """[(east_m, north_m, middle colour)] of the tiles that are not empty."""
    for plan, image in tiles.values():
        if image is not None:
            east_m, north_m = FRAME.to_metres(plan.lon, plan.lat)
            yield float(east_m), float(north_m), tuple(image[32, 32].tolist())


def test_another_order_is_another_mosaic(tmp_path):
    flat(tmp_path / "a.tif", (200, 0, 0))
    flat(tmp_path / "b.tif", (0, 200, 0))
    prints = []
    for names in ("a.tif\nb.tif", "b.tif\na.tif", "a.tif\nb.tif"):
        (tmp_path / "list.txt").write_text(names)
        source = open_mosaic(tmp_path / "list.txt")
        prints.append(source.fingerprint())
        source.close()
    assert prints[0] == prints[2] != prints[1]


def test_the_first_is_on_top_and_later_ones_fill(tmp_path):
    flat(tmp_path / "b.tif", (0, 200, 0), east_m=50)
    flat(tmp_path / "deep" / "c.tif", (0, 0, 200), north_m=60)
    flat(tmp_path / "a.tif", (200, 0, 0))
    source = open_mosaic(tmp_path)
    tiles = read_all(source)
    seen = set()
    for east_m, north_m, colour in colours_at(tiles):
        if max(abs(east_m), abs(north_m)) < 48:
            assert colour == (200, 0, 0)
        elif 52 < east_m < 98 and abs(north_m) < 48:
            assert colour == (0, 200, 0)
        elif 52 < north_m < 108 and abs(east_m) < 48:
            assert colour == (0, 0, 200)
        seen.add(colour)
    assert len(seen) >= 3
    source.close()


def test_tiles_across_a_seam_hold_both(tmp_path):
    flat(tmp_path / "a.tif", (200, 0, 0), east_m=-50)
    flat(tmp_path / "b.tif", (0, 200, 0), east_m=50)
    source = open_mosaic(tmp_path)
    across = [
        image
        for plan, image in read_all(source, overlap=0.75).values()
        if np.abs(FRAME.to_metres(plan.lon, plan.lat)).max() < 28
    ]
    both = 0
    for image in across:
        red, green = image[..., 0] > 100, image[..., 1] > 100
        assert red.any() or green.any()
        both += red.any() and green.any()
        # The seam is where the rasters meet, with no black line of more than a pixel.
        inner = image[20:44].max(axis=2) > 90
        assert (~inner).sum(axis=1).max() <= 1
    assert both > 10
    source.close()


def test_nodata_of_one_is_filled_by_the_next(tmp_path):
    half = np.full((200, 200, 3), 150, np.uint8)
    half[:, 100:] = 0
    write_geotiff(tmp_path / "a.tif", pixels=half, nodata=0)
    flat(tmp_path / "b.tif", (0, 0, 200))
    source = open_mosaic(tmp_path)
    for east_m, north_m, colour in colours_at(read_all(source)):
        if max(abs(east_m), abs(north_m)) < 48 and abs(east_m) > 3:
            assert colour == ((150, 150, 150) if east_m < 0 else (0, 0, 200))
    source.close()


def test_shadows_are_not_filled_from_another_raster(tmp_path):
    dotted = np.full((200, 200, 3), 150, np.uint8)
    dotted[::8, ::8] = 0
    dotted[:, 150:] = 0
    write_geotiff(tmp_path / "a.tif", pixels=dotted)
    flat(tmp_path / "b.tif", (0, 0, 200))
    source = open_mosaic(tmp_path, tile_px=80)
    for plan, image in read_all(source).values():
        east_m, north_m = FRAME.to_metres(plan.lon, plan.lat)
        if max(abs(east_m), abs(north_m)) < 28 and east_m < 2:
            assert (np.ptp(image.astype(int), axis=2) < 30).all(), "blue came through a shadow"
    assert any(colour[2] > 190 and colour[0] < 10 for *_, colour in colours_at(read_all(source)))
    source.close()


def test_rasters_of_different_systems_meet_on_the_ground(tmp_path):
    first = write_marked_raster(
        tmp_path / "a.tif", crs="EPSG:32631", x=700_000, y=5_770_000, pixel=0.5, at=(0.9, 0.5)
    )
    with rasterio.open(tmp_path / "a.tif") as source:
        lon, lat = first.lonlat()
        assert source.crs.to_epsg() == 32631
    (x,), (y,) = rasterio.warp.transform("EPSG:4326", "EPSG:28992", [lon], [lat])
    second = write_marked_raster(
        tmp_path / "b.tif", crs="EPSG:28992", x=x + 60, y=y, pixel=0.25, side_px=320, at=(0.5, 0.5)
    )
    source = open_mosaic(tmp_path, tile_px=160)
    assert "EPSG:28992" in source.describe().crs
    assert "EPSG:32631" in source.describe().crs
    tiles = read_all(source, size_m=40.0, overlap=0.75).values()
    places = list(find_marks(*zip(*tiles, strict=True)))
    near = [
        min(distance_m(*place, *raster.lonlat()) for raster in (first, second)) for place in places
    ]
    assert len(near) > 8
    assert max(near) < 0.2
    for raster in (first, second):
        assert min(distance_m(*place, *raster.lonlat()) for place in places) < 0.2
    source.close()


def test_dates_come_from_the_raster_that_is_seen(tmp_path):
    for name, east_m, year in (("a", -100, 2019), ("b", 100, 2021)):
        path = flat(tmp_path / f"{name}.tif", (90, 90, 90), east_m=east_m)
        with rasterio.open(path, "r+") as target:
            target.update_tags(
                TIFFTAG_DATETIME=f"{year}:05:31 00:00:00", TIFFTAG_COPYRIGHT=f"Survey {name}"
            )
    source = open_mosaic(tmp_path, licence="CC0-1.0")
    for plan, _ in read_all(source).values():
        west = FRAME.to_metres(plan.lon, plan.lat)[0] < 0
        assert plan.date == ("2019-05-31" if west else "2021-05-31")
        assert plan.attribution == ("Survey a" if west else "Survey b")
        assert plan.licence == "CC0-1.0"
    assert source.describe().date == ""
    source.close()
    source = open_mosaic(tmp_path, date="2022", attribution="us")
    assert {plan.date for plan in source.plan(40.0, 0.5)} == {"2022"}
    assert source.describe().attribution == "us"
    source.close()


def test_one_stretch_for_all_so_that_neighbours_match(tmp_path):
    texture = random_texture(200, 400)[..., 0].astype(np.uint16) * 10
    for name, columns, east_m, add in (
        ("a", slice(0, 200), -50, 300),
        ("b", slice(200, 400), 50, 900),
    ):
        write_geotiff(
            tmp_path / f"{name}.tif", pixels=texture[:, columns] + add, centre=at(east_m, 0)
        )
    flat(tmp_path / "c.tif", (10, 120, 250), north_m=90)
    source = open_mosaic(tmp_path)
    mosaic = source._mosaic
    low, high = mosaic._stretches("uint16").low, mosaic._stretches("uint16").high
    assert 300 < low < 900
    assert 2600 < high < 3500
    colours = list(colours_at(read_all(source)))
    assert (10, 120, 250) in {colour for *_, colour in colours}, "uint8 must stay as it is"
    level = {
        east: np.mean([c[0] for e, n, c in colours if (e > 0) == east and abs(n) < 30])
        for east in (False, True)
    }
    assert level[True] - level[False] > 15, "the brighter sheet must stay the brighter one"
    source.close()


def test_a_mosaic_of_one_is_the_raster(tmp_path):
    path = write_geotiff(tmp_path / "a.tif", size_px=(300, 300))
    one = RasterSource(SourceSpec(location=str(path)), name="all", tile_px=64)
    all_of_them = open_mosaic(tmp_path)
    levels = []
    for source in (one, all_of_them):
        tiles = [image for _, image in read_all(source, overlap=0.75).values() if image is not None]
        levels.append(np.mean([image.mean() for image in tiles if image.min() > 0]))
    assert levels[0] == pytest.approx(levels[1], abs=2)
    one.close()
    all_of_them.close()


def test_old_tiles_stay_when_rasters_are_added(tmp_path):
    write_geotiff(tmp_path / "a.tif", size_px=(200, 200))
    source = open_mosaic(tmp_path)
    before = read_all(source)
    old_mark = source.fingerprint()
    source.close()
    write_geotiff(tmp_path / "b.tif", size_px=(200, 200), centre=at(230, 170), seed=5)
    source = open_mosaic(tmp_path)
    after = read_all(source)
    assert source.fingerprint() != old_mark
    source.close()
    assert len(after) > len(before)
    for tile_id, (plan, image) in before.items():
        assert after[tile_id][0].bounds == plan.bounds
        if image is not None:
            assert np.array_equal(after[tile_id][1], image)


def test_lists_and_patterns_keep_their_order(tmp_path):
    flat(tmp_path / "red.tif", (200, 0, 0))
    flat(tmp_path / "green.tif", (0, 200, 0))
    (tmp_path / "readme.md").write_text("not a raster")
    (tmp_path / ".hidden.tif").write_text("not a raster either")
    (tmp_path / "list.txt").write_text("# first on top\n\nred.tif\ngreen.tif\nred.tif\n")
    for location, colour in (
        (tmp_path / "list.txt", (200, 0, 0)),
        (tmp_path / "*.tif", (0, 200, 0)),
        (tmp_path, (0, 200, 0)),
    ):
        source = open_mosaic(location)
        assert {found for *_, found in colours_at(read_all(source, 30.0, 0.0))} == {colour}
        source.close()


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("one.tif\n")
    (tmp_path / "empty").mkdir()
    for location, says in (
        (tmp_path / "list.txt", r"line 1: .*one\.tif"),
        (tmp_path / "empty", "holds no raster"),
        (tmp_path / "*.tif", "holds no raster"),
    ):
        with pytest.raises(SourceError, match=says):
            open_mosaic(location)
    (tmp_path / "one.tif").write_text("hello")
    with pytest.raises(SourceError, match=r"one\.tif"):
        open_mosaic(tmp_path)


def test_files_are_not_all_open_at_once(tmp_path):
    for number in range(12):
        flat(tmp_path / f"{number:02}.tif", (90, number, 90), east_m=40 * number, side_px=80)
    source = open_mosaic(tmp_path)
    source._mosaic._handles.limit = 3
    tiles = read_all(source, size_m=20.0)
    assert len(source._mosaic._handles._idle) <= 3
    assert len({colour for *_, colour in colours_at(tiles)} - {(0, 0, 0)}) == 12
    source.close()
    assert not source._mosaic._handles._idle


def test_a_mosaic_across_the_antimeridian(tmp_path):
    marks = [
        write_marked_raster(
            tmp_path / f"{name}.tif",
            crs=crs,
            x=x,
            y=-20.0 if crs == "EPSG:4326" else y,
            pixel=pixel,
        )
        for name, crs, x, y, pixel in (
            ("east", "EPSG:4326", -179.9996, -20.0, 5e-6),
            ("west", "EPSG:4326", 179.9996, -20.0, 5e-6),
            ("middle", "EPSG:3832", 3339584.7, -2258223.6, 0.5),
        )
    ]
    source = open_mosaic(tmp_path, tile_px=96)
    tiles = read_all(source, size_m=32.0, overlap=0.75).values()
    assert len({plan.tile_id for plan, _ in tiles}) == len(tiles)
    places = list(find_marks(*zip(*tiles, strict=True)))
    for raster in marks:
        assert min(distance_m(*place, *raster.lonlat()) for place in places) < 0.2
    for place in places:
        assert min(distance_m(*place, *raster.lonlat()) for raster in marks) < 0.2
    source.close()


def test_rasters_all_over_the_world_are_one_mosaic(tmp_path):
    for name, crs, x, y in (
        ("a", "EPSG:4326", -120.0, 60.0),
        ("b", "EPSG:4326", 10.0, -30.0),
        ("c", "EPSG:32755", 500_000, 5_500_000),
    ):
        pixel = 5e-6 if crs == "EPSG:4326" else 0.5
        write_marked_raster(tmp_path / f"{name}.tif", crs=crs, x=x, y=y, pixel=pixel)
    source = open_mosaic(tmp_path)
    start = time.perf_counter()
    tiles = read_all(source, size_m=20.0)
    assert time.perf_counter() - start < 5
    assert {round(plan.lat / 10) for plan, _ in tiles.values()} == {6, -3, -4}
    assert len(tiles) < 500
    source.close()


def test_real_rasters_of_six_systems_are_one_mosaic():
    if not SAMPLES.is_dir():
        pytest.skip("no real imagery at ../shared/imagery: no real mosaic is cut")
    with (SAMPLES / "images.csv").open(encoding="utf-8") as handle:
        truth = list(csv.DictReader(handle))
    source = open_mosaic(SAMPLES)
    found = dict.fromkeys((row["file"] for row in truth), 0)
    for plan, image in read_all(source, size_m=12.0, overlap=0.0).values():
        (row,) = [
            row
            for row in truth
            if distance_m(plan.lon, plan.lat, float(row["lon"]), float(row["lat"])) < 500
        ]
        if image is not None:
            assert float(row["west"]) - 1e-4 < plan.lon < float(row["east"]) + 1e-4
            assert float(row["south"]) - 1e-4 < plan.lat < float(row["north"]) + 1e-4
            assert 5 < image.std() < 110
            found[row["file"]] += 1
    source.close()
    assert min(found.values()) >= 1
    for row in truth:
        side_m = float(
            distance_m(float(row["west"]), float(row["lat"]), float(row["east"]), float(row["lat"]))
        )
        assert found[row["file"]] >= max(1, (int(side_m / 12) - 1) ** 2 * 0.8), row["file"]
