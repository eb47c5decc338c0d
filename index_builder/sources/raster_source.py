"""Tiles cut from one georeferenced raster: any coordinate system, any number type."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.gallery_manifest import SourceInfo
from crossfix.geodesy import Bounds, LocalFrame, LonLat
from index_builder.sources.area import Area
from index_builder.sources.raster import Float64, PixelGrid, Raster
from index_builder.sources.source import TilePlan, UInt8
from index_builder.sources.spec import SourceSpec
from index_builder.sources.tiling import GridRow, plan_rows, stride_share

MAX_EMPTY_SHARE = 0.5
_CHUNK_COLUMNS = 16  # tiles warped together: bounds memory at any width of the raster
_COVERAGE_PX = 1024
_SURELY_EMPTY_SHARE = 0.05  # of a coarse estimate; the exact decision falls when the tile is read


class _Chunk(NamedTuple):
    row: GridRow
    first_column: int
    columns: int


class _Strip(NamedTuple):
    group: int
    pixels: UInt8
    valid: NDArray[np.bool_]


class RasterSource:
    """A raster file as a `TileSource`.

    Neighbouring tiles of a row are warped once, as one strip, and sliced from it: with half
    overlap that halves the work, and all of them lie on exact pixel edges.

    Raises:
        SourceError: the file cannot be used.
    """

    def __init__(self, spec: SourceSpec, *, name: str, tile_px: int) -> None:
        self._raster = Raster(Path(spec.location))
        self._spec = spec
        self._wanted_px = tile_px
        self._name = name
        self._chunks: list[_Chunk] = []
        self._tile_px = tile_px
        self._stride_px = tile_px
        self._local = threading.local()

    def describe(self) -> SourceInfo:
        """Name, licence and coordinate system."""
        return SourceInfo(
            name=self._name,
            attribution=self._spec.attribution,
            licence=self._spec.licence,
            date=self._date,
            crs=self._raster.crs,
            kind="raster",
            fingerprint=self.fingerprint(),
        )

    @property
    def has_own_sizes(self) -> bool:
        """It is cut to any size."""
        return False

    def fingerprint(self) -> str:
        """The file's size and time."""
        state = self._raster.path.stat()
        return f"{state.st_size}-{state.st_mtime_ns}"

    @property
    def _date(self) -> str:
        return self._spec.date or self._raster.date

    def plan(
        self, tile_size_m: float | None, overlap: float, area: Area | None = None  # noqa: ARG002
    ) -> Iterator[TilePlan]:
        """Tiles over the raster's valid area, row by row from the south.

        Raises:
            SourceError: no size given, or no tile would hold any data.
            InvalidParameter: size or overlap out of range.
        """
        if tile_size_m is None:
            raise SourceError(
                f"raster {self._raster.path} needs a tile size", hint="give --tile-size-m"
            )
        rows = plan_rows(self._raster.extent, tile_size_m, overlap)
        self._choose_pixels(tile_size_m, overlap)
        self._chunks = [
            _Chunk(row, first, min(_CHUNK_COLUMNS, row.columns - first))
            for row in rows
            for first in range(0, row.columns, _CHUNK_COLUMNS)
        ]
        numbers = {id(row): number for number, row in enumerate(rows)}
        covered = _Coverage(self._raster)
        plans = [
            self._plan_tile(group, place, numbers[id(chunk.row)], tile_size_m)
            for group, chunk in enumerate(self._chunks)
            for place in range(chunk.columns)
            if covered.share(chunk.row, chunk.first_column + place) >= _SURELY_EMPTY_SHARE
        ]
        if not plans:
            raise SourceError(
                f"raster {self._raster.path} leaves every tile of {tile_size_m:g} m empty",
                hint="use smaller tiles, or check its nodata value",
            )
        return iter(plans)

    def _choose_pixels(self, tile_size_m: float, overlap: float) -> None:
        """No finer than the raster, no more than asked for, and a stride of whole pixels."""
        share = stride_share(overlap)
        native_px = math.ceil(tile_size_m / self._raster.resolution_m)
        wanted_px = max(8, min(self._wanted_px, native_px))
        self._tile_px = math.ceil(wanted_px / share.denominator) * share.denominator
        self._stride_px = int(share * self._tile_px)

    def _plan_tile(self, group: int, place: int, row_number: int, tile_size_m: float) -> TilePlan:
        chunk = self._chunks[group]
        column = chunk.first_column + place
        lon = chunk.row.first_lon + column * chunk.row.step_lon + self._raster.lon_origin
        frame = LocalFrame(LonLat((lon + 180) % 360 - 180, chunk.row.lat))
        bounds: Bounds = frame.square(tile_size_m)
        return TilePlan(
            tile_id=f"{self._name}-{tile_size_m:g}m-r{row_number}-c{column}",
            lon=frame.origin.lon,
            lat=frame.origin.lat,
            bounds=bounds,
            size_m=tile_size_m,
            resolution_m=max(self._raster.resolution_m, tile_size_m / self._tile_px),
            date=self._date,
            attribution=self._spec.attribution,
            licence=self._spec.licence,
            group=group,
            place=place,
        )

    def read(self, plan: TilePlan) -> UInt8 | None:
        """(side, side, 3) uint8, or None where more than half of the tile holds no data.

        Raises:
            SourceError: the file is damaged.
        """
        strip = getattr(self._local, "strip", None)
        if strip is None or strip.group != plan.group:
            strip = self._local.strip = self._read_strip(int(str(plan.group)))
        columns = slice(plan.place * self._stride_px, plan.place * self._stride_px + self._tile_px)
        if 1 - strip.valid[:, columns].mean() > MAX_EMPTY_SHARE:
            return None
        return np.ascontiguousarray(strip.pixels[:, columns])

    def _read_strip(self, group: int) -> _Strip:
        row, first_column, columns = self._chunks[group]
        grid = PixelGrid(
            west=row.first_lon + first_column * row.step_lon - row.width_deg / 2,
            north=row.lat + row.height_deg / 2,
            pixel_lon=row.width_deg / self._tile_px,
            pixel_lat=row.height_deg / self._tile_px,
            width_px=(columns - 1) * self._stride_px + self._tile_px,
            height_px=self._tile_px,
        )
        pixels, valid = self._raster.read(grid)
        pixels[~valid] = 0
        return _Strip(group, pixels, valid)

    def close(self) -> None:
        """Closes the file."""
        self._raster.close()


