"""What `benchmarks.search_scale` compares: our indexes, and FAISS alone on the same vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.faiss_runtime import FaissObject, faiss
from crossfix.gallery_manifest import INDEX_FILE, IndexInfo
from crossfix.index_opening import open_index
from crossfix.index_rows import RowRuns

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Search = Callable[[Float32, int, RowRuns | None], Int64]

OURS = ("exact_f16", "ivf_rabitq", "ivf_pq_fastscan")
FAISS_ALONE = ("faiss_flat_f32", "faiss_sq_f16", "faiss_ivf_rabitq", "faiss_ivf_pq_fastscan")
_ADD_ROWS = 1 << 18


@dataclass(frozen=True)
class Case:
    """One gallery: its vectors, and the built approximate indexes in folders by kind."""

    vectors: Float16
    folder: Path
    infos: dict[str, IndexInfo]


def open_contender(name: str, case: Case) -> Search:
    """A function (queries, k, rows or None) -> (Q, k) rows."""
    if name in OURS:
        return _ours(name, case)
    if name.startswith("faiss_ivf"):
        return _refined(case, name.removeprefix("faiss_"))
    return _flat(name, case.vectors)


def _ours(name: str, case: Case) -> Search:
    exact = IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0)
    info = case.infos.get(name, exact)
    index = open_index(case.folder / name, info, case.vectors).index
    return lambda queries, k, rows: index.search(queries, k, rows=rows).rows


def _flat(name: str, vectors: Float16) -> Search:
    dim = vectors.shape[1]
    index = faiss.index_factory(
        dim, "Flat" if name == "faiss_flat_f32" else "SQfp16", faiss.METRIC_INNER_PRODUCT
    )
    _add(index, vectors)
    return lambda queries, k, rows: _filtered(
        index, queries, k, rows, len(vectors), lambda selector: faiss.SearchParameters(sel=selector)
    )


def _refined(case: Case, kind: str) -> Search:
    """`index_factory(factory + ",Refine(SQfp16)")`, with the same centroids and codes."""
    vectors, info = case.vectors, case.infos[kind]
    base = faiss.read_index(str(case.folder / kind / INDEX_FILE))
    again = faiss.index_factory(vectors.shape[1], "SQfp16", faiss.METRIC_INNER_PRODUCT)
    _add(again, vectors)
    index = faiss.IndexRefine(base, again)

    def effort(selector: FaissObject) -> FaissObject:
        lists = faiss.SearchParametersIVF(nprobe=info.parameters["nprobe"], sel=selector)
        return faiss.IndexRefineSearchParameters(
            k_factor=float(info.parameters["refine_factor"]), base_index_params=lists
        )

    return lambda queries, k, rows: _filtered(index, queries, k, rows, len(vectors), effort)


def _filtered(
    index: FaissObject,
    queries: Float32,
    k: int,
    rows: RowRuns | None,
    count: int,
    effort: Callable[[Any], FaissObject],
) -> Int64:
    """FAISS's own way with a prior: a bit per row of the gallery."""
    bits = None if rows is None else rows.bitmap(count)
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    _, found = index.search(queries, k, params=effort(selector))
    return np.asarray(found, np.int64)


def _add(index: FaissObject, vectors: Float16) -> None:
    index.train(vectors[:1000].astype(np.float32))
    for start in range(0, len(vectors), _ADD_ROWS):
        index.add(vectors[start : start + _ADD_ROWS].astype(np.float32))
