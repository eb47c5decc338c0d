"""From a geographic prior to row runs, over rows in Morton order.

Quadtree cells are Morton code ranges, hence row ranges. The descent starts with a few cells about
as large as the prior, splits only those that the prior's edge passes and that hold rows, and ends
by asking the prior about the few rows left. The cost grows with what the prior holds.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossfix.geodesy import Bounds, morton_code
from crossfix.index_rows import RowRuns
from crossfix.prior import Prior
from crossfix.prior_polygon import Cells

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]

_MAX_CELLS = 4096  # the frontier stays below; what is left is asked row by row
_FEW_ROWS = 64  # asking so many rows costs less than four more cells
_DEEPEST = 32
_CODE_CHUNK = 1 << 20


class MortonRows:
    """Places of a gallery's rows, made for priors.

    Args:
        lon, lat: (N,) degrees of rows in Morton order. Rows in another order (galleries made by
            hand) are all asked one by one.
    """

    def __init__(self, lon: Float64, lat: Float64) -> None:
        self._lon, self._lat = lon, lat
        self._codes = np.empty(len(lon), np.uint64)
        for start in range(0, len(lon), _CODE_CHUNK):  # the temporaries are ten times as large
            part = slice(start, start + _CODE_CHUNK)
            self._codes[part] = morton_code(lon[part], lat[part])
        self._in_order = bool((self._codes[1:] >= self._codes[:-1]).all())

    def inside(self, prior: Prior) -> RowRuns:
        """The rows whose place lies inside the prior."""
        if not self._in_order:
            return RowRuns.of(np.flatnonzero(prior.contains(self._lon, self._lat)))
        level, x, y = _first_cells(prior.boxes())
        sure: list[tuple[Int64, Int64]] = []
        while True:
            cells = _cells(level, x, y)
            starts, stops = self._rows_of(level, cells)
            inside, outside = prior.classify(cells)
            sure.append((starts[inside], stops[inside]))
            unsure = ~inside & ~outside & (stops > starts)
            few = (stops - starts <= _FEW_ROWS) | (level == _DEEPEST)
            if 4 * np.count_nonzero(unsure & ~few) > _MAX_CELLS:
                few = np.ones_like(few)
            sure.append(self._ask(prior, starts[unsure & few], stops[unsure & few]))
            split = unsure & ~few
            if not split.any():
                return _joined(sure)
            level, x, y = level + 1, *_quarters(x[split], y[split])

    def _rows_of(self, level: int, cells: Cells) -> tuple[Int64, Int64]:
        low_bits = np.uint64((1 << 2 * (_DEEPEST - level)) - 1)
        middle = morton_code((cells.west + cells.east) / 2, (cells.south + cells.north) / 2)
        return (
            np.searchsorted(self._codes, middle & ~low_bits, "left").astype(np.int64),
            np.searchsorted(self._codes, middle | low_bits, "right").astype(np.int64),
        )

    def _ask(self, prior: Prior, starts: Int64, stops: Int64) -> tuple[Int64, Int64]:
        order = np.argsort(starts)
        rows = RowRuns(starts[order], stops[order]).rows()
        runs = RowRuns.of(rows[prior.contains(self._lon[rows], self._lat[rows])])
        return runs.starts, runs.stops


def _first_cells(boxes: Sequence[Bounds]) -> tuple[int, UInt64, UInt64]:
    """(level, x, y): few cells that cover the boxes."""
    widest = max(max(box.east - box.west, 2 * (box.north - box.south)) for box in boxes)
    level = min(int(math.log2(360 / max(widest, 1e-7))) + 1, _DEEPEST)
    while True:
        x, y = _cells_over(boxes, level)
        if len(x) <= _MAX_CELLS // 16 or level == 0:
            return level, x, y
        level -= 1


def _cells_over(boxes: Sequence[Bounds], level: int) -> tuple[UInt64, UInt64]:
    numbers = []
    for box in boxes:
        x = _numbers(box.west + 180, box.east + 180, 360, level)
        y = _numbers(box.south + 90, box.north + 90, 180, level)
        across, up = np.meshgrid(x, y)
        numbers.append((up.ravel() << np.uint64(_DEEPEST)) | across.ravel())
    unique = np.unique(np.concatenate(numbers))
    return unique & np.uint64((1 << _DEEPEST) - 1), unique >> np.uint64(_DEEPEST)


def _numbers(low: float, high: float, span: float, level: int) -> UInt64:
    """Cells along one axis, a hair more than asked: codes may be rounded over an edge."""
    count = 1 << level
    first = max(int((low - 1e-9) / span * count), 0)
    last = min(int((high + 1e-9) / span * count), count - 1)
    return np.arange(min(first, last), last + 1, dtype=np.uint64)


def _quarters(x: UInt64, y: UInt64) -> tuple[UInt64, UInt64]:
    one, two = np.uint64(1), np.uint64(2)
    return (
        np.concatenate([x * two, x * two + one, x * two, x * two + one]),
        np.concatenate([y * two, y * two, y * two + one, y * two + one]),
    )


def _cells(level: int, x: UInt64, y: UInt64) -> Cells:
    wide, high = 360.0 / (1 << level), 180.0 / (1 << level)
    west = np.asarray(x * wide - 180.0, np.float64)
    south = np.asarray(y * high - 90.0, np.float64)
    return Cells(west, south, west + wide, south + high)


def _joined(parts: Sequence[tuple[Int64, Int64]]) -> RowRuns:
    """Runs of many parts in order, neighbours made one."""
    starts = np.concatenate([part[0] for part in parts])
    stops = np.concatenate([part[1] for part in parts])
    some = np.flatnonzero(stops > starts)
    order = some[np.argsort(starts[some])]
    starts, stops = starts[order], stops[order]
    apart = starts[1:] != stops[:-1]
    return RowRuns(
        starts[np.concatenate([[True], apart])] if len(starts) else starts,
        stops[np.concatenate([apart, [True]])] if len(stops) else stops,
    )
