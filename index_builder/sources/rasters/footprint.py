"""Where a raster lies on the ground."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform

from crossfix.errors import SourceError
from crossfix.geodesy import distance_m
from index_builder.sources.grid.tiling import Extent

Float64 = NDArray[np.float64]

WGS84 = CRS.from_epsg(4326)
_SIDE_POINTS = 64
_POLYGON_STEP = 4  # every fourth point of the outline will do where only shares are asked for
_SAME_DEG = 1e-9


@dataclass(frozen=True)
class Footprint:
    """A raster's place.

    Attributes:
        extent: its box, the middle between -180 and 180; edges may lie beyond.
        polygon: its outline, longitudes as in `extent`.
        lon_origin: the longitude that is 0 in `system`.
        system: longitude and latitude without a seam inside the raster.
        resolution_m: ground size of its finest pixels.
    """

    extent: Extent
    polygon: Any
    lon_origin: float
    system: Any
    resolution_m: float

    def shift(self, lon: float) -> float:
        """What to take from a longitude near this one to count as `system` does.

        Whole turns bring the longitude to this side of the antimeridian first.
        """
        centre = (self.extent.west + self.extent.east) / 2
        return 360.0 * round((lon - centre) / 360) + self.lon_origin


def find_footprint(source: Any) -> Footprint:  # noqa: ANN401 - rasterio has no types
    """Finds the place of an opened raster that has a coordinate system.

    Raises:
        SourceError: it reaches outside its coordinate system.
    """
    columns, rows = _outline(source)
    x, y = pixel_to_crs(source, columns, rows)
    lon, lat = (np.asarray(values) for values in transform(source.crs, WGS84, x, y))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise SourceError(
            f"raster {source.name} reaches outside its coordinate system",
            hint="check its coordinate system and geotransform with gdalinfo",
        )
    lon = np.unwrap(lon, period=360.0)
    resolution_m = _find_resolution_m(source)
    if abs(lon[-1] - lon[0]) > 180:  # round a pole
        pole = 90.0 if lat.mean() > 0 else -90.0
        extent = Extent(-180, min(lat.min(), pole), 180, max(lat.max(), pole))
        box = shapely.box(extent.west, extent.south, extent.east, extent.north)
        return Footprint(extent, box, 0.0, WGS84, resolution_m)
    lon -= 360 * round((lon.min() + lon.max()) / 720)
    extent = Extent(*(float(v) for v in (lon.min(), lat.min(), lon.max(), lat.max())))
    lon_origin, system = _find_system(source, extent, lon, lat, x, y)
    ring = np.column_stack([lon, lat])[::_POLYGON_STEP]
    return Footprint(
        extent, shapely.make_valid(shapely.Polygon(ring)), lon_origin, system, resolution_m
    )


def _outline(source: Any) -> tuple[Float64, Float64]:  # noqa: ANN401
    """Once round the raster's edge, back to the first corner."""
    share = np.arange(_SIDE_POINTS) / _SIDE_POINTS
    zero, one = np.zeros(_SIDE_POINTS), np.ones(_SIDE_POINTS)
    columns = np.concatenate([share, one, 1 - share, zero, [0.0]])
    rows = np.concatenate([zero, share, one, 1 - share, [0.0]])
    return columns * source.width, rows * source.height


def _find_system(
    source: Any,  # noqa: ANN401
    extent: Extent,
    lon: Float64,
    lat: Float64,
    x: Float64,
    y: Float64,
) -> tuple[float, Any]:
    """Longitude of its zero, and a longitude/latitude system with no seam inside the raster."""
    if source.crs.is_geographic and max(abs(x.min()), abs(x.max())) > 180 + _SAME_DEG:
        # GDAL wraps longitudes to -180..180 wherever it has anything to compute; so it must not.
        turns = lon - x
        if np.ptp(turns) > _SAME_DEG or np.abs(lat - y).max() > _SAME_DEG:
            raise SourceError(
                f"raster {source.name} counts longitudes beyond 180 degrees in a datum other than "
                "WGS84",
                hint="gdalwarp it to EPSG:4326 or to a projected coordinate system first",
            )
        return 360.0 * round(float(turns.mean()) / 360), WGS84
    if -180 - _SAME_DEG <= extent.west and extent.east <= 180 + _SAME_DEG:
        return 0.0, WGS84
    centre = (extent.west + extent.east) / 2
    centre = (centre + 180) % 360 - 180
    return centre, CRS.from_string(f"+proj=longlat +datum=WGS84 +pm={centre!r} +no_defs")


def pixel_to_crs(source: Any, columns: Float64, rows: Float64) -> tuple[Float64, Float64]:  # noqa: ANN401
    """Pixel positions (0, 0 is the outer corner of the first) to the raster's coordinates."""
    a, b, c, d, e, f = tuple(source.transform)[:6]
    return a * columns + b * rows + c, d * columns + e * rows + f


def _find_resolution_m(source: Any) -> float:  # noqa: ANN401
    """Finest of the corners and the centre: some systems stretch the ground very unevenly."""
    wide, high = source.width, source.height
    columns = np.array([0.5, wide - 0.5, 0.5, wide - 0.5, wide / 2])
    rows = np.array([0.5, 0.5, high - 0.5, high - 0.5, high / 2])
    x, y = pixel_to_crs(
        source,
        np.concatenate([columns - 0.5, columns + 0.5, columns - 0.5]),
        np.concatenate([rows - 0.5, rows - 0.5, rows + 0.5]),
    )
    lon, lat = (np.asarray(values).reshape(3, -1) for values in transform(source.crs, WGS84, x, y))
    across = distance_m(lon[0], lat[0], lon[1], lat[1])
    down = distance_m(lon[0], lat[0], lon[2], lat[2])
    sides = np.sqrt(across * down)
    sides = sides[np.isfinite(sides) & (sides > 0)]
    return float(sides.min()) if len(sides) else 1.0
