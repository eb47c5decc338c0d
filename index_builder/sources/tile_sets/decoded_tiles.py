"""Decoded tiles of a tile set, at any zoom: what the store lacks is made from finer tiles."""

import threading
from collections import OrderedDict

from PIL import Image

from crossfix.geodesy import TileId
from index_builder.sources.tile_sets.tile_image import decode_tile
from index_builder.sources.tile_sets.tile_store import TileStore, name_tile

_CACHE_BYTES = 24_000_000  # in every reading thread


class DecodedTiles:
    """The last tiles of one store; every thread keeps its own.

    Args:
        zoom: the finest level that is used.
        side_px: tiles of another side are resized to it.
    """

    def __init__(self, store: TileStore, *, zoom: int, side_px: int) -> None:
        self._store = store
        self._zoom = zoom
        self.side_px = side_px
        self._kept = max(16, _CACHE_BYTES // (4 * side_px**2))
        self._local = threading.local()

    def get(self, tile: TileId) -> Image.Image | None:
        """The tile as RGB or RGBA; None where there is nothing.

        Raises:
            SourceError: the store or the image is damaged.
        """
        cache: OrderedDict[TileId, Image.Image | None]
        cache = self._local.__dict__.setdefault("tiles", OrderedDict())
        if tile in cache:
            cache.move_to_end(tile)
            return cache[tile]
        made = cache[tile] = self._make(tile)
        if len(cache) > self._kept:
            cache.popitem(last=False)
        return made

    def _make(self, tile: TileId) -> Image.Image | None:
        data = self._store.get(tile) if tile.zoom in self._store.zooms else None
        if data is not None:
            image = decode_tile(data, where=name_tile(self._store, tile))
            if image.width == self.side_px:
                return image
            return image.resize((self.side_px, self.side_px), Image.Resampling.BICUBIC)
        return self._shrink_children(tile) if tile.zoom < self._zoom else None

    def _shrink_children(self, tile: TileId) -> Image.Image | None:
        finer, left, top = tile.zoom + 1, 2 * tile.x, 2 * tile.y
        children = [
            [self._make(TileId(finer, left + column, top + row)) for column in (0, 1)]
            for row in (0, 1)
        ]
        joined = join(children, self.side_px)
        return None if joined is None else joined.reduce(2)


def join(tiles: list[list[Image.Image | None]], side_px: int) -> Image.Image | None:
    """Rows of tiles as one image: RGB, or RGBA where something is missing; None for nothing."""
    flat = [tile for row in tiles for tile in row]
    present = [tile for tile in flat if tile is not None]
    if not present:
        return None
    whole = len(present) == len(flat) and all(tile.mode == "RGB" for tile in present)
    size = (side_px * len(tiles[0]), side_px * len(tiles))
    joined = Image.new("RGB" if whole else "RGBA", size)
    for row, line in enumerate(tiles):
        for column, tile in enumerate(line):
            if tile is not None:
                same = tile if tile.mode == joined.mode else tile.convert(joined.mode)
                joined.paste(same, (column * side_px, row * side_px))
    return joined
