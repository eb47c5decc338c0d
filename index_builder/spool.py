"""Embedded tiles on disk while a gallery is built: memory stays bounded, order is made last."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.gallery_manifest import PICTURES_FILE, TILES_FILE, VECTORS_FILE
from crossfix.geodesy import morton_code
from crossfix.tile_table import PICTURE_SCHEMA, TileTable
from index_builder.sources.source import TilePlan

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

PICTURE_GROUP_ROWS = 64
_VECTOR_CHUNK = 4096


@dataclass(frozen=True)
class TileRecord:
    """A tile that has been read: its plan, what it is from, and the pixel size it had."""

    plan: TilePlan
    source: str
    resolution_m: float
    pixels_hash: str


class Spool:
    """Takes embedded tiles in any order and writes the files of a version in Morton order."""

    def __init__(self, directory: Path, embedding_dim: int) -> None:
        self._directory = directory
        self._dim = embedding_dim
        self._records: list[TileRecord] = []
        self._picture_ends: list[int] = [0]
        self._vectors = (directory / "vectors.spool").open("wb")
        self._pictures = (directory / "pictures.spool").open("wb")

    def __len__(self) -> int:
        return len(self._records)

    def add(
        self, records: Sequence[TileRecord], embeddings: Float32, jpegs: Sequence[bytes]
    ) -> None:
        """Keeps tiles, their (N, D) embeddings and pictures."""
        self._vectors.write(embeddings.astype("<f2").tobytes())
        for record, jpeg in zip(records, jpegs, strict=True):
            self._pictures.write(jpeg)
            self._records.append(record)
            self._picture_ends.append(self._picture_ends[-1] + len(jpeg))

    def close(self) -> None:
        """Closes the spool files; they stay in the directory."""
        self._vectors.close()
        self._pictures.close()

    def write_version(self) -> tuple[TileTable, str]:
        """Writes vectors, tiles and pictures, and removes the spool files.

        Returns:
            the tile table and the content hash.
        """
        self.close()
        order = self._order()
        table = self._table(order)
        digest = hashlib.sha256()
        _hash_table(digest, table)
        self._write_vectors(order, digest)
        pq.write_table(table.to_arrow(), self._directory / TILES_FILE)
        self._write_pictures(order, table)
        for name in ("vectors.spool", "pictures.spool"):
            (self._directory / name).unlink()
        return table, digest.hexdigest()

    def _order(self) -> Int64:
        """Rows by place, then by id: the same whatever order the tiles were read in."""
        codes = morton_code(
            [record.plan.lon for record in self._records],
            [record.plan.lat for record in self._records],
        )
        ids = np.array([record.plan.tile_id for record in self._records])
        return np.asarray(np.lexsort((ids, codes)), np.int64)

    def _table(self, order: Int64) -> TileTable:
        records = [self._records[row] for row in order]
        plans = [record.plan for record in records]

        def numbers(values: Iterator[float]) -> NDArray[np.float64]:
            return np.fromiter(values, np.float64, count=len(plans))

        return TileTable(
            ids=[plan.tile_id for plan in plans],
            lon=numbers(plan.lon for plan in plans),
            lat=numbers(plan.lat for plan in plans),
            west=numbers(plan.bounds.west for plan in plans),
            south=numbers(plan.bounds.south for plan in plans),
            east=numbers(plan.bounds.east for plan in plans),
            north=numbers(plan.bounds.north for plan in plans),
            size_m=numbers(plan.size_m for plan in plans),
            resolution_m=numbers(record.resolution_m for record in records),
            source=[record.source for record in records],
            date=[plan.date for plan in plans],
            attribution=[plan.attribution for plan in plans],
            licence=[plan.licence for plan in plans],
            pixels_hash=[record.pixels_hash for record in records],
        )

    def _write_vectors(self, order: Int64, digest: "hashlib._Hash") -> None:
        spooled = np.memmap(
            self._directory / "vectors.spool", dtype="<f2", mode="r", shape=(len(self), self._dim)
        )
        with (self._directory / VECTORS_FILE).open("wb") as target:
            for start in range(0, len(order), _VECTOR_CHUNK):
                chunk = spooled[order[start : start + _VECTOR_CHUNK]].tobytes()
                digest.update(chunk)
                target.write(chunk)
        del spooled

    def _write_pictures(self, order: Int64, table: TileTable) -> None:
        ends = self._picture_ends
        with (
            (self._directory / "pictures.spool").open("rb") as spooled,
            # JPEGs do not compress further.
            pq.ParquetWriter(
                self._directory / PICTURES_FILE, PICTURE_SCHEMA, compression="none"
            ) as writer,
        ):
            for start in range(0, len(order), PICTURE_GROUP_ROWS):
                rows = order[start : start + PICTURE_GROUP_ROWS]
                jpegs = []
                for row in rows:
                    spooled.seek(ends[row])
                    jpegs.append(spooled.read(ends[row + 1] - ends[row]))
                columns = {"tile_id": table.ids[start : start + len(rows)], "jpeg": jpegs}
                writer.write_table(pa.table(columns, schema=PICTURE_SCHEMA))


def _hash_table(digest: "hashlib._Hash", table: TileTable) -> None:
    """Over the values, not the Parquet bytes, which change with the library's version."""
    for name in ("lon", "lat", "west", "south", "east", "north", "size_m", "resolution_m"):
        digest.update(np.ascontiguousarray(getattr(table, name), "<f8").tobytes())
    texts_of_a_tile = (
        table.ids,
        table.source,
        table.date,
        table.attribution,
        table.licence,
        table.pixels_hash,
    )
    for texts in texts_of_a_tile:
        digest.update("\n".join(texts).encode() + b"\0")
