"""Tiles of an HTTP server, fetched as they are needed and kept on the disk."""

import hashlib
import threading
from collections.abc import Iterator

import numpy as np
import shapely

from crossfix.errors import SourceError
from crossfix.geodesy import TileId, tile_bounds
from index_builder.sources.grid.area import Area
from index_builder.sources.tile_sets.tile_image import decode_tile, extension_of
from index_builder.sources.tile_sets.tile_store import BATCH_TILES, TileNumbers, TileSetFacts
from index_builder.sources.tile_sets.web_address import WebAddress
from index_builder.sources.tile_sets.web_cache import WebCache
from index_builder.sources.tile_sets.web_fetching import WebFetcher

_LOCKS = 64


class WebStore:
    """A server as a `TileStore`: every tile of an area may exist, and is asked for once.

    Args:
        zoom: the one level that is read.
    """

    is_listed = False
    kind = "web"

    def __init__(
        self, address: WebAddress, *, zoom: int, cache: WebCache, fetcher: WebFetcher
    ) -> None:
        self.place = f"tile server {address.host}"
        self.zooms: tuple[int, ...] = (zoom,)
        self.facts = TileSetFacts()
        self._address = address
        self._cache = cache
        self._fetcher = fetcher
        # Two threads that need one tile fetch it once.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def tiles(self, zoom: int, area: Area | None = None) -> Iterator[TileNumbers]:
        """Every tile that touches the area, in Z order; errors as in `TileStore`."""
        if area is None:
            raise SourceError(
                f"{self.place} could be asked for the whole world",
                hint="give the recipe an area (a GeoJSON polygon)",
            )
        shapely.prepare(area.geometry)
        waiting: list[tuple[int, int]] = []
        for tile in _descend(TileId(0, 0, 0), zoom, area):
            waiting.append((tile.x, tile.y))
            if len(waiting) == BATCH_TILES:
                yield np.array(waiting, np.int64)
                waiting = []
        if waiting:
            yield np.array(waiting, np.int64)

    def get(self, tile: TileId) -> bytes | None:
        """From the cache, else from the server; errors as in `TileStore`."""
        with self._locks[hash(tile) % _LOCKS]:
            kept = self._cache.get(tile)
            if kept is not None or self._cache.has_absent(tile):
                return kept
            data = self._fetcher.fetch(self._address.of(tile))
            if data is not None:
                self._check_image(data, tile)
            self._cache.put(tile, data)
            return data

    def _check_image(self, data: bytes, tile: TileId) -> None:
        where = f"tile {tile.zoom}/{tile.x}/{tile.y} of {self.place}"
        if extension_of(data) is None:
            raise SourceError(
                f"{where} is not an image (it starts with {data[:24]!r})",
                hint="check the address; servers send a page of text where a key is missing",
            )
        decode_tile(data, where=where)

    def fingerprint(self) -> str:
        """Another one for another address, or after the cache was deleted."""
        parts = (self._address.template, str(self.zooms[0]), self._cache.identity)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def close(self) -> None:
        """Closes connections."""
        self._fetcher.close()


def _descend(tile: TileId, zoom: int, area: Area, *, inside: bool = False) -> Iterator[TileId]:
    """Quarter by quarter, leaving out what does not touch the area."""
    if not inside:
        box = tile_bounds(tile)
        square = shapely.box(box.west, box.south, box.east, box.north)
        if not area.geometry.intersects(square):
            return
        inside = bool(area.geometry.contains(square))
    if tile.zoom == zoom:
        yield tile
        return
    for y in (2 * tile.y, 2 * tile.y + 1):
        for x in (2 * tile.x, 2 * tile.x + 1):
            yield from _descend(TileId(tile.zoom + 1, x, y), zoom, area, inside=inside)
