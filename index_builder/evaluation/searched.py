"""A gallery of one piece or of shards, as evaluating needs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.gallery import Gallery
from crossfix.sharded_gallery import ShardedGallery
from crossfix.vector_search import SearchResult
from index_builder.indexing.joining import least_exact

Float16 = NDArray[np.float16]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Searched:
    """What is searched, and where its tiles are.

    Attributes:
        version: or the epoch.
        index_kind: how it is searched; of shards, as the one is that finds the least.
        lon, lat, size_m: (N,) of the tiles' centres and sides; rows are those of a search.
        vectors: (n, D) for each shard, in the order of the rows.
    """

    version: str
    index_kind: str
    lon: Float64
    lat: Float64
    size_m: Float64
    vectors: Sequence[Float16]
    search: Callable[[Float32, int], SearchResult]

    def __len__(self) -> int:
        return len(self.lon)

    @classmethod
    def of(cls, gallery: Gallery | ShardedGallery) -> "Searched":
        """A gallery that is open, with all its shards."""
        if isinstance(gallery, ShardedGallery):
            version, pieces = gallery.manifest.epoch, _all_shards(gallery)
        else:
            version, pieces = gallery.manifest.version, [gallery]
        index = least_exact(piece.manifest.index for piece in pieces)
        return cls(
            version=version,
            index_kind=next(one.index_kind for one in pieces if one.manifest.index is index),
            lon=np.concatenate([piece.tiles.lon for piece in pieces]),
            lat=np.concatenate([piece.tiles.lat for piece in pieces]),
            size_m=np.concatenate([piece.tiles.size_m for piece in pieces]),
            vectors=[piece.vectors for piece in pieces],
            search=gallery.search,
        )


def _all_shards(gallery: ShardedGallery) -> list[Gallery]:
    return [gallery.shards[number] for number in range(len(gallery.manifest.shards))]
