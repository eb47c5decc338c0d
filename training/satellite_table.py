"""A data set's satellite images as a table that `index_builder` makes a gallery of."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossfix.errors import DataError
from training.datasets.satellite_places import (
    SatelliteDataSet,
    SatelliteImages,
    credits_of,
    read_satellite_images,
)

COLUMNS = ("file", "lat", "lon", "size_m", "attribution", "licence")
_DIGITS = 8  # of a degree: a millimetre


@dataclass(frozen=True)
class WrittenTable:
    """What was written, and the smallest and largest side in metres."""

    path: Path
    images: int
    sides_m: tuple[float, float]


def write_satellite_table(
    name: SatelliteDataSet,
    root: Path,
    out: Path,
    *,
    split: str = "all",
    places: Path | None = None,
    size_m: float | None = None,
) -> WrittenTable:
    """Writes a CSV with one line per image; files count from its folder, or are absolute.

    Args:
        split: one of `satellite_places.SPLITS`.
        places: see `read_satellite_images`.
        size_m: side on the ground of every image; needed where the data set does not say.

    Raises:
        DataError: images, lists or places are missing, or a side is not known.
    """
    if size_m is not None and not 0 < size_m <= 100_000:
        raise DataError(f"--size-m {size_m:g} is not a side in metres", hint="give 1 to 100000")
    images = read_satellite_images(name, root, split, places=places)
    sides = _sides(name, images, size_m)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(out, root, images, sides, name)
    return WrittenTable(out, len(images.paths), (float(sides.min()), float(sides.max())))


def _sides(name: str, images: SatelliteImages, size_m: float | None) -> np.ndarray:
    if size_m is not None:
        return np.full(len(images.paths), size_m)
    if np.isnan(images.size_m).any():
        raise DataError(
            f"{name} does not say how much ground its satellite images show",
            hint="measure one on a map and give its side with --size-m"
            + (", or a column size_m in --places" if name == "university1652" else ""),
        )
    return images.size_m


def _write(
    out: Path, root: Path, images: SatelliteImages, sides: np.ndarray, name: SatelliteDataSet
) -> None:
    """In one step: a reader sees the old table, the new one or none."""
    said = credits_of(name)
    folder, here = Path(os.path.abspath(root)), Path(os.path.abspath(out)).parent
    start = folder.relative_to(here) if folder.is_relative_to(here) else folder
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    with temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(COLUMNS)
        for path, (lon, lat), side in zip(images.paths, images.lonlat, sides, strict=True):
            place = (round(float(lat), _DIGITS), round(float(lon), _DIGITS))
            row = (start / path, *place, f"{side:.3f}", said.attribution, said.licence)
            writer.writerow(row)
    os.replace(temporary, out)
