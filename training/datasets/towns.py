"""Towns as `python -m sample_world render` writes them: a satellite image and a table of photos."""

import csv
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.satellite_image import SatelliteImage

LOGGER = logging.getLogger(__name__)

SATELLITE_FILE, PHOTO_TABLE = "satellite.tif", "photos.csv"
PhotoKind = Literal["panorama", "street", "drone"]


@dataclass(frozen=True)
class PhotoRow:
    """One photo of a town.

    Attributes:
        lon, lat: the place to be found: where a ground camera stood, what a drone looked at.
        heading_deg: compass direction of the centre column, 0 = north.
        hfov_deg: horizontal field of view; 360 for panoramas.
    """

    path: Path
    view: ViewName
    kind: PhotoKind
    lon: float
    lat: float
    heading_deg: float
    hfov_deg: float


@dataclass(frozen=True)
class Town:
    """A town opened: its name, its satellite image in memory, its photos."""

    name: str
    folder: Path
    satellite: SatelliteImage
    photos: tuple[PhotoRow, ...]

    def photos_of(self, view: ViewName) -> tuple[PhotoRow, ...]:
        """The photos of one view, in the table's order."""
        return tuple(photo for photo in self.photos if photo.view == view)


def find_towns(paths: Iterable[Path]) -> list[Path]:
    """Town folders among the paths: each is one, or holds some.

    Raises:
        DataError: a path has no town, or two folders share a name.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path] if (path / SATELLITE_FILE).is_file() else _towns_in(path)
        if not inside:
            raise DataError(
                f"{path} holds no town ({SATELLITE_FILE} and {PHOTO_TABLE})",
                hint="render towns with `python -m sample_world render`",
            )
        found += [town for town in inside if town not in found]
    if len({town.name for town in found}) < len(found):
        raise DataError("two town folders have the same name", hint="rename one of them")
    return found


def _towns_in(path: Path) -> list[Path]:
    """Finished towns; a hidden folder is one that is being rendered."""
    found = sorted(image.parent for image in path.glob(f"*/{SATELLITE_FILE}"))
    return [town for town in found if not town.name.startswith(".")]


def open_towns(folders: Sequence[Path]) -> list[Town]:
    """Opens towns.

    Raises:
        DataError: a file is missing or malformed.
    """
    return [open_town(folder) for folder in folders]


def open_town(folder: Path) -> Town:
    """Opens one town folder.

    Raises:
        DataError: a file is missing or malformed.
    """
    photos = read_photo_table(folder)
    satellite = SatelliteImage.open(folder / SATELLITE_FILE)
    LOGGER.info("town %s: %s px, %d photos", folder.name, satellite.image.size, len(photos))
    return Town(name=folder.name, folder=folder, satellite=satellite, photos=photos)


def read_photo_table(folder: Path) -> tuple[PhotoRow, ...]:
    """Reads `photos.csv`.

    Raises:
        DataError: no such file, or a row that cannot be understood.
    """
    path = folder / PHOTO_TABLE
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            return tuple(
                _photo_of(folder, row, line) for line, row in enumerate(csv.DictReader(handle), 2)
            )
    except OSError as problem:
        raise DataError(
            f"photo table {path} cannot be read", hint="render the town again"
        ) from problem


def _photo_of(folder: Path, row: Mapping[str, str], line: int) -> PhotoRow:
    try:
        view, projection = row["view"], row["projection"]
        return PhotoRow(
            path=folder / row["file"],
            view=_VIEWS[view],
            kind=_KINDS[view, projection],
            lon=float(row["lon"]),
            lat=float(row["lat"]),
            heading_deg=float(row["heading_deg"]),
            hfov_deg=float(row["hfov_deg"]),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise DataError(
            f"line {line} of {folder / PHOTO_TABLE} cannot be understood: {problem!r}",
            hint="render the town again",
        ) from problem


_VIEWS: dict[str, ViewName] = {"ground": "ground", "drone": "drone"}
_KINDS: dict[tuple[str, str], PhotoKind] = {
    ("ground", "equirectangular"): "panorama",
    ("ground", "perspective"): "street",
    ("drone", "perspective"): "drone",
}
