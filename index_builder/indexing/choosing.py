"""Which kinds of index a request asks to try, and what searching with each would cost."""

import math
from dataclasses import dataclass

from crossfix.gallery_manifest import IndexKind
from index_builder.recipe import IndexRequest

EXACT_ROWS = 200_000  # a scan of so many stays within a few milliseconds
TRAINING_BYTES = 1 << 30  # of fp32 rows held for k-means
ROWS_PER_LIST = 48  # of the training sample
_CODE_NS_PER_DIM: dict[str, float] = {"ivf_rabitq": 0.055, "ivf_pq_fastscan": 0.02}


@dataclass(frozen=True)
class Effort:
    """How hard an inverted file looks: lists entered, and candidates scored per answer."""

    nprobe: int
    refine_factor: int


def kinds_to_try(request: IndexRequest, count: int, dim: int) -> list[IndexKind]:
    """The kinds in the order they are tried; the last one is taken whatever it reaches.

    `auto` is exact up to `EXACT_ROWS` where the memory allows. Above, RaBitQ comes first, whose
    codes are the smaller, then PQ, which finds more where embeddings fill many dimensions; exact
    search is last unless the memory forbids it.
    """
    if request.kind != "auto":
        return [request.kind]
    budget = math.inf if request.memory_gb is None else request.memory_gb * 1e9
    exact_fits = 2 * count * dim <= budget
    if exact_fits and count <= EXACT_ROWS:
        return ["exact_f16"]
    kinds: list[IndexKind] = ["ivf_rabitq"]
    if index_bytes("ivf_pq_fastscan", count, dim) <= budget:
        kinds.append("ivf_pq_fastscan")
    if exact_fits:
        kinds.append("exact_f16")
    return kinds


def index_bytes(kind: IndexKind, count: int, dim: int) -> int:
    """Memory that searching wants: codes, row numbers and centroids, or the vectors themselves."""
    if kind == "ivf_rabitq":
        return count * (dim // 8 + 8 + 8) + 4 * list_count(count, dim) * dim
    if kind == "ivf_pq_fastscan":
        return count * (dim // 4 + 8) + 4 * list_count(count, dim) * dim
    return 2 * count * dim


def list_count(count: int, dim: int) -> int:
    """How many lists: the power of two next to 1.3 sqrt(count), fewer where training lacks rows.

    Queries would like more at large sizes; training and adding cost lists times rows.
    """
    sample = min(count, sample_rows(dim))
    lists = 1 << round(math.log2(max(1.3 * math.sqrt(count), 1)))
    while lists > 1 and lists * ROWS_PER_LIST > sample:
        lists //= 2
    return lists


def sample_rows(dim: int) -> int:
    """How many rows k-means is given at most."""
    return TRAINING_BYTES // (4 * dim)


def factory_of(kind: IndexKind, count: int, dim: int) -> str:
    """FAISS's description of the index: one bit per number, or four per two numbers."""
    lists = list_count(count, dim)
    if kind == "ivf_rabitq":
        return f"IVF{lists},RaBitQ"
    return f"IVF{lists},PQ{max(dim // 2, 1)}x4fs" if dim % 2 == 0 else f"IVF{lists},PQ{dim}x4fs"


def cost_ns(kind: IndexKind, count: int, dim: int, effort: Effort) -> float:
    """About how long one query takes; measured on one core, see docs/decisions/0007.

    A formula and not a clock, so that the same gallery always gets the same parameters.
    """
    lists = list_count(count, dim)
    codes = effort.nprobe / lists * count
    candidates = 10 * effort.refine_factor
    return (
        0.16 * dim * lists + _CODE_NS_PER_DIM[kind] * dim * codes + (600 + 1.5 * dim) * candidates
    )


def exact_cost_ns(count: int, dim: int) -> float:
    """The same for the exact scan, which runs at the speed of memory."""
    return 0.08 * dim * count
