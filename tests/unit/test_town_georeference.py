import numpy as np
import pytest
from pyproj import Geod, Proj

from sample_world.georeference import (
    central_meridian_deg,
    grid_convergence_deg,
    place_town,
    to_local,
    to_lonlat,
    true_heading_deg,
)

SEEDS = range(40)


@pytest.mark.parametrize("seed", [0, 1, 7, 23])
def test_round_trip_is_below_a_millimetre(seed):
    place = place_town(seed)
    x, y = np.meshgrid(np.linspace(-200, 2200, 5), np.linspace(-200, 2200, 5))
    back_x, back_y = to_local(place, *to_lonlat(place, x, y))
    assert np.hypot(back_x - x, back_y - y).max() < 1e-3


def test_places_lie_on_gentle_latitudes_near_their_central_meridian():
    for seed in SEEDS:
        place = place_town(seed)
        lon, lat = to_lonlat(place, 0.0, 0.0)
        assert -45 < lat < 60
        assert abs(lon - central_meridian_deg(place.epsg)) < 0.5
        assert place.epsg // 100 == (326 if lat >= 0 else 327)


def test_seeds_scatter_over_both_hemispheres_and_the_place_is_the_seeds_own():
    hemispheres = {place_town(seed).epsg // 100 for seed in SEEDS}
    assert hemispheres == {326, 327}
    assert place_town(5) == place_town(5)
    assert place_town(5) != place_town(6)


def test_convergence_agrees_with_proj():
    for seed in SEEDS:
        place = place_town(seed)
        lon, lat = to_lonlat(place, 700.0, 300.0)
        expected = Proj(f"EPSG:{place.epsg}").get_factors(float(lon), float(lat))
        ours = grid_convergence_deg(place, 700.0, 300.0)
        assert ours == pytest.approx(expected.meridian_convergence, abs=1e-4)


def test_true_heading_is_the_geodesic_azimuth_of_a_step_along_the_grid():
    geod = Geod(ellps="WGS84")
    for seed in SEEDS:
        place = place_town(seed)
        for heading in (0.0, 90.0, 215.0):
            step = 20 * np.sin(np.radians(heading)), 20 * np.cos(np.radians(heading))
            lon_a, lat_a = to_lonlat(place, 500.0, 500.0)
            lon_b, lat_b = to_lonlat(place, 500.0 + step[0], 500.0 + step[1])
            azimuth, _, _ = geod.inv(float(lon_a), float(lat_a), float(lon_b), float(lat_b))
            difference = true_heading_deg(place, 500.0, 500.0, heading) - azimuth
            assert abs((difference + 180) % 360 - 180) < 1e-3
