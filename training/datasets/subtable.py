"""Part of a training table: chosen pairs and chosen tiles, with every index adapted."""

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import DataError
from training.datasets.image_files import select_images
from training.datasets.split import Int64, PairTable

Bool = NDArray[np.bool_]


def new_numbers(kept: Bool) -> Int64:
    """(R + 1,) what each old index becomes, -1 for what is not kept; -1 stays -1."""
    numbers = np.full(len(kept) + 1, -1, np.int64)
    numbers[:-1][kept] = np.arange(kept.sum())
    return numbers


def subtable(table: PairTable, *, pairs: Bool, tiles: Bool) -> PairTable:
    """The pairs that are kept and whose tile is kept; semi-positives not kept become -1.

    Args:
        pairs: (N,), tiles: (R,) what is kept.

    Raises:
        DataError: no pair is left.
    """
    chosen = np.flatnonzero(pairs & tiles[table.reference])
    if not len(chosen):
        raise DataError(
            f"no {table.view} pair is left to train on",
            hint="hold out or leave out less, or get more data",
        )
    numbers, kept_tiles = new_numbers(tiles), np.flatnonzero(tiles)
    return PairTable(
        view=table.view,
        queries=select_images(table.queries, chosen),
        tiles=select_images(table.tiles, kept_tiles),
        reference=numbers[table.reference[chosen]],
        positions=None if table.positions is None else table.positions.select(kept_tiles),
        semi_positives=numbers[table.semi_positives[chosen]],
    )
