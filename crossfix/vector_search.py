"""Inner-product search over unit-norm fp16 vectors: what every index answers, and the exact one."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import InvalidParameter
from crossfix.gallery_manifest import IndexKind
from crossfix.index_rows import ReadingOrder, RowRuns
from crossfix.index_scan import find_above, find_best, score_all, score_rows

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_SPARE = 16  # candidates beyond k, for scores whose last bits differ
_CANDIDATES_AT_MOST = 1024  # from there on sorting everything is faster
_ROUNDING = 1e-5  # far more than fp32 sums of unit vectors differ by


@dataclass(frozen=True)
class SearchResult:
    """Rows and scores, both (Q, k), best first."""

    rows: Int64
    scores: Float32


def check_request(embeddings: Float32, k: int, *, dim: int) -> Float32:
    """What an index can be asked, as contiguous float32; indexes themselves check nothing.

    Args:
        embeddings: (Q, D), Q may be 0.
        dim: D of the gallery.

    Raises:
        InvalidParameter: another shape, NaN or infinite numbers, or k below 1.
    """
    queries = np.ascontiguousarray(embeddings, np.float32)
    if np.ndim(embeddings) != 2:
        raise InvalidParameter(
            f"embeddings of shape {np.shape(embeddings)} are not (queries, numbers)",
            hint="one query of D numbers has the shape (1, D)",
        )
    if queries.shape[1] != dim:
        raise InvalidParameter(
            f"embeddings of {queries.shape[1]} numbers cannot be searched among those of {dim}",
            hint="embed with the encoder of the gallery",
        )
    if not np.isfinite(queries).all():
        raise InvalidParameter(
            "an embedding has NaN or infinite numbers", hint="check the encoder's output"
        )
    if k < 1:
        raise InvalidParameter(f"k is {k}", hint="ask for one tile at least")
    return queries


class VectorIndex(Protocol):
    """Finds the best rows; thread-safe."""

    @property
    def kind(self) -> IndexKind:
        """Which one it is."""

    def search(self, embeddings: Float32, k: int, *, rows: RowRuns | None = None) -> SearchResult:
        """The k best of all or of the given rows, for (Q, D) embeddings.

        Returns:
            (Q, min(k, eligible rows)), best first; of equals the smaller row first. Scores are
            exact whatever the index.
        """


class ExactIndex:
    """Scans the vectors where they lie, in memory or in a mapped file; nothing is copied."""

    kind: IndexKind = "exact_f16"

    def __init__(self, vectors: Float16) -> None:
        self._vectors = np.asarray(vectors)

    def search(self, embeddings: Float32, k: int, *, rows: RowRuns | None = None) -> SearchResult:
        """The k best rows; recall 1. See :class:`VectorIndex`."""
        queries = np.ascontiguousarray(embeddings, np.float32)
        runs = RowRuns.whole(len(self._vectors)) if rows is None else rows
        order = ReadingOrder(self._vectors, runs)
        k = min(k, order.count)
        if not len(queries) or not k:
            nothing = (len(queries), k)
            return SearchResult(np.empty(nothing, np.int64), np.empty(nothing, np.float32))
        if k + _SPARE > min(_CANDIDATES_AT_MOST, order.count):
            return _stack([self._sort_all(order, query, k) for query in queries])
        return self._search_few(order, queries, k)

    def _search_few(self, order: ReadingOrder, queries: Float32, k: int) -> SearchResult:
        positions, rough = find_best(order, queries, k + _SPARE)
        found = rank(self._vectors, order.rows_at(positions), queries, k)
        # Rows left out scored no better than the worst candidate; where that is as good as the
        # k-th best, they may belong in: imagery holds many equal tiles, such as open water.
        slack = _ROUNDING * np.maximum(np.linalg.norm(queries, axis=1), 1e-30)
        for query in np.flatnonzero(rough.min(axis=1) >= found.scores[:, -1] - slack):
            least = float(found.scores[query, -1] - slack[query])
            candidates = order.rows_at(find_above(order, queries[query], least))
            better = rank(self._vectors, candidates[None], queries[query : query + 1], k)
            found.rows[query], found.scores[query] = better.rows[0], better.scores[0]
        return found

    def _sort_all(self, order: ReadingOrder, query: Float32, k: int) -> SearchResult:
        rows, scores = order.rows_at(np.arange(order.count)), score_all(order, query)
        best = np.lexsort((rows, -scores))[:k]
        return SearchResult(rows[best][None], scores[best][None])


def rank(vectors: Float16, candidates: Int64, queries: Float32, k: int) -> SearchResult:
    """Each query's k best of its (Q, C) candidates, C >= k, by their exact scores.

    A candidate of -1 is none: it comes last, with a score of -inf.
    """
    scores = score_rows(vectors, candidates, queries)
    scores[candidates < 0] = -np.inf
    best = np.lexsort((candidates, -scores), axis=1)[:, :k]
    return SearchResult(
        np.take_along_axis(candidates, best, axis=1), np.take_along_axis(scores, best, axis=1)
    )


def _stack(results: list[SearchResult]) -> SearchResult:
    return SearchResult(
        np.concatenate([one.rows for one in results]),
        np.concatenate([one.scores for one in results]),
    )
