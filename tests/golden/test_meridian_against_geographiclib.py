"""Metres along a meridian against GeographicLib."""

import numpy as np
import pytest
from geographiclib.geodesic import Geodesic

from index_builder.sources.grid.meridian import arc_from_latitude_m, latitude_from_arc


@pytest.mark.parametrize("lat", np.linspace(-90, 90, 37).tolist())
def test_arcs_are_within_a_millimetre(lat):
    length_m = Geodesic.WGS84.Inverse(0, 0, lat, 0)["s12"] * np.sign(lat)
    assert arc_from_latitude_m(lat) == pytest.approx(length_m, abs=1e-3)
    assert latitude_from_arc(length_m) == pytest.approx(lat, abs=1e-8)
