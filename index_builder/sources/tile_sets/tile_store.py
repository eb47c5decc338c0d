"""Where the Web-Mercator tiles of a tile set are kept: one protocol for folders, archives, servers.

Tile numbers are those of the XYZ scheme everywhere: y grows southwards.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.geodesy import TileId
from index_builder.sources.grid.area import Area

TileNumbers = NDArray[np.int64]
BATCH_TILES = 16_384


@dataclass(frozen=True)
class TileSetFacts:
    """What a tile set says about itself; empty where it says nothing."""

    attribution: str = ""
    licence: str = ""
    date: str = ""

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> "TileSetFacts":
        """From the metadata of an archive: keys of MBTiles and TileJSON, HTML links as text."""

        def first(*keys: str) -> str:
            found = (str(metadata[key]) for key in keys if metadata.get(key))
            return re.sub(r"<[^<>]*>", "", next(found, "")).strip()

        return cls(
            attribution=first("attribution"),
            licence=first("licence", "license"),
            date=first("date"),
        )


class TileStore(Protocol):
    """Encoded tiles by number. `get` may be called from several threads.

    Attributes:
        kind: as in `SourceSpec`.
        place: the file, folder or server, for messages; holds no secrets.
        facts: what the store itself says.
        zooms: levels that hold tiles, ascending.
        is_listed: whether `tiles` knows what is there; else it names what an area touches.
    """

    @property
    def kind(self) -> str:
        """See the class."""
        ...

    @property
    def place(self) -> str:
        """See the class."""
        ...

    @property
    def facts(self) -> TileSetFacts:
        """See the class."""
        ...

    @property
    def zooms(self) -> tuple[int, ...]:
        """See the class."""
        ...

    @property
    def is_listed(self) -> bool:
        """See the class."""
        ...

    def tiles(self, zoom: int, area: Area | None = None) -> Iterator[TileNumbers]:
        """Tiles of a level as (n, 2) arrays of x, y, as they are read; in the same order each time.

        Args:
            zoom: one of `zooms`.
            area: a store that is not listed needs it; others may ignore it.

        Raises:
            SourceError: no area where one is needed, or the store is damaged.
        """
        ...

    def get(self, tile: TileId) -> bytes | None:
        """The encoded image, or None where there is no such tile.

        Raises:
            SourceError: the store cannot be read.
        """
        ...

    def fingerprint(self) -> str:
        """Changes whenever a tile may have changed."""
        ...

    def close(self) -> None:
        """Releases handles."""
        ...


def name_tile(store: TileStore, tile: TileId) -> str:
    """As messages call it."""
    return f"tile {tile.zoom}/{tile.x}/{tile.y} of {store.place}"


def refuse_vector_tiles(place: str) -> SourceError:
    """The answer to archives of vector tiles."""
    return SourceError(
        f"{place} holds vector tiles, which are no imagery",
        hint="give a tile set of PNG, JPEG or WebP images",
    )
