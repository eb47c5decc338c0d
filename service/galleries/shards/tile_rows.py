"""A few rows of a tile table on their way from a shard to the front door."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.tile_table import TileTable

_NUMBERS = ("lon", "lat", "west", "south", "east", "north", "size_m")
_TEXTS = ("ids", "date", "attribution", "licence")


@dataclass(frozen=True)
class TileRows:
    """What answers say of tiles.

    Attributes:
        numbers: (7, n) float64: centre, bounds and size, in the order of `_NUMBERS`.
        texts: for each of `_TEXTS`, n strings.
    """

    numbers: NDArray[np.float64]
    texts: tuple[list[str], ...]

    @classmethod
    def of(cls, tiles: TileTable, rows: NDArray[np.int64]) -> "TileRows":
        """Copies rows of a table."""
        return cls(
            numbers=np.stack([getattr(tiles, name)[rows] for name in _NUMBERS]),
            texts=tuple([getattr(tiles, name)[row] for row in rows.tolist()] for name in _TEXTS),
        )


def joined(parts: Sequence[TileRows]) -> TileTable:
    """All parts as one table, in their order; what answers do not say is empty or NaN in it."""
    numbers = np.concatenate(
        [np.empty((len(_NUMBERS), 0)), *(one.numbers for one in parts)], axis=1
    )
    count = numbers.shape[1]
    columns: dict[str, Any] = dict(zip(_NUMBERS, numbers, strict=True))
    for i, name in enumerate(_TEXTS):
        columns[name] = [text for one in parts for text in one.texts[i]]
    empty = [""] * count
    return TileTable(
        **columns,
        resolution_m=np.full(count, np.nan),
        source=empty,
        pixels_hash=empty,
    )
