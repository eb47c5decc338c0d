"""Web Mercator against PROJ, and tile numbers against values published elsewhere."""

import numpy as np
import pyproj
import pytest

from crossfix.geodesy import (
    WEB_MERCATOR_MAX_LAT,
    WGS84_A_M,
    LonLat,
    TileId,
    from_web_mercator,
    tile_at,
    tile_bounds,
    to_web_mercator,
)

WORLD_M = 2 * np.pi * WGS84_A_M


def test_places_are_those_of_epsg_3857():
    random = np.random.default_rng(5)
    lon, lat = random.uniform(-180, 180, 1000), random.uniform(-85.06, 85.06, 1000)
    system = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True)
    east_m, north_m = system.transform(lon, lat)
    x, y = to_web_mercator(lon, lat)
    np.testing.assert_allclose(x, east_m / WORLD_M + 0.5, atol=1e-14)
    np.testing.assert_allclose(y, 0.5 - north_m / WORLD_M, atol=1e-14)
    back_lon, back_lat = from_web_mercator(x, y)
    np.testing.assert_allclose(back_lon, lon, atol=1e-12)
    np.testing.assert_allclose(back_lat, lat, atol=1e-12)


def test_the_world_is_square():
    x, y = to_web_mercator([-180, 180], [WEB_MERCATOR_MAX_LAT, -WEB_MERCATOR_MAX_LAT])
    np.testing.assert_allclose([x, y], [[0, 1], [0, 1]], atol=1e-14)


def test_the_examples_of_mercantiles_readme():
    """https://github.com/mapbox/mercantile, `bounds` and `xy_bounds` of tile 486, 332, 10."""
    bounds = tile_bounds(TileId(10, 486, 332))
    assert (bounds.west, bounds.south, bounds.east, bounds.north) == (
        pytest.approx(-9.140625, abs=1e-12),
        pytest.approx(53.12040528310657, abs=1e-12),
        pytest.approx(-8.7890625, abs=1e-12),
        pytest.approx(53.33087298301705, abs=1e-12),
    )
    x, y = to_web_mercator([bounds.west, bounds.east], [bounds.north, bounds.south])
    np.testing.assert_allclose(
        (x - 0.5) * WORLD_M, [-1017529.7205322663, -978393.962050256], rtol=1e-12
    )
    np.testing.assert_allclose(
        (0.5 - y) * WORLD_M, [7044436.526761846, 7005300.768279833], rtol=1e-12
    )
    inside = LonLat((bounds.west + bounds.east) / 2, (bounds.south + bounds.north) / 2)
    assert tile_at(inside, 10) == TileId(10, 486, 332)
    assert tile_at(inside, 9) == TileId(9, 243, 166)
