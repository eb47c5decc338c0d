"""Ground resolution of VIGOR's tiles against the constants that pose estimators publish."""

import pytest

from crossfix.geodesy import web_mercator_resolution_m
from training.datasets.vigor_labels import resolution_m

PUBLISHED_M_PER_PX = {
    "NewYork": (40.76, 0.113248),
    "Seattle": (47.61, 0.100817),
    "SanFrancisco": (37.77, 0.118141),
    "Chicago": (41.88, 0.111262),
}


@pytest.mark.parametrize("city", PUBLISHED_M_PER_PX)
def test_resolution_is_that_of_the_city(city):
    lat, published = PUBLISHED_M_PER_PX[city]
    assert float(resolution_m(lat)) == pytest.approx(published, rel=0.005)
    assert float(resolution_m(lat)) != pytest.approx(0.114, rel=0.005)


def test_resolution_is_web_mercators():
    for lat in (0.0, 40.76, -35.3):
        expected = web_mercator_resolution_m(lat, 20)
        assert float(resolution_m(lat)) == pytest.approx(expected, rel=1e-12)
