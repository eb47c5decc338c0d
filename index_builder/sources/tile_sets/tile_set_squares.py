"""Squares of a chosen size on the ground, cut from a tile set on the grid that rasters have."""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossfix.geodesy import LocalFrame, LonLat
from index_builder.sources.grid.area import Area
from index_builder.sources.grid.blocks import Block, Boxes, PixelGrid, TilePixels
from index_builder.sources.grid.intervals import Intervals, find_seam
from index_builder.sources.grid.square_plans import SquareFacts, SquarePlanner, SquareSurvey
from index_builder.sources.grid.tile_grid import TileGrid
from index_builder.sources.grid.tiling import MAX_LATITUDE, Extent, check_tile_size, stride_share
from index_builder.sources.source import TilePlan
from index_builder.sources.tile_sets.decoded_tiles import DecodedTiles
from index_builder.sources.tile_sets.tile_coverage import TileCoverage
from index_builder.sources.tile_sets.tile_mosaic import TileWindow, cut
from index_builder.sources.tile_sets.tile_store import TileSetFacts, TileStore

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

# A tile may be half empty; the coverage is never too small, but not exact to the last pixel.
_SURELY_EMPTY_SHARE = 0.48
_MIN_TILE_PX = 8
_METRES_PER_DEGREE = 110_000  # of latitude, rather too few


class SquareGroup(NamedTuple):
    """Squares that are cut together.

    Attributes:
        wanted: bit i is set where square i of the block was planned: tiles of the store that
            only others need are not asked for.
        store_px: side of the store's tiles.
    """

    block: Block
    wanted: int
    store_px: int


class _Held(NamedTuple):
    group: SquareGroup
    pixels: UInt8
    valid: Bool


