"""Batches: random, or built of neighbourhoods; tiles that conflict never meet."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crossfix.errors import DataError
from crossfix.matches import Matches
from crossfix.view import ViewName
from training.sampling.items import PairItems
from training.sampling.neighbour_table import NeighbourTable

Int64 = NDArray[np.int64]

# Anchors refused in a row before the rest of an epoch is given up, as in the official code.
MAX_FAILURES, MAX_FAILURES_AT_RANDOM = 1024, 512


@dataclass(frozen=True)
class Batch:
    """Pairs of one query view that are each other's negatives: indices (B,) into its table."""

    view: ViewName
    indices: Int64


def epoch_batches(
    items: Mapping[ViewName, PairItems], *, batch_size: int, neighbour_select: int, seed: int,
    epoch: int,
) -> list[Batch]:  # fmt: skip
    """One epoch's batches of all views, mixed; the same for the same seed and epoch.

    Each pair appears at most once in an epoch and each tile at most once in a batch; incomplete
    batches are left out.

    Raises:
        DataError: not one batch can be filled.
    """
    rng = np.random.default_rng([seed, epoch])
    batches: list[Batch] = []
    for view, known in items.items():
        filled = _Filler(known, batch_size, neighbour_select, rng).fill()
        batches += [Batch(view, np.array(indices, np.int64)) for indices in filled]
    if not batches:
        raise DataError(
            f"the data cannot fill one batch of {batch_size} photos that lie far enough apart",
            hint="use more data, a smaller batch or a smaller sampling.exclude_within_m",
        )
    return [batches[i] for i in rng.permutation(len(batches))]


class _Filler:
    """Sample4Geo's `shuffle` (official behaviour), with conflicts kept apart.

    An anchor is followed by its company: candidate tiles, each with one of its unused photos.
    Candidates do not bring company of their own. An anchor that may not join the open batch goes
    to the end of the pool. One quirk is not repeated: the official code skips a neighbour whose
    id is 0.
    """

    def __init__(self, items: PairItems, batch_size: int, select: int, rng: Generator) -> None:
        self._items, self._batch_size, self._select, self._rng = items, batch_size, select, rng
        count = len(items.reference)
        self._pool = deque(rng.permutation(count).tolist())
        self._draws = rng.random(count)  # which of a tile's photos comes first, this epoch
        self._used = np.zeros(count, np.bool_)
        self._reference = items.reference.tolist()
        tiles = int(items.reference.max(initial=-1)) + 1
        self._photos = Matches.from_pairs(items.reference, np.arange(count), count=tiles)
        self._batch: list[int] = []
        self._blocked: set[int] = set()  # tiles that are no negatives of the batch's photos
        self._present: set[int] = set()  # tiles of the batch

    def fill(self) -> list[list[int]]:
        """All whole batches of an epoch."""
        batches: list[list[int]] = []
        failures, neighbours = 0, self._items.neighbours
        limit = MAX_FAILURES if neighbours else MAX_FAILURES_AT_RANDOM
        while self._pool and failures < limit:
            anchor = self._pool.popleft()
            if self._used[anchor]:
                continue
            if not self._add(anchor):
                self._pool.append(anchor)
                failures += 1
                continue
            failures = 0
            if neighbours is not None:
                self._add_company(neighbours, anchor)
            if len(self._batch) == self._batch_size:
                batches.append(self._batch)
                self._batch, self._blocked, self._present = [], set(), set()
        return batches

    def _add(self, pair: int) -> bool:
        tile, no_negatives = self._reference[pair], self._items.conflicts.of(pair).tolist()
        if self._used[pair] or tile in self._blocked or tile in self._present:
            return False
        if not self._present.isdisjoint(no_negatives):
            return False
        self._batch.append(pair)
        self._present.add(tile)
        self._blocked.update(no_negatives)
        self._used[pair] = True
        return True

    def _add_company(self, neighbours: NeighbourTable, anchor: int) -> None:
        for tile in self._company(neighbours, anchor):
            if len(self._batch) == self._batch_size:
                return
            if tile not in self._blocked and tile not in self._present:
                photo = self._unused_photo(tile)
                if photo is not None:
                    self._add(photo)

    def _company(self, neighbours: NeighbourTable, anchor: int) -> list[int]:
        """Half of `select` from the nearest tiles, the other half drawn from the rest."""
        known, half = neighbours.rows[neighbours.row_of_pair[anchor]], self._select // 2
        known = known[(known >= 0) & ~np.isin(known, self._items.conflicts.of(anchor))]
        drawn = self._rng.permutation(known[half:])[: self._select - half]
        return [*known[:half].tolist(), *drawn.tolist()]

    def _unused_photo(self, tile: int) -> int | None:
        photos = self._photos.of(tile)
        if len(photos) == 1:
            return None if self._used[photos[0]] else int(photos[0])
        free = photos[~self._used[photos]]
        return int(free[self._draws[free].argmin()]) if len(free) else None
