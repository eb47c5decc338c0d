"""Reading fp16 vectors in place and scoring them: for few queries, for many, and for the record.

Three ways to the same inner products, chosen by what they cost (docs/decisions/0007). Their last
bits differ, so the first two only find candidates; what is answered is always :func:`score_rows`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.faiss_runtime import FaissObject, faiss
from crossfix.index_rows import ReadingOrder

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

# 2^-112 is what an fp16 number comes out smaller by when its bits are moved to where fp32 has them.
_WIDEN_SCALE = np.float32(2.0**112)
_NO_HIGH_EXPONENT = np.int32(-0x70000001)
_PRODUCT_FROM = 16  # queries from which on one matrix product beats that many scans
_NUMBERS_AT_ONCE = 1 << 21  # widened; few large products, for threads meet at each one's end
_NUMBERS_PER_SCAN = 1 << 20  # stay in the cache from one query to the next


def widen(values: Float16, out: NDArray[np.int32]) -> Float32:
    """fp16 numbers as fp32, 2^-112 times as large, exactly; 7 times as fast as `astype`.

    Args:
        values: (n, D) finite.
        out: (n, D) or more rows, overwritten.

    Returns:
        (n, D), a view of `out`.
    """
    bits = out[: len(values)]
    np.copyto(bits, values.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _NO_HIGH_EXPONENT, out=bits)
    return bits.view(np.float32)


def score_rows(vectors: Float16, rows: Int64, embeddings: Float32) -> Float32:
    """Inner products of each query with rows of its own: the scores that are answered.

    A score depends on its two vectors only, not on what else is asked, so that batches, priors
    and indexes all give the same one.

    Args:
        vectors: (N, D).
        rows: (Q, C).
        embeddings: (Q, D).

    Returns:
        (Q, C)
    """
    scores = np.empty(rows.shape, np.float32)
    dim = vectors.shape[1]
    step = max(1, _NUMBERS_AT_ONCE // dim)
    scaled = embeddings * _WIDEN_SCALE
    for query in range(len(rows)):
        for start in range(0, rows.shape[1], step):
            chosen = np.ascontiguousarray(vectors[rows[query, start : start + step]])
            wide = widen(chosen, np.empty(chosen.shape, np.int32))
            scores[query, start : start + step] = _dot(wide, scaled[query])
    return scores


def _dot(wide: Float32, query: Float32) -> Float32:
    # Not BLAS: its sums change with the number of rows.
    return np.asarray(np.einsum("cd,d->c", wide, query), np.float32)


def score_all(order: ReadingOrder, query: Float32) -> Float32:
    """Scores as :func:`score_rows` gives them of every row, (N,), by position."""
    scores = np.empty(order.count, np.float32)
    scaled = query * _WIDEN_SCALE
    buffer = _buffer(order, len(query))
    for position, values in order.blocks(len(buffer)):
        scores[position : position + len(values)] = _dot(widen(values, buffer), scaled)
    return scores


def _buffer(order: ReadingOrder, dim: int) -> NDArray[np.int32]:
    rows = min(order.count, max(1, _NUMBERS_AT_ONCE // dim))
    return np.empty((rows, dim), np.int32)


def find_best(order: ReadingOrder, embeddings: Float32, count: int) -> tuple[Int64, Float32]:
    """The `count` best positions of each query, in no order, and their approximate scores.

    Returns:
        (Q, count) both; `count` must not exceed the rows there are.
    """
    if len(embeddings) < _PRODUCT_FROM:
        return _scan(order, embeddings, count)
    return _multiply(order, embeddings, count)


def find_above(order: ReadingOrder, query: Float32, least: float) -> Int64:
    """Every position whose approximate score is at least that, ascending."""
    found = [np.empty(0, np.int64)]
    scaled = query * _WIDEN_SCALE
    buffer = _buffer(order, len(query))
    for position, values in order.blocks(len(buffer)):
        found.append(np.flatnonzero(widen(values, buffer) @ scaled >= least) + position)
    return np.concatenate(found)


class _Scanners:
    """FAISS's fp16 scanners by dimension, lent out; a scanner keeps one query.

    They live as long as the process: FAISS's wrapper cannot free one without harm. There are never
    more than queries in flight.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quantisers: dict[int, FaissObject] = {}
        self._free: dict[int, list[FaissObject]] = {}

    @contextmanager
    def lend(self, dim: int, count: int) -> Iterator[list[FaissObject]]:
        with self._lock:
            free = self._free.setdefault(dim, [])
            lent = [free.pop() if free else self._make(dim) for _ in range(count)]
        try:
            yield lent
        finally:
            with self._lock:
                free.extend(lent)

    def _make(self, dim: int) -> FaissObject:
        if dim not in self._quantisers:
            self._quantisers[dim] = faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16)
        return self._quantisers[dim].select_InvertedListScanner(
            faiss.METRIC_INNER_PRODUCT, None, True, None, False
        )


