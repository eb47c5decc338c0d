"""Plans that travel, several sizes from one source, areas, and rasters without end."""

import pickle
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
import rasterio

from crossfix.errors import SourceError
from index_builder.sources.grid.area import Area
from index_builder.sources.rasters import raster_colours
from index_builder.sources.rasters.raster_colours import Stretch
from index_builder.sources.rasters.raster_source import RasterSource
from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import CENTRE, random_texture, write_geotiff


def open_raster(path, **more):
    return RasterSource(SourceSpec(location=str(path), **more), name="map", tile_px=64)


@pytest.fixture
def raster(tmp_path):
    return write_geotiff(tmp_path / "a.tif", size_px=(500, 500))


def square(west, south, east, north):
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return Area.from_geojson({"type": "Polygon", "coordinates": [corners]})


def test_another_process_can_read_what_one_has_planned(raster):
    planner = open_raster(raster)
    plans = [*planner.plan(40.0, 0.5), *planner.plan(25.0, 0.25), *planner.plan(80.0, 0.0)]
    images = [planner.read(plan) for plan in plans]
    sent = pickle.loads(pickle.dumps(plans))
    assert sent == plans
    assert len(pickle.dumps(plans[0])) < 1500
    reader = open_raster(raster)
    for number in np.random.default_rng(0).permutation(len(plans))[:40]:
        again = reader.read(sent[number])
        assert (again is None) == (images[number] is None)
        assert again is None or np.array_equal(again, images[number])
    planner.close()
    reader.close()
    assert len({plan.tile_id for plan in plans}) == len(plans)
    assert {plan.size_m for plan in plans} == {25.0, 40.0, 80.0}


def test_threads_read_the_same(raster):
    source = open_raster(raster)
    plans = list(source.plan(40.0, 0.5))
    alone = [source.read(plan) for plan in plans]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(source.read, plans[::-1]))[::-1]
    assert all(
        (a is None and b is None) or np.array_equal(a, b)
        for a, b in zip(alone, together, strict=True)
    )
    source.close()


def test_plans_are_the_same_at_every_call_and_ordered_by_group(raster):
    source = open_raster(raster)
    plans = list(source.plan(20.0, 0.75))
    assert plans == list(source.plan(20.0, 0.75))
    order = list(dict.fromkeys(plan.group for plan in plans))
    assert [plan.group for plan in plans] == sorted((plan.group for plan in plans), key=order.index)
    assert len(order) > 4
    source.close()


def test_an_area_leaves_the_tiles_that_touch_it_as_they_are(raster):
    source = open_raster(raster)
    everything = list(source.plan(20.0, 0.5))
    area = square(CENTRE[0] + 2e-4, CENTRE[1] - 6e-4, CENTRE[0] + 5e-4, CENTRE[1])
    part = list(source.plan(20.0, 0.5, area))
    assert part == [plan for plan in everything if area.touches(plan.bounds)]
    assert 0 < len(part) < len(everything) / 3
    assert list(source.plan(20.0, 0.5, square(0, 0, 1, 1))) == []
    source.close()


