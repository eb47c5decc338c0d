"""Outlines on maps: what they hold on the Earth, also at the poles and the antimeridian."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shapely.geometry import Polygon

from service.galleries.outlines import box_outline, circle_outline

EARTH_M = 6371008.8
LON = st.floats(-180, 180) | st.sampled_from([-180.0, 180.0, 179.9999, -179.9999, 0.0])
LAT = st.floats(-90, 90) | st.sampled_from([-90.0, 90.0, 89.999, -89.999, 0.0])
RADIUS = st.floats(1, 9_900_000) | st.floats(1, 1000)


def rings_of(outline):
    """Every ring; checks what RFC 7946 asks of each."""
    assert json.loads(json.dumps(outline, allow_nan=False)) == outline
    polygons = outline["coordinates"]
    if outline["type"] == "Polygon":
        polygons = [polygons]
    else:
        assert outline["type"] == "MultiPolygon"
        assert len(polygons) > 1
    for (ring,) in polygons:
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        assert all(-180 <= lon <= 180 and -90 <= lat <= 90 for lon, lat in ring)
        assert all(a != b for a, b in itertools.pairwise(ring))
        assert area_of(ring) > 0, "counter-clockwise"
        assert Polygon(ring).is_valid
    return [ring for (ring,) in polygons]


def area_of(ring):
    lon0, lat0 = ring[0]
    near = [(lon - lon0, lat - lat0) for lon, lat in ring]
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(near)) / 2


def holds(rings, lon, lat):
    """Even-odd rule, in degrees; nothing is asked of the very edge of the map."""
    lon, inside = max(-179.9999999, min(179.9999999, lon)), False
    for ring in rings:
        for (x1, y1), (x2, y2) in itertools.pairwise(ring):
            if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
    return inside


def wrap(lon):
    return (lon + 180) % 360 - 180


def beside(lon, lat, distance_m, bearing):
    """The place at a distance and bearing on the sphere, by turning vectors."""
    phi, lam, angle = math.radians(lat), math.radians(lon), distance_m / EARTH_M
    here = np.array([math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)])
    east = np.array([-math.sin(lam), math.cos(lam), 0])
    toward = math.cos(bearing) * np.cross(here, east) + math.sin(bearing) * east
    x, y, z = math.cos(angle) * here + math.sin(angle) * toward
    return math.degrees(math.atan2(y, x)), math.degrees(math.asin(max(-1, min(1, z))))


@given(lon=LON, lat=st.floats(-89.8, 89.8), radius_m=st.floats(1, 20_000), bearing=st.floats(0, 7))
@example(lon=180.0, lat=0.0, radius_m=50.0, bearing=1.0)
@example(lon=-180.0, lat=-60.0, radius_m=50.0, bearing=1.0)
def test_a_circle_holds_what_is_near_and_nothing_far(lon, lat, radius_m, bearing) -> None:
    rings = rings_of(circle_outline(lon=lon, lat=lat, radius_m=radius_m))
    assert holds(rings, *beside(lon, lat, radius_m * 0.97, bearing))
    assert not holds(rings, *beside(lon, lat, radius_m * 1.03, bearing))


@given(lon=LON, lat=LAT, radius_m=RADIUS)
@example(lon=0.0, lat=0.0, radius_m=EARTH_M * math.pi / 2)
@example(lon=12.0, lat=90.0, radius_m=1.0)
def test_a_circle_of_any_size_anywhere_is_valid_and_holds_its_poles(lon, lat, radius_m) -> None:
    rings = rings_of(circle_outline(lon=lon, lat=lat, radius_m=radius_m))
    reach = math.degrees(radius_m / EARTH_M)
    lats = [y for ring in rings for _, y in ring]
    for pole, found, colatitude in ((90, max(lats), 90 - lat), (-90, min(lats), 90 + lat)):
        if reach >= colatitude:
            assert found == pole
        elif reach * 1.002 + 1e-6 < colatitude:
            assert found != pole
    assert holds(rings, wrap(lon + 1e-9), max(-89.9999999, min(89.9999999, lat + 1e-9)))


@pytest.mark.parametrize("lat", [-89.9, 89.9])
@given(lon=LON, bearing=st.floats(0, 7))
def test_a_circle_around_a_pole_holds_all_of_its_inside(lat, lon, bearing) -> None:
    rings = rings_of(circle_outline(lon=lon, lat=lat, radius_m=50_000))
    assert len(rings) == 1
    assert holds(rings, wrap(lon + 77), math.copysign(89.9999, lat))
    assert holds(rings, *beside(lon, lat, 48_000, bearing))
    assert not holds(rings, *beside(lon, lat, 52_000, bearing))


@pytest.mark.parametrize("name", ["circle", "box"])
@given(lon=st.floats(179.9991, 180.0009), lat=st.floats(-60, 60))
def test_what_crosses_the_antimeridian_is_cut_there(name, lon, lat) -> None:
    if name == "circle":
        outline = circle_outline(lon=wrap(lon), lat=lat, radius_m=300)
    else:
        outline = box_outline(
            west=wrap(lon - 0.001), south=lat, east=wrap(lon + 0.001), north=lat + 0.001
        )
    west, east = sorted(rings_of(outline), key=lambda ring: ring[0][0] > 0)
    assert max(x for x, _ in east) == 180.0
    assert min(x for x, _ in west) == -180.0


def test_a_box_that_ends_at_the_antimeridian_is_one() -> None:
    whole = [[[179, 1], [180, 1], [180, 2], [179, 2], [179, 1]]]
    for east in (180.0, -180.0):
        outline = box_outline(west=179.0, south=1.0, east=east, north=2.0)
        assert outline == {"type": "Polygon", "coordinates": whole}


def test_a_circle_of_half_the_earth_is_all_of_it() -> None:
    outline = circle_outline(lon=3.0, lat=4.0, radius_m=11_000_000)
    assert holds(rings_of(outline), -177.0, -80.0)
