"""True ranks in a gallery, from every score, a block of vectors at a time."""

import numpy as np
from numpy.typing import NDArray

from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE
from crossfix.tile_table import TileTable

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_BLOCK_NUMBERS = 2**23  # 32 MB of fp32 vectors
_METRES_PER_DEGREE = 110_000.0  # of latitude, a little less than anywhere: finds too many


def right_rows(tiles: TileTable, lon: float, lat: float) -> Int64:
    """Rows of the tiles that are right for a place: their centre is within 0.35 of their side."""
    reach_deg = POSITIVE_RADIUS_SHARE * float(tiles.size_m.max(initial=0)) / _METRES_PER_DEGREE
    near = np.flatnonzero(np.abs(tiles.lat - lat) <= reach_deg)
    away_m = distance_m(tiles.lon[near], tiles.lat[near], lon, lat)
    rows: Int64 = near[away_m <= POSITIVE_RADIUS_SHARE * tiles.size_m[near]].astype(np.int64)
    return rows


def exact_ranks(embeddings: Float32, vectors: Float16, right: list[Int64]) -> Int64:
    """Zero-based rank of each query's best right tile among all; ties count against it.

    Equals `crossfix.metrics.ranks_of_first_positive` over all scores, without holding them.

    Args:
        embeddings: (Q, D) unit-norm.
        vectors: (N, D), may be a mapped file.
        right: Q lists of rows.

    Returns:
        (Q,); N where a query has no right tile.
    """
    count, dim = vectors.shape
    rows = max(1, _BLOCK_NUMBERS // dim)
    needed = {int(row) // rows for some in right for row in some}
    best = np.full(len(embeddings), -np.inf, np.float32)
    # Right tiles first: limits come from the same products that are counted later, as a dot
    # product computed in another shape may differ in its last bit and break a tie.
    for block in sorted(needed):
        scores = _scores(embeddings, vectors, block, rows)
        for query, some in enumerate(right):
            inside = some[some // rows == block] - block * rows
            best[query] = max(best[query], scores[query, inside].max(initial=-np.inf))
    above = np.zeros(len(embeddings), np.int64)
    for block in range(-(-count // rows)):
        before = _scores(embeddings, vectors, block, rows) >= best[:, None]
        for query, some in enumerate(right):
            before[query, some[some // rows == block] - block * rows] = False
        above += np.count_nonzero(before, axis=1)
    return np.where(np.isfinite(best), above, count)


def _scores(embeddings: Float32, vectors: Float16, block: int, rows: int) -> Float32:
    some = vectors[block * rows : (block + 1) * rows].astype(np.float32)
    scores: Float32 = embeddings @ some.T
    return scores
