"""A box on the map that somebody asks about."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.bounds import meet_in_longitude
from crossfix.errors import InvalidParameter
from crossfix.gallery_manifest import BoundsModel
from crossfix.tile_table import TileTable

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Box:
    """Degrees; `west > east` crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, text: str) -> "Box":
        """From `west,south,east,north`.

        Raises:
            InvalidParameter: not four numbers, or not a box on Earth.
        """
        hint = "give bbox=west,south,east,north in degrees, such as bbox=8.1,50.1,8.2,50.2"
        try:
            west, south, east, north = (float(word) for word in text.split(","))
        except ValueError:
            raise InvalidParameter("bbox: not four numbers", hint=hint) from None
        if not all(math.isfinite(one) for one in (west, south, east, north)):
            raise InvalidParameter("bbox: not finite numbers", hint=hint)
        if not (-90 <= south <= north <= 90 and max(abs(west), abs(east)) <= 180):
            raise InvalidParameter("bbox: not a box on Earth", hint=hint)
        return cls(west, south, east, north)

    def rows(self, tiles: TileTable) -> Int64:
        """Rows of the tiles that reach into the box, ascending."""
        up = (tiles.south <= self.north) & (tiles.north >= self.south)
        return np.flatnonzero(up & meet_in_longitude(self.west, self.east, tiles.west, tiles.east))

    def overlaps(self, bounds: BoundsModel) -> bool:
        """Whether a box of a gallery may reach into this one; errs towards true."""
        if bounds.north < self.south or bounds.south > self.north:
            return False
        return bool(meet_in_longitude(self.west, self.east, bounds.west, bounds.east))


def pick_evenly(found: int, limit: int) -> Int64:
    """Places of at most `limit` of `found` things in a row, spread evenly; (n,), ascending."""
    if found <= limit:
        return np.arange(found)
    return np.linspace(0, found - 1, limit).round().astype(np.int64)
