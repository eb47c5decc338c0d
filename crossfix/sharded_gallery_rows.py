"""Rows of a sharded gallery: counted over all shards in their order, lost ones included."""

from collections.abc import Sequence

import numpy as np

from crossfix.errors import InvalidParameter
from crossfix.sharded_gallery_manifest import ShardEntry


class ShardRows:
    """From a row of the whole gallery to a shard's own, and back.

    Attributes:
        starts: the row of every shard's first tile; one more at the end, the count of all tiles.
    """

    def __init__(self, shards: Sequence[ShardEntry]) -> None:
        counts = [shard.tile_count for shard in shards]
        self.starts: list[int] = [0, *np.cumsum(counts).tolist()]

    def locate(self, row: int) -> tuple[int, int]:
        """The number of a row's shard, and the row there.

        Raises:
            InvalidParameter: no such row.
        """
        if not 0 <= row < self.starts[-1]:
            raise InvalidParameter(
                f"row {row} is not one of {self.starts[-1]}", hint="rows are those of a search"
            )
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        return shard, int(row - self.starts[shard])

    def of(self, shard: int, row: int) -> int:
        """The row of a shard's row; the inverse of :meth:`locate`."""
        return int(self.starts[shard] + row)
