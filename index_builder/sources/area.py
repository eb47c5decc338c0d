"""Polygons on the ground: an area of interest, a region to retire."""

from dataclasses import dataclass
from typing import Any

import shapely
import shapely.geometry
import shapely.prepared

from crossfix.errors import InvalidParameter
from crossfix.geodesy import Bounds

_KINDS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True)
class Area:
    """One or several polygons in degrees."""

    geometry: Any

    @classmethod
    def from_geojson(cls, value: dict[str, Any]) -> "Area":
        """Reads a GeoJSON geometry, Feature or FeatureCollection of polygons.

        Raises:
            InvalidParameter: no polygon, or not a valid one.
        """
        parts = [shapely.geometry.shape(one) for one in _geometries(value)]
        if not parts or any(part.geom_type not in _KINDS for part in parts):
            raise InvalidParameter(
                "the area holds no polygon", hint="give a GeoJSON Polygon or MultiPolygon"
            )
        return cls(shapely.union_all(parts))

    def touches(self, bounds: Bounds) -> bool:
        """Whether a tile and the area share ground."""
        return bool(self.geometry.intersects(_box(bounds)))

    def contains(self, lon: float, lat: float) -> bool:
        """Whether the point lies inside."""
        return bool(self.geometry.contains(shapely.Point(lon, lat)))


def _geometries(value: dict[str, Any]) -> list[dict[str, Any]]:
    if value.get("type") == "FeatureCollection":
        return [geometry for one in value.get("features", []) for geometry in _geometries(one)]
    if value.get("type") == "Feature":
        return [value["geometry"]] if value.get("geometry") else []
    return [value]


def _box(bounds: Bounds) -> Any:  # noqa: ANN401 - shapely has few types
    if bounds.west <= bounds.east:
        return shapely.box(bounds.west, bounds.south, bounds.east, bounds.north)
    return shapely.union_all(
        [
            shapely.box(bounds.west, bounds.south, 180.0, bounds.north),
            shapely.box(-180.0, bounds.south, bounds.east, bounds.north),
        ]
    )
