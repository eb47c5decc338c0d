import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossfix.geodesy import (
    LocalFrame,
    LonLat,
    distance_m,
    morton_code,
    tile_at,
    tile_bounds,
)

longitudes = st.floats(-180, 180, allow_nan=False)
latitudes = st.floats(-84, 84, allow_nan=False)


@given(lon=longitudes, lat=latitudes, east_m=st.floats(-5e4, 5e4), north_m=st.floats(-5e4, 5e4))
def test_metres_to_degrees_and_back(lon, lat, east_m, north_m):
    frame = LocalFrame(LonLat(lon, lat))
    back_east, back_north = frame.to_metres(*frame.to_lonlat(east_m, north_m))
    assert abs(back_east - east_m) < 1e-5
    assert abs(back_north - north_m) < 1e-5


@given(lon=st.floats(-180, 179.999), lat=latitudes, zoom=st.integers(0, 22))
def test_tile_holds_its_point(lon, lat, zoom):
    box = tile_bounds(tile_at(LonLat(lon, lat), zoom))
    slack = 1e-9
    assert box.west - slack <= lon <= box.east + slack
    assert box.south - slack <= lat <= box.north + slack


@given(lon_a=longitudes, lat_a=latitudes, lon_b=longitudes, lat_b=latitudes)
def test_distance_is_symmetric_and_not_negative(lon_a, lat_a, lon_b, lat_b):
    there = distance_m(lon_a, lat_a, lon_b, lat_b)
    assert there >= 0
    assert np.isclose(there, distance_m(lon_b, lat_b, lon_a, lat_a), rtol=1e-9, atol=1e-6)


@given(lon=longitudes, lat=latitudes)
def test_morton_code_against_plain_bit_loop(lon, lat):
    x = min(int((lon + 180) / 360 * 2**32), 2**32 - 1)
    y = min(int((lat + 90) / 180 * 2**32), 2**32 - 1)
    plain = sum(((x >> bit & 1) << 2 * bit) | ((y >> bit & 1) << 2 * bit + 1) for bit in range(32))
    assert int(morton_code(lon, lat)) == plain
