"""What a gallery is built from: anything that can plan square tiles and read them."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import Bounds
from index_builder.sources.grid.area import Area

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class TilePlan:
    """One square, north-up tile; with its source it is all that reading it needs (picklable).

    Attributes:
        tile_id: unique in the gallery; letters, digits and ``._-`` only.
        lon, lat: the centre, degrees.
        resolution_m: ground size of a source pixel, or None until the image has been read.
        date, attribution, licence: of this tile's imagery.
        group: whatever the source needs to read it; tiles of equal group share work, follow each
            other in a plan and are best read one after the other.
        place: the source's own index of the tile within its group.
    """

    tile_id: str
    lon: float
    lat: float
    bounds: Bounds
    size_m: float
    resolution_m: float | None
    date: str
    attribution: str
    licence: str
    group: Hashable
    place: int


class TileSource(Protocol):
    """Imagery cut into tiles. `read` may be called from several threads.

    Attributes:
        has_own_sizes: its tiles are what they are; asked for several sizes it is planned once.
    """

    @property
    def has_own_sizes(self) -> bool:
        """See the class."""
        ...

    def describe(self) -> SourceInfo:
        """Name, licence and coordinate system, as kept in the gallery's manifest."""
        ...

    def fingerprint(self) -> str:
        """Changes whenever the imagery may have changed; cheap (sizes and times of files)."""
        ...

    def plan(
        self, tile_size_m: float | None, overlap: float, area: Area | None = None
    ) -> Iterator[TilePlan]:
        """Every tile worth reading, ordered by group; the same at every call, made as it is read.

        Args:
            tile_size_m: side on the ground; None only where `has_own_sizes`.
            overlap: share of the side shared with the neighbour, 0..0.95.
            area: a source may leave out what does not touch it; the caller does so in any case.

        Raises:
            SourceError: nothing to cut, or a size is needed and was not given.
        """
        ...

    def read(self, plan: TilePlan) -> UInt8 | None:
        """(H, W, 3) uint8 north-up RGB, or None where more than half of the tile is empty.

        Needs no call of `plan` before: another process may have planned.

        Raises:
            SourceError: the imagery cannot be read.
        """
        ...

    def close(self) -> None:
        """Releases file handles; the source is not used afterwards."""
        ...
