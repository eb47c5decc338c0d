"""What the sampler knows of one view's pairs: their tiles, who must stay apart, who is close."""

from dataclasses import dataclass

import numpy as np

from crossfix.errors import DataError
from crossfix.matches import Matches
from training.datasets.split import Int64, PairTable
from training.recipe import Mode
from training.sampling.neighbour_table import NeighbourTable
from training.sampling.neighbours import references_within


@dataclass(frozen=True)
class PairItems:
    """N pairs of one query view.

    Two pairs of the same tile never share a batch; that needs no list.

    Attributes:
        reference: (N,) index of each pair's tile.
        conflicts: for each pair the other tiles that are no negatives of it: no pair of them may
            share a batch with it, whichever of the two comes first.
        neighbours: whom a pair brings along; None for random batches.
    """

    reference: Int64
    conflicts: Matches
    neighbours: NeighbourTable | None = None

    def __len__(self) -> int:
        return len(self.reference)


def pair_items(table: PairTable, *, exclude_within_m: float, mode: Mode) -> PairItems:
    """The pairs and who must stay apart, without neighbours.

    In `correct` mode a pair's semi-positive tiles are conflicts. In `paper` mode they are not:
    the official code of Sample4Geo (ICCV 2023) lets them be negatives.

    Args:
        exclude_within_m: tiles this near to the pair's own one are conflicts in both modes;
            0 for none.

    Raises:
        DataError: a distance is asked for and the data set has no positions.
    """
    rows, tiles = _tiles_near_own(table, exclude_within_m)
    if mode == "correct" and table.semi_positives.size:
        each = table.semi_positives.shape[1]
        rows = np.concatenate([rows, np.repeat(np.arange(len(table)), each)])
        tiles = np.concatenate([tiles, table.semi_positives.ravel()])
    kept = (tiles >= 0) & (tiles != table.reference[rows])
    conflicts = Matches.from_pairs(rows[kept], tiles[kept], count=len(table))
    return PairItems(table.reference, conflicts)


def _tiles_near_own(table: PairTable, radius_m: float) -> tuple[Int64, Int64]:
    """(M,) pairs and (M,) tiles within the radius of the pair's own tile."""
    if radius_m <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if table.positions is None:
        raise DataError(
            f"the {table.view} pairs have no positions, so none can be kept {radius_m:g} m apart",
            hint="set sampling.exclude_within_m to 0, or provide the data set's coordinates",
        )
    near = references_within(table.positions, radius_m).select(table.reference)
    return near.rows(), near.columns
