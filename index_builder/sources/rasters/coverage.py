"""Which share of a box on the ground a raster's data covers, without reading the raster there."""

from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from index_builder.sources.grid.blocks import Boxes, Float64, PixelGrid
from index_builder.sources.rasters.footprint import Footprint


class Coverage(Protocol):
    """Shares of boxes that hold data."""

    def shares(self, boxes: Boxes) -> Float64:
        """(n,) of 0..1; boxes are counted as the raster's `extent` is."""
        ...


class OutlineCoverage:
    """Of a raster that has data everywhere within its outline: exact."""

    def __init__(self, footprint: Footprint) -> None:
        self._polygon = footprint.polygon
        shapely.prepare(self._polygon)

    def shares(self, boxes: Boxes) -> Float64:
        """See the protocol."""
        hull = shapely.box(boxes.west.min(), boxes.south.min(), boxes.east.max(), boxes.north.max())
        if self._polygon.contains(hull):
            return np.ones(len(boxes.west))
        tiles = shapely.box(*boxes)
        area = shapely.area(shapely.intersection(tiles, self._polygon))
        return np.asarray(area / shapely.area(tiles), np.float64)


class MaskCoverage:
    """From a coarse mask and its running sums; rather too much than too little.

    Args:
        covered: (H, W) in 0..1, on `grid`, whose longitudes are the footprint's own.
        shift: what the grid's longitudes lack to be those of the raster's extent.
    """

    def __init__(self, covered: NDArray[np.float32], grid: PixelGrid, *, shift: float) -> None:
        self._grid = grid
        self._west = grid.west + shift
        sums = covered.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
        self._sums = np.pad(sums.astype(np.float32), ((1, 0), (1, 0)))

    def shares(self, boxes: Boxes) -> Float64:
        """See the protocol."""
        grid, sums = self._grid, self._sums
        left, right = _span(
            (boxes.west - self._west) / grid.pixel_lon,
            (boxes.east - self._west) / grid.pixel_lon,
            grid.width_px,
        )
        top, bottom = _span(
            (grid.north - boxes.north) / grid.pixel_lat,
            (grid.north - boxes.south) / grid.pixel_lat,
            grid.height_px,
        )
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        tile_px = (boxes.east - boxes.west) * (boxes.north - boxes.south)
        return np.minimum(1.0, inside / (tile_px / (grid.pixel_lon * grid.pixel_lat)))


def _span(first: Float64, last: Float64, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixel columns (or rows) touched, clipped to the mask."""
    low = np.clip(np.floor(first), 0, count).astype(np.int64)
    return low, np.clip(np.ceil(last), 0, count).astype(np.int64)
