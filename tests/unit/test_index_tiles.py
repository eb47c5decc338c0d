"""Tiles cut from rasters: place, orientation, number types, masks."""

import csv
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from crossfix.errors import InvalidParameter, SourceError
from crossfix.geodesy import LocalFrame, LonLat, distance_m
from index_builder.sources.rasters.footprint import pixel_to_crs
from index_builder.sources.rasters.raster_source import RasterSource
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import CENTRE, random_texture, write_geotiff

SAMPLES = Path(__file__).resolve().parents[2].parent / "shared" / "imagery" / "geotiff_samples"


def real_rasters():
    if not SAMPLES.is_dir():
        return []
    with (SAMPLES / "images.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def open_raster(path, tile_px=64):
    return RasterSource(SourceSpec(location=str(path)), name="map", tile_px=tile_px)


def tiles_of(path, size_m=40.0, overlap=0.5, tile_px=64):
    source = open_raster(path, tile_px=tile_px)
    plans = list(source.plan(size_m, overlap))
    images = [source.read(plan) for plan in plans]
    source.close()
    return plans, images


def marked_raster(path, crs, centre, *, pixel_m=0.5, rotation_deg=0.0, side_px=400):
    """A black-and-grey raster with one white square; returns where the square's middle is."""
    pixels = np.full((side_px, side_px, 3), 90, np.uint8)
    row, column = int(side_px * 0.4), int(side_px * 0.55)
    pixels[row : row + 6, column : column + 6] = 255
    write_geotiff(
        path, crs=crs, centre=centre, pixels=pixels, resolution_m=pixel_m, rotation_deg=rotation_deg
    )
    with rasterio.open(path) as source:
        x, y = pixel_to_crs(source, column + 3, row + 3)
        (lon,), (lat,) = transform(source.crs, "EPSG:4326", [x], [y])
    return lon, lat


def places_of_mark(plans, images):
    """Where the white square is according to each tile that holds all of it."""
    for plan, image in zip(plans, images, strict=True):
        if image is None:
            continue
        light = np.clip(image.mean(axis=2) - 92, 0, None)
        rows, columns = np.nonzero(light > 60)
        if not len(rows) or min(rows.min(), columns.min()) < 3:
            continue
        if max(rows.max(), columns.max()) > len(image) - 4:
            continue
        grid = np.arange(len(image)) + 0.5
        down = (light.sum(axis=1) * grid).sum() / light.sum() / len(image)
        right = (light.sum(axis=0) * grid).sum() / light.sum() / len(image)
        bounds = plan.bounds
        lon = bounds.west + right * ((bounds.east - bounds.west) % 360)
        yield lon, bounds.north - down * (bounds.north - bounds.south)


@pytest.mark.parametrize(
    ("crs", "centre", "pixel_m", "rotation_deg"),
    [
        ("EPSG:32614", CENTRE, 0.5, 0.0),
        ("EPSG:32633", (17.9, 69.5), 0.5, 30.0),
        ("EPSG:32755", (146.2, -41.0), 0.5, 0.0),
        ("EPSG:28992", (4.988, 51.841), 0.5, 0.0),
        ("EPSG:3395", (120.98, 14.6), 0.5, 0.0),
        ("EPSG:3857", (10.0, 60.0), 1.0, 0.0),
        ("EPSG:4326", (10.0, 45.0), 0.5, 0.0),
        ("EPSG:32760", (179.9999, -17.0), 0.5, 0.0),
    ],
)
def test_every_tile_puts_a_landmark_where_it_is(tmp_path, crs, centre, pixel_m, rotation_deg):
    lon, lat = marked_raster(
        tmp_path / "a.tif", crs, centre, pixel_m=pixel_m, rotation_deg=rotation_deg
    )
    plans, images = tiles_of(tmp_path / "a.tif", overlap=0.75, tile_px=256)
    places = list(places_of_mark(plans, images))
    assert len(places) >= 2
    for found_lon, found_lat in places:
        assert distance_m(found_lon, found_lat, lon, lat) < 0.1


def test_north_is_up_and_sides_are_metres(tmp_path):
    # 3 degrees off the zone's middle at 60 N: grid north is 2.6 degrees off true north.
    path = write_geotiff(tmp_path / "a.tif", crs="EPSG:32632", centre=(12.0, 60.0))
    plans, _ = tiles_of(path)
    for plan in plans:
        bounds = plan.bounds
        assert distance_m(bounds.west, plan.lat, bounds.east, plan.lat) == pytest.approx(40, 1e-4)
        assert distance_m(plan.lon, bounds.south, plan.lon, bounds.north) == pytest.approx(40, 1e-4)
        assert (bounds.west + bounds.east) / 2 == pytest.approx(plan.lon, abs=1e-9)


def test_strips_agree_with_tiles_read_alone(tmp_path):
    path = write_geotiff(tmp_path / "a.tif", size_px=(200, 900))
    plans, images = tiles_of(path)
    source = open_raster(path)
    for index in (0, 7, len(plans) - 1, 3):
        assert np.array_equal(source.read(plans[index]), images[index])
    source.close()
    assert len({plan.tile_id for plan in plans}) == len(plans)


def test_more_than_half_empty_is_dropped(tmp_path):
    pixels = random_texture(400, 400)
    pixels[:, :200] = 0
    path = write_geotiff(tmp_path / "a.tif", pixels=pixels, nodata=0)
    plans, images = tiles_of(path)
    west_edge = CENTRE[0]
    for plan, image in zip(plans, images, strict=True):
        if plan.lon < west_edge - 3e-5:
            assert image is None
        elif plan.lon > west_edge + 3e-5 and abs(plan.lat - CENTRE[1]) < 0.0006:
            assert image is not None
    assert any(image is not None for image in images)
    assert min(plan.lon for plan in plans) > west_edge - 0.0004, "empty tiles were planned"


def test_alpha_and_internal_mask_are_honoured(tmp_path):
    half = np.full((400, 400), 255, np.uint8)
    half[:, :200] = 0
    rgba = np.dstack([random_texture(400, 400), half])
    with_alpha = write_geotiff(tmp_path / "alpha.tif", pixels=rgba)
    with_mask = write_geotiff(tmp_path / "mask.tif", pixels=rgba[..., :3].copy())
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(with_mask, "r+") as target,
    ):
        target.write_mask(half)
    kept = [
        [plan.tile_id for plan, image in zip(*tiles_of(path), strict=True) if image is not None]
        for path in (with_alpha, with_mask)
    ]
    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) < 60


