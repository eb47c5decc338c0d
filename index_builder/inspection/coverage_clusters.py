"""Places far apart told apart, so that each can be drawn at a scale of its own."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index_builder.inspection.ground_cover import Boxes

Int64 = NDArray[np.int64]

FAR = 12.0  # one map shows several places unless it is this many times wider than the largest
_CELLS = 48  # of a grid over the tiles; places are apart where a cell between them is empty
_MOST_CELLS_DEEP = 8


@dataclass(frozen=True, eq=False)
class Cluster:
    """Tiles near each other: rows, and the box round them in degrees."""

    rows: Int64
    west: float
    south: float
    east: float
    north: float

    @classmethod
    def of(cls, boxes: Boxes, rows: Int64) -> "Cluster":
        """Of some tiles."""
        some = boxes.select(rows)
        return cls(
            rows,
            float(some.west.min()),
            float(some.south.min()),
            float(some.east.max()),
            float(some.north.max()),
        )

    @property
    def side(self) -> float:
        """The longer one, degrees."""
        return max(self.east - self.west, self.north - self.south)


def find_clusters(boxes: Boxes, *, most: int) -> list[Cluster]:
    """Places that need a map of their own, those of most tiles first.

    Returns:
        one cluster of everything where one map shows it all, or where there are more places than
        `most`.
    """
    everything = Cluster.of(boxes, np.arange(len(boxes)))
    found = _split(boxes, everything, most, _MOST_CELLS_DEEP)
    if found is None or len(found) > most:
        return [everything]
    return sorted(found, key=lambda one: -len(one.rows))


def _split(boxes: Boxes, whole: Cluster, most: int, depth: int) -> list[Cluster] | None:
    """None for too many."""
    parts = _parts(boxes, whole)
    if len(parts) > 4 * most:  # scattered tiles, not a few places
        return None if whole.side > FAR * max(part.side for part in parts) else [whole]
    if len(parts) == 1 or not depth or whole.side < FAR * max(part.side for part in parts):
        return [whole]
    found: list[Cluster] = []
    for part in parts:
        inner = _split(boxes, part, most, depth - 1)
        if inner is None:
            return None
        found += inner
    return found


def _parts(boxes: Boxes, whole: Cluster) -> list[Cluster]:
    """Tiles in cells that touch each other, be it at a corner."""
    some = boxes.select(whole.rows)
    tile = float(np.median(some.north - some.south))
    cell = max(whole.side / _CELLS, 2 * tile, 1e-9)  # tiles that touch are never apart
    column = np.floor(((some.west + some.east) / 2 - whole.west) / cell).astype(np.int64)
    row = np.floor(((some.south + some.north) / 2 - whole.south) / cell).astype(np.int64)
    occupied, cell_of = np.unique(row * (_CELLS + 2) + column, return_inverse=True)
    labels = _connect([divmod(int(code), _CELLS + 2) for code in occupied])
    label_of = np.array(labels)[cell_of.ravel()]
    return [Cluster.of(boxes, whole.rows[label_of == label]) for label in sorted(set(labels))]


def _connect(cells: list[tuple[int, int]]) -> list[int]:
    """A number for each cell, the same for all that are connected (flood fill)."""
    waiting = {cell: number for number, cell in enumerate(cells)}
    labels = [0] * len(cells)
    label = 0
    while waiting:
        cell, number = waiting.popitem()
        border = [(cell, number)]
        while border:
            (row, column), number = border.pop()
            labels[number] = label
            for near in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
                if near in waiting:
                    border.append((near, waiting.pop(near)))
        label += 1
    return labels
