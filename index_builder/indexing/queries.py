"""Queries like real ones, made from the gallery itself, and what exact search finds for them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.vector_search import ExactIndex

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]

TOP = 10
# A photo is no gallery vector. With the shipped encoder, photos of rendered towns have a median
# cosine of 0.98 to their best tile, the tenth 0.97; queries made at this correlation have 0.985
# and 0.97 in a gallery of the same spread. A wider spread gives lower cosines at the same number:
# 0.63 where the embeddings fill all their dimensions.
PHOTO_CORRELATION = 0.6
_NOISE_ROWS = 4096
_SEED = 20_261_121


@dataclass(frozen=True)
class Exam:
    """Queries and the score of each one's tenth best row, (Q, D) and (Q,)."""

    queries: Float32
    tenth: Float32


def make_queries(vectors: Float16, count: int) -> Float32:
    """(count, D) unit vectors: a gallery row each, mixed with noise of the gallery's own spread.

    About the gallery's mean, a query correlates with its row by `PHOTO_CORRELATION`; what is left
    is a random mixture of other rows. Noise equal in all directions would be far too kind: it
    hardly touches the few in which the tiles differ.
    """
    rng = np.random.default_rng(_SEED)
    sample = _rows(vectors, rng, _NOISE_ROWS)
    mean = sample.mean(axis=0)
    centred = sample - mean
    rows = _rows(vectors, rng, count) - mean
    mixture = rng.standard_normal((len(rows), len(sample)), dtype=np.float32)
    noise = mixture @ centred / np.sqrt(len(sample), dtype=np.float32)
    queries = mean + PHOTO_CORRELATION * rows + np.sqrt(1 - PHOTO_CORRELATION**2) * noise
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    return np.asarray(queries / np.maximum(lengths, 1e-12), np.float32)


def make_exam(vectors: Float16, queries: Float32) -> Exam:
    """What exact search answers; recall counts scores, so equal tiles stand in for each other."""
    best = ExactIndex(vectors).search(queries, TOP)
    return Exam(queries, best.scores[:, -1])


def _rows(vectors: Float16, rng: np.random.Generator, count: int) -> Float32:
    rows = np.sort(rng.choice(len(vectors), min(count, len(vectors)), replace=False))
    return vectors[rows].astype(np.float32)
