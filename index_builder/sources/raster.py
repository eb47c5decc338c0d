"""Any georeferenced raster as north-up uint8 RGB on a longitude/latitude pixel grid."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject, transform

from crossfix.errors import SourceError
from crossfix.geodesy import distance_m
from index_builder.sources.raster_colours import Colours, find_colours
from index_builder.sources.tiling import Extent

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]
Float64 = NDArray[np.float64]

WGS84 = CRS.from_epsg(4326)
WARP_TOLERANCE_PX = 0.02
_OUTLINE_POINTS = 64
_OVERVIEW_PX = 1024


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
    def affine(self) -> Any:  # noqa: ANN401 - affine.Affine has no types
        """Pixel to (lon, lat)."""
        return rasterio.Affine(self.pixel_lon, 0, self.west, 0, -self.pixel_lat, self.north)


class Raster:
    """An opened raster; `read` may be called from several threads.

    Attributes:
        crs: as the file names it.
        extent: in degrees, longitudes counted from `lon_origin`.
        lon_origin: 0 (Greenwich), but the raster's middle where it crosses the antimeridian.
        resolution_m: ground size of a pixel at the raster's centre.
        date: from the file's tags, or empty.

    Raises:
        SourceError: not a raster, no coordinate system, or bands of no use.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        with reported(path):
            source = self._handle(None)
            self.crs: str = _require_crs(path, source)
            self.date: str = str(source.tags().get("TIFFTAG_DATETIME", ""))
            self.extent, self.lon_origin, self._target = _find_extent(source)
            self.resolution_m = _find_resolution_m(source)
            self._overviews: list[int] = source.overviews(1)
            self._unmasked = all(MaskFlags.all_valid in flags for flags in source.mask_flag_enums)
            self._has_alpha = ColorInterp.alpha in source.colorinterp
            self.colours: Colours = find_colours(path, source, max_px=_OVERVIEW_PX)

    def _handle(self, overview: int | None) -> Any:  # noqa: ANN401 - rasterio has no types
        """This thread's own handle: GDAL data sets must not be shared between threads."""
        cache: dict[int | None, Any] = self._local.__dict__.setdefault("handles", {})
        if overview not in cache:
            options = {} if overview is None else {"overview_level": overview}
            with warnings.catch_warnings():
                # A raster without a place is refused below, in one sentence.
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                cache[overview] = rasterio.open(self.path, **options)
            with self._lock:
                self._handles.append(cache[overview])
        return cache[overview]

    def read(self, grid: PixelGrid) -> tuple[UInt8, Bool]:
        """Pixels (height, width, 3) uint8 and whether each holds data, (height, width).

        Shrinking averages over all source pixels, so fine detail does not alias.

        Raises:
            SourceError: the file is damaged.
        """
        shrink = grid.pixel_lat * 111_195 / self.resolution_m
        with reported(self.path), self._warped(grid, shrink) as warped:
            bands = [*self.colours.bands, warped.colorinterp.index(ColorInterp.alpha) + 1]
            values = warped.read(bands)
        valid = values[-1] > 0
        pixels = self.colours.to_rgb(values[:-1])
        if values.dtype.kind == "f":
            valid &= np.isfinite(values[:-1]).all(axis=0)
        if self._unmasked and self.colours.stretch is None:
            # Mosaics in JPEG cannot mark "no data"; their empty parts are (nearly) black.
            valid &= pixels.max(axis=2) > 8
        return pixels, valid

    def _warped(self, grid: PixelGrid, shrink: float) -> Any:  # noqa: ANN401
        fitting = [level for level, factor in enumerate(self._overviews) if factor <= shrink]
        source = self._handle(fitting[-1] if fitting else None)
        shrink /= self._overviews[fitting[-1]] if fitting else 1
        smooth = Resampling.bilinear if shrink > 1 else Resampling.cubic
        # XSCALE and YSCALE: GDAL guesses the ratio from the overlapping part only, which is wrong
        # where a grid reaches over the raster's edge.
        scale = f"{min(1.0, 1 / shrink):.6f}"
        return WarpedVRT(
            source,
            crs=self._target,
            transform=grid.affine,
            width=grid.width_px,
            height=grid.height_px,
            resampling=Resampling.nearest if self.colours.palette is not None else smooth,
            add_alpha=not self._has_alpha,
            tolerance=WARP_TOLERANCE_PX,
            XSCALE=scale,
            YSCALE=scale,
        )

    def coverage(self, grid: PixelGrid) -> Float64:
        """Where the raster holds data, coarsely: (height, width) in 0..1."""
        with reported(self.path):
            source = self._handle(None)
            reduce = max(1.0, max(source.shape) / _OVERVIEW_PX)
            shape = tuple(max(1, round(side / reduce)) for side in source.shape)
            mask = (source.dataset_mask(out_shape=shape) > 0).astype(np.float32)
            wide, high = source.width / shape[1], source.height / shape[0]
            a, b, c, d, e, f = tuple(source.transform)[:6]
            scaled = rasterio.Affine(a * wide, b * high, c, d * wide, e * high, f)
            covered = np.zeros((grid.height_px, grid.width_px), np.float32)
            reproject(
                mask,
                covered,
                src_transform=scaled,
                src_crs=source.crs,
                dst_transform=grid.affine,
                dst_crs=self._target,
                resampling=Resampling.average,
            )
        return covered.astype(np.float64)

    def close(self) -> None:
        """Closes every thread's handle."""
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()


