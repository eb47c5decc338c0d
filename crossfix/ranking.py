"""Ranks of many queries in a large gallery, holding a few rows of scores at a time.

A chunk of queries is one matrix product into a buffer that is used again and again. Positives
are read from that same product: a dot product computed apart may differ in its last bit and
break a tie. The plain definitions these results are tested against are in `crossfix.metrics`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossfix.matches import Matches
from crossfix.metrics import average_precision_of_hits

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

Ties = Literal["against", "for"]

BUFFER_BYTES = 256 * 2**20  # a matrix product of fewer rows is slower, of more is not faster
PEAK_COLUMNS = 256  # columns that share one maximum in the search for the top


class BrokenEmbeddings(ValueError):
    """Embeddings that have no rank: not finite, or too long for finite scores."""


@dataclass(frozen=True)
class Ranking:
    """What each of Q queries found among N gallery items.

    Attributes:
        ranks: (Q,) zero-based rank of the best positive; N where a query has none.
        ranks_without_semi: the same with the semi-positives taken out of the gallery; None where
            there are none to take out.
        average_precision: (Q,) 0..1; 0 where a query has no positive.
        best_positive: (Q,) the positive of the highest score, -1 where there is none.
        best_positive_score: (Q,) its score, -inf where there is none.
        top_indices: (Q, T) the best items, best first; of equals the lower index first.
        top_scores: (Q, T) their scores.
    """

    ranks: Int64
    ranks_without_semi: Int64 | None
    average_precision: Float64
    best_positive: Int64
    best_positive_score: Float32
    top_indices: Int64
    top_scores: Float32


def rank_queries(
    queries: Float32, gallery: Float32, positives: Matches, *,
    semi_positives: Matches | None = None, top: int = 5, ties: Ties = "against",
    chunk: int | None = None, threads: int | None = None,
) -> Ranking:  # fmt: skip
    """Ranks every query's positives by dot product, higher first.

    Args:
        queries: (Q, D) embeddings.
        gallery: (N, D) embeddings, N > 0.
        positives: Q rows of gallery indices.
        semi_positives: Q rows; where an item is both, it counts as positive.
        top: how many of the best items are kept; at most N are.
        ties: `against`: items scored like a positive rank before it, so that a collapsed encoder
            gets nothing; `for`: behind it, as Sample4Geo's evaluation has it.
        chunk: queries at a time; by default as many as fill `BUFFER_BYTES`.
        threads: that count; by default one per core.

    Raises:
        ValueError: sizes that do not fit.
        BrokenEmbeddings: they are not finite (or so long that their scores would not be).
    """
    queries, gallery = _checked(queries, "query"), _checked(gallery, "gallery")
    _check_sizes(queries, gallery, positives, semi_positives)
    chunk = chunk or max(1, BUFFER_BYTES // (4 * len(gallery)))
    buffer = np.empty((min(chunk, len(queries)), len(gallery)), np.float32)
    parts = [_nothing(min(top, len(gallery)), semi=semi_positives is not None)]
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for start in range(0, len(queries), chunk):
            some = queries[start : start + chunk]
            scores = np.matmul(some, gallery.T, out=buffer[: len(some)])
            listed = _Listed.of(positives, start, scores)
            semi = _Listed.of(semi_positives, start, scores) if semi_positives is not None else None
            parts.append(_rank_chunk(scores, listed, semi, top=top, ties=ties, pool=pool))
    return _joined(parts)


def _checked(embeddings: Float32, what: str) -> Float32:
    """The embeddings as float32, once every row has a finite squared length.

    By Cauchy and Schwarz no score is then larger than the largest float32.
    """
    values = np.ascontiguousarray(embeddings, np.float32)
    if values.ndim != 2:
        raise ValueError(f"{what} embeddings have the shape {values.shape}, not (rows, D)")
    with np.errstate(over="ignore", invalid="ignore"):
        broken = np.flatnonzero(~np.isfinite(np.einsum("ij,ij->i", values, values)))
    if len(broken):
        raise BrokenEmbeddings(
            f"{len(broken)} of {len(values)} {what} embeddings hold NaN, infinity or numbers "
            f"beyond use, the first in row {broken[0]}; a broken model has no rank"
        )
    return values


def _check_sizes(
    queries: Float32, gallery: Float32, positives: Matches, semi_positives: Matches | None
) -> None:
    if not len(gallery) or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {queries.shape} cannot be ranked in a gallery {gallery.shape}")
    for matches in (positives, semi_positives):
        if matches is None:
            continue
        columns = matches.columns
        if len(matches) != len(queries) or (
            len(columns) and not 0 <= columns.min() <= columns.max() < len(gallery)
        ):
            raise ValueError(
                f"matches of {len(matches)} queries do not fit {len(queries)} queries and "
                f"{len(gallery)} gallery items"
            )


@dataclass(frozen=True)
class _Listed:
    """The (row, column) pairs of a chunk's matches, by row, and their scores; (M,) each."""

    row: Int64
    column: Int64
    score: Float32

    @classmethod
    def of(cls, matches: Matches, first: int, scores: Float32) -> "_Listed":
        part = matches.select(np.arange(first, first + len(scores)))
        row, column = part.rows(), part.columns
        return cls(row, column, scores[row, column])

    def without(self, other: "_Listed", columns: int) -> "_Listed":
        """The pairs that are not among the other's."""
        kept = ~np.isin(self.row * columns + self.column, other.row * columns + other.column)
        return _Listed(self.row[kept], self.column[kept], self.score[kept])

    def best(self, rows: int) -> tuple[Int64, Float32]:
        """Each row's column of the highest score and that score; -1 and -inf for an empty row."""
        order = np.lexsort((self.column, -self.score, self.row))
        found, first = np.unique(self.row[order], return_index=True)
        column, score = np.full(rows, -1, np.int64), np.full(rows, -np.inf, np.float32)
        column[found], score[found] = self.column[order[first]], self.score[order[first]]
        return column, score

    def count_before(self, limit: Float32, before: np.ufunc) -> Int64:
        """How many of each row rank before its limit, (rows,)."""
        chosen = before(self.score, limit[self.row])
        return np.bincount(self.row[chosen], minlength=len(limit))


