"""True ranks in a gallery, from every score, a block of vectors at a time."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.geodesy import distance_m
from crossfix.metrics import POSITIVE_RADIUS_SHARE

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

_BLOCK_NUMBERS = 2**23  # 32 MB of fp32 vectors
_METRES_PER_DEGREE = 110_000.0  # of latitude, a little less than anywhere: finds too many


class Places(Protocol):
    """Centres and sides of tiles, (N,) each."""

    @property
    def lon(self) -> Float64:
        """Degrees."""
        ...

    @property
    def lat(self) -> Float64:
        """Degrees."""
        ...

    @property
    def size_m(self) -> Float64:
        """Of a side, on the ground."""
        ...


def right_rows(tiles: Places, lon: float, lat: float) -> Int64:
    """Rows of the tiles that are right for a place: their centre is within 0.35 of their side."""
    reach_deg = POSITIVE_RADIUS_SHARE * float(tiles.size_m.max(initial=0)) / _METRES_PER_DEGREE
    near = np.flatnonzero(np.abs(tiles.lat - lat) <= reach_deg)
    away_m = distance_m(tiles.lon[near], tiles.lat[near], lon, lat)
    rows: Int64 = near[away_m <= POSITIVE_RADIUS_SHARE * tiles.size_m[near]].astype(np.int64)
    return rows


def exact_ranks(embeddings: Float32, vectors: Sequence[Float16], right: list[Int64]) -> Int64:
    """Zero-based rank of each query's best right tile among all; ties count against it.

    Equals `crossfix.metrics.ranks_of_first_positive` over all scores, without holding them.

    Args:
        embeddings: (Q, D) unit-norm.
        vectors: (n, D) for each shard, may be mapped files; rows count over all of them.
        right: Q lists of rows.

    Returns:
        (Q,); as many as there are rows where a query has no right tile.
    """
    best = np.full(len(embeddings), -np.inf, np.float32)
    # Right tiles first: limits come from the same products that are counted later, as a dot
    # product computed in another shape may differ in its last bit and break a tie.
    for start, block in _blocks(vectors):
        inside = [_inside(some, start, len(block)) for some in right]
        if any(len(some) for some in inside):
            scores = _scores(embeddings, block)
            for query, some in enumerate(inside):
                best[query] = max(best[query], scores[query, some].max(initial=-np.inf))
    above = np.zeros(len(embeddings), np.int64)
    for start, block in _blocks(vectors):
        before = _scores(embeddings, block) >= best[:, None]
        for query, some in enumerate(right):
            before[query, _inside(some, start, len(block))] = False
        above += np.count_nonzero(before, axis=1)
    return np.where(np.isfinite(best), above, sum(len(shard) for shard in vectors))


def _blocks(vectors: Sequence[Float16]) -> Iterator[tuple[int, Float16]]:
    """The first row of every block, and the block."""
    first = 0
    for shard in vectors:
        rows = max(1, _BLOCK_NUMBERS // shard.shape[1])
        for start in range(0, len(shard), rows):
            yield first + start, shard[start : start + rows]
        first += len(shard)


def _inside(rows: Int64, start: int, count: int) -> Int64:
    """Those of the rows that are in a block, counted from its first one."""
    return rows[(rows >= start) & (rows < start + count)] - start


def _scores(embeddings: Float32, block: Float16) -> Float32:
    scores: Float32 = embeddings @ block.astype(np.float32).T
    return scores