@contextmanager
def reported(path: Path) -> Iterator[None]:
    """GDAL's many exceptions as one `SourceError` that names the file."""
    try:
        yield
    except (rasterio.errors.RasterioError, rasterio.errors.RasterioIOError, OSError) as problem:
        raise SourceError(
            f"raster {path} cannot be read: {_first_line(problem)}",
            hint="check it with gdalinfo; any format GDAL reads will do",
        ) from problem


def _first_line(problem: BaseException) -> str:
    return (str(problem) or type(problem).__name__).strip().splitlines()[0]


def _require_crs(path: Path, source: Any) -> str:  # noqa: ANN401
    if source.crs is None or source.transform.is_identity:
        raise SourceError(
            f"raster {path} has no coordinate reference system or no geotransform",
            hint="georeference it first, for example with gdal_translate -a_srs, or gdalwarp "
            "where it only has control points",
        )
    authority = source.crs.to_authority()
    return ":".join(authority) if authority else str(source.crs.to_wkt())


def pixel_to_crs(source: Any, columns: Float64, rows: Float64) -> tuple[Float64, Float64]:  # noqa: ANN401
    """Pixel positions (0, 0 is the outer corner of the first) to the raster's coordinates."""
    a, b, c, d, e, f = tuple(source.transform)[:6]
    return a * columns + b * rows + c, d * columns + e * rows + f


def _find_extent(source: Any) -> tuple[Extent, float, CRS]:  # noqa: ANN401
    """The outline in degrees, and the longitude/latitude system it is to be read in."""
    share = np.linspace(0, 1, _OUTLINE_POINTS)
    columns = np.concatenate([share, share, 0 * share, 0 * share + 1]) * source.width
    rows = np.concatenate([0 * share, 0 * share + 1, share, share]) * source.height
    columns, rows = np.append(columns, source.width / 2), np.append(rows, source.height / 2)
    x, y = pixel_to_crs(source, columns, rows)
    lon, lat = (np.asarray(v) for v in transform(source.crs, WGS84, x, y))
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise SourceError(
            f"raster {source.name} reaches outside its coordinate system",
            hint="check its coordinate system and geotransform with gdalinfo",
        )
    if source.crs.is_geographic:
        box = Extent(float(x.min()), float(lat.min()), float(x.max()), float(lat.max()))
        return box, 0.0, WGS84
    centre = float(lon[-1])
    around = (lon - centre + 180) % 360 - 180
    west, east = centre + around.min(), centre + around.max()
    extent = Extent(west, float(lat.min()), east, float(lat.max()))
    if -180 <= west and east <= 180:
        return extent, 0.0, WGS84
    # Degrees counted from the raster's own middle have no seam there.
    shifted = CRS.from_string(f"+proj=longlat +datum=WGS84 +pm={centre!r} +no_defs")
    return Extent(west - centre, extent.south, east - centre, extent.north), centre, shifted


def _find_resolution_m(source: Any) -> float:  # noqa: ANN401
    column, row = source.width / 2, source.height / 2
    x, y = pixel_to_crs(
        source, np.array([column, column + 1, column]), np.array([row, row, row + 1])
    )
    lon, lat = transform(source.crs, WGS84, x, y)
    sides = distance_m(lon[0], lat[0], lon[1:], lat[1:])
    return float(np.sqrt(sides[0] * sides[1]))
