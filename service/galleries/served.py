"""What the service asks of a gallery, whether it is one piece here or shards on many machines."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.encoder import Encoder
from crossfix.gallery_manifest import GalleryManifest, IndexKind
from crossfix.geodesy import TileId
from crossfix.prior import Prior
from crossfix.tile_table import TileTable
from crossfix.vector_search import SearchResult
from service.galleries.box import Box

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Reach:
    """Which shards an answer is from; a gallery of one piece is one shard.

    Attributes:
        shards_asked: those that may have tiles inside the prior or the box.
        tiles_share: of the tiles that had to be looked at, how many were; 0..1. With a prior those
            inside it; how many of a lost shard's are is known roughly, and all count of one that
            was never open.
    """

    shards_total: int = 1
    shards_asked: int = 1
    shards_answered: int = 1
    tiles_share: float = 1.0

    @property
    def shards_missing(self) -> int:
        """Shards that were asked and did not answer."""
        return self.shards_asked - self.shards_answered


WHOLE = Reach()


@dataclass(frozen=True)
class Hits(SearchResult):
    """A search's rows and scores, (1, K), with what is known about those tiles.

    Attributes:
        tiles: a table that holds them; perhaps the whole gallery's.
        at: (K,) their rows in `tiles`, best first.
    """

    tiles: TileTable
    at: Int64
    reach: Reach = WHOLE


@dataclass(frozen=True)
class BoxTiles:
    """Tiles that reach into a box.

    Attributes:
        count: how many there are.
        tiles: a table that holds those wanted.
        at: (n,) their rows in it, in the gallery's order.
    """

    count: int
    tiles: TileTable
    at: Int64
    reach: Reach = WHOLE


@dataclass(frozen=True)
class Painted:
    """A map tile, RGBA; not complete where a shard that may have imagery here did not answer."""

    canvas: Image.Image
    is_complete: bool = True


class ServedGallery(Protocol):
    """An opened gallery version or epoch. Thread-safe.

    Wherever shards are asked, :class:`~service.errors.ShardsLost` is raised when those that could
    have answered do not.
    """

    @property
    def manifest(self) -> GalleryManifest:
        """What it is; of an epoch, what its known shards are together."""
        ...

    @property
    def index_kind(self) -> IndexKind:
        """What searches."""
        ...

    @property
    def index_fallback(self) -> str:
        """Why another index than the manifest's is used, in words; empty where it is the same."""
        ...

    @property
    def coverage(self) -> dict[str, Any]:
        """Where the tiles are, as a GeoJSON MultiPolygon."""
        ...

    @property
    def shards_total(self) -> int:
        """Of the epoch; 1 in one piece."""
        ...

    @property
    def lost_shards(self) -> tuple[int, ...]:
        """Numbers of those that cannot be asked now, ascending."""
        ...

    def __len__(self) -> int:
        """How many tiles there are, lost ones included."""
        ...

    def require_encoder(self, encoder: Encoder) -> None:
        """Refuses the encoder of another space; see `crossfix.gallery.require_same_space`."""
        ...

    def search(
        self,
        embeddings: Float32,
        k: int,
        *,
        prior: Prior | None = None,
        timeout_s: float | None = None,
    ) -> Hits:
        """The k most similar tiles to one embedding, (1, D); see `crossfix.gallery.Gallery`.

        Args:
            timeout_s: how long shards are waited for; None is the setting `shard_timeout_s`.
        """
        ...

    def row_of(self, tile_id: str) -> int:
        """The row of a tile; raises TileNotFound."""
        ...

    def picture(self, row: int) -> bytes:
        """The small JPEG of a tile."""
        ...

    def in_box(self, box: Box | None, limit: int) -> BoxTiles:
        """Tiles that reach into a box (None: all), thinned out evenly to `limit`."""
        ...

    def paint(self, tile: TileId) -> Painted:
        """A map tile from the gallery's pictures."""
        ...

    def warm_up(self) -> None:
        """What the first requests would wait for; raises GalleryCorrupt where it goes wrong."""
        ...

    def close(self) -> None:
        """Lets go of what is not only memory of this process; may be called more than once."""
        ...


def is_answering(gallery: ServedGallery) -> bool:
    """Whether at least one shard can be asked."""
    return len(gallery.lost_shards) < gallery.shards_total