class Squares:
    """Plans and reads squares from one level of a store, and from lower ones where they suffice.

    Args:
        tile_px: the largest side anyone needs.
        name: what ids begin with.
        facts: carried by every tile.
    """

    def __init__(
        self, store: TileStore, zoom: int, *, tile_px: int, name: str, facts: TileSetFacts
    ) -> None:
        self._store = store
        self._zoom = zoom
        self._wanted_px = tile_px
        self._name = name
        self._facts = facts
        self._decoded: dict[int, DecodedTiles] = {}
        self._local = threading.local()

    @cached_property
    def _coverage(self) -> TileCoverage:
        return TileCoverage(self._store.tiles(self._zoom), self._zoom)

    def plan(
        self, tile_size_m: float, overlap: float, side_px: int, area: Area | None
    ) -> Iterator[TilePlan]:
        """Block by block from the south-west; a square keeps its number when the store grows.

        Args:
            side_px: of the store's tiles.

        Raises:
            SourceError: no square would hold any data (while iterating, without an area).
            InvalidParameter: size or overlap out of range, or an area beyond 85 degrees.
        """
        check_tile_size(tile_size_m)
        share = stride_share(overlap)
        extent = self._extent(tile_size_m, area)
        pixels = TilePixels.at_least(self._choose_px(tile_size_m, extent, side_px), share)
        grid = TileGrid(
            extent=extent,
            tile_size_m=tile_size_m,
            share=share,
            band_rows=pixels.rows,
            anchored=True,
        )
        ground = _Ground(self, side_px, extent)
        return SquarePlanner(ground, grid, pixels, self._name, area).plan()

    def _choose_px(self, tile_size_m: float, extent: Extent, side_px: int) -> int:
        """No more than asked for, and no finer than the store's finest pixels.

        A server's extent is the area's, which must not change the squares that it leaves in.
        """
        if not self._store.is_listed:
            return self._wanted_px
        pole = max(abs(extent.south), abs(extent.north))
        native_px = math.ceil(tile_size_m / self._resolution_m(pole, side_px))
        return max(_MIN_TILE_PX, min(self._wanted_px, native_px))

    def _extent(self, tile_size_m: float, area: Area | None) -> Extent:
        """Of the store's tiles, as far as squares can be cut; of the area for a server."""
        if self._store.is_listed:
            extent = self._coverage.extent
            limit = MAX_LATITUDE - tile_size_m / 2 / _METRES_PER_DEGREE
            south, north = (max(-limit, min(limit, lat)) for lat in (extent.south, extent.north))
            return Extent(extent.west, south, extent.east, north)
        assert area is not None  # the store has refused that
        seam = find_seam(area.spans(-90.0, 90.0, west=-180.0, east=180.0))
        return Extent(seam, area.bounds.south, seam + 360, area.bounds.north)

    def _resolution_m(self, lat: float, side_px: int) -> float:
        """Ground width of the store's pixels."""
        east_m, _ = LocalFrame(LonLat(0.0, lat)).to_metres(360 / (side_px * 2.0**self._zoom), lat)
        return float(east_m)

    def survey(self, block: Block, boxes: Boxes, side_px: int) -> SquareSurvey:
        """Which squares lie on tiles; all of them where a server's tiles are not known."""
        wanted = np.ones(len(boxes.west), np.bool_)
        if self._store.is_listed:
            wanted = self._coverage.shares(boxes) >= _SURELY_EMPTY_SHARE
        facts = SquareFacts(
            self._resolution_m((block.north + block.grid.south) / 2, side_px),
            self._facts.date,
            self._facts.attribution,
            self._facts.licence,
        )
        return SquareSurvey(wanted, np.zeros(len(wanted), np.int64), [facts])

    def coverage(self) -> TileCoverage | None:
        """Where the store has tiles; None where a server does not say."""
        return self._coverage if self._store.is_listed else None

    @property
    def label(self) -> str:
        """What errors call it."""
        return self._store.place

    def read(self, plan: TilePlan, group: SquareGroup) -> tuple[UInt8, Bool]:
        """The square's pixels and which hold data.

        Raises:
            SourceError: the store or one of its tiles is damaged.
        """
        held: _Held | None = getattr(self._local, "held", None)
        if held is None or held.group != group:
            held = self._local.held = _Held(group, *self._cut(group))
        window = group.block.window(plan.place)
        return held.pixels[window], held.valid[window]

    def _cut(self, group: SquareGroup) -> tuple[UInt8, Bool]:
        # Two threads may both make one; either will do.
        tiles = self._decoded.setdefault(
            group.store_px, DecodedTiles(self._store, zoom=self._zoom, side_px=group.store_px)
        )
        shrink = group.block.pixel_lon / 360 * group.store_px * 2**self._zoom
        zoom = max(0, self._zoom - max(0, math.floor(math.log2(shrink))))
        needed = {
            (x, y)
            for window in _needed_windows(group, zoom)
            for x in range(window.left, window.right + 1)
            for y in range(window.top, window.bottom + 1)
        }
        return cut(tiles, group.block.grid, zoom, is_needed=lambda x, y: (x, y) in needed)


@dataclass(frozen=True)
class _Ground:
    """One planning's `Imagery`.

    Attributes:
        side_px: of the store's tiles.
    """

    squares: Squares
    side_px: int
    extent: Extent

    @property
    def label(self) -> str:
        return self.squares.label

    def latitudes(self) -> Intervals:
        coverage = self.squares.coverage()
        return [(-90.0, 90.0)] if coverage is None else coverage.latitudes

    def spans(self, south: float, north: float) -> Intervals:
        coverage = self.squares.coverage()
        if coverage is None:
            return [(self.extent.west, self.extent.east)]
        return coverage.spans(south, north)

    def survey(self, block: Block, boxes: Boxes) -> SquareSurvey:
        return self.squares.survey(block, boxes, self.side_px)

    def group(self, block: Block, places: NDArray[np.int64]) -> SquareGroup:
        return SquareGroup(block, sum(1 << place for place in places.tolist()), self.side_px)


def _needed_windows(group: SquareGroup, zoom: int) -> Iterator[TileWindow]:
    block = group.block
    for place in range(block.rows * block.columns):
        if group.wanted >> place & 1:
            rows, columns = block.window(place)
            square = PixelGrid(
                west=block.west + columns.start * block.pixel_lon,
                north=block.north - rows.start * block.pixel_lat,
                pixel_lon=block.pixel_lon,
                pixel_lat=block.pixel_lat,
                width_px=columns.stop - columns.start,
                height_px=rows.stop - rows.start,
            )
            yield TileWindow.around(square, zoom)
