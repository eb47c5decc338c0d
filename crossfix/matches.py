"""Which gallery items are right for each query: ragged lists held as two flat arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Matches:
    """For each of Q rows a list of column indices (compressed sparse rows).

    Attributes:
        starts: (Q + 1,) where each row's list begins in `columns`; the last one is its length.
        columns: (M,) indices, ascending and without repetition inside a row.
    """

    starts: Int64
    columns: Int64

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int] | Int64]) -> "Matches":
        """Sorts each list and drops repetitions."""
        rows = [np.unique(np.asarray(row, np.int64)) for row in lists]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        columns = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        return cls(starts, columns.astype(np.int64))

    @classmethod
    def from_pairs(cls, rows: ArrayLike, columns: ArrayLike, *, count: int) -> "Matches":
        """From (row, column) pairs in any order; `count` is the number of rows."""
        pairs = np.stack([np.asarray(rows, np.int64), np.asarray(columns, np.int64)], axis=1)
        pairs = np.unique(pairs.reshape(-1, 2), axis=0)
        starts = np.searchsorted(pairs[:, 0], np.arange(count + 1)).astype(np.int64)
        return cls(starts, pairs[:, 1].copy())

    @classmethod
    def one_each(cls, columns: ArrayLike) -> "Matches":
        """Row i holds the single index ``columns[i]``."""
        values = np.asarray(columns, np.int64)
        return cls(np.arange(len(values) + 1, dtype=np.int64), values)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, row: int) -> Int64:
        """The list of one row."""
        return self.columns[self.starts[row] : self.starts[row + 1]]

    def rows(self) -> Int64:
        """(M,) the row that each entry of `columns` belongs to."""
        return np.repeat(np.arange(len(self)), self.counts())

    def select(self, chosen: ArrayLike) -> "Matches":
        """The lists of some rows, in the given order, repetitions allowed."""
        chosen = np.asarray(chosen, np.int64)
        lengths = self.counts()[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        inside = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        return Matches(starts, self.columns[np.repeat(self.starts[chosen], lengths) + inside])

    def counts(self) -> Int64:
        """(Q,) lengths of the lists."""
        return np.diff(self.starts)
