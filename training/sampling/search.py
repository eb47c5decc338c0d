"""One view's neighbour table, found on the ground or by similarity of embeddings."""

import numpy as np
import torch

from crossfix.errors import DataError
from crossfix.matches import Matches
from training.datasets.image_files import select_images
from training.datasets.split import Int64, PairTable, Positions
from training.embedding import EmbedImages
from training.recipe import Mode
from training.sampling.items import PairItems
from training.sampling.neighbour_table import Int32, NeighbourTable
from training.sampling.neighbours import ground_neighbours, similar_tiles


def table_by_distance(
    table: PairTable, count: int, *, exclude_within_m: float, mode: Mode
) -> NeighbourTable:
    """The nearest tiles of each tile, only tiles of training pairs; `count` of them at most.

    Raises:
        DataError: the tiles have no positions.
    """
    tiles, number = np.unique(table.reference, return_inverse=True)
    positions = required_positions(table).select(tiles)
    near = ground_neighbours(positions, count, exclude_within_m=exclude_within_m, mode=mode)
    return NeighbourTable(_numbers_to_tiles(near, tiles), number)


def table_by_similarity(
    table: PairTable, items: PairItems, count: int, embed: EmbedImages, *, mode: Mode,
    device: torch.device | str,
) -> NeighbourTable:  # fmt: skip
    """The tiles most similar to each photo, conflicts left out; `count` of them at most.

    In `correct` mode each pair has a list of its own. In `paper` mode pairs of a tile share that
    of the last of them: the official code keeps VIGOR's lists by tile, and a later photo
    overwrites an earlier one.

    Raises:
        DataError: an image cannot be read.
    """
    tiles, number = np.unique(table.reference, return_inverse=True)
    chosen = row_of_pair = np.arange(len(table), dtype=np.int64)
    if mode == "paper":
        chosen, row_of_pair = _last_pair_of_each(number), number
    found = similar_tiles(
        embed(select_images(table.queries, chosen)), embed(select_images(table.tiles, tiles)),
        count, blocked=_blocked(items, chosen, tiles), device=device,
    )  # fmt: skip
    return NeighbourTable(_numbers_to_tiles(found, tiles), row_of_pair)


def required_positions(table: PairTable) -> Positions:
    """The positions of the tiles.

    Raises:
        DataError: there are none.
    """
    if table.positions is None:
        raise DataError(
            f"the {table.view} pairs have no positions, which GPS sampling needs",
            hint="set sampling.strategy to random, or provide the data set's coordinates file",
        )
    return table.positions


def _numbers_to_tiles(rows: Int32, tiles: Int64) -> Int32:
    """Rows of indices into `tiles` as rows of tiles; -1 stays."""
    return np.append(tiles, -1).astype(np.int32)[rows]


def _last_pair_of_each(number: Int64) -> Int64:
    """(K,) the last pair with each of the numbers 0..K-1."""
    last = np.zeros(number.max() + 1, np.int64)
    np.maximum.at(last, number, np.arange(len(number)))
    return last


def _blocked(items: PairItems, chosen: Int64, tiles: Int64) -> Matches:
    """For each chosen pair what is no negative of it, its own tile first of all.

    Columns are indices into `tiles`, the ascending list of tiles in use; others are dropped.
    """
    pairs = np.arange(len(items))
    rows = np.concatenate([pairs, items.conflicts.rows()])
    listed = np.concatenate([items.reference, items.conflicts.columns])
    row_of = np.full(len(items), -1, np.int64)
    row_of[chosen] = np.arange(len(chosen))
    columns = np.minimum(np.searchsorted(tiles, listed), len(tiles) - 1)
    kept = (tiles[columns] == listed) & (row_of[rows] >= 0)
    return Matches.from_pairs(row_of[rows[kept]], columns[kept], count=len(chosen))
