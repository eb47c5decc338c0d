"""Search on an NVIDIA GPU, built at opening from the same fp16 vectors.

Needs a FAISS with GPU support (`faiss-gpu-cuvs`). Priors are answered by the exact scan on the CPU:
a graph cannot be filtered without losing rows, and few rows need no GPU.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DeviceUnavailable
from crossfix.faiss_runtime import FaissObject, faiss
from crossfix.gallery_manifest import IndexInfo, IndexKind
from crossfix.index_rows import RowRuns
from crossfix.vector_search import ExactIndex, SearchResult, rank

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_ADD_ROWS = 1 << 18
# FAISS's GPU indexes return 2048 at most; cuVS keeps at most 512 while it walks the graph, and
# throws where more are asked for than are kept.
_CANDIDATES_AT_MOST = {"gpu_flat_f16": 1024, "gpu_cagra": 512}
_KEPT_AT_LEAST = 64  # cuVS's own number
_KEPT_STEP = 32  # cuVS rounds to it
_SPARE = 16


def gpu_is_usable() -> bool:
    """Whether FAISS was built for GPUs and sees one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


class GpuIndex:
    """A FAISS GPU index whose candidates are scored again from the fp16 vectors.

    A lock serialises searches: FAISS's GPU resources are not thread-safe.
    """

    def __init__(
        self,
        resources: FaissObject,
        index: FaissObject,
        vectors: Float16,
        kind: IndexKind,
        refine_factor: int,
    ) -> None:
        self._resources = resources  # must outlive the index
        self._index, self._vectors = index, np.asarray(vectors)
        self._kind: IndexKind = kind
        self._refine_factor = refine_factor
        self._exact = ExactIndex(vectors)
        self._lock = threading.Lock()

    @property
    def kind(self) -> IndexKind:
        """Which one it is."""
        return self._kind

    def search(self, embeddings: Float32, k: int, *, rows: RowRuns | None = None) -> SearchResult:
        """The k best rows; see :class:`VectorIndex`."""
        queries = np.ascontiguousarray(embeddings, np.float32)
        k = min(k, len(self._vectors))
        wanted = min(k * self._refine_factor + _SPARE, len(self._vectors))
        if rows is not None or wanted > _CANDIDATES_AT_MOST[self._kind] or not len(queries):
            return self._exact.search(queries, k, rows=rows)
        found = rank(self._vectors, self._candidates(queries, wanted), queries, k)
        short = found.rows[:, -1] < 0
        if short.any():
            whole = self._exact.search(queries[short], k)
            found.rows[short], found.scores[short] = whole.rows, whole.scores
        return found

    def _candidates(self, queries: Float32, count: int) -> Int64:
        effort = None
        if self._kind == "gpu_cagra":
            effort = faiss.SearchParametersCagra()
            effort.itopk_size = max(_KEPT_AT_LEAST, -(-count // _KEPT_STEP) * _KEPT_STEP)
        with self._lock:
            _, found = self._index.search(queries, count, params=effort)
        rows = np.array(found, np.int64)
        rows[rows >= len(self._vectors)] = -1  # cuVS says "none" by the largest 32-bit number
        return rows


def build_gpu_index(info: IndexInfo, vectors: Float16) -> GpuIndex:
    """Puts the vectors on the first GPU as the manifest's kind asks.

    Raises:
        DeviceUnavailable: FAISS has no GPU support or not for this kind, or there is no GPU, or
            not enough memory.
    """
    if not gpu_is_usable():
        raise DeviceUnavailable(
            "this FAISS sees no GPU", hint="install the `gpu` extra on a machine with an NVIDIA GPU"
        )
    resources = faiss.StandardGpuResources()
    build = _build_cagra if info.kind == "gpu_cagra" else _build_flat
    try:
        index = build(resources, np.asarray(vectors), info.parameters)
    except RuntimeError as problem:
        raise DeviceUnavailable(
            f"the GPU cannot hold {len(vectors)} vectors as {info.kind}: {problem}",
            hint="use a GPU with more memory, or build the gallery with an `ivf` index",
        ) from problem
    return GpuIndex(
        resources, index, vectors, info.kind, int(info.parameters.get("refine_factor", 1))
    )


def _build_flat(
    resources: FaissObject, vectors: Float16, _parameters: dict[str, Any]
) -> FaissObject:
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = True
    index = faiss.GpuIndexFlatIP(resources, vectors.shape[1], config)
    for start in range(0, len(vectors), _ADD_ROWS):
        index.add(vectors[start : start + _ADD_ROWS].astype(np.float32))
    return index


def _build_cagra(
    resources: FaissObject, vectors: Float16, parameters: dict[str, Any]
) -> FaissObject:
    """The graph; FAISS wants all vectors at once, so that opening takes 4 N D bytes on the host."""
    if not hasattr(faiss, "GpuIndexCagra"):
        raise DeviceUnavailable(
            "this FAISS was built without cuVS, which gpu_cagra needs",
            hint="install the `gpu` extra, or build the gallery with a `gpu_flat_f16` index",
        )
    config = faiss.GpuIndexCagraConfig()
    config.graph_degree = int(parameters.get("graph_degree", 64))
    config.intermediate_graph_degree = 2 * config.graph_degree
    index = faiss.GpuIndexCagra(resources, vectors.shape[1], faiss.METRIC_INNER_PRODUCT, config)
    index.train(np.asarray(vectors, np.float32))
    return index
