"""What an update changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crossfix.gallery_manifest import TILES_FILE


@dataclass(frozen=True)
class UpdateCounts:
    """Tiles of a new version against the old one.

    Attributes:
        embedded: were embedded, an interrupted run of the same update included.
        reused: vector and picture are the old version's.
        added: ids that the old version does not have.
        retired: ids that only the old version has.
    """

    embedded: int
    reused: int
    added: int
    retired: int


def count_changes(old: Sequence[Path], new: Path, *, reused: int) -> UpdateCounts:
    """Compares the tile tables of two versions.

    Args:
        old: directories; those of shards count together.
        reused: how many tiles of the new one were taken over.
    """
    before, after = _read_ids(old), _read_ids([new])
    shared = pc.sum(pc.is_in(after, value_set=before)).as_py() or 0
    return UpdateCounts(
        embedded=len(after) - reused,
        reused=reused,
        added=len(after) - shared,
        retired=len(before) - shared,
    )


def _read_ids(directories: Sequence[Path]) -> pa.ChunkedArray:
    return pa.concat_tables(
        pq.read_table(directory / TILES_FILE, columns=["tile_id"]) for directory in directories
    ).column("tile_id")
