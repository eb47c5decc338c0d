"""A grid of square tiles in metres, axis-aligned in longitude and latitude: north is up.

Every row of tiles has its own step in longitude, so that tiles keep their side in metres at any
latitude and, within a row, lie on one pixel grid.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from crossfix.errors import InvalidParameter
from crossfix.geodesy import LocalFrame, LonLat

MAX_LATITUDE = 85.0  # the local frame's limit


@dataclass(frozen=True)
class Extent:
    """A box in degrees whose east is greater than its west, beyond 180 where needed."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True)
class GridRow:
    """Tiles of one latitude.

    Attributes:
        lat: of the tiles' centres.
        first_lon: centre of the westernmost tile; may lie beyond 180.
        step_lon: from one centre to the next.
        width_deg, height_deg: a tile's extent.
    """

    lat: float
    first_lon: float
    step_lon: float
    width_deg: float
    height_deg: float
    columns: int


def stride_share(overlap: float) -> Fraction:
    """Share of the side from one tile to the next, ``1 - overlap`` to the nearest hundredth part.

    A fraction of small numbers puts every tile of a row on one pixel grid.

    Raises:
        InvalidParameter: `overlap` is not in 0..0.95.
    """
    if not 0 <= overlap <= 0.95:
        raise InvalidParameter(
            f"overlap {overlap} is not a share of a tile's side",
            hint="give 0 to 0.95; 0.5 makes neighbours share half their side",
        )
    return (1 - Fraction(overlap)).limit_denominator(100)


def check_tile_size(tile_size_m: float) -> None:
    """Refuses sides that no local metric frame carries.

    Raises:
        InvalidParameter: outside 1 m .. 20 km.
    """
    if not 1 <= tile_size_m <= 20_000:
        raise InvalidParameter(
            f"tile size {tile_size_m} m is not usable", hint="give 1 to 20000 metres"
        )


def count_along(extent_m: float, tile_size_m: float, stride_m: float) -> int:
    """Tiles needed so that none of the extent is left out."""
    return 1 + max(0, math.ceil((extent_m - tile_size_m) / stride_m - 1e-6))


def plan_rows(extent: Extent, tile_size_m: float, overlap: float) -> list[GridRow]:
    """Rows of tiles that cover the extent, south to north, centred on it.

    Raises:
        InvalidParameter: size or overlap out of range, or the extent reaches beyond 85 degrees.
    """
    check_tile_size(tile_size_m)
    if max(abs(extent.south), abs(extent.north)) > MAX_LATITUDE:
        raise InvalidParameter(
            f"imagery from latitude {extent.south:.3f} to {extent.north:.3f} reaches too near a "
            "pole",
            hint=f"tiles are cut between -{MAX_LATITUDE:g} and {MAX_LATITUDE:g} degrees",
        )
    stride_m = float(stride_share(overlap)) * tile_size_m
    middle = (extent.south + extent.north) / 2
    metre_lat = _degrees_per_metre(middle)[1]
    count = count_along((extent.north - extent.south) / metre_lat, tile_size_m, stride_m)
    first = middle - (count - 1) / 2 * stride_m * metre_lat
    return [
        _plan_row(extent, first + row * stride_m * metre_lat, tile_size_m, stride_m)
        for row in range(count)
    ]


def _plan_row(extent: Extent, lat: float, tile_size_m: float, stride_m: float) -> GridRow:
    metre_lon, metre_lat = _degrees_per_metre(lat)
    columns = count_along((extent.east - extent.west) / metre_lon, tile_size_m, stride_m)
    return GridRow(
        lat=lat,
        first_lon=(extent.west + extent.east) / 2 - (columns - 1) / 2 * stride_m * metre_lon,
        step_lon=stride_m * metre_lon,
        width_deg=tile_size_m * metre_lon,
        height_deg=tile_size_m * metre_lat,
        columns=columns,
    )


def _degrees_per_metre(lat: float) -> tuple[float, float]:
    lon_deg, lat_deg = LocalFrame(LonLat(0.0, lat)).to_lonlat(1.0, 1.0)
    return float(lon_deg), float(lat_deg) - lat
