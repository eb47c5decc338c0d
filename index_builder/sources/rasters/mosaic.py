"""Rasters as one picture: the first that has data at a place is what is seen there."""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from index_builder.sources.confinement import ANYWHERE, Confinement
from index_builder.sources.grid.blocks import Boxes, Float64, PixelGrid
from index_builder.sources.grid.intervals import Intervals, find_seam, merge
from index_builder.sources.grid.tiling import Extent
from index_builder.sources.rasters.coverage import Coverage
from index_builder.sources.rasters.raster import Bool, Raster, RasterFacts, UInt8
from index_builder.sources.rasters.raster_colours import Stretch, find_stretch
from index_builder.sources.rasters.raster_handles import HandlePool

CREDIT_SHARE = 0.05  # of a tile; a raster with less is not named as where it comes from
_STRETCH_RASTERS = 64
_SINGLE_PX, _EACH_PX = 1024, 256  # of a coarse mask
_STRETCH_PX, _STRETCH_EACH_PX = 1024, 256
_COVERAGES = 128  # kept; a quarter of a megabyte each


class Survey(NamedTuple):
    """What is known of tiles before they are read, (n,) each.

    Attributes:
        shares: 0..1 that holds data, rather too much than too little.
        credits: which raster each comes from, or -1.
    """

    shares: Float64
    credits: NDArray[np.int64]


