"""Which of a gallery's tiles lie in a Web-Mercator square: sorted quadtree numbers, no scan.

A map tile of zoom z is one cell of the Web-Mercator quadtree, hence one run of the rows sorted by
their cell number. Tiles whose centre lies outside but whose box reaches in are in the eight cells
around it, as long as a cell is no smaller than a tile.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.geodesy import TileId, morton_code, to_web_mercator
from crossfix.tile_table import TileTable

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

_DEEPEST = 32  # bits of a cell number along one axis
_CHUNK = 1 << 20


@dataclass(frozen=True)
class SizeClass:
    """The gallery's tiles of about one size, ordered by their cell of the quadtree.

    Attributes:
        size_m: their middle side on the ground.
        share: their widest side as a share of the world's width.
        codes: (N,) cell numbers, ascending.
        rows: (N,) gallery rows, in the order of `codes`.
    """

    size_m: float
    share: float
    codes: UInt64
    rows: NDArray[np.uint32]

    def runs(self, zoom: int, x: Int64, y: Int64) -> tuple[Int64, Int64]:
        """Where the rows of cells begin and end in `rows`; cells (C,) of one zoom up to 32."""
        shift = np.uint64(2 * (_DEEPEST - zoom))
        side = 360.0 / 2**zoom
        # The number of a cell is that of its middle, without the bits below its zoom.
        middle = morton_code((x + 0.5) * side - 180.0, ((y + 0.5) * side - 180.0) / 2)
        first = (middle >> shift) << shift
        last = first | np.uint64((1 << int(shift)) - 1)
        return (
            np.searchsorted(self.codes, first, "left").astype(np.int64),
            np.searchsorted(self.codes, last, "right").astype(np.int64),
        )

    def near(self, tile: TileId, *, limit: int) -> Int64 | None:
        """Rows whose box may touch a map tile, or None when they are more than `limit`."""
        zoom = min(tile.zoom, max(0, math.floor(-math.log2(self.share))))
        x, y = tile.x >> (tile.zoom - zoom), tile.y >> (tile.zoom - zoom)
        count = 2**zoom
        around = {
            ((x + dx) % count, y + dy)
            for dx in (-1, 0, 1)
            for dy in (-1, 0, 1)
            if 0 <= y + dy < count
        }
        cells = np.array(sorted(around), np.int64)
        starts, stops = self.runs(zoom, cells[:, 0], cells[:, 1])
        if int((stops - starts).sum()) > limit:
            return None
        parts = [self.rows[start:stop] for start, stop in zip(starts, stops, strict=True)]
        return np.concatenate(parts).astype(np.int64)


class MapIndex:
    """A gallery's tiles by place and size; made once for each version, holds no picture.

    Attributes:
        classes: by size, smallest first; sizes less than a factor of the square root of 2 apart
            are one class.
    """

    def __init__(self, tiles: TileTable) -> None:
        codes = np.empty(len(tiles), np.uint64)
        for start in range(0, len(tiles), _CHUNK):  # the temporaries are ten times as large
            part = slice(start, start + _CHUNK)
            x, y = to_web_mercator(tiles.lon[part], np.clip(tiles.lat[part], -89.9, 89.9))
            codes[part] = morton_code(x * 360 - 180, y * 180 - 90)
        kinds = np.round(np.log2(tiles.size_m)).astype(np.int16)
        self.classes = [_size_class(tiles, codes, kinds == kind) for kind in np.unique(kinds)]


def _size_class(tiles: TileTable, codes: UInt64, chosen: NDArray[np.bool_]) -> SizeClass:
    rows = np.flatnonzero(chosen).astype(np.uint32)
    order = np.argsort(codes[rows], kind="stable")
    rows = rows[order]
    left, top, right, bottom = world_boxes(tiles, rows.astype(np.int64))
    return SizeClass(
        size_m=float(np.median(tiles.size_m[rows])),
        share=max(float((right - left).max()), float((bottom - top).max()), 2.0**-_DEEPEST),
        codes=codes[rows],
        rows=rows,
    )


def world_boxes(tiles: TileTable, rows: Int64) -> tuple[Float64, Float64, Float64, Float64]:
    """Left, top, right and bottom edges of tiles as shares of the Web-Mercator world.

    A tile across the antimeridian has its right edge beyond 1.
    """
    left, top = to_web_mercator(tiles.west[rows], np.clip(tiles.north[rows], -89.9, 89.9))
    wide = (tiles.east[rows] - tiles.west[rows]) % 360 / 360
    _, bottom = to_web_mercator(tiles.east[rows], np.clip(tiles.south[rows], -89.9, 89.9))
    return left, top, left + wide, bottom
