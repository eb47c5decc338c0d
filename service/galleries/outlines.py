"""Boxes and circles on the Earth as GeoJSON that any map draws (RFC 7946).

Rings run counter-clockwise and stay within 180 degrees east and west: what crosses the antimeridian
is cut in two there (section 3.1.9).
"""

import math
from typing import Any

Ring = list[list[float]]

CIRCLE_POINTS = 64
_EARTH_M = 6371008.8  # mean radius; the circle is off by 0.5 % of its radius at most
_LAST_DEG = 89.9999999  # a centimetre from the pole: an edge on the pole itself would be none


def box_outline(*, west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """A box in degrees; `west > east` crosses the antimeridian."""
    if west > east:
        parts = [(west, 180.0), (-180.0, east)]
        return _outline([_box(*part, south, north) for part in parts if part[0] < part[1]])
    return _outline([_box(west, east, south, north)])


def circle_outline(*, lon: float, lat: float, radius_m: float) -> dict[str, Any]:
    """What lies within a distance of a place, on the sphere.

    Beyond a quarter of the way round the Earth that is taken to be everywhere.
    """
    angle = radius_m / _EARTH_M
    if angle >= math.pi / 2:
        return box_outline(west=-180.0, south=-90.0, east=180.0, north=90.0)
    # One that ends beside a pole would be too thin there to be drawn: it takes the pole in.
    reach = math.degrees(angle) * 1.001
    if lat + reach >= _LAST_DEG:
        return _outline([_cap(lon, lat, angle)])
    if lat - reach <= -_LAST_DEG:
        mirrored = _cap(lon, -lat, angle)
        return _outline([[[east, -north] for east, north in reversed(mirrored)]])
    ring = _circle(lon, lat, angle)
    if min(east for east, _ in ring) < -180:
        parts = [_east_of(ring, -180.0), _shifted(_west_of(ring, -180.0), 360.0)]
    elif max(east for east, _ in ring) > 180:
        parts = [_west_of(ring, 180.0), _shifted(_east_of(ring, 180.0), -360.0)]
    else:
        parts = [ring]
    return _outline([part for part in map(_closed, parts) if len(part) > 3])


def _outline(rings: list[Ring]) -> dict[str, Any]:
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings}
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}


def _box(west: float, east: float, south: float, north: float) -> Ring:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def _circle(lon: float, lat: float, angle: float) -> Ring:
    """Not closed; holds no pole; longitudes may run past 180 degrees.

    Points at a distance and bearing on the sphere (Snyder 1987, equations 5-3 and 5-4 solved).
    """
    phi = math.radians(lat)
    ring = []
    for step in range(CIRCLE_POINTS):
        bearing = -2 * math.pi * step / CIRCLE_POINTS
        sine = math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(angle) * math.cos(bearing)
        north = math.asin(max(-1.0, min(1.0, sine)))
        east = math.atan2(
            math.sin(bearing) * math.sin(angle) * math.cos(phi),
            math.cos(angle) - math.sin(phi) * math.sin(north),
        )
        ring.append([lon + math.degrees(east), math.degrees(north)])
    return ring


def _cap(lon: float, lat: float, angle: float) -> Ring:
    """A circle that holds the north pole: its southern edge from west to east, closed over the top.

    The edge's latitude at a longitude solves Snyder 1987, equation 5-3, for the latitude.
    """
    ring = []
    for step in range(CIRCLE_POINTS + 1):
        east = -180.0 + 360.0 * step / CIRCLE_POINTS
        up = math.sin(math.radians(lat))
        across = math.cos(math.radians(lat)) * math.cos(math.radians(east - lon))
        inner = math.cos(angle) / max(math.hypot(up, across), 1e-12)
        north = math.atan2(up, across) - math.acos(min(1.0, inner))
        ring.append([east, min(_LAST_DEG, math.degrees(north))])
    return _closed([*ring, [180.0, 90.0], [-180.0, 90.0]])


def _west_of(ring: Ring, limit: float) -> Ring:
    """The part of a ring at or below a longitude; meridians meet a circle in one piece."""
    kept: Ring = []
    for (east, north), (next_east, next_north) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if east <= limit:
            kept.append([east, north])
        if (east < limit < next_east) or (next_east < limit < east):
            share = (limit - east) / (next_east - east)
            kept.append([limit, north + share * (next_north - north)])
    return kept


def _east_of(ring: Ring, limit: float) -> Ring:
    mirrored = _west_of([[-east, north] for east, north in ring], -limit)
    return [[-east, north] for east, north in mirrored]


def _shifted(ring: Ring, by_deg: float) -> Ring:
    return [[east + by_deg, north] for east, north in ring]


def _closed(ring: Ring) -> Ring:
    """Rounded to a millimetre, without points that fall together."""
    kept: Ring = []
    for east, north in ring:
        point = [round(east, 8), round(north, 8)]
        if not kept or point != kept[-1]:
            kept.append(point)
    if kept and kept[0] != kept[-1]:
        kept.append(kept[0])
    return kept
