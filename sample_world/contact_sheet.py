"""Photos beside the satellite picture of the place they should be found at: for looking."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image, ImageDraw
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.warp import transform

from crossfix.errors import DataError

_CELL_PX = 224
_SHEET_PX = 2040
_GAP_PX = 6


@dataclass(frozen=True)
class _Satellite:
    picture: Image.Image
    crs: CRS
    bounds: BoundingBox
    gsd_m: float


def draw_contact_sheet(data: Path, out: Path, *, patch_m: float, per_kind: int) -> int:
    """Write a picture of photos beside `patch_m` wide, north-up patches centred on their truth.

    Returns:
        How many photos it shows.

    Raises:
        DataError: `data` holds no finished data set.
    """
    if not (data / "photos.csv").is_file():
        raise DataError(f"{data} holds no photos.csv", hint="render a town there first")
    with (data / "photos.csv").open(newline="", encoding="utf-8") as source:
        rows = _spread(list(csv.DictReader(source)), per_kind)
    if not rows:
        raise DataError(f"{data}/photos.csv has no photos", hint="render some")
    with rasterio.open(data / "satellite.tif") as source:
        picture = Image.fromarray(np.ascontiguousarray(source.read().transpose(1, 2, 0)))
        satellite = _Satellite(picture, source.crs, source.bounds, source.transform.a)
    pairs = [_pair(data, row, satellite, patch_m) for row in rows]
    _arrange(pairs).save(out)
    return len(pairs)


def _spread(rows: list[dict[str, str]], per_kind: int) -> list[dict[str, str]]:
    """The first photos of every series."""
    kinds: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        kinds.setdefault(row["file"].split("/")[0], []).append(row)
    return [row for series in kinds.values() for row in series[:per_kind]]


def _pair(data: Path, row: dict[str, str], satellite: _Satellite, patch_m: float) -> Image.Image:
    with Image.open(data / row["file"]) as photo:
        width = round(photo.width * _CELL_PX / photo.height)
        shrunk = photo.convert("RGB").resize((width, _CELL_PX), Image.Resampling.LANCZOS)
    pair = Image.new("RGB", (width + _CELL_PX, _CELL_PX))
    pair.paste(shrunk, (0, 0))
    pair.paste(_patch(row, satellite, patch_m), (width, 0))
    return pair


def _patch(row: dict[str, str], satellite: _Satellite, patch_m: float) -> Image.Image:
    eastings, northings = transform(
        "EPSG:4326", satellite.crs, [float(row["lon"])], [float(row["lat"])]
    )
    left = round((eastings[0] - patch_m / 2 - satellite.bounds.left) / satellite.gsd_m)
    top = round((satellite.bounds.top - northings[0] - patch_m / 2) / satellite.gsd_m)
    side = round(patch_m / satellite.gsd_m)
    patch = satellite.picture.crop((left, top, left + side, top + side))
    patch = patch.resize((_CELL_PX, _CELL_PX), Image.Resampling.BICUBIC)
    middle = _CELL_PX // 2
    ImageDraw.Draw(patch).ellipse(
        (middle - 4, middle - 4, middle + 4, middle + 4), outline=(255, 0, 255), width=2
    )
    return patch


def _arrange(pairs: list[Image.Image]) -> Image.Image:
    """Pairs side by side, a new row where the next does not fit."""
    rows: list[list[Image.Image]] = [[]]
    for pair in pairs:
        if rows[-1] and sum(p.width + _GAP_PX for p in rows[-1]) + pair.width > _SHEET_PX:
            rows.append([])
        rows[-1].append(pair)
    width = max(sum(pair.width + _GAP_PX for pair in row) for row in rows)
    sheet = Image.new("RGB", (width, len(rows) * (_CELL_PX + _GAP_PX)), (255, 255, 255))
    for line, row in enumerate(rows):
        left = 0
        for pair in row:
            sheet.paste(pair, (left, line * (_CELL_PX + _GAP_PX)))
            left += pair.width + _GAP_PX
    return sheet
