"""Where a shard's tiles are, roughly: what is left of its tile table when the shard is lost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.prior import Prior
from crossfix.tile_table import TileTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

RUNS_AT_MOST = 512
_POINTS_AT_MOST = 20_000  # all together; some milliseconds
_FINEST = 32  # points along a side


@dataclass(frozen=True)
class Sketch:
    """Runs of neighbouring rows, which lie together: rows follow the Morton curve.

    Attributes:
        west, south, east, north: (R,) degrees: the box around the centres of a run's tiles; it
            does not cross the antimeridian.
        counts: (R,) how many tiles a run has.
    """

    west: Float64
    south: Float64
    east: Float64
    north: Float64
    counts: Int64

    @classmethod
    def of(cls, tiles: TileTable, *, at_most: int = RUNS_AT_MOST) -> "Sketch":
        """Of a table of one tile at least, in runs as long as each other."""
        starts = np.unique(np.linspace(0, len(tiles), min(at_most, len(tiles)) + 1).astype(int))
        first = starts[:-1]
        return cls(
            west=np.minimum.reduceat(tiles.lon, first),
            south=np.minimum.reduceat(tiles.lat, first),
            east=np.maximum.reduceat(tiles.lon, first),
            north=np.maximum.reduceat(tiles.lat, first),
            counts=np.diff(starts),
        )

    def may_hold(self, prior: Prior) -> bool:
        """Whether a tile's centre can lie inside the prior; errs towards true."""
        return len(self._met(prior)[0]) > 0

    def count_inside(self, prior: Prior) -> float:
        """About how many tiles' centres lie inside; exact where every run is one tile.

        Each run's tiles are taken to lie evenly in its box. Points are tried where a run's box
        meets one of the prior's; a point in several of these counts once.
        """
        runs, west, south, east, north = self._met(prior)
        if not len(runs):
            return 0.0
        side = int(np.clip((_POINTS_AT_MOST / len(runs)) ** 0.5, 1, _FINEST))
        steps = (np.arange(side) + 0.5) / side
        up, across = (one.ravel() for one in np.meshgrid(steps, steps))
        lon = west[:, None] + (east - west)[:, None] * across
        lat = south[:, None] + (north - south)[:, None] * up
        times = np.zeros(lon.shape, np.int64)
        for box in prior.boxes():
            times += (box.west <= lon) & (lon <= box.east) & (box.south <= lat) & (lat <= box.north)
        inside = (prior.contains(lon, lat) / np.maximum(times, 1)).mean(axis=1)
        met = _share(east - west, (self.east - self.west)[runs])
        met *= _share(north - south, (self.north - self.south)[runs])
        return float((self.counts[runs] * met * inside).sum())

    def _met(self, prior: Prior) -> tuple[Int64, Float64, Float64, Float64, Float64]:
        """The runs that meet a box of the prior, and where: west, south, east, north; (M,) each."""
        boxes = np.array([(one.west, one.south, one.east, one.north) for one in prior.boxes()])
        west = np.maximum(self.west[:, None], boxes[:, 0])
        south = np.maximum(self.south[:, None], boxes[:, 1])
        east = np.minimum(self.east[:, None], boxes[:, 2])
        north = np.minimum(self.north[:, None], boxes[:, 3])
        runs, which = np.nonzero((west <= east) & (south <= north))
        at = (runs, which)
        return runs, west[at], south[at], east[at], north[at]


def _share(part: Float64, whole: Float64) -> Float64:
    """Of a length, 0..1; all of one that is none."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 1.0)
