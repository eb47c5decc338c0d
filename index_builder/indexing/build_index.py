"""The index of a gallery version: chosen, trained, tuned and measured."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DeviceUnavailable
from crossfix.faiss_runtime import faiss
from crossfix.gallery_manifest import INDEX_FILE, IndexInfo, IndexKind
from crossfix.index_gpu import build_gpu_index, gpu_is_usable
from crossfix.index_opening import map_vectors
from crossfix.manifest import fsync_file
from index_builder.indexing.choosing import exact_cost_ns, factory_of, kinds_to_try
from index_builder.indexing.queries import TOP, Exam, make_exam, make_queries
from index_builder.indexing.training import faiss_threads, train_and_add
from index_builder.indexing.tuning import SCORE_ROUNDING, Tuned, tune
from index_builder.recipe import IndexRequest

LOGGER = logging.getLogger(__name__)
Float16 = NDArray[np.float16]

CHOOSING_QUERIES = 400
MEASURING_QUERIES = 600
# A codebook of four bits has 16 entries, each of which needs a row of its own; and both sets of
# queries need one.
TRAINABLE_ROWS = 16
EXACT = IndexInfo(kind="exact_f16", parameters={}, measured_recall_at_10=1.0)


def build_index(
    directory: Path, count: int, dim: int, request: IndexRequest, *, threads: int
) -> IndexInfo:
    """Makes the vectors of a version searchable; writes `index.faiss` where the kind needs one.

    Kinds are tried in the order of `kinds_to_try`; `auto` takes the first that reaches the recall
    asked for at less than half the cost of exact search. Equal vectors give equal bytes.
    With fewer than `TRAINABLE_ROWS` rows an inverted file of any kind is exact search instead.

    Args:
        directory: holds `vectors.f16`, (count, dim), rows in Morton order.
        threads: that many for training, adding and tuning.

    Returns:
        what the manifest shall say.

    Raises:
        GalleryCorrupt: the vectors are not there or of another size.
        DeviceUnavailable: `gpu_cagra` is asked for where no GPU can measure its recall.
    """
    vectors = map_vectors(directory, count, dim)
    kinds = kinds_to_try(request, count, dim)
    with faiss_threads(threads):
        trial = _Trial(directory, vectors, request.recall_at_10)
        for number, kind in enumerate(kinds):
            info = trial.run(kind, must_pay=number < len(kinds) - 1)
            if info is not None:
                return info
    raise AssertionError("the last kind is always taken")


@dataclass
class _Trial:
    """Tries kinds of index on one gallery; the queries are made once."""

    directory: Path
    vectors: Float16
    asked: float
    exams: tuple[Exam, Exam] | None = None

    def run(self, kind: IndexKind, *, must_pay: bool) -> IndexInfo | None:
        """The index built and described; None where it must pay and does not."""
        if kind == "exact_f16":
            (self.directory / INDEX_FILE).unlink(missing_ok=True)
            return EXACT
        if kind == "gpu_flat_f16":
            return IndexInfo(kind=kind, parameters={}, measured_recall_at_10=1.0)
        if kind == "gpu_cagra":
            return self._cagra()
        if len(self.vectors) < TRAINABLE_ROWS:
            LOGGER.warning(
                "%d vectors are too few to train %s (%d or more); search is exact instead",
                len(self.vectors), kind, TRAINABLE_ROWS,
            )  # fmt: skip
            return self.run("exact_f16", must_pay=False)
        index = train_and_add(self.vectors, kind)
        limit_ns = exact_cost_ns(*self.vectors.shape) / 2 if must_pay else math.inf
        exams = self._both_exams()
        tuned = tune(index, self.vectors, kind, self.asked, exams, limit_ns=limit_ns)
        if must_pay and (tuned.recall < self.asked or tuned.cost_ns > limit_ns):
            LOGGER.info("%s does not pay: %s", kind, _words(tuned, self.asked))
            return None
        if tuned.recall < self.asked:
            LOGGER.warning("%s does not reach what was asked: %s", kind, _words(tuned, self.asked))
        path = self.directory / INDEX_FILE
        faiss.write_index(index, str(path))
        fsync_file(path)
        return IndexInfo(
            kind=kind,
            factory=factory_of(kind, *self.vectors.shape),
            parameters={
                "nprobe": tuned.effort.nprobe,
                "refine_factor": tuned.effort.refine_factor,
            },
            measured_recall_at_10=round(tuned.recall, 4),
            recall_asked=self.asked,
            recall_queries=len(self._both_exams()[1].queries),
        )

    def _cagra(self) -> IndexInfo:
        if not gpu_is_usable():
            raise DeviceUnavailable(
                "the recall of gpu_cagra cannot be measured here: FAISS sees no GPU",
                hint="build on a machine with an NVIDIA GPU, or ask for gpu_flat_f16",
            )
        exam = self._both_exams()[1]
        parameters = {"graph_degree": 64, "refine_factor": 1}
        info = IndexInfo(kind="gpu_cagra", parameters=parameters, measured_recall_at_10=None)
        index = build_gpu_index(info, self.vectors)
        recall, factor = 0.0, 1
        for factor in (1, 2, 4, 8, 16):
            # The graph knows no factor: the best ten of so many answers are what it would give.
            best = index.search(exam.queries, TOP * factor).scores[:, :TOP]
            recall = float((best >= exam.tenth[:, None] - SCORE_ROUNDING).mean())
            if recall >= self.asked:
                break
        return IndexInfo(
            kind="gpu_cagra",
            parameters={"graph_degree": 64, "refine_factor": factor},
            measured_recall_at_10=round(recall, 4),
            recall_asked=self.asked,
            recall_queries=len(exam.queries),
        )

    def _both_exams(self) -> tuple[Exam, Exam]:
        if self.exams is None:
            queries = make_queries(self.vectors, CHOOSING_QUERIES + MEASURING_QUERIES)
            share = len(queries) * CHOOSING_QUERIES // (CHOOSING_QUERIES + MEASURING_QUERIES)
            # Rows came in Morton order: chosen and measured queries must not be two places.
            mixed = queries[np.random.default_rng(0).permutation(len(queries))]
            self.exams = (
                make_exam(self.vectors, mixed[:share]),
                make_exam(self.vectors, mixed[share:]),
            )
        return self.exams


def _words(tuned: Tuned, asked: float) -> str:
    return (
        f"recall@10 {tuned.recall:.4f} of {asked:g} asked with {tuned.effort.nprobe} lists and "
        f"{tuned.effort.refine_factor} candidates per answer"
    )
