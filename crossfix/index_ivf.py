"""Approximate search: inverted lists of short codes, and the fp16 vectors for the last word."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import GalleryCorrupt
from crossfix.faiss_runtime import FaissObject, faiss
from crossfix.gallery_manifest import IndexInfo, IndexKind
from crossfix.index_rows import RowRuns
from crossfix.vector_search import ExactIndex, SearchResult, rank

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

EXACT_ROWS = 200_000  # inside a prior; fewer are scanned in a few milliseconds
_CODES_PER_ROW = 4  # so many codes of rows outside are passed over in the time of one exact score
_CANDIDATES_AT_MOST = 20_000


class IvfIndex:
    """An inverted file whose best candidates are scored again, exactly, from the fp16 vectors.

    Effort is given per call to FAISS, never set on the shared index, so threads may differ.

    Args:
        index: FAISS index with inverted lists over these rows.
        nprobe: lists looked into.
        refine_factor: candidates scored again, per answer asked for.
    """

    def __init__(
        self,
        index: FaissObject,
        vectors: Float16,
        kind: IndexKind,
        *,
        nprobe: int,
        refine_factor: int,
    ) -> None:
        self._index, self._vectors = index, np.asarray(vectors)
        self._kind: IndexKind = kind
        self._exact = ExactIndex(vectors)
        self._lists = int(faiss.extract_index_ivf(index).nlist)
        self.nprobe, self.refine_factor = nprobe, refine_factor

    @property
    def kind(self) -> IndexKind:
        """Which one it is."""
        return self._kind

    def search(
        self,
        embeddings: Float32,
        k: int,
        *,
        rows: RowRuns | None = None,
        nprobe: int | None = None,
        refine_factor: int | None = None,
    ) -> SearchResult:
        """The k best rows, probably; see :class:`VectorIndex`.

        Exact where few rows are eligible, or nearly all are asked for.

        Args:
            nprobe, refine_factor: instead of the index's own.
        """
        queries = np.ascontiguousarray(embeddings, np.float32)
        eligible = len(self._vectors) if rows is None else rows.count
        k = min(k, eligible)
        lists = self._lists_for(nprobe or self.nprobe, eligible)
        wanted = min(k * (refine_factor or self.refine_factor), eligible)
        if (
            wanted > _CANDIDATES_AT_MOST
            or (rows is not None and self._exact_is_cheaper(eligible, lists))
            or not len(queries)
        ):
            return self._exact.search(queries, k, rows=rows)
        found = rank(self._vectors, self._candidates(queries, wanted, lists, rows), queries, k)
        short = found.rows[:, -1] < 0
        if short.any():
            whole = self._exact.search(queries[short], k, rows=rows)
            found.rows[short], found.scores[short] = whole.rows, whole.scores
        return found

    def _lists_for(self, nprobe: int, eligible: int) -> int:
        """More lists the fewer of their rows may be answered, so that as many are looked at."""
        return min(self._lists, math.ceil(nprobe * len(self._vectors) / max(eligible, 1)))

    def _exact_is_cheaper(self, eligible: int, lists: int) -> bool:
        codes = lists / self._lists * len(self._vectors)
        return eligible <= max(EXACT_ROWS, codes / _CODES_PER_ROW)

    def _candidates(self, queries: Float32, count: int, lists: int, rows: RowRuns | None) -> Int64:
        selector, bits = None, None
        if rows is not None:
            bits = rows.bitmap(len(self._vectors))  # must live as long as the selector
            selector = faiss.IDSelectorBitmap(bits)
        effort = faiss.SearchParametersIVF(nprobe=lists, sel=selector)
        _, found = self._index.search(queries, count, params=effort)
        del bits
        return np.asarray(found, np.int64)


def read_ivf(path: Path, info: IndexInfo, vectors: Float16) -> IvfIndex:
    """Opens `index.faiss`, mapped where FAISS can.

    Raises:
        GalleryCorrupt: missing, damaged, of other rows, or the manifest lacks its parameters.
    """
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        lists = faiss.extract_index_ivf(index)
        effort = {name: int(info.parameters[name]) for name in ("nprobe", "refine_factor")}
    except (RuntimeError, OSError) as problem:
        raise GalleryCorrupt(
            f"{path} cannot be read as a FAISS index", hint="build the gallery again"
        ) from problem
    except (KeyError, TypeError, ValueError) as problem:
        raise GalleryCorrupt(
            f"the manifest beside {path} does not say with which effort to search",
            hint="build the gallery again",
        ) from problem
    if lists is None or (index.ntotal, index.d) != vectors.shape:
        raise GalleryCorrupt(
            f"{path} holds {index.ntotal} vectors of {index.d} numbers, the gallery "
            f"{vectors.shape[0]} of {vectors.shape[1]}",
            hint="build the gallery again",
        )
    return IvfIndex(index, vectors, info.kind, **effort)
