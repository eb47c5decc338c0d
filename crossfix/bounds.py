"""The box around many tiles on a round Earth."""

import numpy as np
from numpy.typing import NDArray

from crossfix.gallery_manifest import BoundsModel

Float64 = NDArray[np.float64]


def find_bounds(west: Float64, south: Float64, east: Float64, north: Float64) -> BoundsModel:
    """The smallest box around (N,) boxes in degrees; it crosses the antimeridian if that helps.

    Args:
        west, east: -180..180; `west > east` where a box crosses the antimeridian.
    """
    gap_west, gap_east = _widest_gap(west, east)
    low, high = float(gap_east), float(gap_west)  # the box is what the gap leaves
    return BoundsModel(west=low, south=float(south.min()), east=high, north=float(north.max()))


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
