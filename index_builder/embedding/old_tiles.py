"""Tiles of an older version, taken over where nothing about them has changed."""

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
    TILES_FILE,
    GalleryManifest,
    SourceInfo,
)
from crossfix.manifest import read_model
from crossfix.tile_texts import RowLookup, Texts
from index_builder.embedding.old_rows import OldRows
from index_builder.left_out import LEFT_OUT_FILE
from index_builder.sources.source import TilePlan

_PLACE = ("lon", "lat", "west", "south", "east", "north", "size_m")


@dataclass(frozen=True)
class Known:
    """What an older version knows of a planned tile.

    Attributes:
        tile: of the same id at exactly the same place and of the same size.
        was_empty: it was left out, at this place, for want of data.
    """

    tile: "OldTile | None" = None
    was_empty: bool = False


@dataclass(frozen=True)
class OldTile:
    """Where a tile stands in the older version, and what was known of its pixels."""

    row: int
    pixels_hash: str
    resolution_m: float


class OldTiles:
    """An older version's tiles by id, those of all its shards together. Thread-safe.

    Args:
        directories: of the version, or of its shards' versions in their order.

    Attributes:
        unchanged: names of the sources whose files are what they were, read by the same code:
            their tiles need not be read to know that.
    """

    def __init__(
        self, directories: Sequence[Path], embedding_dim: int, unchanged: set[str]
    ) -> None:
        self.unchanged = unchanged
        columns = ["tile_id", *_PLACE, "resolution_m", "pixels_hash"]
        rows = pa.concat_tables(
            pq.read_table(directory / TILES_FILE, columns=columns) for directory in directories
        )
        self._tiles = _PlacesById(rows, _PLACE)
        self._resolutions = rows.column("resolution_m").to_numpy()
        self._hashes = Texts.of(rows.column("pixels_hash"))
        self._empty = _read_empty(directories)
        self._pieces = [OldRows(directory, embedding_dim) for directory in directories]
        self._starts = np.cumsum([0, *(len(piece) for piece in self._pieces)])
        if self._starts[-1] != len(rows):
            raise ValueError(f"{self._starts[-1]} vectors of {len(rows)} tiles")

    @classmethod
    def open(
        cls,
        directories: Sequence[Path],
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
        # Shards of one epoch differ in nothing that is compared here.
        manifest = read_model(directories[0] / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
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
            return cls(directories, manifest.embedding_dim, unchanged)
        except (OSError, pa.ArrowException, ValueError) as problem:
            raise GalleryCorrupt(
                f"gallery version {directories[0]} cannot be read: {problem}",
                hint="check it with `verify`, or build the gallery again",
            ) from problem

    def look_up(self, plans: Sequence[TilePlan]) -> list[Known]:
        """What is known of each of some tiles; many at once cost far less than one by one."""
        ids = [plan.tile_id for plan in plans]
        rows = self._tiles.find_many(ids, [_place_of(plan) for plan in plans])
        empty = np.full(len(ids), -1)
        if self._empty is not None:
            places = [(plan.lon, plan.lat, plan.size_m) for plan in plans]
            empty = self._empty.find_many(ids, places)
        return [
            Known(self._tile(row) if row >= 0 else None, was_empty=out >= 0)
            for row, out in zip(rows.tolist(), empty.tolist(), strict=True)
        ]

    def _tile(self, row: int) -> OldTile:
        return OldTile(row, self._hashes[row], float(self._resolutions[row]))

    def take(self, found: OldTile) -> tuple[NDArray[np.float16], bytes]:
        """A found tile's embedding, (D,), and its picture."""
        piece = int(np.searchsorted(self._starts, found.row, side="right")) - 1
        return self._pieces[piece].read(found.row - int(self._starts[piece]))

    def close(self) -> None:
        """Closes the pictures."""
        for piece in self._pieces:
            piece.close()


class _PlacesById:
    """Where tiles are, by id, without a Python object for each.

    Args:
        rows: holds `tile_id` and the columns `names` of numbers.
    """

    def __init__(self, rows: pa.Table, names: Sequence[str]) -> None:
        self._lookup = RowLookup(Texts.of(rows.column("tile_id")))
        self._columns = [rows.column(name).to_numpy() for name in names]

    def find_many(
        self, tile_ids: Sequence[str], places: Sequence[tuple[float, ...]]
    ) -> NDArray[np.int64]:
        """The rows of these ids, (M,); -1 for one that is not there, or not at this place."""
        rows = self._lookup.find_many(tile_ids)
        there = rows >= 0
        values = np.array(places, np.float64).reshape(len(rows), len(self._columns))
        for column, wanted in zip(self._columns, values.T, strict=True):
            there[there] = column[rows[there]] == wanted[there]
        return np.where(there, rows, -1)


def _place_of(plan: TilePlan) -> tuple[float, ...]:
    box = plan.bounds
    return (plan.lon, plan.lat, box.west, box.south, box.east, box.north, plan.size_m)


def _read_empty(directories: Sequence[Path]) -> _PlacesById | None:
    paths = [directory / LEFT_OUT_FILE for directory in directories]
    names = ("lon", "lat", "size_m")
    tables = [
        pq.read_table(path, columns=["tile_id", *names], filters=pc.field("why") == "")
        for path in paths
        if path.is_file()
    ]
    return _PlacesById(pa.concat_tables(tables), names) if tables else None
