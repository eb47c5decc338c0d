"""Which planned tiles are not in a gallery, and why: kept for updates and for people."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

LEFT_OUT_FILE = "left_out.parquet"
# `why` is empty where more than half of the tile held no data.
LEFT_OUT_SCHEMA = pa.schema(
    [
        ("tile_id", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("size_m", pa.float64()),
        ("why", pa.string()),
    ]
)


def left_out_rows(directories: Sequence[Path]) -> pa.Table | None:
    """The lists of a version, or of its shards' versions, as one, sorted; None where one lacks."""
    paths = [directory / LEFT_OUT_FILE for directory in directories]
    if not all(path.is_file() for path in paths):
        return None
    rows = pa.concat_tables(pq.read_table(path) for path in paths)
    return rows.select(LEFT_OUT_SCHEMA.names).sort_by("tile_id")
