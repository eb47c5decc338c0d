"""A pixel's place on the ground and back: within half a pixel, in every coordinate system."""

import tempfile
from pathlib import Path

import pyproj
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfix.errors import InvalidParameter
from index_builder.sources.rasters.mosaic_source import MosaicSource
from index_builder.sources.rasters.raster_source import RasterSource
from index_builder.sources.spec import SourceSpec
from tests.marked_raster import find_marks, write_marked_raster

MAX_OFF_PX = 0.2
quick = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
shares = st.floats(0.05, 0.95)


def check_round_trip(crs, lon, lat, *, pixel=0.5, rotation_deg=0.0, at=(0.5, 0.5)):
    """Paints a mark, cuts tiles, and takes what they say back to the raster's pixels."""
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    with tempfile.TemporaryDirectory() as folder:
        raster = write_marked_raster(
            Path(folder, "a.tif"), crs=crs, x=x, y=y, pixel=pixel, rotation_deg=rotation_deg, at=at
        )
        check_marks(raster, RasterSource)
        check_marks(raster, MosaicSource)


def check_marks(raster, kind):
    location = str(raster.path if kind is RasterSource else raster.path.parent)
    source = kind(SourceSpec(location=location), name="map", tile_px=96)
    size_m = source._mosaic.resolution_m * 64
    plans = list(source.plan(size_m, 0.75))
    places = list(find_marks(plans, [source.read(plan) for plan in plans]))
    source.close()
    assert places
    for lon, lat in places:
        column, row = raster.pixel_of(lon, lat)
        assert abs(column - raster.column) < MAX_OFF_PX
        assert abs(row - raster.row) < MAX_OFF_PX


@given(
    zone=st.integers(1, 60),
    south=st.booleans(),
    off_deg=st.one_of(st.floats(-3.5, 3.5), st.sampled_from([-3.0, 3.0])),
    lat=st.floats(0, 84),
    at=st.tuples(shares, shares),
)
@quick
def test_utm_and_its_zones_edges(zone, south, off_deg, lat, at):
    lon = (zone * 6 - 183 + off_deg + 180) % 360 - 180
    lat = max(-80.0, -lat) if south else lat
    check_round_trip(f"EPSG:{(32700 if south else 32600) + zone}", lon, lat, at=at)


@given(lon=st.floats(3.4, 7.2), lat=st.floats(50.8, 53.5), at=st.tuples(shares, shares))
@quick
def test_dutch_national_grid(lon, lat, at):
    check_round_trip("EPSG:28992", lon, lat, pixel=0.25, at=at)


@given(
    crs=st.sampled_from(["EPSG:3395", "EPSG:3857"]),
    lon=st.floats(-179, 179),
    lat=st.floats(-84.9, 84.9),
    at=st.tuples(shares, shares),
)
@quick
def test_mercator_to_the_limit(crs, lon, lat, at):
    check_round_trip(crs, lon, lat, pixel=1.0, at=at)


@given(
    north=st.booleans(),
    lon=st.floats(-180, 180),
    lat=st.floats(60, 84.9),
    at=st.tuples(shares, shares),
)
@quick
def test_polar_stereographic(north, lon, lat, at):
    crs, lat = ("EPSG:3413", lat) if north else ("EPSG:3031", -lat)
    check_round_trip(crs, lon, lat, at=at)


@given(lon=st.floats(-180, 180), lat=st.floats(-75, 75), at=st.tuples(shares, shares))
@quick
def test_degrees(lon, lat, at):
    check_round_trip("EPSG:4326", lon, lat, pixel=5e-6, at=at)


@given(
    lon=st.floats(-179, 179),
    lat=st.floats(-79, 79),
    rotation_deg=st.floats(-180, 180),
    at=st.tuples(shares, shares),
)
@quick
def test_rotated_rasters(lon, lat, rotation_deg, at):
    zone = int((lon + 180) // 6) + 1
    crs = f"EPSG:{(32700 if lat < 0 else 32600) + zone}"
    check_round_trip(crs, lon, lat, rotation_deg=rotation_deg, at=at)


@given(
    crs=st.sampled_from(["EPSG:32601", "EPSG:32660", "EPSG:3832", "EPSG:3413", "EPSG:4326"]),
    off_px=st.floats(-70, 70),
    lat=st.floats(55, 75),
    rotation_deg=st.sampled_from([0.0, 30.0]),
    at=st.tuples(shares, shares),
)
@quick
def test_across_the_antimeridian(crs, off_px, lat, rotation_deg, at):
    pixel = 5e-6 if crs == "EPSG:4326" else 0.5
    check_round_trip(
        crs,
        (180 + off_px * 5e-6) if crs == "EPSG:4326" else (off_px * 5e-6) % 360 - 180,
        lat,
        pixel=pixel,
        rotation_deg=rotation_deg,
        at=at,
    )


@pytest.mark.parametrize("lon_origin", [-180, 0, 180])
def test_a_degree_wide_raster_across_the_antimeridian(tmp_path, lon_origin):
    """From 179.99 to -179.99, whichever way its longitudes are counted."""
    x = 180.0 if lon_origin == 180 else -180.0
    raster = write_marked_raster(
        tmp_path / "a.tif", crs="EPSG:4326", x=x, y=-17.0, pixel=0.02 / 160, at=(0.7, 0.3)
    )
    source = RasterSource(SourceSpec(location=str(raster.path)), name="map", tile_px=96)
    plans = list(source.plan(500.0, 0.5))
    assert {plan.lon > 0 for plan in plans} == {True, False}
    assert all(abs(plan.lon) > 179.98 for plan in plans)
    source.close()
    check_marks(raster, RasterSource)


@pytest.mark.parametrize(
    ("crs", "x", "y"),
    [
        ("EPSG:3413", 0.0, 0.0),  # the pole itself
        ("EPSG:3413", 300_000.0, 0.0),
        ("EPSG:3031", 1_000.0, -50_000.0),
        ("EPSG:4326", 10.0, 85.4),
        ("EPSG:3995", 30.0, 30.0),
    ],
)
def test_beyond_the_limit_is_refused_in_one_sentence(tmp_path, crs, x, y):
    pixel = 1e-5 if crs == "EPSG:4326" else 10.0
    write_marked_raster(tmp_path / "a.tif", crs=crs, x=x, y=y, pixel=pixel)
    source = RasterSource(SourceSpec(location=str(tmp_path / "a.tif")), name="map", tile_px=64)
    with pytest.raises(InvalidParameter, match="too near a pole"):
        source.plan(200.0, 0.5)
    source.close()
