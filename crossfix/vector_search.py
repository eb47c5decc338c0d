"""Exact inner-product search over unit-norm fp16 vectors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.faiss_runtime import faiss

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_ADD_CHUNK = 65536
_QUERY_CHUNK = 256


@dataclass(frozen=True)
class SearchResult:
    """Rows and scores, both (Q, k), best first."""

    rows: Int64
    scores: Float32


class ExactIndex:
    """All vectors in a FAISS fp16 scalar quantiser: exact, half the memory and time of fp32."""

    def __init__(self, vectors: Float16) -> None:
        self._vectors = vectors
        self._index: Any = faiss.IndexScalarQuantizer(
            vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        for start in range(0, len(vectors), _ADD_CHUNK):
            self._index.add(vectors[start : start + _ADD_CHUNK].astype(np.float32))

    def search(self, embeddings: Float32, k: int) -> SearchResult:
        """The k best rows of all, for (Q, D) embeddings; ties by the smaller row."""
        k = min(k, len(self._vectors))
        scores, rows = self._index.search(np.ascontiguousarray(embeddings, np.float32), k)
        return SearchResult(rows=np.asarray(rows, np.int64), scores=np.asarray(scores, np.float32))

    def search_rows(self, embeddings: Float32, k: int, rows: Int64) -> SearchResult:
        """The k best among the given rows, scanned exactly; cost grows with their number."""
        k = min(k, len(rows))
        found_rows, found_scores = [], []
        candidates = self._vectors[rows].astype(np.float32)
        for start in range(0, len(embeddings), _QUERY_CHUNK):
            scores = embeddings[start : start + _QUERY_CHUNK] @ candidates.T
            order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
            found_rows.append(rows[order])
            found_scores.append(np.take_along_axis(scores, order, axis=1))
        return SearchResult(
            rows=np.concatenate(found_rows).astype(np.int64),
            scores=np.concatenate(found_scores).astype(np.float32),
        )
