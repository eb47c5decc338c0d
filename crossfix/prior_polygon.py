"""Polygons in degrees on a round Earth: unwrapping, point in polygon, cells that sides cross."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import InvalidParameter
from crossfix.geodesy import Bounds, LonLat

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

_PAIRS_AT_ONCE = 2_000_000
_MARGIN_DEG = 1e-9  # a Morton cell holds places that rounding put a hair beyond its edge


@dataclass(frozen=True)
class Cells:
    """N boxes in degrees, (N,) each; none crosses the antimeridian."""

    west: Float64
    south: Float64
    east: Float64
    north: Float64


@dataclass(frozen=True)
class Sides:
    """The M sides of all rings, (M,) each, from (x1, y1) to (x2, y2); x is longitude, unwrapped."""

    x1: Float64
    y1: Float64
    x2: Float64
    y2: Float64


def unwrap_ring(ring: Float64) -> Float64:
    """A (V, 2) ring of degrees as a closed one whose longitudes do not jump.

    Returns:
        (W, 2), first point repeated; longitudes start in -180..180 and may go past 180.

    Raises:
        InvalidParameter: it has no area, or goes round the Earth more than once.
    """
    if len(ring) and np.array_equal(ring[0], ring[-1]):
        ring = ring[:-1]
    if len(ring) < 3:
        raise InvalidParameter(
            f"a ring of {len(ring)} places encloses nothing", hint="a polygon needs three places"
        )
    closed = np.vstack([ring, ring[:1]])
    steps = np.diff(closed[:, 0])
    # Exactly half round keeps its direction, so that -180, 0, 180 is once round.
    steps = np.where(np.abs(steps) <= 180, steps, steps - 360 * np.round(steps / 360))
    lon = closed[0, 0] + np.concatenate([[0.0], np.cumsum(steps)])
    if np.ptp(lon) == 0 and np.ptp(closed[:, 0]) > 0:
        lon = closed[:, 0]  # a box of the whole width: from -180 to 180 is not nothing
    unwrapped = _close_over_pole(np.column_stack([lon, closed[:, 1]]))
    width, height = np.ptp(unwrapped, axis=0)
    if width > 360 + 1e-9 or width == 0 or height == 0:
        raise InvalidParameter(
            f"a ring is {width:g} degrees wide and {height:g} high",
            hint="a polygon encloses ground, and goes round the Earth once at most",
        )
    unwrapped[:, 0] -= 360 * np.floor((unwrapped[:, 0].min() + 180) / 360)
    return unwrapped


def _close_over_pole(ring: Float64) -> Float64:
    """A ring that ends a whole turn from where it began, led over the nearer pole."""
    turn = ring[-1, 0] - ring[0, 0]
    if abs(turn) < 180:
        return ring
    pole = 90.0 if ring[:, 1].mean() >= 0 else -90.0
    return np.vstack([ring, [ring[-1, 0], pole], [ring[0, 0], pole], ring[:1]])


def join_sides(rings: Sequence[Float64]) -> Sides:
    """The sides of all rings, so placed that longitudes of -180..180 meet every one they should."""
    shifted = [ring - [360.0, 0.0] for ring in rings if ring[:, 0].max() > 180]
    pairs = [np.hstack([ring[:-1], ring[1:]]) for ring in [*rings, *shifted]]
    x1, y1, x2, y2 = np.concatenate(pairs).T
    return Sides(x1, y1, x2, y2)


def edges_of_cells(rings: Sequence[Float64]) -> Sides:
    """The sides as :func:`join_sides` places them, and once more at 180 where they are at -180.

    A place at 180 is one at -180 but lies in a cell that ends at 180: these sides pass there too.
    """
    touching = [ring - [-360.0, 0.0] for ring in rings if ring[:, 0].min() <= _MARGIN_DEG - 180]
    return join_sides([*rings, *touching])


def box_of_ring(ring: Float64) -> list[Bounds]:
    """The box around an unwrapped ring, cut where it crosses the antimeridian."""
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    return split_at_antimeridian(float(west), float(east), float(south), float(north))


def split_at_antimeridian(west: float, east: float, south: float, north: float) -> list[Bounds]:
    """A box whose longitudes may pass +-180 as one or two that do not.

    One that only touches +-180 comes with a second, of no width, on the other side: a place there
    may be written either way.
    """
    south, north = max(south, -90.0), min(north, 90.0)
    if east - west >= 360:
        return [Bounds(-180.0, south, 180.0, north)]
    if west < -180:
        west, east = west + 360, east + 360
    if east <= 180:
        box = Bounds(west, south, east, north)
        if west <= -180:
            return [box, Bounds(180.0, south, 180.0, north)]
        return [box, Bounds(-180.0, south, -180.0, north)] if east == 180 else [box]
    return [Bounds(west, south, 180.0, north), Bounds(-180.0, south, east - 360, north)]


def inside_sides(sides: Sides, lon: Float64, lat: Float64) -> Bool:
    """Even-odd rule for places of any shape (Shimrat 1962): sides met on the way east."""
    lon, lat = np.broadcast_arrays(lon, lat)
    x = np.where(lon >= 180, lon - 360, lon).ravel()
    y = np.minimum(lat, np.nextafter(90.0, 0.0)).ravel()  # the pole belongs to what touches it
    inside = np.zeros(x.size, np.bool_)
    rising = sides.y2 - sides.y1
    slope = (sides.x2 - sides.x1) / np.where(rising == 0, 1.0, rising)
    step = max(1, _PAIRS_AT_ONCE // len(sides.x1))
    for start in range(0, x.size, step):
        px, py = x[start : start + step, None], y[start : start + step, None]
        spans = (sides.y1 > py) != (sides.y2 > py)
        met = spans & (sides.x1 + (py - sides.y1) * slope > px)
        inside[start : start + step] = np.count_nonzero(met, axis=1) % 2 == 1
    return inside.reshape(lon.shape)


def cells_crossed(sides: Sides, cells: Cells) -> Bool:
    """Which cells a side passes through or comes too close to for rounding; (N,)."""
    crossed = np.zeros(len(cells.west), np.bool_)
    step = max(1, _PAIRS_AT_ONCE // len(sides.x1))
    dx, dy = sides.x2 - sides.x1, sides.y2 - sides.y1
    for start in range(0, len(crossed), step):
        part = slice(start, start + step)
        west, east = cells.west[part, None] - _MARGIN_DEG, cells.east[part, None] + _MARGIN_DEG
        south, north = cells.south[part, None] - _MARGIN_DEG, cells.north[part, None] + _MARGIN_DEG
        overlap = (np.minimum(sides.x1, sides.x2) <= east) & (
            np.maximum(sides.x1, sides.x2) >= west
        )
        overlap &= (np.minimum(sides.y1, sides.y2) <= north) & (
            np.maximum(sides.y1, sides.y2) >= south
        )
        # Separating axis: is the box wholly on one side of the line through the side?
        off = dx * ((south + north) / 2 - sides.y1) - dy * ((west + east) / 2 - sides.x1)
        reach = np.abs(dx) * (north - south) / 2 + np.abs(dy) * (east - west) / 2
        crossed[part] = (overlap & (np.abs(off) <= reach)).any(axis=1)
    return crossed


def rings_of_geojson(value: dict[str, Any]) -> tuple[tuple[LonLat, ...], ...]:
    """The rings of a GeoJSON Polygon or MultiPolygon, bare or as a Feature.

    Raises:
        InvalidParameter: it is something else, or a position is none.
    """
    if isinstance(value, dict) and value.get("type") == "Feature":
        value = value.get("geometry") or {}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise InvalidParameter(
            f"the region is a {kind}", hint="give a GeoJSON Polygon or MultiPolygon"
        )
    try:
        polygons = value["coordinates"] if kind == "MultiPolygon" else [value["coordinates"]]
        return tuple(
            tuple(_place(float(lon), float(lat)) for lon, lat, *_ in ring)
            for polygon in polygons
            for ring in polygon
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise InvalidParameter(
            f"the region's coordinates cannot be read: {problem}",
            hint="RFC 7946: a list of rings, each a list of [lon, lat]",
        ) from problem


def _place(lon: float, lat: float) -> LonLat:
    """Longitudes past 180, as some write them across the antimeridian, are brought back."""
    return LonLat((lon + 180) % 360 - 180 if 180 < abs(lon) <= 540 else lon, lat)
