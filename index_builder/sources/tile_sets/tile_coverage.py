"""Where a tile set has tiles, in bounded memory however many there are."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crossfix.geodesy import from_web_mercator, to_web_mercator
from index_builder.sources.grid.blocks import Boxes
from index_builder.sources.grid.intervals import Intervals, find_seam
from index_builder.sources.grid.tiling import Extent
from index_builder.sources.tile_sets.tile_store import TileNumbers

Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

MAX_CELLS = 1_000_000
_ROW_SHIFT = 32
_COLUMN_MASK = (1 << _ROW_SHIFT) - 1
_NO_COLUMN = np.iinfo(np.int64).min  # -1 is where a box begins a hair west of all columns


class TileCoverage:
    """Which tiles of a level exist; of too many, which of their ancestors have any.

    Longitudes are counted so that the tiles have no seam at the antimeridian.

    Args:
        batches: (n, 2) arrays of x, y; at least one tile.
        zoom: their level.
        max_cells: more are not held; the level of the cells is lowered until they fit.

    Attributes:
        level: of the cells.
    """

    def __init__(
        self, batches: Iterable[TileNumbers], zoom: int, *, max_cells: int = MAX_CELLS
    ) -> None:
        self.level = zoom
        self._zoom = zoom
        self._max_cells = max_cells
        self._cells: Int64 = np.empty(0, np.int64)  # row << 32 | column, sorted
        waiting: list[TileNumbers] = []
        for batch in batches:
            waiting.append(batch)
            if sum(len(one) for one in waiting) >= max_cells // 2:
                self._add(np.concatenate(waiting))
                waiting = []
        if waiting:
            self._add(np.concatenate(waiting))
        self._seam = 0  # column from which on is counted
        columns = np.unique(self._cells & _COLUMN_MASK)
        self._seam = round((find_seam(self._to_degrees(columns)) + 180) / 360 * self._world)
        self._columns: Int64 = np.sort((columns - self._seam) % self._world + self._seam)

    def _add(self, tiles: TileNumbers) -> None:
        tiles = tiles >> (self._zoom - self.level)
        self._cells = np.union1d(self._cells, (tiles[:, 1] << _ROW_SHIFT) | tiles[:, 0])
        while len(self._cells) > self._max_cells and self.level > 0:
            rows, columns = self._cells >> (_ROW_SHIFT + 1), (self._cells & _COLUMN_MASK) >> 1
            self._cells = np.unique((rows << _ROW_SHIFT) | columns)
            self.level -= 1

    @property
    def _world(self) -> int:
        """Cells round the world."""
        return 1 << self.level

    @property
    def extent(self) -> Extent:
        """Degrees, east perhaps beyond 180."""
        lon = self._to_degrees(self._columns)
        rows = (self._cells >> _ROW_SHIFT)[[-1, 0]] + np.array([1, 0])
        south, north = from_web_mercator(0.0, rows / self._world)[1].tolist()
        return Extent(lon[0][0], south, lon[-1][1], north)

    @property
    def latitudes(self) -> Intervals:
        """Ranges of latitude with tiles, from the south."""
        rows = np.unique(self._cells >> _ROW_SHIFT)
        breaks = np.flatnonzero(np.diff(rows) > 1)
        starts, ends = rows[np.append(0, breaks + 1)], rows[np.append(breaks, len(rows) - 1)] + 1
        north, south = (from_web_mercator(0.0, row / self._world)[1] for row in (starts, ends))
        return list(zip(south.tolist(), north.tolist(), strict=True))[::-1]

    def spans(self, south: float, north: float) -> Intervals:
        """Longitudes with tiles between two latitudes."""
        top, bottom = (to_web_mercator(0.0, [north, south])[1] * self._world).tolist()
        return self._to_degrees(self._columns_of(math.floor(top), math.ceil(bottom) - 1))

    def shares(self, boxes: Boxes) -> Float64:
        """Share of each box that lies on cells: (n,) of 0..1, never less than what has pixels."""
        west, north = (edge * self._world for edge in to_web_mercator(boxes.west, boxes.north))
        east, south = (edge * self._world for edge in to_web_mercator(boxes.east, boxes.south))
        covered = np.zeros(len(west))
        for y in range(math.floor(north.min()), math.ceil(south.max())):
            height = np.clip(np.minimum(south, y + 1) - np.maximum(north, y), 0, 1)
            xs = self._columns_of(y, y)
            covered += height * (_length_below(xs, east) - _length_below(xs, west))
        return np.asarray(covered / ((east - west) * (south - north)), np.float64)

    def _columns_of(self, first_row: int, last_row: int) -> Int64:
        """Columns with cells in these rows, ascending from the seam."""
        edges = [max(first_row, 0) << _ROW_SHIFT, max(last_row + 1, 0) << _ROW_SHIFT]
        start, end = np.searchsorted(self._cells, edges)
        columns = self._cells[start:end] & _COLUMN_MASK
        return np.unique((columns - self._seam) % self._world + self._seam)

    def _to_degrees(self, columns: Int64) -> Intervals:
        """Runs of ascending columns as longitudes."""
        if not len(columns):
            return []
        breaks = np.flatnonzero(np.diff(columns) > 1)
        starts = columns[np.append(0, breaks + 1)]
        ends = columns[np.append(breaks, len(columns) - 1)] + 1
        west, east = (edge / self._world * 360 - 180 for edge in (starts, ends))
        return list(zip(west.tolist(), east.tolist(), strict=True))


def _length_below(columns: Int64, limit: Float64) -> Float64:
    """How much of the unit cells at these columns lies west of each limit."""
    whole = np.floor(limit)
    index = np.searchsorted(columns, whole)
    found = np.append(columns, _NO_COLUMN)[index] == whole
    return np.asarray(index + found * (limit - whole), np.float64)
