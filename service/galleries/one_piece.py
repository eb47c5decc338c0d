"""A gallery of one piece, opened in this process."""

import threading
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import Encoder
from crossfix.errors import GalleryCorrupt
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import GalleryManifest, IndexKind
from crossfix.geodesy import TileId
from crossfix.prior import Prior
from crossfix.tile_table import TileTable
from service.galleries.box import Box, pick_evenly
from service.galleries.coverage import cover
from service.galleries.map_index import MapIndex
from service.galleries.map_tiles import paint
from service.galleries.served import BoxTiles, Hits, Painted

Float32 = NDArray[np.float32]


class OnePiece:
    """A `ServedGallery` around one `Gallery`.

    Attributes:
        tiles: all of the gallery's.
    """

    shards_total = 1
    lost_shards: tuple[int, ...] = ()

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._index_lock = threading.Lock()
        self._map_index: MapIndex | None = None

    @property
    def tiles(self) -> TileTable:
        """The gallery's table."""
        return self.gallery.tiles

    @property
    def manifest(self) -> GalleryManifest:
        """As on disk."""
        return self.gallery.manifest

    @property
    def index_kind(self) -> IndexKind:
        """What searches."""
        return self.gallery.index_kind

    @property
    def index_fallback(self) -> str:
        """Why another index than the manifest's is used; empty where it is the same."""
        return self.gallery.index_fallback

    @cached_property
    def coverage(self) -> dict[str, Any]:
        """Where the tiles are; made when it is first asked."""
        return cover(self.gallery.tiles)

    def __len__(self) -> int:
        return len(self.gallery)

    def require_encoder(self, encoder: Encoder) -> None:
        """Refuses the encoder of another space."""
        self.gallery.require_encoder(encoder)

    def search(
        self,
        embeddings: Float32,
        k: int,
        *,
        prior: Prior | None = None,
        timeout_s: float | None = None,  # noqa: ARG002 - nobody is waited for
    ) -> Hits:
        """The k most similar tiles."""
        found = self.gallery.search(embeddings, k, prior=prior)
        return Hits(found.rows, found.scores, self.gallery.tiles, found.rows[0])

    def row_of(self, tile_id: str) -> int:
        """The row of a tile."""
        return self.gallery.row_of(tile_id)

    def picture(self, row: int) -> bytes:
        """The small JPEG of a tile."""
        return self.gallery.picture(row)

    def in_box(self, box: Box | None, limit: int) -> BoxTiles:
        """Tiles that reach into a box."""
        tiles = self.gallery.tiles
        rows = np.arange(len(tiles)) if box is None else box.rows(tiles)
        # Rows follow the Morton curve, so every n-th is spread evenly over the ground.
        return BoxTiles(len(rows), tiles, rows[pick_evenly(len(rows), limit)])

    def paint(self, tile: TileId) -> Painted:
        """A map tile."""
        with self._index_lock:
            if self._map_index is None:
                self._map_index = MapIndex(self.gallery.tiles)
        return Painted(paint(self.gallery, self._map_index, tile))

    def warm_up(self) -> None:
        """Makes the lookup of tile ids, and tries it."""
        last = len(self.gallery) - 1
        ids = self.gallery.tiles.ids
        if ids[self.gallery.row_of(ids[last])] != ids[last]:
            raise GalleryCorrupt(
                f"gallery version {self.manifest.version} does not find its own tiles",
                hint="build the gallery again",
            )

    def close(self) -> None:
        """Nothing to do: it is memory of this process, and goes with it."""
