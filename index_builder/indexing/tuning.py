"""The least effort that finds the recall asked for, chosen on some queries, measured on others."""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.faiss_runtime import FaissObject, faiss
from crossfix.gallery_manifest import IndexKind
from crossfix.index_scan import score_rows
from index_builder.indexing.choosing import Effort, cost_ns
from index_builder.indexing.queries import TOP, Exam

Float16 = NDArray[np.float16]
Float64 = NDArray[np.float64]

REFINE_FACTORS = (1, 2, 4, 8, 16, 32, 64, 128)
SCORE_ROUNDING = 2e-6
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True)
class Tuned:
    """An effort and the recall@10 it was measured to have on queries not used to choose it."""

    effort: Effort
    recall: float
    cost_ns: float


def tune(
    index: FaissObject,
    vectors: Float16,
    kind: IndexKind,
    asked: float,
    exams: tuple[Exam, Exam],
    *,
    limit_ns: float = math.inf,
) -> Tuned:
    """The cheapest effort whose recall is the one asked for, on both sets of queries.

    Where none reaches it for less than the limit, the one of the highest recall that was met.

    Args:
        exams: queries to choose on, and queries to measure on.
    """
    chosen_on, measured_on = exams
    best: Tuned | None = None
    highest = (Effort(1, 1), 0.0, -1.0)
    for effort, price_ns, recall in _by_cost(index, vectors, kind, chosen_on):
        if recall > highest[2]:
            highest = effort, price_ns, recall
        if price_ns > limit_ns:
            break
        if recall >= asked:
            tuned = Tuned(effort, _recall(index, vectors, measured_on, effort), price_ns)
            best = tuned if best is None or tuned.recall > best.recall else best
            if tuned.recall >= asked:
                return tuned
    if best is None:
        effort, price_ns, _ = highest
        best = Tuned(effort, _recall(index, vectors, measured_on, effort), price_ns)
    return best


def _by_cost(
    index: FaissObject, vectors: Float16, kind: IndexKind, exam: Exam
) -> Iterator[tuple[Effort, float, float]]:
    """Every effort, its cost and its recall, cheapest first; examined no sooner than needed."""
    count, dim = vectors.shape

    def price_ns(nprobe: int, factor: int) -> float:
        return cost_ns(kind, count, dim, Effort(nprobe, factor))

    waiting: list[tuple[float, int, int, float]] = []
    for nprobe in nprobe_steps(int(faiss.extract_index_ivf(index).nlist)):
        while waiting and waiting[0][0] < price_ns(nprobe, REFINE_FACTORS[0]):
            price, lists, factor, recall = heapq.heappop(waiting)
            yield Effort(lists, factor), price, recall
        for factor, recall in zip(
            REFINE_FACTORS, recalls(index, vectors, exam, nprobe), strict=True
        ):
            heapq.heappush(waiting, (price_ns(nprobe, factor), nprobe, factor, float(recall)))
    while waiting:
        price, lists, factor, recall = heapq.heappop(waiting)
        yield Effort(lists, factor), price, recall


def _recall(index: FaissObject, vectors: Float16, exam: Exam, effort: Effort) -> float:
    step = REFINE_FACTORS.index(effort.refine_factor)
    return float(recalls(index, vectors, exam, effort.nprobe)[step])


def nprobe_steps(lists: int) -> list[int]:
    """1, 2, 3, 4, 6, 8, 12 ... up to all lists."""
    steps = {lists}
    for power in range(int(math.log2(lists)) + 1):
        steps |= {2**power, 3 * 2**power // 2}
    return sorted(step for step in steps if 1 <= step <= lists)


def recalls(index: FaissObject, vectors: Float16, exam: Exam, nprobe: int) -> Float64:
    """Recall@10 with so many lists, for each of `REFINE_FACTORS`.

    The candidates of a smaller factor are the first of a larger one's, so one search tells all.
    """
    count = min(TOP * REFINE_FACTORS[-1], len(vectors))
    top = min(TOP, len(vectors))
    effort = faiss.SearchParametersIVF(nprobe=nprobe)
    found = np.zeros(len(REFINE_FACTORS))
    for start in range(0, len(exam.queries), _QUERIES_AT_ONCE):
        queries = exam.queries[start : start + _QUERIES_AT_ONCE]
        _, rows = index.search(queries, count, params=effort)
        scores = score_rows(vectors, rows, queries)
        good = scores >= exam.tenth[start : start + _QUERIES_AT_ONCE, None] - SCORE_ROUNDING
        good &= rows >= 0
        for step, factor in enumerate(REFINE_FACTORS):
            found[step] += np.minimum(good[:, : TOP * factor].sum(axis=1), top).sum()
    return np.asarray(found / (top * len(exam.queries)), np.float64)
