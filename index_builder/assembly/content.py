"""The content hash of a gallery version: equal tiles and vectors, equal hash."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crossfix.gallery_manifest import TILES_FILE, VECTORS_FILE
from crossfix.tile_table import SCHEMA

_READ_BYTES = 1 << 22


class ContentHash:
    """SHA-256 over the values of every column and the vectors, taken in as they are written.

    Over values, not Parquet bytes, which change with the library's version; and the same
    however the rows are cut into pieces.
    """

    def __init__(self) -> None:
        self._columns = {name: hashlib.sha256() for name in SCHEMA.names}
        self._vectors = hashlib.sha256()

    def add_rows(self, rows: "pa.Table | pa.RecordBatch") -> None:
        """Takes in the next rows' columns of `SCHEMA`."""
        for name, digest in self._columns.items():
            column = rows.column(name)
            if pa.types.is_floating(SCHEMA.field(name).type):
                digest.update(column.to_numpy().astype("<f8", copy=False).tobytes())
            else:
                digest.update("".join(f"{text}\0" for text in column.to_pylist()).encode())

    def add_vectors(self, data: bytes) -> None:
        """Takes in the next bytes of `vectors.f16`."""
        self._vectors.update(data)

    def hexdigest(self) -> str:
        """The hash of what was taken in so far."""
        whole = hashlib.sha256(self._vectors.digest())
        for digest in self._columns.values():
            whole.update(digest.digest())
        return whole.hexdigest()


def hash_content(*directories: Path, whole: ContentHash | None = None) -> str:
    """The content hash of a version's files, or of one that lies cut into several, in order.

    Args:
        whole: takes in the same; of a gallery in shards, which are read one after the other.
    """
    content = ContentHash()
    takers = [content] if whole is None else [content, whole]
    for directory in directories:
        with pq.ParquetFile(directory / TILES_FILE) as file:
            for batch in file.iter_batches():
                for one in takers:
                    one.add_rows(batch)
        with (directory / VECTORS_FILE).open("rb") as handle:
            while block := handle.read(_READ_BYTES):
                for one in takers:
                    one.add_vectors(block)
    return content.hexdigest()