class _Coverage:
    """How much of a tile holds data, from a coarse mask and its running sums."""

    def __init__(self, raster: Raster) -> None:
        extent = raster.extent
        self._pixel_lon = (extent.east - extent.west) / _COVERAGE_PX
        self._pixel_lat = (extent.north - extent.south) / _COVERAGE_PX
        self._west, self._north = extent.west, extent.north
        grid = PixelGrid(
            extent.west, extent.north, self._pixel_lon, self._pixel_lat, _COVERAGE_PX, _COVERAGE_PX
        )
        covered: Float64 = raster.coverage(grid)
        self._sums = np.pad(covered.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))

    def share(self, row: GridRow, column: int) -> float:
        """0..1 of the tile's area."""
        west = row.first_lon + column * row.step_lon - row.width_deg / 2
        left, right = self._span(
            (west - self._west) / self._pixel_lon, row.width_deg / self._pixel_lon
        )
        top, bottom = self._span(
            (self._north - row.lat - row.height_deg / 2) / self._pixel_lat,
            row.height_deg / self._pixel_lat,
        )
        sums = self._sums
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        tile_px = row.width_deg * row.height_deg / (self._pixel_lon * self._pixel_lat)
        return float(inside / tile_px)

    @staticmethod
    def _span(start: float, length: float) -> tuple[int, int]:
        """Pixel columns (or rows) touched, clipped to the mask."""
        first, last = math.floor(start), math.ceil(start + length)
        return max(0, min(first, _COVERAGE_PX)), max(0, min(last, _COVERAGE_PX))
