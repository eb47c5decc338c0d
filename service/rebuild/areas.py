"""Areas that a caller names, looked at before a builder is started for them."""

import math
from collections.abc import Iterator
from typing import Any

_LISTED = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
_MAX_LON = 540.0  # as the builder reads them: one turn beyond the antimeridian on either side


def require_area(value: dict[str, Any]) -> None:
    """Checks that GeoJSON holds polygons, and only such, with usable coordinates.

    Whether their edges cross is left to the builder.

    Raises:
        ValueError: it does not; the sentence is for the caller.
    """
    _require_finite(value)
    polygons = list(_polygons(value))
    if not polygons:
        raise ValueError("a GeoJSON polygon is needed")
    for rings in polygons:
        if not isinstance(rings, list) or not rings:
            raise ValueError("a polygon has no coordinates: give a list of rings")
        for ring in rings:
            if not isinstance(ring, list) or len(ring) < 3:
                raise ValueError("a polygon's ring is no list of three positions or more")
            for position in ring:
                _require_position(position)


def _require_finite(value: Any) -> None:  # noqa: ANN401 - any JSON value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            _require_finite(one)


def _polygons(value: Any) -> Iterator[Any]:  # noqa: ANN401
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "Feature":
        if value.get("geometry"):
            yield from _polygons(value["geometry"])
    elif kind == "Polygon":
        yield value.get("coordinates")
    elif kind == "MultiPolygon":
        yield from _members(value.get("coordinates"), "coordinates")
    elif isinstance(kind, str) and kind in _LISTED:
        for one in _members(value.get(_LISTED[kind]), _LISTED[kind]):
            yield from _polygons(one)
    else:
        raise ValueError("a GeoJSON polygon is needed")


def _members(value: Any, name: str) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def _require_position(position: Any) -> None:  # noqa: ANN401
    if not isinstance(position, list) or not 2 <= len(position) <= 4:
        raise ValueError("a position is no list of longitude and latitude")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in position):
        raise ValueError("a position holds something else than numbers")
    lon, lat = position[:2]
    if not (-_MAX_LON <= lon <= _MAX_LON and -90 <= lat <= 90):
        raise ValueError("a position is not longitude and latitude in degrees")