def test_mosaic_black_without_a_mask_is_empty(tmp_path):
    pixels = random_texture(400, 400)
    pixels[:, :240] = 3
    _, images = tiles_of(write_geotiff(tmp_path / "a.tif", pixels=pixels))
    assert any(image is None for image in images)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_other_number_types_are_stretched_alike(tmp_path, dtype):
    grey = random_texture(400, 400)[..., 0]
    scaled = (grey.astype(np.float64) * 11 + 300).astype(dtype)
    _, images = tiles_of(write_geotiff(tmp_path / "a.tif", pixels=scaled))
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    values = np.stack(images)[30:60]
    assert values.shape[-1] == 3
    assert np.percentile(values, 5) < 30
    assert np.percentile(values, 95) > 215


def test_palette_becomes_its_colours(tmp_path):
    index = np.repeat(np.repeat([[0, 1], [2, 1]], 200, axis=0), 200, axis=1).astype(np.uint8)
    path = write_geotiff(tmp_path / "a.tif", pixels=index, photometric="palette")
    colours = {0: (200, 10, 10), 1: (10, 200, 10), 2: (10, 10, 200)}
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, colours)
    _, images = tiles_of(path, overlap=0.0)
    seen = {tuple(pixel) for image in images if image is not None for pixel in image.reshape(-1, 3)}
    assert set(colours.values()) <= seen <= {*colours.values(), (0, 0, 0)}


