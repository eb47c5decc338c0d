"""Areas of interest: what touches, what lies inside, what is refused."""

import copy
import pickle

import numpy as np
import pytest
import shapely

from crossfix.errors import InvalidParameter
from crossfix.geodesy import Bounds
from index_builder.sources.grid.area import Area


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [[list(point) for point in ring] for ring in rings]}


def ring(west, south, east, north):
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


HOLED = polygon(ring(0, 0, 10, 10), ring(4, 4, 6, 6))


def test_a_hole_is_outside():
    area = Area.from_geojson(HOLED)
    assert area.contains(1, 1)
    assert not area.contains(5, 5)
    assert area.contains(10, 5), "the edge counts"
    assert not area.touches(Bounds(4.5, 4.5, 5.5, 5.5))
    assert area.touches(Bounds(3.5, 4.5, 5.5, 5.5))
    assert area.touches(Bounds(-1, -1, 20, 20))
    assert not area.touches(Bounds(11, 0, 12, 10))


@pytest.mark.parametrize(
    "value",
    [
        polygon(ring(179, -1, 181, 1)),
        polygon(ring(-181, -1, -179, 1)),
        {
            "type": "MultiPolygon",
            "coordinates": [
                polygon(ring(179, -1, 180, 1))["coordinates"],
                polygon(ring(-180, -1, -179, 1))["coordinates"],
            ],
        },
    ],
)
def test_the_antimeridian_is_no_edge(value):
    area = Area.from_geojson(value)
    for lon in (179.5, 180.0, -180.0, -179.5):
        assert area.contains(lon, 0)
    assert not area.contains(178.9, 0)
    assert not area.contains(0, 0)
    assert area.touches(Bounds(179.9, 0, -179.9, 0.1))
    assert area.touches(Bounds(178.5, 0, 179.5, 0.1))
    assert area.touches(Bounds(-179.5, 0, -178.5, 0.1))
    assert not area.touches(Bounds(-178.9, 0, 178.9, 0.1))
    assert area.spans(-0.5, 0.5, west=170, east=190) == [(179, 181)]
    assert area.spans(-0.5, 0.5, west=-190, east=-170) == [(-181, -179)]
    assert area.spans(2, 3, west=170, east=190) == []


def test_a_box_across_the_antimeridian_touches_either_side():
    for lon in (179.0, -179.0):
        area = Area.from_geojson(polygon(ring(lon - 0.5, 0, lon + 0.5, 1)))
        assert area.touches(Bounds(178, 0.2, -178, 0.4))
        assert not area.touches(Bounds(179.8, 0.2, -179.8, 0.4))


def test_many_boxes_are_one_by_one():
    rng = np.random.default_rng(3)
    area = Area.from_geojson(HOLED)
    west, south = rng.uniform(-5, 15, (2, 300))
    east, north = west + rng.uniform(0.01, 2, 300), south + rng.uniform(0.01, 2, 300)
    many = area.touches_many(west, south, east, north)
    turned = area.touches_many(west + 360, south, east + 360, north)
    plain = [
        shapely.box(*box).intersects(shapely.geometry.shape(HOLED))
        for box in zip(west, south, east, north, strict=True)
    ]
    assert many.tolist() == plain
    assert 0 < many.sum() < 300
    assert (turned == many).mean() > 0.99  # 360 more degrees cost a few bits


def test_collections_and_features_are_read():
    feature = {"type": "Feature", "geometry": polygon(ring(0, 0, 1, 1)), "properties": {}}
    empty = {"type": "Feature", "geometry": None, "properties": {}}
    other = {"type": "GeometryCollection", "geometries": [polygon(ring(5, 5, 6, 6))]}
    area = Area.from_geojson({"type": "FeatureCollection", "features": [feature, empty, other]})
    assert area.contains(0.5, 0.5)
    assert area.contains(5.5, 5.5)
    assert area.bounds == Bounds(0, 0, 6, 6)


def test_an_area_travels():
    area = Area.from_geojson(HOLED)
    for other in (pickle.loads(pickle.dumps(area)), copy.deepcopy(area)):
        assert other == area
        assert hash(other) == hash(area)
        assert shapely.is_prepared(other.geometry)
        assert other.contains(1, 1)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "something else"),
        ({"type": "FeatureCollection", "features": []}, "no polygon"),
        ({"type": "Feature", "geometry": None}, "no polygon"),
        (polygon([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)]), "Self-intersection"),
        (polygon([(0, 0), (1, 1)]), "coordinates"),
        ({"type": "Polygon"}, "coordinates"),
        ({"type": "Polygon", "coordinates": []}, "coordinates"),
        ({"type": "Polygon", "coordinates": [[["a", "b"]] * 4]}, "coordinates"),
        (polygon(ring(0, 80, 10, 95)), "degrees"),
        (polygon(ring(500_000, 5_000_000, 500_100, 5_000_100)), "degrees"),
        (polygon(ring(0, 0, float("nan"), 1)), "degrees|coordinates|invalid"),
        (polygon([(float("nan"), 0), (1, 0), (1, 1), (float("nan"), 0)]), "coordinates"),
        ("Polygon", "something else"),
        ({}, "something else"),
    ],
)
def test_what_is_no_polygon_on_earth_is_refused(value, says):
    with pytest.raises(InvalidParameter, match=says) as caught:
        Area.from_geojson(value)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
