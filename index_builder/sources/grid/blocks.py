"""Blocks: neighbouring tiles on one pixel grid, read and warped together."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray

from index_builder.sources.grid.tile_grid import Band

Float64 = NDArray[np.float64]

MAX_BLOCK_TILES = 121
_MAX_SIDE_TILES = 11
_BLOCK_PX = 3072  # 9.4 megapixels: bounds a reader's memory whatever the source's size


@dataclass(frozen=True)
class PixelGrid:
    """A north-up grid: its north-west corner, and the size of its pixels in degrees."""

    west: float
    north: float
    pixel_lon: float
    pixel_lat: float
    width_px: int
    height_px: int

    @property
    def affine(self) -> rasterio.Affine:
        """Pixel to (lon, lat)."""
        return rasterio.Affine(self.pixel_lon, 0, self.west, 0, -self.pixel_lat, self.north)

    @property
    def east(self) -> float:
        """Its right edge; may lie beyond 180."""
        return self.west + self.width_px * self.pixel_lon

    @property
    def south(self) -> float:
        """Its lower edge."""
        return self.north - self.height_px * self.pixel_lat


class Boxes(NamedTuple):
    """Many boxes in degrees, as arrays of one length; east is greater than west."""

    west: Float64
    south: Float64
    east: Float64
    north: Float64


@dataclass(frozen=True)
class TilePixels:
    """A tile's side and the step to the next, in pixels."""

    tile_px: int
    stride_px: int

    @classmethod
    def at_least(cls, wanted_px: int, share: Fraction) -> "TilePixels":
        """The smallest side from `wanted_px` on whose stride is a whole number of pixels."""
        tile_px = -(-wanted_px // share.denominator) * share.denominator
        return cls(tile_px, int(share * tile_px))

    def span_px(self, tiles: int) -> int:
        """Pixels of so many neighbours."""
        return (tiles - 1) * self.stride_px + self.tile_px

    @property
    def rows(self) -> int:
        """Most rows of tiles in a block."""
        return max(1, min(_MAX_SIDE_TILES, (_BLOCK_PX - self.tile_px) // self.stride_px + 1))

    def columns(self, rows: int) -> int:
        """Most columns of tiles in a block of so many rows."""
        width_px = _BLOCK_PX**2 // self.span_px(rows)
        fitting = (width_px - self.tile_px) // self.stride_px + 1
        return max(1, min(MAX_BLOCK_TILES // rows, fitting))


@dataclass(frozen=True)
class Block:
    """All that reading it needs: small, hashable, picklable.

    Attributes:
        west, north: its corner; longitudes as the source counts them, perhaps beyond 180.
        pixel_lon, pixel_lat: a pixel's sides in degrees.
        rows, columns: of tiles; tile 0 is the south-western one, the next is east of it.
    """

    west: float
    north: float
    pixel_lon: float
    pixel_lat: float
    rows: int
    columns: int
    pixels: TilePixels

    @property
    def grid(self) -> PixelGrid:
        """Its pixels."""
        return PixelGrid(
            west=self.west,
            north=self.north,
            pixel_lon=self.pixel_lon,
            pixel_lat=self.pixel_lat,
            width_px=self.pixels.span_px(self.columns),
            height_px=self.pixels.span_px(self.rows),
        )

    def window(self, place: int) -> tuple[slice, slice]:
        """Rows and columns of the pixels of one tile."""
        row, column = divmod(place, self.columns)
        top = (self.rows - 1 - row) * self.pixels.stride_px
        left = column * self.pixels.stride_px
        side = self.pixels.tile_px
        return slice(top, top + side), slice(left, left + side)

    def boxes(self) -> Boxes:
        """The bounds of all tiles, (rows * columns,) each."""
        stride, side = self.pixels.stride_px, self.pixels.tile_px
        left = self.west + np.arange(self.columns) * (stride * self.pixel_lon)
        lowest = self.north - self.pixels.span_px(self.rows) * self.pixel_lat
        low = lowest + np.arange(self.rows) * (stride * self.pixel_lat)
        west, south = np.tile(left, self.rows), np.repeat(low, self.columns)
        return Boxes(west, south, west + side * self.pixel_lon, south + side * self.pixel_lat)


class PlacedBlock(NamedTuple):
    """A block and the numbers of its first tile in the grid."""

    block: Block
    first_row: int
    first_column: int


def cut_band(
    band: Band, spans: list[tuple[float, float]], pixels: TilePixels
) -> Iterator[PlacedBlock]:
    """Blocks of a band that touch one of the ordered longitude ranges, each once.

    A block begins at the same column whatever ranges are asked for.
    """
    size = pixels.columns(band.rows)
    following = 0
    for west, east in spans:
        first, last = band.columns_between(west, east)
        if first > last:
            continue
        for number in range(max(following, first // size), last // size + 1):
            column = number * size
            columns = size if band.end_column is None else min(size, band.end_column - column)
            yield PlacedBlock(_block(band, column, columns, pixels), band.first_row, column)
        following = max(following, last // size + 1)


def _block(band: Band, column: int, columns: int, pixels: TilePixels) -> Block:
    centre = band.first_lon + column * band.step_lon
    return Block(
        west=centre - band.width_deg / 2,
        north=band.north,
        pixel_lon=band.width_deg / pixels.tile_px,
        pixel_lat=band.height_deg / pixels.tile_px,
        rows=band.rows,
        columns=columns,
        pixels=pixels,
    )
