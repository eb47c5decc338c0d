"""The ground that many tiles cover together: outlines and areas."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from crossfix.geodesy import WGS84_A_M, WGS84_E2
from crossfix.tile_table import TileTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

MOST_BOXES = 300_000  # that a union is taken of, a minute's work; more are only added up
_TOUCHING_DEG = 1e-9  # a tenth of a millimetre: rounding of neighbours' common edge


@dataclass(frozen=True)
class Boxes:
    """N tiles; degrees, longitudes going on beyond 180 so that east is greater than west."""

    west: Float64
    south: Float64
    east: Float64
    north: Float64

    def __len__(self) -> int:
        return len(self.west)

    @classmethod
    def of(cls, tiles: TileTable) -> "Boxes":
        """Longitudes counted from the middle of the widest gap, so nothing is torn apart."""
        start = _widest_gap(tiles.west)
        west = start + (tiles.west - start) % 360
        width = (tiles.east - tiles.west) % 360
        return cls(west, tiles.south, west + width, tiles.north)

    def select(self, chosen: Any) -> "Boxes":  # noqa: ANN401 - mask or rows
        """Some of them."""
        return Boxes(self.west[chosen], self.south[chosen], self.east[chosen], self.north[chosen])


def _widest_gap(lon: Float64) -> float:
    """Where to start counting longitudes; -180 wherever that tears nothing apart."""
    around = np.sort(np.unique(lon.round(6)))
    if not len(around) or np.ptp(around) < 180:
        return -180.0 if not len(around) else min(-180.0, float(around[0]))
    gaps = np.diff([*around, around[0] + 360])
    widest = int(gaps.argmax())
    return float(around[widest] + gaps[widest] / 2) % 360 - 360


def merge_rows(boxes: Boxes) -> Boxes:
    """Boxes of equal south and north that touch or overlap become one; covers the same ground."""
    if not len(boxes):
        return boxes
    order = np.lexsort((boxes.west, boxes.north, boxes.south))
    some = boxes.select(order)
    same = (np.diff(some.south) == 0) & (np.diff(some.north) == 0)
    row = np.concatenate([[0], np.cumsum(~same)])
    # The farthest east so far in the row: rows are set so far apart that none reaches the next.
    reach = np.maximum.accumulate(some.east + row * 1000.0) - row * 1000.0
    apart = np.concatenate([[True], ~same | (some.west[1:] > reach[:-1] + _TOUCHING_DEG)])
    first = np.flatnonzero(apart)
    last = np.append(first[1:], len(some)) - 1
    return Boxes(some.west[first], some.south[first], reach[last], some.north[first])


def outline(boxes: Boxes) -> Any | None:  # noqa: ANN401 - shapely has few types
    """The ground covered, as one geometry; None where there are too many boxes to unite."""
    merged = merge_rows(boxes)
    if len(merged) > MOST_BOXES:
        return None
    return shapely.union_all(shapely.box(merged.west, merged.south, merged.east, merged.north))


def area_km2(boxes: Boxes) -> tuple[float, bool]:
    """(ground covered, whether overlaps were counted once); by equal-area coordinates on WGS84."""
    merged = merge_rows(boxes)
    flat = Boxes(
        np.radians(merged.west), _equal_area(merged.south),
        np.radians(merged.east), _equal_area(merged.north),
    )  # fmt: skip
    if len(flat) > MOST_BOXES:
        return float(((flat.east - flat.west) * (flat.north - flat.south)).sum()) / 1e6, False
    united = shapely.union_all(shapely.box(flat.west, flat.south, flat.east, flat.north))
    return float(united.area) / 1e6, True


def _equal_area(lat: Float64) -> Float64:
    """Square metres per radian of longitude between the equator and a latitude.

    Authalic latitude's q (Snyder 1987, "Map projections", eq. 3-12) times half the square of the
    semi-major axis.
    """
    e, sine = math.sqrt(WGS84_E2), np.sin(np.radians(lat))
    q = (1 - WGS84_E2) * (
        sine / (1 - WGS84_E2 * sine**2) - np.log((1 - e * sine) / (1 + e * sine)) / (2 * e)
    )
    return np.asarray(WGS84_A_M**2 / 2 * q, np.float64)
