"""Tiny town folders in the layout of `sample_world render`: random blocks, photos cut from them."""

import csv
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import Affine
from rasterio.warp import transform

LEFT_M, TOP_M, EPSG = 500_000.0, 5_200_000.0, "EPSG:32633"
COLUMNS = ("file", "view", "projection", "lat", "lon", "heading_deg", "hfov_deg")


def random_blocks(rng, size_px, block_px=10):
    """A picture whose every corner looks different, (size, size, 3) uint8."""
    cells = rng.integers(20, 236, (size_px // block_px + 1, size_px // block_px + 1, 3))
    return np.kron(cells, np.ones((block_px, block_px, 1)))[:size_px, :size_px].astype(np.uint8)


def write_town(folder, *, seed, size_px=300, drone=40, panoramas=40, street=8):
    """Writes one town of 1 m pixels and returns its folder."""
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True)
    picture = random_blocks(rng, size_px)
    _write_satellite(folder / "satellite.tif", picture)
    rows = []
    for kind, count in (("drone", drone), ("panorama", panoramas), ("street", street)):
        (folder / kind).mkdir()
        for i in range(count):
            x, y = rng.uniform(36, size_px - 36, 2)
            heading = 0.0 if kind == "panorama" else float(rng.uniform(0, 360))
            name = f"{kind}/{i:04d}.jpg"
            pixels = _PAINTERS[kind](picture, x, y, heading)
            Image.fromarray(pixels).save(folder / name, quality=95)
            rows.append(_row(name, kind, x, y, heading))
    with (folder / "photos.csv").open("w", newline="") as handle:
        table = csv.DictWriter(handle, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return folder


def _write_satellite(path, picture):
    options = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": EPSG,
               "height": len(picture), "width": len(picture),
               "transform": Affine(1.0, 0.0, LEFT_M, 0.0, -1.0, TOP_M)}  # fmt: skip
    with rasterio.open(path, "w", **options) as target:
        target.write(np.moveaxis(picture, -1, 0))


def _row(name, kind, x, y, heading):
    (lon,), (lat,) = transform(EPSG, "EPSG:4326", [LEFT_M + x], [TOP_M - y])
    return {
        "file": name,
        "view": "drone" if kind == "drone" else "ground",
        "projection": "equirectangular" if kind == "panorama" else "perspective",
        "lat": f"{lat:.9f}",
        "lon": f"{lon:.9f}",
        "heading_deg": heading,
        "hfov_deg": 360.0 if kind == "panorama" else 70.0,
    }


def _drone(picture, x, y, heading):
    crop = Image.fromarray(picture).rotate(heading, center=(x, y), resample=Image.BILINEAR)
    return np.asarray(crop.crop((int(x) - 28, int(y) - 28, int(x) + 28, int(y) + 28)))


def _panorama(picture, x, y, heading):
    """Columns are compass directions, rows below the horizon are distances of 0-30 m."""
    azimuth = ((np.arange(128) + 0.5) / 128 - 0.5) * 2 * np.pi + np.radians(heading)
    distance = np.linspace(30, 1, 32)
    columns = np.clip(x + distance[:, None] * np.sin(azimuth), 0, len(picture) - 1).astype(int)
    rows = np.clip(y - distance[:, None] * np.cos(azimuth), 0, len(picture) - 1).astype(int)
    sky = np.full((32, 128, 3), 200, np.uint8)
    return np.concatenate([sky, picture[rows, columns]])


def _street(picture, x, y, heading):
    return _panorama(picture, x, y, heading)[8:56, 52:76]


_PAINTERS = {"drone": _drone, "panorama": _panorama, "street": _street}
