"""A grid of square tiles in metres, axis-aligned in longitude and latitude: north is up.

Rows of tiles lie evenly along the meridian. A few neighbouring rows make a band: they share one
step in longitude, so that their tiles lie on one pixel grid and can be read together, and still
keep their side in metres at any latitude.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from crossfix.errors import InvalidParameter
from index_builder.sources.grid.intervals import Intervals
from index_builder.sources.grid.meridian import arc_from_latitude_m, latitude_from_arc
from index_builder.sources.grid.tiling import (
    MAX_LATITUDE,
    Extent,
    count_along,
    degrees_per_metre,
)

BAND_M = 1700.0  # a band's width in metres is exact in its middle: 0.05 % off at 75 degrees
_ANCHOR_ARC_M = arc_from_latitude_m(-90.0)
_ANCHOR_LON = -180.0
_EVERYWHERE = (-90.0, 90.0)
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Band:
    """Neighbouring rows of tiles with one step in longitude.

    Attributes:
        first_row: number of its southernmost row in the grid.
        lat: of that row's centres.
        first_lon: centre of column 0.
        step_lon, step_lat: from one centre to the next.
        width_deg, height_deg: a tile's extent.
        first_column, last_column: those that touch the grid's extent.
        end_column: there is no tile from here on; None where the grid goes on without end.
    """

    first_row: int
    rows: int
    lat: float
    first_lon: float
    step_lon: float
    step_lat: float
    width_deg: float
    height_deg: float
    first_column: int
    last_column: int
    end_column: int | None

    @property
    def south(self) -> float:
        """Of its lowest tiles."""
        return self.lat - self.height_deg / 2

    @property
    def north(self) -> float:
        """Of its highest tiles."""
        return self.lat + (self.rows - 1) * self.step_lat + self.height_deg / 2

    def columns_between(self, west: float, east: float) -> tuple[int, int]:
        """First and last column whose tiles touch the longitudes; last < first is none."""
        first, last = _touching(
            (west - self.first_lon) / self.step_lon,
            (east - self.first_lon) / self.step_lon,
            self.width_deg / self.step_lon / 2,
        )
        return max(first, self.first_column), min(last, self.last_column)


@dataclass(frozen=True)
class TileGrid:
    """Tiles of one size over an extent.

    Attributes:
        band_rows: most rows that a band has.
        anchored: tiles lie where they lie, whatever the extent: imagery that grows keeps its
            tiles. Otherwise they are centred on the extent, which wastes least at its edges.
    """

    extent: Extent
    tile_size_m: float
    share: Fraction
    band_rows: int
    anchored: bool

    @property
    def stride_m(self) -> float:
        """From one tile to the next."""
        return float(self.share) * self.tile_size_m

    def bands(self, ranges: Intervals | None = None) -> Iterator[Band]:
        """Bands that touch one of the ordered latitude ranges, from the south, each once.

        A band is the same whatever is asked for; None is everything.

        Raises:
            InvalidParameter: at once, where one of them lies beyond 85 degrees.
        """
        origin_m, lowest, highest = self._rows()
        rows = []
        for south, north in ranges if ranges is not None else [_EVERYWHERE]:
            south, north = max(south, self.extent.south), min(north, self.extent.north)
            first, last = self._rows_between(origin_m, south, north)
            if max(first, lowest) <= min(last, highest):
                rows.append((max(first, lowest), min(last, highest)))
        for row in (rows[0][0], rows[-1][1]) if rows else ():
            _check_latitude(latitude_from_arc(origin_m + row * self.stride_m), self.extent)
        return self._cut_bands(origin_m, rows)

    def _cut_bands(self, origin_m: float, rows: list[tuple[int, int]]) -> Iterator[Band]:
        size, following = self._rows_per_band, 0
        for first, last in rows:
            for number in range(max(following, first // size), last // size + 1):
                yield self._band(origin_m, number * size)
            following = last // size + 1

    @property
    def _rows_per_band(self) -> int:
        return max(1, min(self.band_rows, math.floor(BAND_M / self.stride_m)))

    def _rows(self) -> tuple[float, int, int]:
        """Where row 0 lies, in metres from the equator, and the numbers of the rows there are."""
        south_m = arc_from_latitude_m(self.extent.south)
        north_m = arc_from_latitude_m(self.extent.north)
        if not self.anchored:
            count = count_along(north_m - south_m, self.tile_size_m, self.stride_m)
            return (south_m + north_m) / 2 - (count - 1) / 2 * self.stride_m, 0, count - 1
        return _ANCHOR_ARC_M, *self._rows_between(
            _ANCHOR_ARC_M, self.extent.south, self.extent.north
        )

    def _rows_between(self, origin_m: float, south: float, north: float) -> tuple[int, int]:
        return _touching(
            (arc_from_latitude_m(south) - origin_m) / self.stride_m,
            (arc_from_latitude_m(north) - origin_m) / self.stride_m,
            1 / float(self.share) / 2,
        )

    def _band(self, origin_m: float, first_row: int) -> Band:
        rows = self._rows_per_band
        if not self.anchored:
            rows = min(rows, self._rows()[2] - first_row + 1)
        middle = latitude_from_arc(origin_m + (first_row + (rows - 1) / 2) * self.stride_m)
        metre_lon, metre_lat = degrees_per_metre(middle)
        step_lon, step_lat = self.stride_m * metre_lon, self.stride_m * metre_lat
        first_lon, first_column, last_column = self._columns(metre_lon)
        return Band(
            first_row=first_row,
            rows=rows,
            lat=middle - (rows - 1) / 2 * step_lat,
            first_lon=first_lon,
            step_lon=step_lon,
            step_lat=step_lat,
            width_deg=self.tile_size_m * metre_lon,
            height_deg=self.tile_size_m * metre_lat,
            first_column=first_column,
            last_column=last_column,
            end_column=None if self.anchored else last_column + 1,
        )

    def _columns(self, metre_lon: float) -> tuple[float, int, int]:
        """Longitude of column 0, and the numbers of the columns there are."""
        west, east = self.extent.west, self.extent.east
        step_lon = self.stride_m * metre_lon
        if not self.anchored:
            count = count_along((east - west) / metre_lon, self.tile_size_m, self.stride_m)
            return (west + east) / 2 - (count - 1) / 2 * step_lon, 0, count - 1
        return _ANCHOR_LON, *_touching(
            (west - _ANCHOR_LON) / step_lon,
            (east - _ANCHOR_LON) / step_lon,
            1 / float(self.share) / 2,
        )


def _touching(first: float, last: float, half: float) -> tuple[int, int]:
    """Whole numbers within `half` of the range; what only touches an edge does not count."""
    return math.ceil(first - half + _ROUNDING), math.floor(last + half - _ROUNDING)


def _check_latitude(lat: float, extent: Extent) -> None:
    if abs(lat) > MAX_LATITUDE:
        raise InvalidParameter(
            f"imagery from latitude {extent.south:.3f} to {extent.north:.3f} reaches too near a "
            "pole",
            hint=f"tiles are cut between -{MAX_LATITUDE:g} and {MAX_LATITUDE:g} degrees; give an "
            "area that ends there",
        )
