"""Cutting an assembled version into contiguous pieces of rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.errors import InvalidParameter
from crossfix.gallery_manifest import PICTURES_FILE, TILES_FILE, VECTORS_FILE
from crossfix.geodesy import morton_code
from crossfix.sharded_gallery_manifest import MORTON_END
from index_builder.assembly.content import ContentHash
from index_builder.assembly.writing import PICTURE_GROUP_ROWS, TILE_GROUP_ROWS
from index_builder.left_out import LEFT_OUT_FILE

MOST_OF_A_SHARE = 1.5
_COPY_BYTES = 1 << 24


@dataclass(frozen=True)
class ShardCut:
    """Rows `start` to `stop` (excluded) and the Morton codes [low, high) they stand for."""

    number: int
    start: int
    stop: int
    morton_low: int
    morton_high: int

    @classmethod
    def all_of(cls, tile_count: int) -> "ShardCut":
        """Everything, in one piece."""
        return cls(0, 0, tile_count, 0, MORTON_END)

    @property
    def tile_count(self) -> int:
        """Rows of the shard."""
        return self.stop - self.start


def read_codes(directory: Path) -> NDArray[np.uint64]:
    """Morton codes of a version's rows, (N,): 8 bytes for each tile, the rest stays on disk."""
    file = pq.ParquetFile(directory / TILES_FILE)
    with file:
        pieces = [
            morton_code(batch.column("lon").to_numpy(), batch.column("lat").to_numpy())
            for batch in file.iter_batches(columns=["lon", "lat"])
        ]
    return np.concatenate([np.empty(0, np.uint64), *pieces])


def plan_cuts(codes: NDArray[np.uint64], shards: int) -> list[ShardCut]:
    """Cuts rows into shards of about equal count, never between equal codes.

    Args:
        codes: (N,) ascending.

    Raises:
        InvalidParameter: fewer places than shards.
    """
    if shards < 1:
        raise InvalidParameter(f"{shards} is not a number of shards", hint="give 1 or more")
    places = np.flatnonzero(np.diff(codes, prepend=codes[:1])).astype(np.int64)
    if len(places) < shards - 1:
        raise InvalidParameter(
            f"{len(codes)} tiles at {len(places) + 1} places cannot be cut into {shards} shards",
            hint="ask for fewer shards",
        )
    starts = [0, *_choose_starts(places, len(codes), shards)]
    limits = [0, *(int(codes[start]) for start in starts[1:]), MORTON_END]
    return _cuts(starts, limits, len(codes))


def keep_cuts(codes: NDArray[np.uint64], lows: Sequence[int]) -> list[ShardCut] | None:
    """Cuts rows where older ones were cut, so that shards stay as they are where nothing changes.

    Args:
        codes: (N,) ascending.
        lows: the first Morton code of each shard.

    Returns:
        None where a shard would have no tile, or `MOST_OF_A_SHARE` times its equal share.
    """
    starts = np.searchsorted(codes, np.array(lows, np.uint64)).tolist()
    cuts = _cuts(starts, [*lows, MORTON_END], len(codes))
    counts = [cut.tile_count for cut in cuts]
    if min(counts) == 0 or max(counts) * len(cuts) > MOST_OF_A_SHARE * len(codes):
        return None
    return cuts


def _cuts(starts: Sequence[int], limits: Sequence[int], count: int) -> list[ShardCut]:
    edges = [*starts, count]
    return [
        ShardCut(number, edges[number], edges[number + 1], limits[number], limits[number + 1])
        for number in range(len(starts))
    ]


def _choose_starts(places: NDArray[np.int64], count: int, shards: int) -> list[int]:
    """The place next to each equal share that leaves one for every shard that follows."""
    starts, first = [], 0
    for number in range(1, shards):
        open_places = places[first : len(places) - (shards - 1 - number)]
        chosen = int(np.abs(open_places - number * count / shards).argmin())
        starts.append(int(open_places[chosen]))
        first += chosen + 1
    return starts


def write_cut(assembled: Path, cut: ShardCut, target: Path, *, dim: int) -> None:
    """Copies the rows of one shard out of an assembled version's files."""
    _copy_vectors(assembled / VECTORS_FILE, target / VECTORS_FILE, cut, row_bytes=2 * dim)
    _copy_rows(
        assembled / TILES_FILE, target / TILES_FILE, cut, TILE_GROUP_ROWS, compression="snappy"
    )
    _copy_rows(
        assembled / PICTURES_FILE,
        target / PICTURES_FILE,
        cut,
        PICTURE_GROUP_ROWS,
        compression="none",  # as the assembly writes them
        use_dictionary=False,
    )
    write_left_out(assembled, cut, target)


def hash_cut(directory: Path, cut: ShardCut, dim: int) -> str:
    """The content hash of a version made of the cut's rows only."""
    content = ContentHash()
    with pq.ParquetFile(directory / TILES_FILE) as file:
        for rows in _pieces(file, cut):
            content.add_rows(rows)
    for block in _vector_blocks(directory / VECTORS_FILE, cut, row_bytes=2 * dim):
        content.add_vectors(block)
    return content.hexdigest()


def write_left_out(assembled: Path, cut: ShardCut, target: Path) -> None:
    """Copies the list of left-out tiles: those of the places the shard is in charge of.

    They are in no order.
    """
    if not (assembled / LEFT_OUT_FILE).is_file():
        return
    rows = pq.read_table(assembled / LEFT_OUT_FILE)
    codes = morton_code(rows.column("lon").to_numpy(), rows.column("lat").to_numpy())
    last = np.uint64(cut.morton_high - 1)
    inside = (codes >= np.uint64(cut.morton_low)) & (codes <= last)
    pq.write_table(rows.filter(pa.array(inside)), target / LEFT_OUT_FILE)


def _copy_vectors(source: Path, target: Path, cut: ShardCut, *, row_bytes: int) -> None:
    with target.open("wb") as writer:
        for block in _vector_blocks(source, cut, row_bytes=row_bytes):
            writer.write(block)


def _vector_blocks(source: Path, cut: ShardCut, *, row_bytes: int) -> Iterator[bytes]:
    with source.open("rb") as reader:
        reader.seek(cut.start * row_bytes)
        left = cut.tile_count * row_bytes
        while left:
            block = reader.read(min(left, _COPY_BYTES))
            if not block:
                raise EOFError(f"{source} ends before row {cut.stop}")
            yield block
            left -= len(block)


def _copy_rows(source: Path, target: Path, cut: ShardCut, group_rows: int, **options: Any) -> None:  # noqa: ANN401
    """Rows of a Parquet file into another, in row groups of one size (readers count on it)."""
    file = pq.ParquetFile(source)
    with file, pq.ParquetWriter(target, file.schema_arrow, **options) as writer:
        waiting = file.schema_arrow.empty_table()
        for piece in _pieces(file, cut):
            waiting = pa.concat_tables([waiting, piece])
            while len(waiting) >= group_rows:
                writer.write_table(waiting.slice(0, group_rows), row_group_size=group_rows)
                waiting = waiting.slice(group_rows)
        if len(waiting):
            writer.write_table(waiting, row_group_size=group_rows)


def _pieces(file: pq.ParquetFile, cut: ShardCut) -> Iterator[pa.Table]:
    """The cut's rows, row group by row group."""
    first = 0
    for number in range(file.num_row_groups):
        count = file.metadata.row_group(number).num_rows
        start, stop = max(cut.start, first), min(cut.stop, first + count)
        if start < stop:
            yield file.read_row_group(number).slice(start - first, stop - start)
        first += count
