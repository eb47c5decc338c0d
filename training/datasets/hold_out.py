"""A validation split cut out of training data, so that no test split chooses the weights.

Whole references leave: a tile with all its photos, a building, and, where places are known, whole
cells of ground with a strip around them that is used for nothing.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crossfix.errors import DataError
from crossfix.matches import Matches
from crossfix.view import ViewName
from training.datasets.ground import unit_sphere
from training.datasets.image_files import select_images
from training.datasets.split import EvaluationSplit, Int64, PairTable, Positions
from training.datasets.subtable import Bool, new_numbers, subtable
from training.recipe import Recipe

CELL_M = 500.0
GUARD_M = 75.0  # a tile's side in the city data sets: nearer tiles show common ground
_EARTH_M = 6_371_000.0


def hold_out(table: PairTable, *, share: float, seed: int) -> tuple[PairTable, EvaluationSplit]:
    """Splits a training table into what is trained on and what is validated on.

    Groups of tiles are taken in the order of a hash of seed and name until `share` of the tiles
    is reached; a group is a cell of about 500 m, or a tile where there are no positions. The
    order does not depend on other tiles, so that two views of the same buildings agree.

    A tile left for training is dropped when it lies within 75 m of a held-out tile or is tied to
    one by semi-positives (it is semi-positive of a held-out photo, or one of its photos has a
    held-out tile as semi-positive): it shows held-out ground. The gallery is the held-out tiles
    only; semi-positives outside it are left out of the split.

    Args:
        share: of the tiles, above 0; at least one group is held out.

    Raises:
        DataError: nothing is left to train on, or nothing can be held out.
    """
    held = _choose(_groups(table), share, seed)
    split = _split_of(table, held)
    beside = _near(table.positions, held) | _tied(table, held)
    whole = np.ones(len(table), np.bool_)
    return subtable(table, pairs=whole, tiles=~(held | beside)), split


def hold_out_all(
    tables: Mapping[ViewName, PairTable], recipe: Recipe
) -> tuple[Mapping[ViewName, PairTable], list[EvaluationSplit]]:
    """What a run trains on and what it holds out: nothing in mode `paper` or without a share.

    Raises:
        DataError: as `hold_out`.
    """
    share, seed = recipe.data.validation_share, recipe.runtime.seed
    if recipe.mode == "paper" or not share:
        return tables, []
    parted = {view: hold_out(table, share=share, seed=seed) for view, table in tables.items()}
    kept = {view: trained for view, (trained, _) in parted.items()}
    return kept, [split for _, split in parted.values()]


def _groups(table: PairTable) -> list[str]:
    """(R,) the group of each tile, by name."""
    if table.positions is None:
        return [table.tiles.name(i) for i in range(len(table.tiles))]
    return [f"{column} {row}" for column, row in _cells(table.positions)]


def _cells(positions: Positions) -> Int64:
    """(R, 2) column and row of square cells, the same for a place whatever else is in the table."""
    if positions.kind == "plane_m":
        return np.floor(positions.xy / CELL_M).astype(np.int64)
    step_deg = np.degrees(CELL_M / _EARTH_M)
    rows = np.floor(positions.xy[:, 1] / step_deg)
    # One width of column for a whole row of cells: that at the row's middle.
    narrowing = np.cos(np.radians((rows + 0.5) * step_deg))
    columns = np.floor(positions.xy[:, 0] * narrowing / step_deg)
    return np.stack([columns, rows], axis=1).astype(np.int64)


def _choose(groups: Sequence[str], share: float, seed: int) -> Bool:
    names, member = np.unique(np.array(groups, np.str_), return_inverse=True)
    order = sorted(range(len(names)), key=lambda i: _hash(seed, str(names[i])))
    sizes = np.bincount(member, minlength=len(names))[order]
    before = np.cumsum(sizes) - sizes
    taken = np.array(order)[before < share * len(groups)]
    if len(taken) == len(names):
        raise DataError(
            f"the training data cannot be parted: its tiles form {len(names)} place(s)",
            hint="set data.validation_share to 0, or use more data",
        )
    return np.isin(member, taken)


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _near(positions: Positions | None, held: Bool) -> Bool:
    """Tiles within the guard of a held-out one."""
    if positions is None:
        return np.zeros(len(held), np.bool_)
    points = _points_m(positions)
    distance, _ = cKDTree(points[held]).query(points, distance_upper_bound=GUARD_M)
    return np.asarray(np.isfinite(distance), np.bool_)


def _points_m(positions: Positions) -> NDArray[np.float64]:
    """Points whose straight distance is the one on the ground: on a sphere for degrees."""
    if positions.kind == "plane_m":
        return positions.xy
    return _EARTH_M * unit_sphere(np.radians(positions.xy))


def _tied(table: PairTable, held: Bool) -> Bool:
    """Tiles that semi-positives tie to a held-out one, from either side."""
    tied = np.zeros(len(held), np.bool_)
    semi, photo_held = table.semi_positives, held[table.reference]
    tied[semi[photo_held][semi[photo_held] >= 0]] = True
    points_to_held = (np.append(held, False)[semi]).any(axis=1)  # -1 is the appended one
    tied[table.reference[points_to_held]] = True
    return tied


def _split_of(table: PairTable, held: Bool) -> EvaluationSplit:
    chosen, numbers = np.flatnonzero(held[table.reference]), new_numbers(held)
    if not len(chosen):
        raise DataError(
            f"the held-out places have no {table.view} photo",
            hint="hold out a larger share, or use more data",
        )
    tiles = np.flatnonzero(held)
    return EvaluationSplit(
        name=f"held out of training, {table.view} to satellite",
        protocol="positive tile",
        queries=select_images(table.queries, chosen),
        gallery=select_images(table.tiles, tiles),
        positives=Matches.one_each(numbers[table.reference[chosen]]),
        semi_positives=_semi_positives(numbers[table.semi_positives[chosen]]),
        percent_of=len(tiles),
        query_positions=None,
        gallery_positions=None,
        kinds=None,
    )


def _semi_positives(numbers: Int64) -> Matches | None:
    if not numbers.shape[1]:
        return None
    rows, columns = np.nonzero(numbers >= 0)
    return Matches.from_pairs(rows, numbers[rows, columns], count=len(numbers))
