"""The gallery artifact: open a version, verify it, search it."""

import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.errors import (
    EncoderGalleryMismatch,
    GalleryCorrupt,
    GalleryNotFound,
    PriorOutsideGallery,
    TileNotFound,
)
from crossfix.gallery_manifest import (
    CURRENT_FILE,
    MANIFEST_FILE,
    PICTURES_FILE,
    TILES_FILE,
    VERSIONS_DIRECTORY,
    CurrentVersion,
    GalleryManifest,
    IndexKind,
)
from crossfix.index_opening import OpenedIndex, map_vectors, open_index
from crossfix.manifest import read_model, verify_files
from crossfix.morton_cover import MortonRows
from crossfix.prior import Disc, Prior
from crossfix.sharded_gallery_manifest import is_sharded
from crossfix.tile_table import TileTable
from crossfix.tile_texts import RowLookup, Texts
from crossfix.vector_search import SearchResult, check_request

Float32 = NDArray[np.float32]

__all__ = ["Disc", "Gallery", "current_version", "version_directory"]


def current_version(root: Path) -> str:
    """The live version's name.

    Raises:
        GalleryNotFound: no `CURRENT.json` there, or the gallery is a sharded one.
        GalleryCorrupt: it is not valid.
    """
    path = root / CURRENT_FILE
    if is_sharded(root):
        raise GalleryNotFound(
            f"{root} holds a sharded gallery, not one of one piece",
            hint="open it as a ShardedGallery, or name one of its shards",
        )
    if not path.is_file():
        raise GalleryNotFound(
            f"there is no gallery at {root} ({CURRENT_FILE} is missing)",
            hint="build one with `python -m index_builder build`",
        )
    return read_model(path, CurrentVersion, GalleryCorrupt).version


def version_directory(root: Path, version: str) -> Path:
    """Where a version's files are."""
    return root / VERSIONS_DIRECTORY / version


def require_same_space(gallery: str, *, encoder_name: str, space_id: str, encoder: Encoder) -> None:
    """Makes sure queries and gallery share one embedding space.

    Args:
        gallery: which one, for the message.
        encoder_name, space_id: what it was embedded by.

    Raises:
        EncoderGalleryMismatch: naming both sides.
    """
    if space_id != encoder.embedding_space_id:
        raise EncoderGalleryMismatch(
            f"{gallery} was embedded by {encoder_name} (space {space_id}), the "
            f"encoder is {encoder.manifest.name} (space {encoder.embedding_space_id})",
            hint="rebuild the gallery with this encoder, or load the encoder it was built with",
        )


class Gallery:
    """An opened, immutable gallery version. Thread-safe.

    Attributes:
        vectors: (N, D) fp16, on disk and in the page cache.
    """

    def __init__(
        self,
        directory: Path,
        manifest: GalleryManifest,
        tiles: TileTable,
        vectors: NDArray[np.float16],
        opened: OpenedIndex,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.tiles = tiles
        self.vectors = vectors
        self._index = opened.index
        self._fallback = opened.fallback
        self._places = MortonRows(tiles.lon, tiles.lat)
        self._rows = RowLookup(Texts.of(tiles.ids))
        self._pictures = pq.ParquetFile(directory / PICTURES_FILE)
        self._pictures_lock = threading.Lock()

    @classmethod
    def open(cls, root: Path, *, version: str | None = None, verify: bool = True) -> "Gallery":
        """Opens the live (or a named) version of a gallery.

        Raises:
            GalleryNotFound: no gallery or no such version there.
            GalleryCorrupt: a file is missing, altered or contradicts the manifest.
        """
        return cls.open_directory(
            version_directory(root, version or current_version(root)), verify=verify
        )

    @classmethod
    def open_directory(cls, directory: Path, *, verify: bool = True) -> "Gallery":
        """Opens a version by its directory; same errors as :meth:`open`."""
        if not (directory / MANIFEST_FILE).is_file():
            raise GalleryNotFound(
                f"there is no gallery version at {directory}",
                hint="check the path, or build the gallery",
            )
        manifest = read_model(directory / MANIFEST_FILE, GalleryManifest, GalleryCorrupt)
        if verify:
            verify_files(directory, manifest.files, GalleryCorrupt)
        tiles = TileTable.read(directory / TILES_FILE)
        if len(tiles) != manifest.tile_count:
            raise GalleryCorrupt(
                f"{directory} names {manifest.tile_count} tiles but holds {len(tiles)} rows",
                hint="build the gallery again",
            )
        vectors = map_vectors(directory, manifest.tile_count, manifest.embedding_dim)
        opened = open_index(directory, manifest.index, vectors)
        return cls(directory, manifest, tiles, vectors, opened)

    def __len__(self) -> int:
        return len(self.tiles)

    @property
    def index_kind(self) -> IndexKind:
        """What searches this gallery here, which a missing GPU may change."""
        return self._index.kind

    @property
    def index_fallback(self) -> str:
        """Why another index than the manifest's is used, in words; empty where it is the same."""
        return self._fallback

    def require_encoder(self, encoder: Encoder) -> None:
        """Refuses the encoder of another space; see :func:`require_same_space`."""
        require_same_space(
            f"gallery version {self.manifest.version}",
            encoder_name=self.manifest.encoder_name,
            space_id=self.manifest.embedding_space_id,
            encoder=encoder,
        )

    def search(self, embeddings: Float32, k: int, *, prior: Prior | None = None) -> SearchResult:
        """The k most similar tiles.

        Args:
            embeddings: (Q, D) float32 unit-norm.
            prior: only tiles whose centre lies inside; scanned exactly unless they are very many.

        Returns:
            rows and scores (Q, min(k, eligible tiles)), best first.

        Raises:
            InvalidParameter: embeddings of another shape, not finite, or k below 1.
            PriorOutsideGallery: no tile's centre lies inside the prior.
        """
        embeddings = check_request(embeddings, k, dim=self.manifest.embedding_dim)
        if prior is None:
            return self._index.search(embeddings, k)
        rows = self._places.inside(prior)
        if not rows.count:
            raise PriorOutsideGallery(
                f"no tile's centre lies in {prior.describe()}",
                hint="GET /gallery tells the bounds; widen or drop the prior",
            )
        return self._index.search(embeddings, k, rows=rows)

    def count_inside(self, prior: Prior) -> int:
        """How many tiles' centres lie inside a prior."""
        return self._places.inside(prior).count

    def row_of(self, tile_id: str) -> int:
        """The row of a tile.

        Raises:
            TileNotFound: no tile of this id.
        """
        row = self._rows.find(tile_id)
        if row is None:
            raise TileNotFound(
                f"the gallery has no tile {tile_id!r}", hint="ids are in the matches of /localize"
            )
        return row

    def picture(self, row: int) -> bytes:
        """The tile's small JPEG."""
        group_size = self._pictures.metadata.row_group(0).num_rows
        with self._pictures_lock:  # a Parquet reader is not safe to share between threads
            group = self._pictures.read_row_group(row // group_size, columns=["jpeg"])
        return bytes(group.column("jpeg")[row % group_size].as_py())
