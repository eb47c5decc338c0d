"""Where the images of a table lie: centres, sides and footprints, as columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossfix.errors import SourceError
from crossfix.geodesy import WGS84_A_M, WGS84_E2, distance_m
from index_builder.sources.grid.area import Area
from index_builder.sources.grid.tiling import MAX_LATITUDE
from index_builder.sources.tables.table_columns import BOUNDS_COLUMNS, TableColumns

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

_MAX_SIZE_M = 100_000
_SAME_SHARE = 0.02  # sides that differ by less are equal: published bounds are rounded
_CONFLICT = 1.25  # a footprint turned a little out of north is larger than its tile, not this much


@dataclass(frozen=True)
class TilePlaces:
    """N tiles.

    Attributes:
        lon, lat: (N,) centres, degrees.
        size_m: (N,) sides.
        bounds: (N, 4) west, south, east, north of the square; west > east at the antimeridian.
        ground_aspect: (N,) width over height of the whole image on the ground; NaN: not said.
    """

    lon: Float64
    lat: Float64
    size_m: Float64
    bounds: Float64
    ground_aspect: Float64

    def touching(self, area: Area, rows: NDArray[np.int64]) -> Bool:
        """Which of some rows share ground with an area."""
        west, south, east, north = self.bounds[rows].T
        return area.touches_many(west, south, np.where(east < west, east + 360, east), north)


def place_tiles(table: TableColumns, tile_size_m: float | None) -> TilePlaces:
    """Reads the columns `lat`, `lon`, `size_m` and the four of bounds; any may be missing.

    Args:
        tile_size_m: side of rows that give neither size nor bounds.

    Raises:
        SourceError: a row has no usable place or size, or contradicts itself; names it.
    """
    lon, lat, size_m = (table.numbers(name) for name in ("lon", "lat", "size_m"))
    west, south, east, north = (table.numbers(name) for name in BOUNDS_COLUMNS)
    boxed = np.isfinite(west) & np.isfinite(south) & np.isfinite(east) & np.isfinite(north)
    _check_boxes(table, boxed, west, south, east, north)
    span = (east - west) % 360
    lon = np.where(np.isnan(lon) & boxed, _wrap(west + span / 2), lon)
    lat = np.where(np.isnan(lat) & boxed, (south + north) / 2, lat)
    _check_centres(table, lon, lat)
    inside = ((lon - west) % 360 <= span) & (south <= lat) & (lat <= north)
    _refuse(table, boxed & ~inside, "has its lat, lon outside its own bounds", "check the columns")
    width_m = distance_m(west, lat, east, lat)
    height_m = distance_m(lon, south, lon, north)
    aspect = np.where(boxed, width_m / height_m, np.nan)
    aspect = np.where(np.abs(aspect - 1) <= _SAME_SHARE, 1.0, aspect)
    side_m = np.minimum(width_m, height_m)
    _check_agreement(table, boxed, size_m, side_m)
    sides = np.where(np.isnan(size_m) & boxed, np.where(aspect == 1, height_m, side_m), size_m)
    sides = np.where(np.isnan(sides), np.nan if tile_size_m is None else tile_size_m, sides)
    _check_sizes(table, sides)
    given = np.stack([west, south, east, north], axis=1)
    kept = boxed & (aspect == 1)
    bounds = np.where(kept[:, None], given, _squares(lon, lat, sides))
    return TilePlaces(lon, lat, sides, bounds, aspect)


def _squares(lon: Float64, lat: Float64, sides: Float64) -> Float64:
    """(N, 4) north-up squares round centres."""
    w2 = 1 - WGS84_E2 * np.sin(np.radians(lat)) ** 2  # as in `LocalFrame`, for many places
    north_m = np.radians(WGS84_A_M * (1 - WGS84_E2) / w2**1.5)
    east_m = np.radians(WGS84_A_M / np.sqrt(w2) * np.cos(np.radians(lat)))
    half_lon, half_lat = sides / 2 / east_m, sides / 2 / north_m
    return np.stack(
        [_wrap(lon - half_lon), lat - half_lat, _wrap(lon + half_lon), lat + half_lat], axis=1
    )


def _wrap(lon: Float64) -> Float64:
    return np.where(np.abs(lon) <= 180, lon, (lon + 180) % 360 - 180)


def _check_boxes(
    table: TableColumns, boxed: Bool, west: Float64, south: Float64, east: Float64, north: Float64
) -> None:
    partly = np.isfinite(west) | np.isfinite(south) | np.isfinite(east) | np.isfinite(north)
    _refuse(
        table, partly & ~boxed, "gives only some of its bounds",
        f"fill {', '.join(BOUNDS_COLUMNS)}, or none of them",
    )  # fmt: skip
    on_earth = (
        (np.abs(west) <= 180) & (np.abs(east) <= 180) & (south >= -90) & (north <= 90)
        & (south < north) & (west != east)
    )  # fmt: skip
    _refuse(
        table, boxed & ~on_earth, "has bounds that are no box on Earth",
        "give degrees, with south below north",
    )  # fmt: skip


def _check_centres(table: TableColumns, lon: Float64, lat: Float64) -> None:
    _refuse(
        table, np.isnan(lon) | np.isnan(lat), "has no lat, lon and no bounds",
        "give the centre, or west, south, east and north, in degrees",
    )  # fmt: skip
    rows = np.flatnonzero((np.abs(lon) > 180) | (np.abs(lat) > 90))
    if len(rows):
        raise SourceError(
            f"{table.where(int(rows[0]))}: lon {lon[rows[0]]:g}, lat {lat[rows[0]]:g} is not a "
            "place on Earth",
            hint="give longitude in -180..180 and latitude in -90..90 degrees",
        )
    _refuse(
        table, np.abs(lat) > MAX_LATITUDE, "lies too near a pole",
        f"tiles lie between -{MAX_LATITUDE:g} and {MAX_LATITUDE:g} degrees",
    )  # fmt: skip


def _check_agreement(table: TableColumns, boxed: Bool, size_m: Float64, side_m: Float64) -> None:
    ratio = side_m / size_m
    rows = np.flatnonzero(boxed & ((ratio > _CONFLICT) | (ratio < 1 / _CONFLICT)))
    if len(rows):
        row = int(rows[0])
        raise SourceError(
            f"{table.where(row)} has a size_m of {size_m[row]:g} and bounds of {side_m[row]:.1f} m",
            hint="mend one of them, or leave one out",
        )


def _check_sizes(table: TableColumns, sides: Float64) -> None:
    rows = np.flatnonzero(~((sides > 0) & (sides <= _MAX_SIZE_M)))
    if len(rows):
        size = "none" if np.isnan(sides[rows[0]]) else f"{sides[rows[0]]:g}"
        raise SourceError(
            f"{table.where(int(rows[0]))} has no usable tile size ({size})",
            hint="add a column size_m, or give --tile-size-m",
        )


def _refuse(table: TableColumns, wrong: Bool, what: str, hint: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise SourceError(f"{table.where(int(rows[0]))} {what}", hint=hint)
