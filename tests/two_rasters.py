"""Two rasters side by side that change: what updates of galleries are tried on."""

import os
from pathlib import Path

import numpy as np
import rasterio

from index_builder.sources.spec import SourceSpec
from tests.tiny_encoder import CENTRE, write_geotiff

EAST = (CENTRE[0] + 0.0012, CENTRE[1])


def write_rasters(folder: Path) -> Path:
    """`west.tif`, and `east.tif` with a corner of nothing."""
    write_geotiff(folder / "west.tif", size_px=(160, 160), nodata=0)
    path = write_geotiff(folder / "east.tif", size_px=(160, 160), centre=EAST, seed=1, nodata=0)
    repaint(path, slice(0, 60), slice(0, 60), value=0)
    return folder


def repaint(path: Path, rows: slice, columns: slice, *, seed: int = 0, value=None) -> None:
    """Changes a window of a raster in place, and its time."""
    with rasterio.open(path, "r+") as raster:
        pixels = raster.read()
        window = pixels[:, rows, columns]
        fresh = np.random.default_rng(seed).integers(1, 255, window.shape)
        pixels[:, rows, columns] = fresh if value is None else value
        raster.write(pixels)
    touch(path)


def touch(path: Path) -> None:
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))


def spec(folder: Path, name: str) -> SourceSpec:
    return SourceSpec(location=str(folder / f"{name}.tif"))


def region(centre: tuple[float, float], half: float = 0.0003) -> dict:
    """A square in degrees, as GeoJSON."""
    west, east, south, north = (
        centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half,
    )  # fmt: skip
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
