"""One opened shard, wherever that is: everything the front door asks of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import PriorOutsideGallery, TileNotFound
from crossfix.gallery import Gallery
from crossfix.gallery_manifest import GalleryManifest, IndexKind
from crossfix.geodesy import TileId
from crossfix.prior import Prior
from crossfix.vector_search import SearchResult
from service.galleries.box import Box
from service.galleries.coverage import cover
from service.galleries.one_piece import OnePiece
from service.galleries.shards.sketch import Sketch
from service.galleries.shards.tile_rows import TileRows

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class ShardFacts:
    """What a shard says of itself once it is open.

    Attributes:
        coverage: a GeoJSON MultiPolygon.
        sketch: where its tiles are, for when it does not answer any more.
    """

    manifest: GalleryManifest
    index_kind: IndexKind
    index_fallback: str
    coverage: dict[str, Any]
    sketch: Sketch


@dataclass(frozen=True)
class ShardHits:
    """The shard's best tiles: rows counted from its own first one, (1, K), and what they are."""

    found: SearchResult
    tiles: TileRows


class OpenShard:
    """Answers for one shard. Thread-safe.

    Args:
        rectangles: of its coverage at most.
    """

    def __init__(self, gallery: Gallery, *, rectangles: int) -> None:
        self._gallery = gallery
        self._piece = OnePiece(gallery)
        self._piece.warm_up()
        gallery.picture(0)
        self.probe()
        self.facts = ShardFacts(
            manifest=gallery.manifest,
            index_kind=gallery.index_kind,
            index_fallback=gallery.index_fallback,
            coverage=cover(gallery.tiles, at_most=rectangles),
            sketch=Sketch.of(gallery.tiles),
        )

    def search(self, embeddings: Float32, k: int, prior: Prior | None) -> ShardHits | None:
        """The shard's k best; None where it has no tile inside the prior."""
        try:
            found = self._gallery.search(embeddings, k, prior=prior)
        except PriorOutsideGallery:
            return None
        rows = found.rows[0][found.rows[0] >= 0]
        return ShardHits(
            SearchResult(rows[None], found.scores[:, : len(rows)]),
            TileRows.of(self._gallery.tiles, rows),
        )

    def probe(self) -> None:
        """One search for nothing in particular; raises whatever a search does."""
        dim = self._gallery.manifest.embedding_dim
        self.search(np.full((1, dim), dim**-0.5, np.float32), 1, None)

    def count_inside(self, prior: Prior) -> int:
        """How many of its tiles a search with this prior looks at."""
        return self._gallery.count_inside(prior)

    def find_row(self, tile_id: str) -> int | None:
        """The row of a tile, if it is here."""
        try:
            return self._gallery.row_of(tile_id)
        except TileNotFound:
            return None

    def picture(self, row: int) -> bytes:
        """The small JPEG of a tile."""
        return self._gallery.picture(row)

    def count_in(self, box: Box | None) -> int:
        """How many tiles reach into a box (None: all)."""
        return len(self._gallery) if box is None else len(box.rows(self._gallery.tiles))

    def tiles_in(self, box: Box | None, places: Int64) -> TileRows:
        """Some of those, by their places among them."""
        tiles = self._gallery.tiles
        return TileRows.of(tiles, places if box is None else box.rows(tiles)[places])

    def paint(self, tile: TileId) -> NDArray[np.uint8]:
        """This shard's imagery on a map tile, (256, 256, 4) RGBA."""
        return np.asarray(self._piece.paint(tile).canvas, np.uint8)
