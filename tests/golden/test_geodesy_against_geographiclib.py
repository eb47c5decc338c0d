"""Distances and frames against GeographicLib (Karney), an independent source."""

import numpy as np
import pytest
from geographiclib.geodesic import Geodesic

from crossfix.geodesy import LocalFrame, LonLat, distance_m

PAIRS = [
    (11.5, 48.1, 11.5007, 48.1003),
    (-73.9, 40.7, -74.2, 40.9),
    (179.99, -16.5, -179.99, -16.6),
    (0.0, 0.0, 90.0, 0.0),
    (2.35, 48.85, -122.4, 37.8),
    (25.0, 78.0, 26.0, 79.5),
]


@pytest.mark.parametrize(("lon_a", "lat_a", "lon_b", "lat_b"), PAIRS)
def test_distance(lon_a, lat_a, lon_b, lat_b):
    truth = Geodesic.WGS84.Inverse(lat_a, lon_a, lat_b, lon_b)["s12"]
    assert float(distance_m(lon_a, lat_a, lon_b, lat_b)) == pytest.approx(truth, rel=1e-5)


@pytest.mark.parametrize("lat", [-60.0, 0.0, 45.0, 60.0])
@pytest.mark.parametrize("azimuth_deg", [0, 45, 90, 200, 315])
def test_local_frame_at_100_m_and_3_km(lat, azimuth_deg):
    frame = LocalFrame(LonLat(10.0, lat))
    for length_m, tolerance_m in ((100, 2e-3), (3000, 1.5)):
        end = Geodesic.WGS84.Direct(lat, 10.0, azimuth_deg, length_m)
        east_m, north_m = frame.to_metres(end["lon2"], end["lat2"])
        assert east_m == pytest.approx(length_m * np.sin(np.radians(azimuth_deg)), abs=tolerance_m)
        assert north_m == pytest.approx(length_m * np.cos(np.radians(azimuth_deg)), abs=tolerance_m)