class Mosaic:
    """Rasters of any coordinate system, resolution and number type, earlier ones on top.

    Rasters of one number type other than uint8 share one stretch, so that neighbours match.
    Longitudes are counted on from `extent.west`, beyond 180 where the rasters cross the
    antimeridian. `read` may be called from several threads.

    Attributes:
        extent: of all rasters.
        resolution_m: ground size of the finest pixels.
    """

    def __init__(
        self,
        facts: Sequence[RasterFacts],
        *,
        open_files: int = 64,
        within: Confinement = ANYWHERE,
    ) -> None:
        self.facts = tuple(facts)
        self._handles = HandlePool(limit=open_files, within=within)
        self._rasters = [Raster(one, self._handles) for one in self.facts]
        self.resolution_m = min(one.footprint.resolution_m for one in self.facts)
        self._extents = _count_from_one_side([one.footprint.extent for one in self.facts])
        self._tree = shapely.STRtree([shapely.box(*extent) for extent in self._extents])
        self._coverage = lru_cache(maxsize=_COVERAGES)(self._find_coverage)
        self._stretches = cache(self._find_stretch)
        west, south, east, north = zip(*self._extents, strict=True)
        self.extent = Extent(min(west), min(south), max(east), max(north))

    def _touching(self, west: float, south: float, east: float, north: float) -> list[int]:
        """Rasters whose box touches, in their order."""
        return sorted(self._tree.query(shapely.box(west, south, east, north)).tolist())

    def latitudes(self) -> Intervals:
        """Ranges that have imagery: rasters may lie far apart."""
        return merge((south, north) for _, south, _, north in self._extents)

    def spans(self, south: float, north: float) -> Intervals:
        """Longitudes that have imagery between two latitudes."""
        touching = self._touching(self.extent.west, south, self.extent.east, north)
        return merge((self._extents[one][0], self._extents[one][2]) for one in touching)

    def survey(self, boxes: Boxes) -> Survey:
        """How much of each box holds data, and the first raster with a part in it."""
        shares = np.zeros(len(boxes.west))
        credits = np.full(len(boxes.west), -1)
        touching = self._touching(
            boxes.west.min(), boxes.south.min(), boxes.east.max(), boxes.north.max()
        )
        for number in touching:
            shift = self._extents[number][0] - self.facts[number].footprint.extent.west
            share = self._coverage(number).shares(
                boxes._replace(west=boxes.west - shift, east=boxes.east - shift)
            )
            credits[(credits < 0) & (share >= CREDIT_SHARE)] = number
            shares += share
        credits[credits < 0] = touching[0] if touching else -1
        return Survey(np.minimum(1.0, shares), credits)

    def read(self, grid: PixelGrid) -> tuple[UInt8, Bool]:
        """Pixels (height, width, 3) uint8 and whether each holds data, (height, width).

        Raises:
            SourceError: a file is damaged.
        """
        pixels = np.zeros((grid.height_px, grid.width_px, 3), np.uint8)
        valid = np.zeros((grid.height_px, grid.width_px), np.bool_)
        touching = self._touching(grid.west, grid.south, grid.east, grid.north)
        for number in touching:
            window = _overlap(grid, self._extents[number])
            if window is None or valid[window].all():
                continue
            found, has_data = self._read_one(
                number, _cut_grid(grid, window), keep_specks=len(touching) > 1
            )
            if not valid.any() and found.shape == pixels.shape:
                pixels, valid = found, has_data
                continue
            has_data &= ~valid[window]
            np.copyto(pixels[window], found, where=has_data[..., None])
            valid[window] |= has_data
        if not valid.all():
            pixels[~valid] = 0
        return pixels, valid

    def _read_one(self, number: int, grid: PixelGrid, *, keep_specks: bool) -> tuple[UInt8, Bool]:
        raster = self._rasters[number]
        colours = raster.facts.colours
        stretch = self._stretches(colours.dtype) if colours.needs_stretch else None
        shift = raster.facts.footprint.shift((grid.west + grid.east) / 2)
        return raster.read(_move_grid(grid, -shift), stretch, keep_specks=keep_specks)

    def _find_stretch(self, dtype: str) -> Stretch:
        """From rasters spread evenly over the list; the same in every process."""
        alike = [
            raster
            for raster in self._rasters
            if raster.facts.colours.needs_stretch and raster.facts.colours.dtype == dtype
        ]
        step = max(1, -(-len(alike) // _STRETCH_RASTERS))
        max_px = _STRETCH_PX if len(alike) == 1 else _STRETCH_EACH_PX
        samples = [raster.sample(max_px=max_px) for raster in alike[::step]]
        return find_stretch(np.concatenate(samples))

    def _find_coverage(self, number: int) -> Coverage:
        max_px = _SINGLE_PX if len(self._rasters) == 1 else _EACH_PX
        return self._rasters[number].coverage(max_px=max_px)

    def close(self) -> None:
        """Closes all files."""
        self._handles.close()


def _count_from_one_side(extents: Sequence[Extent]) -> list[tuple[float, float, float, float]]:
    """West, south, east and north of each, longitudes counted without a seam."""
    seam = find_seam((one.west, one.east) for one in extents)
    if all(one.west >= seam - 1e-9 for one in extents):
        return [(one.west, one.south, one.east, one.north) for one in extents]
    turned = []
    for one in extents:
        turn = 360.0 * np.ceil((seam - 1e-9 - one.west) / 360)
        turned.append((one.west + turn, one.south, one.east + turn, one.north))
    return turned


def _overlap(
    grid: PixelGrid, extent: tuple[float, float, float, float]
) -> tuple[slice, slice] | None:
    """The grid's rows and columns that a raster touches; None where it does not."""
    west, south, east, north = extent
    left = max(0, int((west - grid.west) / grid.pixel_lon) - 1)
    right = min(grid.width_px, int((east - grid.west) / grid.pixel_lon) + 2)
    top = max(0, int((grid.north - north) / grid.pixel_lat) - 1)
    bottom = min(grid.height_px, int((grid.north - south) / grid.pixel_lat) + 2)
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)


def _cut_grid(grid: PixelGrid, window: tuple[slice, slice]) -> PixelGrid:
    rows, columns = window
    return PixelGrid(
        west=grid.west + columns.start * grid.pixel_lon,
        north=grid.north - rows.start * grid.pixel_lat,
        pixel_lon=grid.pixel_lon,
        pixel_lat=grid.pixel_lat,
        width_px=columns.stop - columns.start,
        height_px=rows.stop - rows.start,
    )


def _move_grid(grid: PixelGrid, lon: float) -> PixelGrid:
    return PixelGrid(
        grid.west + lon,
        grid.north,
        grid.pixel_lon,
        grid.pixel_lat,
        grid.width_px,
        grid.height_px,
    )
