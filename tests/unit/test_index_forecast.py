"""Forecasts against the builds they foretell."""

from dataclasses import replace

import pytest

from crossfix.errors import SourceError
from index_builder.build import BuildRequest, build_gallery
from index_builder.forecast import forecast_build
from index_builder.recipe import GalleryRecipe, IndexRequest
from index_builder.screens.building import build_screen, plan_screen
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import png, random_texture, write_geotiff, write_tiny_encoder


@pytest.fixture(scope="module")
def encoder_dir(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def request_of(folder, encoder_dir, **recipe):
    raster = write_geotiff(folder / "map.tif", size_px=(400, 500))
    (folder / "tile.png").write_bytes(png(random_texture(64, 64)))
    (folder / "own.csv").write_text("file,lat,lon,size_m\ntile.png,30,20,50\ntile.png,31,20,70\n")
    sources = tuple(SourceSpec(location=str(path)) for path in (raster, folder / "own.csv"))
    given = {"sources": sources, "tile_sizes_m": (40, 80), **recipe}
    return BuildRequest(
        encoder_dir=encoder_dir, recipe=GalleryRecipe(**given), out=folder / "gallery"
    )


def test_a_forecast_counts_what_the_build_plans(tmp_path, encoder_dir):
    request = request_of(tmp_path, encoder_dir)
    forecast = forecast_build(request)
    assert not request.out.exists()
    report = build_gallery(request)
    assert forecast.tiles == report.planned_tiles == sum(row.tiles for row in forecast.rows)
    assert [(row.name, row.kind, row.sizes_m) for row in forecast.rows] == [
        ("map", "raster", [40]), ("map", "raster", [80]), ("own", "table", [50, 70]),
    ]  # fmt: skip
    size = sum(entry.size_bytes for entry in report.manifest.files.values())
    assert 0.5 < forecast.gallery_bytes / size < 2
    assert forecast.peak_bytes > forecast.gallery_bytes
    assert 0 < forecast.seconds < 600
    assert forecast.memory_bytes > 50e6
    assert forecast.index_kinds == ["exact_f16"]
    ground_km2 = 0.2 * 0.25
    assert forecast.rows[0].area_km2 == pytest.approx(ground_km2, rel=0.25)
    assert forecast.area_km2 < 2 * ground_km2


def test_shards_are_a_third_copy_while_building(tmp_path, encoder_dir):
    request = request_of(tmp_path, encoder_dir)
    one, sharded = (forecast_build(replace(request, shards=shards)) for shards in (1, 3))
    assert sharded.peak_bytes == pytest.approx(1.5 * one.peak_bytes, rel=0.05)
    assert sharded.gallery_bytes == one.gallery_bytes


def test_the_screens_say_it_all_on_one_page(tmp_path, encoder_dir):
    request = request_of(tmp_path, encoder_dir, index=IndexRequest(kind="exact_f16"))
    plan = plan_screen(forecast_build(request))
    for word in ("map", "own", "in all", "40 m", "50 m, 70 m", "time", "memory", "disk", "exact"):
        assert word in plan
    report = build_gallery(request)
    built = build_screen(report, request.encoder_dir, {"map": 5, "own": 2})
    for word in ("map 5, own 2", str(request.out), report.version, "tiles/s", "encoder busy",
                 "python -m index_builder inspect", "python -m service"):  # fmt: skip
        assert word in built
    for screen in (plan, built):
        assert len(screen.splitlines()) < 25


def test_an_area_makes_the_plan_smaller(tmp_path, encoder_dir):
    whole = forecast_build(request_of(tmp_path, encoder_dir))
    west, north = -98.0897, 30.1712
    ring = [[west - 1, north], [west, north], [west, north + 1], [west - 1, north + 1]]
    quarter = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    part = forecast_build(request_of(tmp_path, encoder_dir, area=quarter))
    assert 0 < part.tiles < 0.6 * whole.tiles
    assert [row.kind for row in part.rows] == ["raster", "raster"]


def test_nothing_to_build_is_an_error(tmp_path, encoder_dir):
    ring = [[100, 0], [101, 0], [101, 1], [100, 1], [100, 0]]
    nowhere = {"type": "Polygon", "coordinates": [ring]}
    with pytest.raises(SourceError, match="no source has a tile"):
        forecast_build(request_of(tmp_path, encoder_dir, area=nowhere))
