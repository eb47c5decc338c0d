"""The gallery artifact: open a version, verify it, search it."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.errors import (
    EncoderGalleryMismatch,
    GalleryCorrupt,
    GalleryNotFound,
    InvalidParameter,
    PriorOutsideGallery,
    TileNotFound,
)
from crossfix.gallery_manifest import (
    CURRENT_FILE,
    MANIFEST_FILE,
    PICTURES_FILE,
    TILES_FILE,
    VECTORS_FILE,
    VERSIONS_DIRECTORY,
    CurrentVersion,
    GalleryManifest,
)
from crossfix.geodesy import LonLat, distance_m
from crossfix.manifest import read_model, verify_files
from crossfix.tile_table import TileTable
from crossfix.vector_search import ExactIndex, SearchResult

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Disc:
    """A geographic prior: the photo was taken within `radius_m` of the centre."""

    centre: LonLat
    radius_m: float

    def __post_init__(self) -> None:
        if not 0 < self.radius_m <= 20_100_000:
            raise InvalidParameter(
                f"radius_m {self.radius_m} is not a radius on Earth",
                hint="give a positive number of metres",
            )


def current_version(root: Path) -> str:
    """The live version's name.

    Raises:
        GalleryNotFound: no `CURRENT.json` there.
        GalleryCorrupt: it is not valid.
    """
    path = root / CURRENT_FILE
    if not path.is_file():
        raise GalleryNotFound(
            f"there is no gallery at {root} ({CURRENT_FILE} is missing)",
            hint="build one with `python -m index_builder build`",
        )
    return read_model(path, CurrentVersion, GalleryCorrupt).version


def version_directory(root: Path, version: str) -> Path:
    """Where a version's files are."""
    return root / VERSIONS_DIRECTORY / version


class Gallery:
    """An opened, immutable gallery version. Thread-safe."""

    def __init__(
        self,
        directory: Path,
        manifest: GalleryManifest,
        tiles: TileTable,
        vectors: NDArray[np.float16],
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.tiles = tiles
        self.vectors = vectors
        self._index = ExactIndex(vectors)
        self._row_of = {tile_id: row for row, tile_id in enumerate(tiles.ids)}
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
        try:
            flat = np.fromfile(directory / VECTORS_FILE, dtype="<f2")
        except OSError as problem:
            raise GalleryCorrupt(
                f"{directory / VECTORS_FILE} cannot be read", hint="build the gallery again"
            ) from problem
        if (
            len(tiles) != manifest.tile_count
            or flat.size != manifest.tile_count * manifest.embedding_dim
        ):
            raise GalleryCorrupt(
                f"{directory} names {manifest.tile_count} tiles but holds {len(tiles)} rows and "
                f"{flat.size} numbers",
                hint="build the gallery again",
            )
        return cls(directory, manifest, tiles, flat.reshape(len(tiles), manifest.embedding_dim))

    def __len__(self) -> int:
        return len(self.tiles)

    def require_encoder(self, encoder: Encoder) -> None:
        """Makes sure queries and gallery share one embedding space.

        Raises:
            EncoderGalleryMismatch: naming both sides.
        """
        if self.manifest.embedding_space_id != encoder.embedding_space_id:
            raise EncoderGalleryMismatch(
                f"gallery version {self.manifest.version} was embedded by "
                f"{self.manifest.encoder_name} (space {self.manifest.embedding_space_id}), the "
                f"encoder is {encoder.manifest.name} (space {encoder.embedding_space_id})",
                hint="rebuild the gallery with this encoder, or load the encoder it was built with",
            )

    def search(self, embeddings: Float32, k: int, *, prior: Disc | None = None) -> SearchResult:
        """The k most similar tiles.

        Args:
            embeddings: (Q, D) float32 unit-norm.
            prior: only tiles whose centre lies inside; scanned exactly.

        Returns:
            rows and scores (Q, min(k, eligible tiles)), best first.

        Raises:
            PriorOutsideGallery: no tile's centre lies inside the prior.
        """
        if prior is None:
            return self._index.search(embeddings, k)
        rows = self._rows_inside(prior)
        if not len(rows):
            raise PriorOutsideGallery(
                f"no tile lies within {prior.radius_m:g} m of lon {prior.centre.lon}, "
                f"lat {prior.centre.lat}",
                hint="GET /gallery tells the bounds; widen or drop the prior",
            )
        return self._index.search_rows(embeddings, k, rows)

    def _rows_inside(self, prior: Disc) -> NDArray[np.int64]:
        apart_m = distance_m(self.tiles.lon, self.tiles.lat, prior.centre.lon, prior.centre.lat)
        return np.flatnonzero(apart_m <= prior.radius_m).astype(np.int64)

    def row_of(self, tile_id: str) -> int:
        """The row of a tile.

        Raises:
            TileNotFound: no tile of this id.
        """
        row = self._row_of.get(tile_id)
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
