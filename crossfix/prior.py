"""Geographic priors: what is known beforehand about where a photo was taken.

Every prior answers three questions: which places lie inside (`contains`, exact), which boxes hold
it (`boxes`), and which cells of a grid are surely inside or surely outside (`classify`).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossfix.errors import InvalidParameter
from crossfix.geodesy import WGS84_A_M, WGS84_F, Bounds, LonLat, distance_m
from crossfix.prior_polygon import (
    Cells,
    Sides,
    box_of_ring,
    cells_crossed,
    edges_of_cells,
    inside_sides,
    join_sides,
    rings_of_geojson,
    split_at_antimeridian,
    unwrap_ring,
)

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]

_B_M = WGS84_A_M * (1 - WGS84_F)
_ROUNDING = 1e-9  # relative; and a millimetre: more than all floating-point error here
_ROUNDING_M = 1e-3


@dataclass(frozen=True)
class Disc:
    """The photo was taken within `radius_m` of the centre."""

    centre: LonLat
    radius_m: float

    def __post_init__(self) -> None:
        if not 0 < self.radius_m <= 20_100_000:
            raise InvalidParameter(
                f"radius_m {self.radius_m} is not a radius on Earth",
                hint="give a positive number of metres",
            )

    def describe(self) -> str:
        """For people: where."""
        return f"{self.radius_m:g} m around lon {self.centre.lon}, lat {self.centre.lat}"

    def contains(self, lon: ArrayLike, lat: ArrayLike) -> Bool:
        """Which of the places lie inside or on the edge; shaped like the degrees given."""
        apart_m = distance_m(lon, lat, self.centre.lon, self.centre.lat)
        return np.asarray(apart_m <= self.radius_m)

    def boxes(self) -> list[Bounds]:
        """One or two boxes that hold the disc; none crosses the antimeridian.

        `distance_m` is never below the polar radius times the angle on the sphere of reduced
        latitudes, so that sphere's cap of radius / polar radius holds the disc.
        """
        angle = (self.radius_m * (1 + _ROUNDING) + _ROUNDING_M) / _B_M
        centre = _reduced(self.centre.lat)
        south, north = centre - angle, centre + angle
        if south <= -math.pi / 2 or north >= math.pi / 2:
            around = 180.0
        else:
            around = math.degrees(math.asin(min(1.0, math.sin(angle) / math.cos(centre)))) + 1e-9
        return split_at_antimeridian(
            self.centre.lon - around,
            self.centre.lon + around,
            _latitude_deg(max(south, -math.pi / 2)) - 1e-9,
            _latitude_deg(min(north, math.pi / 2)) + 1e-9,
        )

    def classify(self, cells: Cells) -> tuple[Bool, Bool]:
        """(surely inside, surely outside) for N cells; neither where the edge may pass.

        No point of a cell is further from its middle than half its height and half its widest
        parallel; angles become metres between polar and equatorial radius.
        """
        south, north = _reduced(cells.south), _reduced(cells.north)
        middle, centre = (south + north) / 2, _reduced(self.centre.lat)
        widest = np.where(south * north < 0, 1.0, np.maximum(np.cos(south), np.cos(north)))
        reach = (north - south) / 2 + widest * np.radians(cells.east - cells.west) / 2
        apart_lon = np.radians((cells.west + cells.east) / 2 - self.centre.lon)
        half = (
            np.sin((middle - centre) / 2) ** 2
            + np.cos(middle) * np.cos(centre) * np.sin(apart_lon / 2) ** 2
        )
        angle = 2 * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0)))
        furthest_m = WGS84_A_M * (angle + reach) * (1 + _ROUNDING) + _ROUNDING_M
        nearest_m = _B_M * (angle - reach) * (1 - _ROUNDING) - _ROUNDING_M
        return furthest_m <= self.radius_m, nearest_m > self.radius_m


@dataclass(frozen=True)
class Region:
    """The photo was taken inside a polygon, or several that do not overlap.

    A place is inside when an odd number of rings surround it. Sides are straight in degrees
    (RFC 7946) and go the shorter way round the Earth, so that rings may cross the antimeridian; a
    ring that goes all the way round holds the pole on its side of the equator.

    Attributes:
        rings: the outer ring first, holes after; closed or not.
    """

    rings: tuple[tuple[LonLat, ...], ...]

    def __post_init__(self) -> None:
        if not self.rings:
            raise InvalidParameter("the region has no ring", hint="give one polygon at least")
        _ = self._sides  # refuses what is no polygon

    @classmethod
    def from_geojson(cls, value: dict[str, Any]) -> "Region":
        """Reads a GeoJSON Polygon or MultiPolygon, bare or as a Feature; heights are ignored.

        Raises:
            InvalidParameter: it is something else, or not valid.
        """
        return cls(rings_of_geojson(value))

    def describe(self) -> str:
        """For people: where."""
        box = self.boxes()[0]
        return (
            f"the region of {len(self.rings)} ring(s) near lon {box.west:.5g}..{box.east:.5g}, "
            f"lat {box.south:.5g}..{box.north:.5g}"
        )

    @cached_property
    def _unwrapped(self) -> list[Float64]:
        return [unwrap_ring(np.array([(p.lon, p.lat) for p in ring])) for ring in self.rings]

    @cached_property
    def _sides(self) -> Sides:
        return join_sides(self._unwrapped)

    @cached_property
    def _edges(self) -> Sides:
        return edges_of_cells(self._unwrapped)

    def contains(self, lon: ArrayLike, lat: ArrayLike) -> Bool:
        """Which of the places lie inside; shaped like the degrees given.

        Of two regions that share a side every place on it belongs to one.
        """
        return inside_sides(self._sides, np.asarray(lon, np.float64), np.asarray(lat, np.float64))

    def boxes(self) -> list[Bounds]:
        """Boxes that hold the region; none crosses the antimeridian."""
        return [box for ring in self._unwrapped for box in box_of_ring(ring)]

    def classify(self, cells: Cells) -> tuple[Bool, Bool]:
        """(surely inside, surely outside) for N cells; neither where a side passes."""
        whole = ~cells_crossed(self._edges, cells)
        inside = np.zeros(len(whole), np.bool_)
        inside[whole] = self.contains(
            (cells.west[whole] + cells.east[whole]) / 2,
            (cells.south[whole] + cells.north[whole]) / 2,
        )
        return inside, whole & ~inside


Prior = Disc | Region


def _reduced(lat: ArrayLike) -> Any:  # noqa: ANN401 - a number or an array, as given
    """Reduced latitude, radians."""
    return np.arctan((1 - WGS84_F) * np.tan(np.radians(lat)))


def _latitude_deg(reduced: float) -> float:
    return math.degrees(math.atan2(math.sin(reduced), (1 - WGS84_F) * math.cos(reduced)))
