"""Rasters with one bright square at a known place, and where tiles show it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj
import rasterio

MARK_PX = 5
GROUND, MARK = 60, 250


@dataclass(frozen=True)
class MarkedRaster:
    """`column`, `row`: the middle of the mark, in pixels from the outer corner."""

    path: Path
    crs: str
    transform: rasterio.Affine
    column: float
    row: float

    def pixel_of(self, lon: float, lat: float) -> tuple[float, float]:
        """By PROJ alone, without GDAL's warper."""
        to_crs = pyproj.Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
        x, y = to_crs.transform(lon, lat)
        if pyproj.CRS(self.crs).is_geographic:
            x += 360 * round((self.transform.c - x) / 360)
        a, b, c, d, e, f = tuple(self.transform)[:6]
        column, row = np.linalg.solve([[a, b], [d, e]], [x - c, y - f])
        return column, row

    def lonlat(self) -> tuple[float, float]:
        """Where the mark is."""
        to_lonlat = pyproj.Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        a, b, c, d, e, f = tuple(self.transform)[:6]
        x, y = a * self.column + b * self.row + c, d * self.column + e * self.row + f
        return to_lonlat.transform(x, y)


def write_marked_raster(
    path, *, crs, x, y, pixel, rotation_deg=0.0, side_px=160, at=(0.5, 0.5), dtype="uint8"
):
    """A grey raster around (x, y) of its own system; the mark at a share of its side."""
    column, row = (int(share * (side_px - 4 * MARK_PX)) + 2 * MARK_PX for share in at)
    pixels = np.full((3, side_px, side_px), GROUND, dtype)
    pixels[:, row : row + MARK_PX, column : column + MARK_PX] = MARK
    cos, sin = (f(np.radians(rotation_deg)) * pixel for f in (np.cos, np.sin))
    half = side_px / 2
    shape = rasterio.Affine(cos, sin, x - half * (cos + sin), sin, -cos, y - half * (sin - cos))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=side_px,
        height=side_px,
        count=3,
        dtype=dtype,
        crs=crs,
        transform=shape,
    ) as target:
        target.write(pixels)
    return MarkedRaster(path, crs, shape, column + MARK_PX / 2, row + MARK_PX / 2)


def find_marks(plans, images):
    """(lon, lat) of the mark by the bounds of each tile that holds all of it."""
    for plan, image in zip(plans, images, strict=True):
        if image is None:
            continue
        light = np.clip(image.mean(axis=2) - GROUND - 8, 0, None)
        rows, columns = np.nonzero(light > 60)
        if not len(rows) or min(rows.min(), columns.min()) < 5:
            continue
        if max(rows.max(), columns.max()) > len(image) - 6:
            continue
        grid = (np.arange(len(image)) + 0.5) / len(image)
        down = (light.sum(axis=1) * grid).sum() / light.sum()
        right = (light.sum(axis=0) * grid).sum() / light.sum()
        bounds = plan.bounds
        lon = bounds.west + right * ((bounds.east - bounds.west) % 360)
        yield (lon + 180) % 360 - 180, bounds.north - down * (bounds.north - bounds.south)
