"""What a gallery is built from: anything that can plan square tiles and read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import Bounds

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class TilePlan:
    """One square, north-up tile that a source can read.

    Attributes:
        tile_id: unique in the gallery; letters, digits and ``._-`` only.
        lon, lat: the centre, degrees.
        resolution_m: ground size of a source pixel, or None until the image has been read.
        group: tiles of one group share work and are best read one after the other.
        place: the source's own index of the tile within its group.
    """

    tile_id: str
    lon: float
    lat: float
    bounds: Bounds
    size_m: float
    resolution_m: float | None
    date: str
    group: int
    place: int


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about imagery that the files do not.

    Attributes:
        tile_px: the largest side in pixels anyone needs of a tile.
    """

    attribution: str = ""
    licence: str = ""
    date: str = ""
    tile_px: int = 512


class TileSource(Protocol):
    """Imagery cut into tiles. `read` may be called from several threads."""

    def describe(self) -> SourceInfo:
        """Name, licence and coordinate system, as kept in the gallery's manifest."""
        ...

    def plan(self, tile_size_m: float | None, overlap: float) -> Sequence[TilePlan]:
        """Every tile worth reading, ordered by group.

        Args:
            tile_size_m: side on the ground; a source with sizes of its own may do without.
            overlap: share of the side shared with the neighbour, 0..1 (exclusive).

        Raises:
            SourceError: nothing to cut, or a size is needed and was not given.
        """
        ...

    def read(self, plan: TilePlan) -> UInt8 | None:
        """(H, W, 3) uint8 north-up RGB, or None where more than half of the tile is empty.

        Raises:
            SourceError: the imagery cannot be read.
        """
        ...

    def close(self) -> None:
        """Releases file handles; the source is not used afterwards."""
        ...
