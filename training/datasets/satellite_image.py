"""A town's satellite image held in memory: places to pixels, and tiles cut out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from rasterio.errors import RasterioIOError
from rasterio.warp import transform as warp_points

from crossfix.errors import DataError
from crossfix.images import UInt8

Float64 = NDArray[np.float64]

WGS84 = "EPSG:4326"
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class SatelliteImage:
    """A north-up image in a metric projection.

    Attributes:
        image: the whole image, RGB.
        left_m, top_m: projected coordinates of its upper left corner.
        resolution_m: ground metres per pixel.
        crs: what rasterio calls the projection.
    """

    image: Image.Image
    left_m: float
    top_m: float
    resolution_m: float
    crs: str

    @classmethod
    def open(cls, path: Path) -> "SatelliteImage":
        """Reads a GeoTIFF whole.

        Raises:
            DataError: not readable, not north-up, not in metres, or fewer than 3 bands.
        """
        try:
            with rasterio.open(path) as source:
                usable = (
                    source.count >= 3
                    and source.crs is not None
                    and source.crs.is_projected
                    and source.transform.b == source.transform.d == 0
                )
                if not usable:
                    raise DataError(
                        f"{path} is not a north-up RGB GeoTIFF in a metric projection",
                        hint="render the town again with `python -m sample_world render`",
                    )
                pixels = np.moveaxis(source.read([1, 2, 3]), 0, -1)
                affine, crs = source.transform, source.crs.to_string()
        except RasterioIOError as problem:
            raise DataError(
                f"satellite image {path} cannot be read", hint="give a town's folder"
            ) from problem
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return cls(image=image, left_m=affine.c, top_m=affine.f, resolution_m=affine.a, crs=crs)

    def pixels_of(self, lon: ArrayLike, lat: ArrayLike) -> Float64:
        """Places (N,) in degrees to (N, 2) pixel coordinates, x right and y down."""
        lons, lats = np.atleast_1d(lon).tolist(), np.atleast_1d(lat).tolist()
        x, y = warp_points(WGS84, self.crs, lons, lats)
        columns = (np.asarray(x, np.float64) - self.left_m) / self.resolution_m
        rows = (self.top_m - np.asarray(y, np.float64)) / self.resolution_m
        return np.stack([columns, rows], axis=1)

    def lonlat_of(self, xy: Float64) -> tuple[Float64, Float64]:
        """(N, 2) pixel coordinates to degrees (lon, lat), each (N,)."""
        x = self.left_m + xy[:, 0] * self.resolution_m
        y = self.top_m - xy[:, 1] * self.resolution_m
        lon, lat = warp_points(self.crs, WGS84, x.tolist(), y.tolist())
        return np.asarray(lon, np.float64), np.asarray(lat, np.float64)

    def clamp(self, xy: Float64, side_px: ArrayLike) -> Float64:
        """Moves tile centres (N, 2) the least that keeps tiles of this side inside the image."""
        half = np.broadcast_to(np.asarray(side_px, np.float64)[..., None] / 2, xy.shape)
        size = np.asarray(self.image.size, np.float64)
        return np.minimum(np.maximum(xy, half), size - half)

    def tile(self, x: float, y: float, *, side_px: float, out_px: int, resampling: str) -> UInt8:
        """The square centred on a pixel position, resized to (out_px, out_px, 3).

        Args:
            resampling: as `ViewSpec.interpolation`.
        """
        half = side_px / 2
        width, height = self.image.size
        box = (max(0.0, x - half), max(0.0, y - half), min(width, x + half), min(height, y + half))
        size = (out_px, out_px)
        if resampling == "sampled_bilinear":  # four pixels each, which `resize` never does
            resized = self.image.transform(
                size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
            )
        else:
            resized = self.image.resize(size, RESAMPLING[resampling], box=box)
        return np.asarray(resized, np.uint8)

    def grid(self, side_m: float) -> Float64:
        """Centres (N, 2) of half-overlapping tiles that lie wholly inside the image."""
        side = side_m / self.resolution_m
        width, height = self.image.size
        if side > min(width, height):
            raise DataError(
                f"a {width} x {height} pixel image holds no tile of {side_m} m",
                hint="use smaller tiles or a larger town",
            )
        columns, rows = np.meshgrid(_centres(width, side), _centres(height, side))
        return np.stack([columns.ravel(), rows.ravel()], axis=1)


def _centres(length: int, side: float) -> Float64:
    return np.arange(side / 2, length - side / 2 + 1e-6, side / 2)


def cut_tiles(
    image: SatelliteImage, centres: Float64, *, side_px: Sequence[float] | Float64, out_px: int,
    resampling: str,
) -> UInt8:  # fmt: skip
    """Tiles (N, out_px, out_px, 3) round centres (N, 2) with sides (N,) in image pixels."""
    tiles = np.empty((len(centres), out_px, out_px, 3), np.uint8)
    for i, ((x, y), side) in enumerate(zip(centres, side_px, strict=True)):
        tiles[i] = image.tile(x, y, side_px=side, out_px=out_px, resampling=resampling)
    return tiles
