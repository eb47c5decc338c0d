"""Tiles of an older version, taken over where nothing about them has changed."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
from crossfix.tile_texts import RowLookup, Texts
from index_builder.left_out import LEFT_OUT_FILE
from index_builder.sources.source import TilePlan

_PLACE = ("lon", "lat", "west", "south", "east", "north", "size_m")
_HELD_GROUPS = 32  # of pictures, about 2 MB each


@dataclass(frozen=True)
class OldTile:
    """Where a tile stands in the older version, and what was known of its pixels."""

    row: int
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
        self._tiles = _PlacesById(rows, _PLACE)
        self._resolutions = rows.column("resolution_m").to_numpy()
        self._hashes = Texts.of(rows.column("pixels_hash"))
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
        cls,
        directory: Path,
        encoder: Encoder,
        sources: Sequence[SourceInfo],
        *,
        computed_on: str,
        reread: bool,
    ) -> "OldTiles | None":
        """Opens a version; None where its embeddings are not those that would be computed now.

        They are another encoder's then, or another device's, or of another version of the code:
        taken over, they would make a gallery that no build from nothing makes.

        Args:
            sources: as they are now.
            computed_on: device and batch size of this task.
            reread: trust no fingerprint.

        Raises:
            GalleryCorrupt: the version cannot be read.
        """
        manifest = read_model(directory / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
        before_and_now = [
            (manifest.embedding_space_id, encoder.embedding_space_id),
            (manifest.builder_revision, crossfix.__version__),
            (manifest.computed_on, computed_on),
        ]
        if any(one != other for one, other in before_and_now):
            return None
        before = {source.name: source.fingerprint for source in manifest.sources}
        unchanged = {
            source.name
            for source in sources
            if not reread and before.get(source.name) == source.fingerprint != ""
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
        row = self._tiles.find(plan.tile_id, _place_of(plan))
        if row is None:
            return None
        return OldTile(row, self._hashes[row], float(self._resolutions[row]))

    def take(self, found: OldTile) -> tuple[NDArray[np.float16], bytes]:
        """A found tile's embedding, (D,), and its picture."""
        return np.array(self._vectors[found.row]), self._picture(found.row)

    def was_empty(self, plan: TilePlan) -> bool:
        """Whether a tile of this id was left out, at this place, for want of data."""
        place = (plan.lon, plan.lat, plan.size_m)
        return self._empty is not None and self._empty.find(plan.tile_id, place) is not None

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


class _PlacesById:
    """Where tiles are, by id, without a Python object for each.

    Args:
        rows: holds `tile_id` and the columns `names` of numbers.
    """

    def __init__(self, rows: pa.Table, names: Sequence[str]) -> None:
        self._lookup = RowLookup(Texts.of(rows.column("tile_id")))
        self._columns = [rows.column(name).to_numpy() for name in names]

    def find(self, tile_id: str, place: Sequence[float]) -> int | None:
        """The row of this id, if it is at exactly this place."""
        row = self._lookup.find(tile_id)
        if row is None:
            return None
        there = all(column[row] == x for column, x in zip(self._columns, place, strict=True))
        return row if there else None


def _place_of(plan: TilePlan) -> tuple[float, ...]:
    box = plan.bounds
    return (plan.lon, plan.lat, box.west, box.south, box.east, box.north, plan.size_m)


def _read_empty(directory: Path) -> _PlacesById | None:
    if not (directory / LEFT_OUT_FILE).is_file():
        return None
    names = ("lon", "lat", "size_m")
    rows = pq.read_table(
        directory / LEFT_OUT_FILE,
        columns=["tile_id", *names],
        filters=pc.field("why") == "",
    )
    return _PlacesById(rows, names)