def write_endless(path, *, side_px=2_000_000, scale=0.1):
    """A VRT of nothing: 200 km by 200 km without a byte behind it."""
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{number}">'
        f"<ColorInterp>{colour}</ColorInterp></VRTRasterBand>"
        for number, colour in enumerate(("Red", "Green", "Blue"), start=1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{side_px}" rasterYSize="{side_px}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>400000, {scale}, 0, 5400000, 0, -{scale}</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def test_planning_an_endless_raster_costs_neither_time_nor_memory(tmp_path):
    source = open_raster(write_endless(tmp_path / "endless.vrt"))
    start = time.perf_counter()
    plans = source.plan(50.0, 0.5)
    next(plans)
    assert time.perf_counter() - start < 2
    tracemalloc.start()
    count = sum(1 for _ in islice(plans, 8_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 8_000
    assert peak < 3_000_000
    source.close()


def test_a_small_area_of_an_endless_raster_is_found_at_once(tmp_path):
    source = open_raster(write_endless(tmp_path / "endless.vrt"))
    area = square(9.0, 47.9, 9.001, 47.901)
    start = time.perf_counter()
    plans = list(source.plan(50.0, 0.5, area))
    assert time.perf_counter() - start < 2
    assert 10 < len(plans) < 60
    assert all(area.touches(plan.bounds) for plan in plans)
    source.close()


def test_a_raster_without_data_is_an_error_when_its_plan_ends(tmp_path):
    pixels = np.zeros((200, 200, 3), np.uint8)
    source = open_raster(write_geotiff(tmp_path / "a.tif", pixels=pixels, nodata=0))
    plans = source.plan(40.0, 0.5)
    with pytest.raises(SourceError, match="leaves every tile of 40 m empty"):
        list(plans)
    with pytest.raises(SourceError, match="needs a tile size"):
        source.plan(None, 0.5)
    source.close()


def write_vrt(path, of):
    path.write_text(
        '<VRTDataset rasterXSize="100" rasterYSize="100"><SRS>EPSG:32614</SRS>'
        "<GeoTransform>587000, 0.5, 0, 3338000, 0, -0.5</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{of}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return path


@pytest.mark.parametrize("levels", [1, 3])
def test_fingerprints_follow_the_file_and_what_it_refers_to(tmp_path, levels):
    write_geotiff(tmp_path / "part.tif", size_px=(100, 100))
    of = "part.tif"
    for level in range(levels):
        of = write_vrt(tmp_path / f"level{level}.vrt", of).name
    sources = [open_raster(tmp_path / of) for _ in range(2)]
    assert sources[0].fingerprint() == sources[1].fingerprint()
    before = sources[0].fingerprint()
    write_geotiff(tmp_path / "part.tif", size_px=(100, 101))
    assert sources[0].fingerprint() != before
    for source in sources:
        source.close()


def read_all_of(path):
    source = open_raster(path)
    try:
        return [source.read(plan) for plan in source.plan(20.0, 0.5)]
    finally:
        source.close()


def test_a_vrt_whose_raster_is_gone_is_refused_in_one_sentence(tmp_path):
    write_geotiff(tmp_path / "part.tif", size_px=(100, 100))
    vrt = write_vrt(tmp_path / "all.vrt", "part.tif")
    (tmp_path / "part.tif").unlink()
    with pytest.raises(SourceError, match=r"all\.vrt cannot be read") as caught:
        read_all_of(vrt)
    # Which of GDAL's sentences comes first depends on what it has open already.
    assert "previous exception" not in str(caught.value)


def test_a_place_of_its_own_that_is_nowhere_on_earth_is_refused(tmp_path):
    write_geotiff(tmp_path / "a.tif", size_px=(60, 60))
    with rasterio.open(tmp_path / "a.tif", "r+") as raster:
        raster.crs = rasterio.crs.CRS.from_wkt('LOCAL_CS["plant",UNIT["metre",1]]')
    with pytest.raises(SourceError, match=r"a\.tif cannot be read"):
        open_raster(tmp_path / "a.tif")


def test_a_16_bit_stretch_is_its_plain_formula():
    rng = np.random.default_rng(0)
    for dtype in (np.uint16, np.int16):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, (3, 40, 40), dtype=dtype)
        stretch = Stretch(low=-300.0, high=9000.0)
        share = (values.astype(np.float32) - stretch.low) / (stretch.high - stretch.low)
        plain = (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
        assert np.array_equal(stretch.apply(values), plain)


def test_a_large_raster_without_overviews_is_sampled_for_its_stretch(tmp_path, monkeypatch):
    texture = random_texture(600, 600)[..., 0].astype(np.uint16) * 20
    path = write_geotiff(tmp_path / "a.tif", pixels=texture)
    source = open_raster(path)
    whole = source._mosaic._stretches("uint16")
    source.close()
    monkeypatch.setattr(raster_colours, "_WHOLE_PX", 100)
    monkeypatch.setattr(raster_colours, "_WINDOW_PX", 16)
    first, second = open_raster(path), open_raster(path)
    sampled = first._mosaic._stretches("uint16")
    assert sampled == second._mosaic._stretches("uint16")
    assert sampled.low == pytest.approx(whole.low, abs=400)
    assert sampled.high == pytest.approx(whole.high, abs=400)
    first.close()
    second.close()
