"""Rows of a gallery as runs, and the order in which a search reads them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float16 = NDArray[np.float16]
Int64 = NDArray[np.int64]

_GATHER_BELOW = 32  # a shorter run costs more to visit than to copy


@dataclass(frozen=True)
class RowRuns:
    """Runs of rows, ascending and apart: `starts[i]` up to, not including, `stops[i]`."""

    starts: Int64
    stops: Int64

    @classmethod
    def whole(cls, count: int) -> "RowRuns":
        """All rows of a gallery."""
        return cls(np.array([0], np.int64), np.array([count], np.int64))

    @classmethod
    def of(cls, rows: ArrayLike) -> "RowRuns":
        """From ascending row numbers without repetition."""
        numbers = np.asarray(rows, np.int64)
        breaks = np.flatnonzero(np.diff(numbers) != 1)
        starts = numbers[np.concatenate([[0], breaks + 1])] if len(numbers) else numbers
        stops = numbers[np.concatenate([breaks, [-1]])] + 1 if len(numbers) else numbers
        return cls(starts, stops)

    @property
    def count(self) -> int:
        """How many rows."""
        return int((self.stops - self.starts).sum())

    def rows(self) -> Int64:
        """Every row number, ascending."""
        return _expand(self.starts, self.stops - self.starts)

    def bitmap(self, total: int) -> NDArray[np.uint8]:
        """One bit for each of `total` rows, lowest bit first; whole bytes are set by the run."""
        head_stops = np.minimum(self.stops, (self.starts + 7) // 8 * 8)
        tail_starts = np.maximum(self.stops // 8 * 8, head_stops)
        edges = np.zeros(total // 8 + 2, np.int8)
        whole = tail_starts > head_stops
        edges[head_stops[whole] // 8] += 1
        edges[tail_starts[whole] // 8] -= 1
        bits = np.cumsum(edges, dtype=np.int8).astype(np.uint8) * np.uint8(255)
        for starts, stops in ((self.starts, head_stops), (tail_starts, self.stops)):
            rows = _expand(starts, stops - starts)
            np.bitwise_or.at(bits, rows // 8, np.uint8(1) << (rows % 8).astype(np.uint8))
        return bits[: (total + 7) // 8]


class ReadingOrder:
    """Chosen rows laid out for reading: short runs gathered into blocks, long ones in place.

    A row has a position in this order; :meth:`rows_at` leads back to the row.

    Args:
        vectors: (N, D) fp16.
    """

    def __init__(self, vectors: Float16, runs: RowRuns) -> None:
        lengths = runs.stops - runs.starts
        long = lengths >= _GATHER_BELOW
        order = np.argsort(long, kind="stable")
        self._vectors = vectors
        self._starts, self._lengths = runs.starts[order], lengths[order]
        self._ends = np.cumsum(self._lengths)
        self._short_runs = int((~long).sum())
        self.count = int(self._ends[-1]) if len(lengths) else 0

    def rows_at(self, positions: Int64) -> Int64:
        """Rows at these positions, whatever their shape."""
        run = np.searchsorted(self._ends, positions, side="right")
        return np.asarray(
            self._starts[run] + positions - (self._ends[run] - self._lengths[run]), np.int64
        )

    def blocks(self, rows: int) -> Iterator[tuple[int, Float16]]:
        """(position of the first row, (n, D) contiguous vectors), n at most `rows`."""
        gathered = int(self._ends[self._short_runs - 1]) if self._short_runs else 0
        for start in range(0, gathered, rows):
            positions = np.arange(start, min(start + rows, gathered))
            yield start, self._vectors[self.rows_at(positions)]
        position = gathered
        for start, length in zip(
            self._starts[self._short_runs :].tolist(),
            self._lengths[self._short_runs :].tolist(),
            strict=True,
        ):
            for offset in range(0, length, rows):
                stop = min(offset + rows, length)
                yield position + offset, self._vectors[start + offset : start + stop]
            position += length


def _expand(starts: Int64, lengths: Int64) -> Int64:
    """All numbers of runs, concatenated."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    offsets: Int64 = np.repeat(starts - (ends - lengths), lengths)
    return np.arange(total, dtype=np.int64) + offsets
