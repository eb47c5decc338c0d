"""Training an inverted file on a sample and adding all rows, in bounded memory."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from crossfix.faiss_runtime import FaissObject, faiss
from crossfix.gallery_manifest import IndexKind
from index_builder.indexing.choosing import ROWS_PER_LIST, factory_of, list_count, sample_rows

LOGGER = logging.getLogger(__name__)
Float16 = NDArray[np.float16]

_ADD_ROWS = 65536
_ROUNDS = 8  # of k-means; more change recall by less than a tenth of a percent
_SEED = 1234


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """FAISS's threads within the block."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def train_and_add(vectors: Float16, kind: IndexKind) -> FaissObject:
    """A FAISS index of all rows, from a seed: equal vectors give equal bytes.

    Memory: the sample (`TRAINING_BYTES` at most), one chunk of rows, and the codes.
    """
    count, dim = vectors.shape
    index = faiss.index_factory(dim, factory_of(kind, count, dim), faiss.METRIC_INNER_PRODUCT)
    lists = faiss.extract_index_ivf(index)
    lists.cp.niter, lists.cp.seed, lists.cp.spherical = _ROUNDS, _SEED, True
    lists.cp.max_points_per_centroid = ROWS_PER_LIST
    if kind == "ivf_pq_fastscan":
        # FAISS would print a warning for each of its many codebooks; recall is measured anyway.
        index.pq.cp.min_points_per_centroid = 1
    rng = np.random.default_rng(_SEED)
    wanted = min(count, sample_rows(dim), max(ROWS_PER_LIST * list_count(count, dim), 16_384))
    rows = np.sort(rng.choice(count, wanted, replace=False))
    index.train(vectors[rows].astype(np.float32))
    for start in range(0, count, _ADD_ROWS):
        index.add(vectors[start : start + _ADD_ROWS].astype(np.float32))
        if start % (_ADD_ROWS * 16) == 0 and start:
            LOGGER.info("%s: %d of %d rows added", kind, start, count)
    return index
