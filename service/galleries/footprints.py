"""Tiles of the live gallery in a box, as GeoJSON for people who look at maps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import InvalidParameter
from crossfix.tile_table import TileTable
from service.galleries.addresses import picture_url
from service.galleries.outlines import box_outline
from service.galleries.snapshot import Snapshot

Int64 = NDArray[np.int64]
MOST_FOOTPRINTS = 5000


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
        wide = (self.east - self.west) % 360 if (self.west, self.east) != (-180, 180) else 360.0
        # Both boxes are arcs: they meet where one begins inside the other.
        begins_here = (tiles.west - self.west) % 360 <= wide
        reaches_here = (self.west - tiles.west) % 360 <= (tiles.east - tiles.west) % 360
        return np.flatnonzero(up & (begins_here | reaches_here))


def footprints(
    snapshot: Snapshot, box: Box | None, *, limit: int, root_path: str
) -> dict[str, Any]:
    """A FeatureCollection of the tiles in a box.

    Args:
        box: None for the whole gallery.
        limit: more than that are thinned out evenly; `left_off` says how many.
        root_path: the prefix a proxy serves us under.
    """
    tiles = snapshot.gallery.tiles
    rows = np.arange(len(tiles)) if box is None else box.rows(tiles)
    found = len(rows)
    if found > limit:
        # Rows follow the Morton curve, so every n-th is spread evenly over the ground.
        rows = rows[np.linspace(0, found - 1, limit).round().astype(np.int64)]
    return {
        "type": "FeatureCollection",
        "features": [_feature(snapshot, int(row), root_path) for row in rows],
        "gallery_version": snapshot.version,
        "tiles_in_box": found,
        "left_off": found - len(rows),
    }


def _feature(snapshot: Snapshot, row: int, root_path: str) -> dict[str, Any]:
    tiles = snapshot.gallery.tiles
    tile_id = tiles.ids[row]
    west, south = float(tiles.west[row]), float(tiles.south[row])
    east, north = float(tiles.east[row]), float(tiles.north[row])
    return {
        "type": "Feature",
        "id": tile_id,
        "geometry": box_outline(west=west, south=south, east=east, north=north),
        "properties": {
            "tile_id": tile_id,
            "lat": float(tiles.lat[row]),
            "lon": float(tiles.lon[row]),
            "size_m": float(tiles.size_m[row]),
            "date": tiles.date[row],
            "attribution": tiles.attribution[row],
            "licence": tiles.licence[row],
            "picture_url": picture_url(tile_id, snapshot.version, root_path),
        },
    }
