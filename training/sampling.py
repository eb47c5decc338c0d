"""Batches: random, or built of neighbourhoods; items too close to each other never meet."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from crossfix.errors import DataError
from crossfix.view import ViewName

Int64 = NDArray[np.int64]

MAX_FAILURES = 1024  # anchors refused in a row before the rest of an epoch is given up


@dataclass(frozen=True)
class Batch:
    """Pairs of one query view that are each other's negatives: indices (B,) into its photos."""

    view: ViewName
    indices: Int64


@dataclass(frozen=True)
class ViewItems:
    """What the sampler knows of one view's pairs.

    Attributes:
        conflicts: for each pair the pairs that may not share a batch with it, itself included.
        neighbours: (N, R) preferred company, nearest first, -1 for none; or None for random.
    """

    conflicts: Sequence[Sequence[int]]
    neighbours: Int64 | None = None


def epoch_batches(
    items: Mapping[ViewName, ViewItems], *, batch_size: int, neighbour_select: int, seed: int,
    epoch: int,
) -> list[Batch]:  # fmt: skip
    """One epoch's batches of all views, mixed; the same for the same seed and epoch.

    Each pair appears at most once; incomplete batches are left out.

    Raises:
        DataError: not one batch can be filled.
    """
    rng = np.random.default_rng([seed, epoch])
    batches: list[Batch] = []
    for view, known in items.items():
        filled = _fill_batches(known, batch_size, neighbour_select, rng)
        batches += [Batch(view, np.array(indices, np.int64)) for indices in filled]
    if not batches:
        raise DataError(
            f"the data cannot fill one batch of {batch_size} photos that lie far enough apart",
            hint="use more or larger towns, a smaller batch or a smaller exclude_within_m",
        )
    return [batches[i] for i in rng.permutation(len(batches))]


def _fill_batches(
    items: ViewItems, batch_size: int, select: int, rng: Generator
) -> list[list[int]]:
    """Sample4Geo's `shuffle` (official behaviour), with conflicts kept apart."""
    pool = deque(rng.permutation(len(items.conflicts)).tolist())
    used = np.zeros(len(items.conflicts), np.bool_)
    batches: list[list[int]] = []
    batch, failures = _OpenBatch(items.conflicts, used), 0
    while pool and failures < MAX_FAILURES:
        anchor = pool.popleft()
        if used[anchor]:
            continue
        if not batch.add(anchor):
            pool.append(anchor)
            failures += 1
            continue
        failures = 0
        for neighbour in _company(items.neighbours, anchor, select, rng):
            if len(batch.members) == batch_size:
                break
            batch.add(neighbour)
        if len(batch.members) == batch_size:
            batches.append(batch.members)
            batch = _OpenBatch(items.conflicts, used)
    return batches


class _OpenBatch:
    """A batch being filled; knows whom its members shut out."""

    def __init__(self, conflicts: Sequence[Sequence[int]], used: NDArray[np.bool_]) -> None:
        self.members: list[int] = []
        self._conflicts = conflicts
        self._used = used
        self._blocked: set[int] = set()

    def add(self, item: int) -> bool:
        if self._used[item] or item in self._blocked:
            return False
        self.members.append(item)
        self._blocked.update(self._conflicts[item])
        self._used[item] = True
        return True


def _company(neighbours: Int64 | None, anchor: int, select: int, rng: Generator) -> list[int]:
    """Half of `select` from the nearest neighbours, the other half drawn from the rest."""
    if neighbours is None:
        return []
    known = neighbours[anchor]
    known = known[known >= 0]
    nearest, rest = known[: select // 2], known[select // 2 :]
    drawn = rng.permutation(rest)[: select - select // 2]
    return [*nearest.tolist(), *drawn.tolist()]