@dataclass
class _Scan:
    """One pass over rows of scores, spread over threads; numpy lets go of the GIL meanwhile.

    Attributes:
        above: (rows,) filled in: how many items rank before the row's limit.
        top: (rows, T) filled in: the best items.
    """

    scores: Float32
    limit: Float32
    before: np.ufunc
    count: int
    above: Int64 = field(init=False)
    top: Int64 = field(init=False)

    def __post_init__(self) -> None:
        rows, columns = self.scores.shape
        # No more columns to a peak than leave `count` peaks: that many items reach the lowest.
        self.peaks = np.arange(0, columns, min(PEAK_COLUMNS, columns // max(self.count, 1)))
        self.above, self.top = np.empty(rows, np.int64), np.empty((rows, self.count), np.int64)

    def run(self, pool: Executor) -> None:
        list(pool.map(self._some, _spans(len(self.scores))))

    def _some(self, rows: range) -> None:
        # Row by row: a row stays in the cache between the passes over it.
        for i in rows:
            self.above[i] = np.count_nonzero(self.before(self.scores[i], self.limit[i]))
            if self.count:
                self.top[i] = self._best_of(self.scores[i])

    def _best_of(self, row: Float32) -> Int64:
        highest = np.maximum.reduceat(row, self.peaks)
        lowest = np.partition(highest, -self.count)[-self.count]
        near = np.flatnonzero(row >= lowest)
        return near[np.argsort(-row[near], kind="stable")[: self.count]]


def _spans(rows: int, size: int = 16) -> Iterator[range]:
    return (range(start, min(start + size, rows)) for start in range(0, rows, size))


def _rank_chunk(
    scores: Float32, positives: _Listed, semi: _Listed | None, *, top: int, ties: Ties,
    pool: Executor,
) -> Ranking:  # fmt: skip
    before = np.greater_equal if ties == "against" else np.greater
    rows, columns = scores.shape
    best, limit = positives.best(rows)
    scan = _Scan(scores, limit, before, min(top, columns))
    scan.run(pool)
    missed = best < 0
    ranks = scan.above - positives.count_before(limit, before)
    without = None
    if semi is not None:
        passed = semi.without(positives, columns).count_before(limit, before)
        without = np.where(missed, columns, ranks - passed)
    ranks = np.where(missed, columns, ranks)
    return Ranking(
        ranks=ranks,
        ranks_without_semi=without,
        average_precision=_average_precisions(scores, positives, ranks, ties, pool),
        best_positive=best,
        best_positive_score=limit,
        top_indices=scan.top,
        top_scores=np.take_along_axis(scores, scan.top, axis=1),
    )


def _average_precisions(
    scores: Float32, positives: _Listed, ranks: Int64, ties: Ties, pool: Executor
) -> Float64:
    """One positive needs only its rank; several need the negatives before each of them."""
    count = np.bincount(positives.row, minlength=len(scores))
    found: Float64 = np.where(ranks > 0, 0.5 / (ranks + 1), 1.0) * (count == 1)
    starts = np.concatenate([[0], np.cumsum(count)])

    def precision(row: np.int64) -> float:
        own = positives.score[starts[row] : starts[row + 1]]
        return average_precision_of_hits(_hits(scores[row], own, ties))

    several = np.flatnonzero(count > 1)
    found[several] = list(pool.map(precision, several))
    return found


def _hits(row: Float32, positive_scores: Float32, ties: Ties) -> Int64:
    """Zero-based ranks of all positives of a query, ascending."""
    own = np.sort(positive_scores)
    rivals = np.sort(row[row >= own[0]])  # the positives among them
    side: Literal["left", "right"] = "left" if ties == "against" else "right"
    before = len(rivals) - np.searchsorted(rivals, own, side)
    before -= len(own) - np.searchsorted(own, own, side)
    return np.asarray(before[::-1] + np.arange(len(own)), np.int64)


def _nothing(top: int, *, semi: bool) -> Ranking:
    """Of no queries; gives the joined arrays their types when there are no chunks."""
    none = np.zeros(0, np.int64)
    return Ranking(
        ranks=none,
        ranks_without_semi=none if semi else None,
        average_precision=np.zeros(0),
        best_positive=none,
        best_positive_score=np.zeros(0, np.float32),
        top_indices=np.zeros((0, top), np.int64),
        top_scores=np.zeros((0, top), np.float32),
    )


def _joined(parts: list[Ranking]) -> Ranking:
    def whole(name: str) -> Any:  # noqa: ANN401
        pieces = [getattr(part, name) for part in parts]
        return None if pieces[0] is None else np.concatenate(pieces)

    return Ranking(**{one.name: whole(one.name) for one in fields(Ranking)})
