"""Tiles of an older version, taken over where nothing about them has changed."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import crossfix
from crossfix.encoder import Encoder
from crossfix.errors import GalleryCorrupt
from crossfix.gallery_manifest import (
    MANIFEST_FILE,
    PICTURES_FILE,
    TILES_FILE,
    VECTORS_FILE,
    GalleryManifest,
    SourceInfo,
)
from crossfix.manifest import read_model
from index_builder.assembly.left_out import LEFT_OUT_FILE
from index_builder.sources.source import TilePlan

_PLACE = ("lon", "lat", "west", "south", "east", "north", "size_m")
_HELD_GROUPS = 32  # of pictures, about 2 MB each


@dataclass(frozen=True)
class OldTile:
    """What is taken over: (D,) fp16 and the picture, with what was known of the pixels."""

    embedding: NDArray[np.float16]
    jpeg: bytes
    pixels_hash: str
    resolution_m: float


class OldTiles:
    """An older version's tiles by id. Thread-safe.

    Attributes:
        unchanged: names of the sources whose files are what they were, read by the same code:
            their tiles need not be read to know that.
    """

    def __init__(self, directory: Path, manifest: GalleryManifest, unchanged: set[str]) -> None:
        self.unchanged = unchanged
        rows = pq.read_table(
            directory / TILES_FILE, columns=["tile_id", *_PLACE, "resolution_m", "pixels_hash"]
        )
        self._row_of = {one: row for row, one in enumerate(rows.column("tile_id").to_pylist())}
        self._places = np.stack([rows.column(name).to_numpy() for name in _PLACE], axis=1)
        self._resolutions = rows.column("resolution_m").to_numpy()
        self._hashes = rows.column("pixels_hash").combine_chunks()
        self._empty = _read_empty(directory)
        self._vectors = np.memmap(
            directory / VECTORS_FILE, "<f2", "r", shape=(len(rows), manifest.embedding_dim)
        )
        self._pictures = pq.ParquetFile(directory / PICTURES_FILE, memory_map=True)
        self._group_rows = self._pictures.metadata.row_group(0).num_rows
        self._groups: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, directory: Path, encoder: Encoder, sources: Sequence[SourceInfo], *, reread: bool
    ) -> "OldTiles | None":
        """Opens a version; None where its embeddings are another encoder's.

        Args:
            sources: as they are now.
            reread: trust no fingerprint.

        Raises:
            GalleryCorrupt: the version cannot be read.
        """
        manifest = read_model(directory / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
        if manifest.embedding_space_id != encoder.embedding_space_id:
            return None
        before = {source.name: source.fingerprint for source in manifest.sources}
        same_code = manifest.builder_revision == crossfix.__version__
        unchanged = {
            source.name
            for source in sources
            if same_code and not reread and before.get(source.name) == source.fingerprint != ""
        }
        try:
            return cls(directory, manifest, unchanged)
        except (OSError, pa.ArrowException, ValueError) as problem:
            raise GalleryCorrupt(
                f"gallery version {directory} cannot be read: {problem}",
                hint="check it with `verify`, or build the gallery again",
            ) from problem

    def find(self, plan: TilePlan) -> OldTile | None:
        """The tile of the same id at exactly the same place and of the same size."""
        row = self._row_of.get(plan.tile_id)
        if row is None or not np.array_equal(self._places[row], _place_of(plan)):
            return None
        return OldTile(
            embedding=np.array(self._vectors[row]),
            jpeg=self._picture(row),
            pixels_hash=self._hashes[row].as_py(),
            resolution_m=float(self._resolutions[row]),
        )

    def was_empty(self, plan: TilePlan) -> bool:
        """Whether a tile of this id was left out, at this place, for want of data."""
        return self._empty.get(plan.tile_id) == (plan.lon, plan.lat, plan.size_m)

    def _picture(self, row: int) -> bytes:
        group, within = divmod(row, self._group_rows)
        with self._lock:  # a Parquet reader is not safe to share between threads
            held = self._groups.pop(group, None)
            if held is None:
                held = self._pictures.read_row_group(group, columns=["jpeg"]).column("jpeg")
            self._groups[group] = held
            while len(self._groups) > _HELD_GROUPS:
                self._groups.popitem(last=False)
        return bytes(held[within].as_py())

    def close(self) -> None:
        """Closes the pictures."""
        self._pictures.close()


def _place_of(plan: TilePlan) -> tuple[float, ...]:
    box = plan.bounds
    return (plan.lon, plan.lat, box.west, box.south, box.east, box.north, plan.size_m)


def _read_empty(directory: Path) -> dict[str, tuple[float, float, float]]:
    if not (directory / LEFT_OUT_FILE).is_file():
        return {}
    rows = pq.read_table(directory / LEFT_OUT_FILE).to_pylist()
    return {
        row["tile_id"]: (row["lon"], row["lat"], row["size_m"]) for row in rows if not row["why"]
    }
