"""GeoJSON features as a table: properties are columns, a Point a centre, a Polygon a footprint."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from crossfix.errors import SourceError

_HINT = "give a FeatureCollection of Points (centres) or Polygons (footprints)"
Ring = list[tuple[float, float]]


def read_features(path: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    """An Arrow table of the features' properties and `lon`, `lat`, `west` ... of their geometry.

    The file is read whole; for more than some 100,000 images a Parquet table is lighter.

    Raises:
        SourceError: not a FeatureCollection, or a geometry of another kind; names the feature.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as problem:
        raise SourceError(f"table {path} is not JSON: {problem}", hint=_HINT) from problem
    if not isinstance(value, dict) or not isinstance(value.get("features"), list):
        raise SourceError(f"table {path} is not a GeoJSON FeatureCollection", hint=_HINT)
    rows = [
        _read_feature(feature, f"table {path}, feature {number}")
        for number, feature in enumerate(value["features"], start=1)
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> Any:  # noqa: ANN401
    """Numbers stay numbers; anything else is text, and nested values are left out."""
    if all(value is None or _is_number(value) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    plain = (value if isinstance(value, str | int | float | bool) else None for value in values)
    return pa.array([None if value is None else str(value) for value in plain], pa.string())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_feature(feature: Any, where: str) -> dict[str, Any]:  # noqa: ANN401
    found = feature.get("geometry") if isinstance(feature, dict) else None
    geometry: dict[str, Any] = found if isinstance(found, dict) else {}
    kind = geometry.get("type")
    try:
        if kind == "Point":
            lon, lat = _place(geometry["coordinates"])
            place = {"lon": lon, "lat": lat}
        elif kind in ("Polygon", "MultiPolygon"):
            place = _box(list(_places(geometry["coordinates"])))
        else:
            raise SourceError(f"{where} is no Point and no Polygon", hint=_HINT)
    except (KeyError, TypeError, ValueError, IndexError) as problem:
        raise SourceError(f"{where} has no usable coordinates", hint=_HINT) from problem
    properties = {str(k).strip().lower(): v for k, v in (feature.get("properties") or {}).items()}
    for taken in ("lat", "latitude", "lon", "lng", "long", "longitude", *place):
        properties.pop(taken, None)  # the geometry's word counts
    return {**properties, **place}


def _place(value: Any) -> tuple[float, float]:  # noqa: ANN401
    lon, lat = float(value[0]), float(value[1])
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise ValueError("not finite")
    return lon, lat


def _places(value: Any) -> Iterator[tuple[float, float]]:  # noqa: ANN401
    """All corners, however deep they lie."""
    if isinstance(value[0], int | float):
        yield _place(value)
    else:
        for part in value:
            yield from _places(part)


def _box(corners: Ring) -> dict[str, float]:
    """The box round the corners; of two halves at the antimeridian the narrow one (RFC 7946)."""
    lons, lats = [lon for lon, _ in corners], [lat for _, lat in corners]
    west, east = min(lons), max(lons)
    if east - west > 180:
        west, east = min(lon for lon in lons if lon > 0), max(lon for lon in lons if lon <= 0)
    return {"west": west, "south": min(lats), "east": east, "north": max(lats)}
