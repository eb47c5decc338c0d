import numpy as np
import pytest

from crossfix.errors import InvalidParameter
from crossfix.geodesy import (
    Bounds,
    LocalFrame,
    LonLat,
    TileId,
    distance_m,
    morton_code,
    tile_at,
    tile_bounds,
    web_mercator_resolution_m,
)


def test_lonlat_refuses_places_that_do_not_exist():
    for lon, lat in ((181, 0), (0, 91), (float("nan"), 0)):
        with pytest.raises(InvalidParameter, match="not a place on Earth"):
            LonLat(lon, lat)


def test_distance_to_itself_is_zero():
    assert distance_m(11.0, 48.0, 11.0, 48.0) == 0


def test_bounds_across_the_antimeridian():
    box = Bounds(west=179, south=-1, east=-179, north=1)
    assert box.contains(LonLat(179.5, 0))
    assert box.contains(LonLat(-179.5, 0))
    assert not box.contains(LonLat(0, 0))


def test_local_frame_goes_the_short_way_round_the_antimeridian():
    frame = LocalFrame(LonLat(179.999, 10))
    east_m, north_m = frame.to_metres(-179.999, 10)
    assert 200 < east_m < 230
    assert north_m == 0


def test_square_has_its_side_on_the_ground():
    box = LocalFrame(LonLat(20, 60)).square(100)
    assert distance_m(box.west, 60, box.east, 60) == pytest.approx(100, abs=1e-3)
    assert distance_m(20, box.south, 20, box.north) == pytest.approx(100, abs=1e-3)


def test_web_mercator_resolution_at_the_equator():
    assert web_mercator_resolution_m(0, 0) == pytest.approx(156543.034, abs=1e-3)


def test_tile_limits_are_refused_beyond_web_mercator():
    with pytest.raises(InvalidParameter, match="outside Web Mercator"):
        tile_at(LonLat(0, 86), 3)


def test_whole_world_is_tile_zero():
    box = tile_bounds(TileId(0, 0, 0))
    assert (box.west, box.east) == (-180, 180)
    assert box.north == pytest.approx(85.0511, abs=1e-4)


def test_morton_code_interleaves_bits():
    # Longitude's top bit goes to bit 62, latitude's to bit 63.
    assert morton_code(-180, -90) == 0
    assert int(morton_code(0, -90)) == 1 << 62
    assert int(morton_code(-180, 0)) == 1 << 63


def test_morton_neighbours_stay_close():
    lon, lat = np.meshgrid(np.linspace(11, 11.01, 16), np.linspace(48, 48.01, 16))
    codes = np.sort(morton_code(lon.ravel(), lat.ravel()))
    far = morton_code(60.0, 10.0)
    assert not ((codes[0] < far) & (far < codes[-1]))
