"""Where a gallery's tiles are, as few rectangles: a GeoJSON MultiPolygon for maps.

Tiles become cells of a fine grid, cells become rectangles: runs along a row, equal runs of
neighbouring rows together. Too many rectangles: again on a coarser grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.tile_table import TileTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

RECTANGLES_AT_MOST = 300
_CELLS_AT_MOST = 250_000
_BITMAP_AT_MOST = 1 << 24
_CELLS_PER_SIDE = 2.0  # of a usual tile, where there are few
_LONGITUDE_BINS = 3600
_DECIMALS = 7  # a centimetre


def cover(tiles: TileTable, *, at_most: int = RECTANGLES_AT_MOST) -> dict[str, Any]:
    """A GeoJSON MultiPolygon (RFC 7946) over the tiles; its rectangles do not overlap.

    Every tile's centre lies inside. At the antimeridian rectangles are cut in two. Where tiles
    leave small gaps, or lie scattered in more places than there are rectangles, it is too large.

    Args:
        at_most: so many rectangles, those cut in two counted once.
    """
    boxes = _Boxes.of(tiles)
    grid = _Grid.over(boxes)
    fine = grid.cells_of(boxes)
    step = 1
    rectangles = _rectangles(fine, step)
    while len(rectangles) > at_most:
        # Scattered cells become fewer with the square of the step, outlines more slowly.
        step = max(step + 1, int(step * (len(rectangles) / at_most) ** 0.5))
        rectangles = _rectangles(fine, step)
    polygons = [ring for one in grid.to_degrees(rectangles) for ring in _rings(*one)]
    return {"type": "MultiPolygon", "coordinates": [[ring] for ring in polygons]}


def unite(coverages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several coverages as one whose rectangles do not overlap.

    Where that would take far more rectangles than they have together, they stay as they are.
    """
    rings = [polygon[0] for one in coverages for polygon in one["coordinates"]]
    corners = np.array([[*ring[0], *ring[2]] for ring in rings], np.float64)
    lon, x = np.unique(corners[:, [0, 2]], return_inverse=True)
    lat, y = np.unique(corners[:, [1, 3]], return_inverse=True)
    taken = np.zeros((len(lat), len(lon)), bool)
    for (left, right), (low, high) in zip(x.reshape(-1, 2), y.reshape(-1, 2), strict=True):
        taken[low:high, left:right] = True
    up, across = np.nonzero(taken)
    united = _rectangles(np.stack([across, up]).astype(np.int64), 1)
    if len(united) > 2 * max(len(rings), RECTANGLES_AT_MOST):
        return {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    boxes = np.stack(
        [lon[united[:, 0]], lat[united[:, 1]], lon[united[:, 2]], lat[united[:, 3]]], axis=1
    )
    return {"type": "MultiPolygon", "coordinates": [[_ring(*box)] for box in boxes.tolist()]}


@dataclass(frozen=True)
class _Boxes:
    """Tiles in degrees east of a meridian that no tile's centre is near, (N,) each."""

    west: Float64
    east: Float64
    south: Float64
    north: Float64
    lon: Float64
    lat: Float64

    @classmethod
    def of(cls, tiles: TileTable) -> "_Boxes":
        start = _empty_meridian(tiles.lon)
        west = start + (tiles.west - start) % 360
        return cls(
            west=west,
            east=west + (tiles.east - tiles.west) % 360,
            south=tiles.south,
            north=tiles.north,
            lon=west + (tiles.lon - tiles.west) % 360,
            lat=tiles.lat,
        )


def _empty_meridian(lon: Float64) -> float:
    """The middle of the widest gap between centres, degrees; -180 where there is none."""
    bins = np.zeros(_LONGITUDE_BINS, bool)
    bins[((lon + 180) % 360 / 360 * _LONGITUDE_BINS).astype(np.int64) % _LONGITUDE_BINS] = True
    taken = np.flatnonzero(bins)
    gaps = np.diff(np.append(taken, taken[0] + _LONGITUDE_BINS))
    widest = int(np.argmax(gaps))
    if gaps[widest] <= 1:
        return -180.0
    middle = taken[widest] + 1 + (gaps[widest] - 1) / 2
    return float(middle / _LONGITUDE_BINS * 360 - 180)


@dataclass(frozen=True)
class _Grid:
    """Cells in degrees; cell (0, 0) has its south-west corner at the origin."""

    west: float
    south: float
    width: float
    height: float

    @classmethod
    def over(cls, boxes: _Boxes) -> "_Grid":
        """Cells of half a usual tile; larger ones for many tiles, or for some very large ones."""
        widths, heights = boxes.east - boxes.west, boxes.north - boxes.south
        width = max(float(np.median(widths)), 1e-6) / _CELLS_PER_SIDE
        height = max(float(np.median(heights)), 1e-6) / _CELLS_PER_SIDE
        while float((widths / width * (heights / height)).sum()) > _CELLS_AT_MOST:
            width, height = width * 1.25, height * 1.25
        return cls(float(boxes.west.min()), float(boxes.south.min()), width, height)

    def cells_of(self, boxes: _Boxes) -> Int64:
        """(2, n) x and y of the cells whose middle a tile covers or that hold its centre.

        Distinct; by y, then x.
        """
        first_x, across = _span(boxes.west - self.west, boxes.east - self.west, self.width)
        first_y, up = _span(boxes.south - self.south, boxes.north - self.south, self.height)
        counts = across * up
        ends = np.cumsum(counts)
        tile = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(ends[-1]) - (ends - counts)[tile]
        centre_x = ((boxes.lon - self.west) / self.width).astype(np.int64)
        centre_y = ((boxes.lat - self.south) / self.height).astype(np.int64)
        return _distinct(
            np.concatenate([first_x[tile] + nth % across[tile], centre_x]),
            np.concatenate([first_y[tile] + nth // across[tile], centre_y]),
        )

    def to_degrees(self, rectangles: Int64) -> Float64:
        """(R, 4) west, south, east, north of rectangles given in cells."""
        origin = np.array([self.west, self.south, self.west, self.south])
        return np.asarray(origin + rectangles * np.array([self.width, self.height] * 2), np.float64)


def _span(start: Float64, end: Float64, side: float) -> tuple[Int64, Int64]:
    """First cell whose middle lies in the box, and how many do, along one axis."""
    first = np.ceil(start / side - 0.5).astype(np.int64)
    last = np.floor(end / side - 0.5).astype(np.int64)
    return first, np.maximum(last - first + 1, 0)


def _distinct(x: Int64, y: Int64) -> Int64:
    wide, high = int(x.max()) + 1, int(y.max()) + 1
    if wide * high <= _BITMAP_AT_MOST:
        taken = np.zeros(wide * high, bool)
        taken[y * wide + x] = True
        keys = np.flatnonzero(taken)
    else:
        keys = np.unique(y * wide + x)
    return np.stack([keys % wide, keys // wide])


def _rectangles(fine: Int64, step: int) -> Int64:
    """(R, 4) x, y of the first corner and of the last plus one, around cells grouped by `step`."""
    x, y = fine
    if step == 1:
        runs = _runs(x, y, np.stack([x, y, x + 1, y + 1], axis=1))
    else:
        coarse_x, coarse_y = x // step, y // step
        order = np.lexsort((coarse_x, coarse_y))
        runs = _runs(
            coarse_x[order], coarse_y[order], np.stack([x, y, x + 1, y + 1], axis=1)[order]
        )
    return _stack(*runs)


def _runs(x: Int64, y: Int64, boxes: Int64) -> tuple[Int64, Int64]:
    """Cells of neighbouring x in one row, joined: (their row, box around them); sorted by y, x."""
    new = np.ones(len(x), bool)
    new[1:] = (y[1:] != y[:-1]) | (x[1:] > x[:-1] + 1)
    return _joined(y, boxes, np.flatnonzero(new))


def _joined(rows: Int64, boxes: Int64, starts: Int64) -> tuple[Int64, Int64]:
    low = np.minimum.reduceat(boxes[:, :2], starts, axis=0)
    high = np.maximum.reduceat(boxes[:, 2:], starts, axis=0)
    return rows[starts], np.concatenate([low, high], axis=1)


def _stack(rows: Int64, boxes: Int64) -> Int64:
    """Runs from the same to the same x in neighbouring rows, joined."""
    order = np.lexsort((rows, boxes[:, 2], boxes[:, 0]))
    rows, boxes = rows[order], boxes[order]
    new = np.ones(len(rows), bool)
    new[1:] = (boxes[1:, 0] != boxes[:-1, 0]) | (boxes[1:, 2] != boxes[:-1, 2])
    new[1:] |= rows[1:] != rows[:-1] + 1
    return _joined(rows, boxes, np.flatnonzero(new))[1]


def _rings(west: float, south: float, east: float, north: float) -> list[list[list[float]]]:
    """Counter-clockwise closed rings of a box, -180 to 180 degrees; two at the antimeridian."""
    if east - west >= 360:
        return [_ring(-180, south, 180, north)]
    turns = np.floor((west + 180) / 360) * 360
    west, east = west - turns, east - turns
    if east <= 180:
        return [_ring(west, south, east, north)]
    return [_ring(west, south, 180, north), _ring(-180, south, east - 360, north)]


def _ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return [[round(float(lon), _DECIMALS), round(float(lat), _DECIMALS)] for lon, lat in corners]
