"""Discs and regions: what they hold, what they refuse, how little they look at."""

import numpy as np
import pytest

from crossfix import morton_cover
from crossfix.errors import InvalidParameter
from crossfix.geodesy import LonLat, morton_code
from crossfix.morton_cover import MortonRows
from crossfix.prior import Disc, Region


def square(west, south, east, north):
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def polygon(*rings):
    return Region.from_geojson({"type": "Polygon", "coordinates": list(rings)})


def holds(region, lon, lat):
    return bool(region.contains(lon, lat))


@pytest.mark.parametrize("radius_m", [0, -1, float("nan"), 3e7])
def test_impossible_radius(radius_m):
    with pytest.raises(InvalidParameter, match="radius"):
        Disc(LonLat(0, 0), radius_m=radius_m)


def test_a_polygon_with_a_hole():
    region = polygon(square(0, 0, 10, 10), square(4, 4, 6, 6))
    assert holds(region, 2, 5)
    assert not holds(region, 5, 5)
    assert not holds(region, 11, 5)


def test_a_ring_over_the_antimeridian_in_three_spellings():
    wrapped, past = square(170, -5, -170, 5), square(170, -5, 190, 5)
    cut = {
        "type": "MultiPolygon",
        "coordinates": [[square(170, -5, 180, 5)], [square(-180, -5, -170, 5)]],
    }
    for region in (polygon(wrapped), polygon(past), Region.from_geojson(cut)):
        lon = np.array([169.9, 175, 180, -180, -175, -169.9, 0])
        inside = [False, True, True, True, True, False, False]
        assert region.contains(lon, np.zeros(7)).tolist() == inside
        boxes = {(box.west, box.east) for box in region.boxes() if box.west < box.east}
        assert boxes == {(170, 180), (-180, -170)}


@pytest.mark.parametrize("east", [-170, -179.999, -90, 0])
@pytest.mark.parametrize("few", [0, 64])
def test_places_at_180_lie_in_a_region_that_begins_at_minus_180(east, few, monkeypatch):
    monkeypatch.setattr(morton_cover, "_FEW_ROWS", few)
    lon = np.array([-180.0, -179.9995, -175, 179.5, 180, 180])
    lat = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 9.0])
    order = np.argsort(morton_code(lon, lat), kind="stable")
    lon, lat = lon[order], lat[order]
    region = polygon(square(-180, -5, east, 5))
    expected = np.flatnonzero(region.contains(lon, lat))
    assert {-180.0, 180.0} <= set(lon[expected].tolist())
    assert MortonRows(lon, lat).inside(region).rows().tolist() == expected.tolist()


def test_what_touches_the_antimeridian_has_a_box_on_its_other_side():
    for west, east, other in ((-180, -170, 180), (170, 180, -180)):
        boxes = [(box.west, box.east) for box in polygon(square(west, -5, east, 5)).boxes()]
        assert boxes == [(west, east), (other, other)]
    assert len(polygon(square(-170, -5, -160, 5)).boxes()) == 1


@pytest.mark.parametrize("pole", [90, -90])
def test_a_ring_around_a_pole_holds_it(pole):
    corners = [[lon, 0.8 * pole] for lon in (-180, -90, 0, 90)]
    region = polygon([*corners, corners[0]])
    assert holds(region, 12.0, pole)
    assert holds(region, -170.0, 0.9 * pole)
    assert not holds(region, 12.0, 0.7 * pole)


def test_a_pole_given_as_a_side_of_the_map():
    region = polygon([[-180, -90], [-180, -60], [0, -65], [180, -60], [180, -90], [-180, -90]])
    assert holds(region, 0, -90)
    assert holds(region, 180, -61)
    assert not holds(region, 0, -61)


def test_the_whole_world():
    region = polygon(square(-180, -90, 180, 90))
    lon, lat = np.meshgrid([-180.0, -1, 0, 77, 180], [-90.0, -30, 0, 89, 90])
    assert region.contains(lon, lat).all()


def test_a_feature_and_heights_are_read():
    ring = [[*corner, 120.0] for corner in square(0, 0, 1, 1)]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    assert holds(Region.from_geojson(feature), 0.5, 0.5)
    assert "0..1" in Region.from_geojson(feature).describe()


@pytest.mark.parametrize(
    "value",
    [
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "FeatureCollection", "features": []},
        {"type": "Feature", "geometry": None},
        {},
        [],
        {"type": "Polygon"},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, "x"], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 95], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, float("nan")], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [2, 0]]]},
        {"type": "Polygon", "coordinates": 7},
    ],
)
def test_what_is_no_polygon_is_refused_with_a_way_out(value):
    with pytest.raises(InvalidParameter) as caught:
        Region.from_geojson(value)
    assert caught.value.hint


class Counting(Disc):
    """A disc that counts the places it is asked about."""

    asked = 0

    def contains(self, lon, lat):
        Counting.asked += np.size(lon)
        return super().contains(lon, lat)


def test_work_grows_with_the_prior_and_not_with_the_gallery():
    asked = []
    for side in (100, 400):  # the same density, sixteen times the ground
        across, up = np.meshgrid(np.arange(side), np.arange(side))
        lon, lat = 8 + (across.ravel() - side / 2) * 5e-4, 47 + (up.ravel() - side / 2) * 5e-4
        order = np.argsort(morton_code(lon, lat))
        rows = MortonRows(lon[order], lat[order])
        Counting.asked = 0
        disc = Counting(LonLat(8.0, 47.0), 1000.0)
        assert rows.inside(disc).count > 500
        asked.append(Counting.asked)
    assert asked[1] <= 1.5 * asked[0]
    assert asked[0] < 2000


def test_rows_in_another_order_are_asked_one_by_one():
    lon, lat = np.array([1.0, -1.0, 1.0, 5.0]), np.array([1.0, 1.0, -1.0, 5.0])
    runs = MortonRows(lon, lat).inside(Disc(LonLat(1, 0), 200_000))
    assert runs.rows().tolist() == [0, 2]
