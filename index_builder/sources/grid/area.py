"""Polygons on the ground: an area of interest, a region to retire."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import shapely.affinity
import shapely.geometry
from numpy.typing import NDArray

from crossfix.errors import InvalidParameter
from crossfix.geodesy import Bounds
from index_builder.sources.grid.intervals import Intervals, merge

_KINDS = ("Polygon", "MultiPolygon")
_MAX_LON = 540.0  # one turn beyond the antimeridian on either side

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Area:
    """One or several polygons in degrees, longitudes -180..180; hashable and picklable.

    Edges are straight lines in longitude and latitude. An area across the antimeridian is two
    polygons that end there; :meth:`from_geojson` cuts them.
    """

    geometry: Any

    def __post_init__(self) -> None:
        shapely.prepare(self.geometry)

    def __reduce__(self) -> tuple[Callable[[Any], "Area"], tuple[Any]]:
        """Prepared again wherever it arrives."""
        return Area, (self.geometry,)

    @classmethod
    def from_geojson(cls, value: dict[str, Any]) -> "Area":
        """Reads a GeoJSON geometry, Feature or FeatureCollection of polygons.

        Longitudes may go on beyond 180 where a polygon crosses the antimeridian; polygons cut
        there (RFC 7946, section 3.1.9) are read as well.

        Raises:
            InvalidParameter: no polygon, not a valid one, or not on Earth.
        """
        parts = [_read_polygon(one) for one in _geometries(value)]
        if not parts:
            raise _refused("the area holds no polygon")
        return cls(shapely.union_all([_cut_at_antimeridian(part) for part in parts]))

    @property
    def bounds(self) -> Bounds:
        """Its box; an area on both sides of the antimeridian reaches from -180 to 180."""
        return Bounds(*(float(side) for side in self.geometry.bounds))

    def touches(self, bounds: Bounds) -> bool:
        """Whether a tile and the area share ground, be it an edge."""
        if bounds.west > bounds.east:
            sides = (bounds.west, bounds.south, bounds.east + 360, bounds.north)
            return bool(self.touches_many(*(np.array([side]) for side in sides))[0])
        box = shapely.box(bounds.west, bounds.south, bounds.east, bounds.north)
        return bool(shapely.intersects(self.geometry, box))

    def touches_many(self, west: Float64, south: Float64, east: Float64, north: Float64) -> Bool:
        """:meth:`touches` of (n,) boxes; east is greater than west, any longitude will do."""
        turn = 360 * np.floor((west + 180) / 360)
        west, east = west - turn, east - turn
        found = shapely.intersects(self.geometry, shapely.box(west, south, east, north))
        beyond = east > 180
        if beyond.any():
            rest = (west[beyond] - 360, south[beyond], east[beyond] - 360, north[beyond])
            found[beyond] |= shapely.intersects(self.geometry, shapely.box(*rest))
        return np.asarray(found, np.bool_)

    def contains(self, lon: float, lat: float) -> bool:
        """Whether the point lies inside or on the edge."""
        if abs(lon) == 180:  # one meridian, two names
            return bool(shapely.intersects_xy(self.geometry, [-180.0, 180.0], lat).any())
        return bool(shapely.intersects_xy(self.geometry, lon, lat))

    def spans(self, south: float, north: float, *, west: float, east: float) -> Intervals:
        """Longitudes outside which nothing of it lies between two latitudes.

        Args:
            west, east: how longitudes are counted: turns are added that bring them here.
        """
        sides = shapely.bounds(shapely.get_parts(self.geometry))
        near = sides[(sides[:, 1] <= north) & (sides[:, 3] >= south)]
        found = []
        for turn in range(int(west // 360) - 1, int(east // 360) + 2):
            shifted = near[:, [0, 2]] + 360.0 * turn
            shifted = shifted[(shifted[:, 0] <= east) & (shifted[:, 1] >= west)]
            found += [(low, high) for low, high in shifted.tolist()]
        return merge(found)


_UNUSABLE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    shapely.errors.ShapelyError,
)


def _geometries(value: Any) -> list[Any]:  # noqa: ANN401 - whatever JSON held
    if not isinstance(value, dict):
        return [value]
    if value.get("type") == "FeatureCollection":
        return [geometry for one in value.get("features") or [] for geometry in _geometries(one)]
    if value.get("type") == "GeometryCollection":
        return [geometry for one in value.get("geometries") or [] for geometry in _geometries(one)]
    if value.get("type") == "Feature":
        return [value["geometry"]] if value.get("geometry") else []
    return [value]


def _read_polygon(value: Any) -> Any:  # noqa: ANN401 - shapely has few types
    if not isinstance(value, dict) or value.get("type") not in _KINDS:
        raise _refused("the area holds something else than polygons")
    try:
        with np.errstate(invalid="ignore"):  # not-a-number is refused below
            polygon = shapely.force_2d(shapely.geometry.shape(value))
    except _UNUSABLE as problem:
        raise _refused("the area has a polygon without usable coordinates") from problem
    if polygon.is_empty:
        raise _refused("the area has a polygon without coordinates")
    west, south, east, north = polygon.bounds
    if not (-90 <= south and north <= 90 and -_MAX_LON <= west and east <= _MAX_LON):
        raise _refused(
            f"the area reaches from {west:g}, {south:g} to {east:g}, {north:g}, which are not "
            "degrees of longitude and latitude"
        )
    if not polygon.is_valid:
        raise _refused(f"the area has an invalid polygon: {shapely.is_valid_reason(polygon)}")
    return polygon


def _refused(problem: str) -> InvalidParameter:
    return InvalidParameter(
        problem, hint="give a GeoJSON Polygon or MultiPolygon in longitude and latitude"
    )


def _cut_at_antimeridian(polygon: Any) -> Any:  # noqa: ANN401
    if -180 <= polygon.bounds[0] and polygon.bounds[2] <= 180:
        return polygon
    world = shapely.box(-180, -90, 180, 90)
    turned = (shapely.affinity.translate(polygon, xoff=turn) for turn in (-360.0, 0.0, 360.0))
    pieces = shapely.get_parts([shapely.intersection(one, world) for one in turned])
    return shapely.union_all([one for one in pieces if one.geom_type in _KINDS])
