"""The files of a version, written row by row in one pass."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from crossfix.gallery_manifest import PICTURES_FILE, TILES_FILE, VECTORS_FILE
from crossfix.tile_table import PICTURE_SCHEMA, SCHEMA
from index_builder.assembly.content import ContentHash
from index_builder.embedding.part_file import read_left_out, vectors_of
from index_builder.left_out import LEFT_OUT_FILE, LEFT_OUT_SCHEMA

PICTURE_GROUP_ROWS = 64  # readers count on groups of one size
TILE_GROUP_ROWS = 65_536


class VersionWriter:
    """Takes gathered rows in Morton order; use as a context manager.

    Files are opened here and handed to Arrow, so that a full disk is the same error everywhere.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files = ExitStack()
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_left_out: list[dict[str, Any]] = []
        self.content = ContentHash()

    def __enter__(self) -> Self:
        with ExitStack() as files:
            self._vectors = files.enter_context((self._directory / VECTORS_FILE).open("wb"))
            self._tiles = self._open(files, TILES_FILE, SCHEMA, compression="snappy")
            # JPEGs do not compress further, and no two are alike.
            self._pictures = self._open(
                files, PICTURES_FILE, PICTURE_SCHEMA, compression="none", use_dictionary=False
            )
            self._left_out = self._open(files, LEFT_OUT_FILE, LEFT_OUT_SCHEMA)
            self._files = files.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush_tiles()
                self._flush_left_out(at_least=1)
        finally:
            self._files.close()

    def add(self, rows: pa.RecordBatch) -> None:
        """Writes the next rows; a multiple of `PICTURE_GROUP_ROWS`, except the last ones."""
        vectors = vectors_of(rows).tobytes()
        self._vectors.write(vectors)
        self.content.add_vectors(vectors)
        self.content.add_rows(rows)
        pictures = pa.Table.from_batches([rows.select(PICTURE_SCHEMA.names)])
        self._pictures.write_table(
            pictures.replace_schema_metadata(None), row_group_size=PICTURE_GROUP_ROWS
        )
        self._waiting.append(rows.select(SCHEMA.names).replace_schema_metadata(None))
        if sum(len(batch) for batch in self._waiting) >= TILE_GROUP_ROWS:
            self._flush_tiles()

    def add_left_out(self, part: pa.RecordBatch) -> None:
        """Writes which tiles a part left out."""
        self._waiting_left_out += read_left_out(part)
        self._flush_left_out(at_least=TILE_GROUP_ROWS)

    def _flush_left_out(self, *, at_least: int) -> None:
        """A row group for every few rows of a part would make the list slow to read."""
        waiting = self._waiting_left_out
        while len(waiting) >= at_least:
            rows, waiting = waiting[:TILE_GROUP_ROWS], waiting[TILE_GROUP_ROWS:]
            self._left_out.write_table(pa.Table.from_pylist(rows, LEFT_OUT_SCHEMA))
        self._waiting_left_out = waiting

    def _flush_tiles(self) -> None:
        if self._waiting:
            self._tiles.write_table(
                pa.Table.from_batches(self._waiting), row_group_size=TILE_GROUP_ROWS
            )
        self._waiting = []

    def _open(self, files: ExitStack, name: str, schema: pa.Schema, **options: Any) -> Any:  # noqa: ANN401
        handle = files.enter_context((self._directory / name).open("wb"))
        return files.enter_context(pq.ParquetWriter(handle, schema, **options))
