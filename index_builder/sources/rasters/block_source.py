"""Tiles cut from a mosaic, block by block."""

import math
import threading
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.gallery_manifest import SourceInfo
from index_builder.sources.grid.area import Area
from index_builder.sources.grid.blocks import Block, Boxes, TilePixels
from index_builder.sources.grid.intervals import Intervals
from index_builder.sources.grid.square_plans import SquareFacts, SquarePlanner, SquareSurvey
from index_builder.sources.grid.tile_grid import TileGrid
from index_builder.sources.grid.tiling import check_tile_size, stride_share
from index_builder.sources.rasters.mosaic import Mosaic
from index_builder.sources.rasters.raster import RasterFacts
from index_builder.sources.source import TilePlan, UInt8
from index_builder.sources.spec import SourceSpec

MAX_EMPTY_SHARE = 0.5
_SURELY_EMPTY_SHARE = 0.05  # of a coarse estimate; the exact decision falls when the tile is read
_MIN_TILE_PX = 8


class _Pixels(NamedTuple):
    block: Block
    pixels: UInt8
    valid: NDArray[np.bool_]


class BlockSource:
    """What `RasterSource` and `MosaicSource` share: a grid over a mosaic as a `TileSource`.

    Neighbouring tiles are warped once, as one block, and sliced from it: overlaps are not
    computed twice, the source's own blocks are decoded once, and all tiles lie on exact pixel
    edges. Each thread keeps the last block it read.

    Args:
        label: what errors call it.
        anchored: see `TileGrid`.
    """

    def __init__(
        self,
        spec: SourceSpec,
        mosaic: Mosaic,
        *,
        name: str,
        label: str,
        kind: Literal["raster", "mosaic"],
        tile_px: int,
        anchored: bool,
    ) -> None:
        self._spec, self._mosaic = spec, mosaic
        self._name, self._label, self._kind = name, label, kind
        self._wanted_px = tile_px
        self._anchored = anchored
        self._facts = [_square_facts(spec, facts) for facts in mosaic.facts]
        self._local = threading.local()

    @property
    def has_own_sizes(self) -> bool:
        """It is cut to any size."""
        return False

    def describe(self) -> SourceInfo:
        """Name, licence and coordinate systems; what differs between rasters is left empty."""
        systems = sorted({facts.crs for facts in self._mosaic.facts})
        return SourceInfo(
            name=self._name,
            attribution=_only({facts.attribution for facts in self._facts}),
            licence=self._spec.licence,
            date=_only({facts.date for facts in self._facts}),
            crs=", ".join(systems),
            kind=self._kind,
            fingerprint=self.fingerprint(),
        )

    def fingerprint(self) -> str:
        """Sizes and times of all files."""
        raise NotImplementedError

    def plan(
        self, tile_size_m: float | None, overlap: float, area: Area | None = None
    ) -> Iterator[TilePlan]:
        """Tiles over the valid ground, block by block from the south-west.

        A tile's number is its place in the grid, whatever the area.

        Raises:
            SourceError: no size given; or, while iterating without an area, no tile would hold
                any data.
            InvalidParameter: size or overlap out of range, or beyond 85 degrees of latitude.
        """
        if tile_size_m is None:
            raise SourceError(f"{self._label} needs a tile size", hint="give --tile-size-m")
        check_tile_size(tile_size_m)
        share = stride_share(overlap)
        native_px = math.ceil(tile_size_m / self._mosaic.resolution_m)
        wanted_px = max(_MIN_TILE_PX, min(self._wanted_px, native_px))
        pixels = TilePixels.at_least(wanted_px, share)
        grid = TileGrid(
            extent=self._mosaic.extent,
            tile_size_m=tile_size_m,
            share=share,
            band_rows=pixels.rows,
            anchored=self._anchored,
        )
        return SquarePlanner(self, grid, pixels, self._name, area).plan()

    @property
    def label(self) -> str:
        """What errors call it."""
        return self._label

    def latitudes(self) -> Intervals:
        """Ranges that have imagery."""
        return self._mosaic.latitudes()

    def spans(self, south: float, north: float) -> Intervals:
        """Longitudes that have imagery between two latitudes."""
        return self._mosaic.spans(south, north)

    def survey(self, block: Block, boxes: Boxes) -> SquareSurvey:  # noqa: ARG002
        """What the block's tiles hold, coarsely."""
        shares, credits = self._mosaic.survey(boxes)
        return SquareSurvey(shares >= _SURELY_EMPTY_SHARE, credits, self._facts)

    def group(self, block: Block, places: NDArray[np.int64]) -> Block:  # noqa: ARG002
        """The block is all that reading needs."""
        return block

    def read(self, plan: TilePlan) -> UInt8 | None:
        """(side, side, 3) uint8, or None where more than half of the tile holds no data.

        Raises:
            SourceError: a file is damaged.
        """
        assert isinstance(plan.group, Block)
        held: _Pixels | None = getattr(self._local, "held", None)
        if held is None or held.block != plan.group:
            held = self._local.held = _Pixels(plan.group, *self._mosaic.read(plan.group.grid))
        window = plan.group.window(plan.place)
        valid = held.valid[window]
        if np.count_nonzero(valid) < (1 - MAX_EMPTY_SHARE) * valid.size:
            return None
        return np.ascontiguousarray(held.pixels[window])

    def close(self) -> None:
        """Closes all files."""
        self._mosaic.close()


def _square_facts(spec: SourceSpec, facts: RasterFacts) -> SquareFacts:
    """The user's word first: a file's tags often tell of its making, not of the flight."""
    return SquareFacts(
        resolution_m=facts.footprint.resolution_m,
        date=spec.date or facts.date,
        attribution=spec.attribution or facts.copyright,
        licence=spec.licence,
    )


def _only(values: set[str]) -> str:
    return values.pop() if len(values) == 1 else ""