_scanners = _Scanners()


def _scan(order: ReadingOrder, embeddings: Float32, count: int) -> tuple[Int64, Float32]:
    """One pass over the rows for all queries, at the speed of memory for one."""
    scores = np.full((len(embeddings), count), -np.inf, np.float32)
    labels = np.full((len(embeddings), count), -1, np.int64)
    bases = []
    with _scanners.lend(embeddings.shape[1], len(embeddings)) as scanners:
        jobs = [
            (scanner, faiss.swig_ptr(score), faiss.swig_ptr(label))
            for scanner, score, label in zip(scanners, scores, labels, strict=True)
        ]
        for (scanner, _, _), query in zip(jobs, embeddings, strict=True):
            scanner.set_query(faiss.swig_ptr(query))
        block_rows = max(1, _NUMBERS_PER_SCAN // embeddings.shape[1])
        for number, (position, values) in enumerate(order.blocks(block_rows)):
            bases.append(position)
            codes = faiss.swig_ptr(values.view(np.uint8).reshape(-1))
            for scanner, score, label in jobs:
                scanner.set_list(number, 0.0)
                scanner.scan_codes(len(values), codes, None, score, label, count)
    # FAISS labels a row by list (here: block) and offset.
    return np.array(bases)[labels >> 32] + (labels & 0xFFFFFFFF), scores


def _multiply(order: ReadingOrder, embeddings: Float32, count: int) -> tuple[Int64, Float32]:
    """One matrix product per block; scores below the worst that is kept are never looked at."""
    scaled = np.ascontiguousarray((embeddings * _WIDEN_SCALE).T)
    kept = _Kept(len(embeddings), count)
    buffer = _buffer(order, len(scaled))
    product = np.empty((len(buffer), len(embeddings)), np.float32)
    for position, values in order.blocks(len(buffer)):
        scores = np.matmul(widen(values, buffer), scaled, out=product[: len(values)])
        kept.add(scores, position)
    return kept.best()


@dataclass
class _Kept:
    """The best of each query so far, pruned now and then."""

    queries: int
    count: int

    def __post_init__(self) -> None:
        self._least = np.full(self.queries, -np.inf, np.float32)
        self._parts: list[tuple[Int64, Int64, Float32]] = []
        self._size = 0

    def add(self, scores: Float32, position: int) -> None:
        """Takes what is good enough of an (n, Q) block."""
        if not self._parts and len(scores) > self.count:
            some = scores[: 64 * self.count].T  # the best of some rows rule out most others
            self._least = np.partition(some, -self.count, axis=1)[:, -self.count]
        found = np.flatnonzero((scores >= self._least).ravel())
        row, query = np.divmod(found, self.queries)
        self._parts.append((query, row + position, scores.ravel()[found]))
        self._size += len(found)
        if self._size > 4 * self.queries * self.count:
            self._prune()

    def _prune(self) -> None:
        query, position, score = (
            np.concatenate([part[i] for part in self._parts]) for i in range(3)
        )
        order = np.lexsort((-score, query))
        first = np.searchsorted(query[order], np.arange(self.queries))
        rank = np.arange(len(order)) - first[query[order]]
        kept = order[rank < self.count]
        worst = order[rank == self.count - 1]
        self._least[query[worst]] = score[worst]
        self._parts = [(query[kept], position[kept], score[kept])]
        self._size = len(kept)

    def best(self) -> tuple[Int64, Float32]:
        """(Q, count) positions and scores; every query has met `count` rows by now."""
        self._prune()
        _, position, score = self._parts[0]
        shape = (self.queries, self.count)
        return position.reshape(shape), score.reshape(shape)
