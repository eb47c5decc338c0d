"""A tile set as one picture of the ground, on any grid of longitude and latitude."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.geodesy import TileId, to_web_mercator
from index_builder.sources.grid.blocks import PixelGrid
from index_builder.sources.tile_sets.decoded_tiles import DecodedTiles, join

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

_MARGIN_PX = 3  # the filter looks two output pixels over the edge
_MAX_BEND_PX = 0.02  # Mercator rows are not evenly spaced in latitude: strips keep that below this
_STRIP_PX = 256  # bounds memory
_OPAQUE = 128


class _Window(NamedTuple):
    """A box in pixels of the whole world."""

    west: float
    north: float
    east: float
    south: float


class TileWindow(NamedTuple):
    """Tiles of one level; columns may count beyond the antimeridian, the last ones included."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, grid: PixelGrid, zoom: int) -> "TileWindow":
        """The tiles that resampling the grid looks at."""
        return _tiles_of(_window_of(grid, 0, grid.height_px, 2**zoom), 1)


def cut(
    tiles: DecodedTiles,
    grid: PixelGrid,
    zoom: int,
    *,
    is_needed: Callable[[int, int], bool] = lambda x, y: True,  # noqa: ARG005
) -> tuple[UInt8, Bool]:
    """The grid's pixels from tiles of a level that is at most twice as fine.

    Bicubic with the support of the output's pixels, so that fine detail does not alias.

    Args:
        is_needed: whether the tile at x, y shall be looked at; others count as missing.

    Returns:
        (H, W, 3) uint8, black where there is nothing, and whether each pixel holds data, (H, W).

    Raises:
        SourceError: the store or an image is damaged.
    """
    count = max(_count_unbent(grid), math.ceil(grid.height_px / _STRIP_PX))
    edges = [grid.height_px * number // count for number in range(count + 1)]
    strips = []
    for first, last in pairwise(edges):
        window = _window_of(grid, first, last, tiles.side_px * 2**zoom)
        around = _tiles_of(window, tiles.side_px)
        size = (grid.width_px + 2 * _MARGIN_PX, last - first + 2 * _MARGIN_PX)
        mosaic = join(_collect(tiles, zoom, around, is_needed), tiles.side_px)
        strips.append(_resize(mosaic, window, around, size, tiles.side_px))
    pixels, valid = zip(*strips, strict=True)
    return np.concatenate(pixels), np.concatenate(valid)


def _resize(
    mosaic: Image.Image | None,
    window: _Window,
    around: TileWindow,
    size: tuple[int, int],
    side_px: int,
) -> tuple[UInt8, Bool]:
    inner = slice(_MARGIN_PX, -_MARGIN_PX)
    if mosaic is None:
        shape = (size[1] - 2 * _MARGIN_PX, size[0] - 2 * _MARGIN_PX)
        return np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.bool_)
    left, top = around.left * side_px, around.top * side_px
    box = (window.west - left, window.north - top, window.east - left, window.south - top)
    resized = mosaic.resize(size, Image.Resampling.BICUBIC, box=box)
    return split_alpha(np.asarray(resized)[inner, inner])


def split_alpha(values: UInt8) -> tuple[UInt8, Bool]:
    """(H, W, 3 or 4) uint8 to colours, black where transparent, and what is not transparent."""
    if values.shape[2] == 3:
        return np.ascontiguousarray(values), np.ones(values.shape[:2], np.bool_)
    valid = values[..., 3] >= _OPAQUE
    return np.where(valid[..., None], values[..., :3], np.uint8(0)), valid


def _collect(
    tiles: DecodedTiles, zoom: int, around: TileWindow, is_needed: Callable[[int, int], bool]
) -> list[list[Image.Image | None]]:
    """Columns are counted round the world; nothing lies beyond the first and last row."""
    world = 2**zoom
    return [
        [
            tiles.get(TileId(zoom, x % world, y)) if 0 <= y < world and is_needed(x, y) else None
            for x in range(around.left, around.right + 1)
        ]
        for y in range(around.top, around.bottom + 1)
    ]


def _window_of(grid: PixelGrid, first: int, last: int, world_px: int) -> _Window:
    """Rows `first` to `last` (excluded) of a grid, with margins."""
    columns = np.array([-_MARGIN_PX, grid.width_px + _MARGIN_PX])
    rows = np.array([first - _MARGIN_PX, last + _MARGIN_PX])
    x, y = to_web_mercator(grid.west + columns * grid.pixel_lon, grid.north - rows * grid.pixel_lat)
    (west, east), (north, south) = (x * world_px).tolist(), (y * world_px).tolist()
    return _Window(west, north, east, south)


def _tiles_of(window: _Window, side_px: int) -> TileWindow:
    return TileWindow(*(math.floor(edge / side_px) for edge in window))


def _count_unbent(grid: PixelGrid) -> int:
    """Strips in which latitude and Mercator rows are proportional."""
    height = math.radians(grid.height_px * grid.pixel_lat)
    middle = math.radians(grid.north) - height / 2
    bend_px = grid.height_px * math.tan(abs(middle)) * height / 8
    return max(1, min(grid.height_px // 8, math.ceil(math.sqrt(bend_px / _MAX_BEND_PX))))