def test_fine_detail_does_not_alias(tmp_path):
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 254
    _, images = tiles_of(
        write_geotiff(tmp_path / "a.tif", pixels=stripes, resolution_m=0.02),
        size_m=10.0,
        tile_px=64,
    )
    inner = np.stack([image for image in images if image is not None and image.min() > 0])
    assert len(inner) > 20
    assert abs(inner.mean() - 127) < 3
    assert inner.std() < 6


def test_overviews_do_not_move_anything(tmp_path):
    lon, lat = marked_raster(tmp_path / "a.tif", "EPSG:32614", CENTRE, pixel_m=0.1, side_px=800)
    with rasterio.open(tmp_path / "a.tif", "r+") as target:
        target.build_overviews([2, 4], rasterio.enums.Resampling.average)
    plans, images = tiles_of(tmp_path / "a.tif", tile_px=96)
    for found_lon, found_lat in places_of_mark(plans, images):
        assert distance_m(found_lon, found_lat, lon, lat) < 0.1


def test_a_raster_smaller_than_a_tile_gives_one_or_an_error(tmp_path):
    path = write_geotiff(tmp_path / "a.tif", size_px=(100, 100))  # 50 m
    _, images = tiles_of(path, size_m=60.0)
    assert len(images) == 1
    assert images[0] is not None
    _, images = tiles_of(path, size_m=120.0)
    assert images == [None]


def test_bad_rasters_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(SourceError, match=r"text\.tif"):
        open_raster(tmp_path / "text.tif")
    path = write_geotiff(tmp_path / "cut.tif", compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"cut\.tif"):
        tiles_of(path)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        plain = rasterio.open(
            tmp_path / "plain.tif", "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8"
        )
    plain.close()
    with pytest.raises(SourceError, match="coordinate reference system"):
        open_raster(tmp_path / "plain.tif")


@pytest.mark.parametrize(
    ("size_m", "overlap"), [(0.0, 0.5), (-5.0, 0.5), (40.0, 1.0), (40.0, -0.1), (float("nan"), 0.5)]
)
def test_impossible_sizes_are_refused(tmp_path, size_m, overlap):
    source = open_raster(write_geotiff(tmp_path / "a.tif"))
    with pytest.raises(InvalidParameter):
        source.plan(size_m, overlap)
    source.close()


@pytest.mark.parametrize("row", real_rasters(), ids=lambda row: row["file"])
def test_real_rasters_are_where_they_are(row):
    plans, images = tiles_of(SAMPLES / row["file"], size_m=10.0)
    truth = {name: float(row[name]) for name in ("west", "south", "east", "north")}
    source = open_raster(SAMPLES / row["file"])
    extent = source._mosaic.extent
    source.close()
    assert distance_m(extent.west, extent.south, truth["west"], truth["south"]) < 0.1
    assert distance_m(extent.east, extent.north, truth["east"], truth["north"]) < 0.1
    assert sum(image is not None for image in images) > 0
    frame = LocalFrame(LonLat(float(row["lon"]), float(row["lat"])))
    west_m, south_m = frame.to_metres(truth["west"], truth["south"])
    east_m, north_m = frame.to_metres(truth["east"], truth["north"])
    x, y = frame.to_metres([plan.lon for plan in plans], [plan.lat for plan in plans])
    assert x.min() - west_m < 5.1
    assert y.min() - south_m < 5.1
    assert east_m - x.max() < 5.1
    assert north_m - y.max() < 5.1


def test_real_rasters_are_there():
    if not SAMPLES.is_dir():
        pytest.skip("no real imagery at ../shared/imagery: the samples' places are not checked")
    assert (SAMPLES / "images.csv").is_file()
