"""Boxes on a round Earth: the one around many tiles, and which of them meet."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossfix.gallery_manifest import BoundsModel

Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]
_ROUNDING_DEG = 1e-9  # a tenth of a millimetre


def find_bounds(west: Float64, south: Float64, east: Float64, north: Float64) -> BoundsModel:
    """The smallest box around (N,) boxes in degrees; it crosses the antimeridian if that helps.

    Args:
        west, east: -180..180; `west > east` where a box crosses the antimeridian.
    """
    gap_west, gap_east = _widest_gap(west, east)
    low, high = float(gap_east), float(gap_west)  # the box is what the gap leaves
    return BoundsModel(west=low, south=float(south.min()), east=high, north=float(north.max()))


def meet_in_longitude(
    west: ArrayLike, east: ArrayLike, other_west: ArrayLike, other_east: ArrayLike
) -> Bool:
    """Whether two ranges of longitudes share a meridian, be it one at an end; of their shape.

    Args:
        west, east: degrees, -180..180; `west > east` crosses the antimeridian. -180 and 180 are
            one meridian, but -180 to 180 is all the way round.
    """
    west, east = np.asarray(west, np.float64), np.asarray(east, np.float64)
    other_west, other_east = np.asarray(other_west), np.asarray(other_east)
    # Both are arcs: they meet where one begins inside the other.
    begins_in_other = (west - other_west) % 360 <= _width(other_west, other_east)
    other_begins_here = (other_west - west) % 360 <= _width(west, east)
    return np.asarray(begins_in_other | other_begins_here)


def _width(west: Float64, east: Float64) -> Float64:
    """Degrees from west to east, and a hair: a whole turn costs differences their last digits."""
    return np.where(east - west == 360, 360.0, (east - west) % 360) + _ROUNDING_DEG


def _widest_gap(west: Float64, east: Float64) -> tuple[float, float]:
    """Where the widest range of longitudes without any box begins and ends; (180, -180): none."""
    crossing = west > east
    starts = np.concatenate([west, np.full(crossing.sum(), -180.0)])
    ends = np.concatenate([np.where(crossing, 180.0, east), east[crossing]])
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    inner = starts[1:] - ends[:-1]
    around = starts[0] + 360.0 - ends[-1]
    if not len(inner) or around >= inner.max():
        return float(ends[-1]), float(starts[0])
    widest = int(inner.argmax())
    return float(ends[widest]), float(starts[widest + 1])
