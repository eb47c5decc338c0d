"""The satellite images of the known data sets, with the place and the ground size of each.

Only images and places are read here; panoramas need not be there.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from pyproj import Transformer

from crossfix.errors import DataError
from crossfix.geodesy import web_mercator_resolution_m
from training.datasets.act_table import read_act_table
from training.datasets.cards import CARDS, folder_of
from training.datasets.cvact import SMALL, TEST, TILE_END
from training.datasets.cvusa import PLACES, TRAIN_LIST, VAL_LIST
from training.datasets.folder import DataFolder
from training.datasets.place_table import read_place_table
from training.datasets.split import Float64
from training.datasets.vigor import CITIES
from training.datasets.vigor_labels import (
    TILE_PX,
    choose_labels,
    lonlat_of_tiles,
    resolution_m,
    tile_list,
)
from training.recipe import DatasetName

LOGGER = logging.getLogger(__name__)

SatelliteDataSet = Literal["cvusa", "cvact", "vigor", "university1652"]
SATELLITE_DATA_SETS: tuple[SatelliteDataSet, ...] = get_args(SatelliteDataSet)
ALL = "all"
_CVUSA_PX, _CVUSA_ZOOM = 750, 19
_CANBERRA = ((148.5, 149.6), (-36.2, -34.9))  # lon, lat
_UTM_55_SOUTH = "EPSG:32755"
_CVACT_SPLITS = ("train", "val", "test")
_UNIVERSITY_FOLDERS = {"train": "train/satellite", "test": "test/gallery_satellite"}
_VIGOR_SPLITS: Mapping[str, tuple[str, ...]] = {
    ALL: CITIES,
    "cross-train": ("NewYork", "Seattle"),
    "cross-test": ("Chicago", "SanFrancisco"),
    **{city: (city,) for city in CITIES},
}
SPLITS: Mapping[SatelliteDataSet, tuple[str, ...]] = {
    "cvusa": (ALL, "train", "val"),
    "cvact": (ALL, *_CVACT_SPLITS),
    "vigor": tuple(_VIGOR_SPLITS),
    "university1652": (ALL, *_UNIVERSITY_FOLDERS),
}


@dataclass(frozen=True)
class SatelliteImages:
    """N north-up square images.

    Attributes:
        paths: (N,) files below the data set's root.
        lonlat: (N, 2) centres, degrees.
        size_m: (N,) sides on the ground; NaN where the data set does not say.
    """

    paths: tuple[str, ...]
    lonlat: Float64
    size_m: Float64


@dataclass(frozen=True)
class Credits:
    """What the data set's card says of its images."""

    attribution: str
    licence: str


def read_satellite_images(
    name: SatelliteDataSet, root: Path, split: str, *, places: Path | None = None
) -> SatelliteImages:
    """The satellite images of a split, each once.

    Args:
        split: one of `SPLITS[name]`.
        places: a table of building, lat, lon; only of University-1652, whose images have none.

    Raises:
        DataError: no such split, a list or an image is missing, or there are no places.
    """
    if split not in SPLITS[name]:
        raise DataError(
            f"{name} has no split {split!r}", hint=f"take one of {', '.join(SPLITS[name])}"
        )
    if places is not None and name != "university1652":
        raise DataError(f"--places is not for {name}, whose places are known", hint="leave it out")
    if name == "university1652":
        return _university(folder_of("university1652", root), split, places)
    return _READERS[name](root, split)


def credits_of(name: SatelliteDataSet) -> Credits:
    """Whom to credit for the images, and their terms."""
    card = CARDS[_card_name(name)]
    return Credits(attribution=card.source.partition(";")[0], licence=card.licence)


def _card_name(name: SatelliteDataSet) -> DatasetName:
    return "vigor_same_area" if name == "vigor" else name


def _cvusa(root: Path, split: str) -> SatelliteImages:
    """Numbered images; row `number - 1` of the table of places begins with tile lat, lon."""
    folder = folder_of("cvusa", root)
    lists = {"train": TRAIN_LIST, "val": VAL_LIST}
    chosen = list(lists.values()) if split == ALL else [lists[split]]
    rows = [row for path in chosen for row in folder.lines(path)]
    paths = tuple(dict.fromkeys(row.split(",")[0].strip() for row in rows))
    folder.require(paths)
    if not folder.has(PLACES):
        raise folder.missing(PLACES)
    lonlat = _cvusa_places(folder)
    try:
        numbers = np.array([int(Path(path).stem) for path in paths])
    except ValueError as problem:
        raise folder.problem(f"a tile's name is not a number: {problem}") from problem
    if not 1 <= numbers.min() <= numbers.max() <= len(lonlat):
        raise folder.problem(f"{PLACES} has {len(lonlat)} rows, the lists go to {numbers.max()}")
    found = lonlat[numbers - 1]
    sides = [_CVUSA_PX * web_mercator_resolution_m(lat, _CVUSA_ZOOM) for lat in found[:, 1]]
    return SatelliteImages(paths, found, np.array(sides))


def _cvusa_places(folder: DataFolder) -> Float64:
    try:
        table = np.loadtxt(folder.root / PLACES, np.float64, delimiter=",", usecols=(1, 0), ndmin=2)
    except (OSError, ValueError, IndexError) as problem:
        raise folder.problem(f"{PLACES} is not a table of places: {problem}") from problem
    return np.asarray(table, np.float64)


def _cvact(root: Path, split: str) -> SatelliteImages:
    """Images named by panorama, centred on its place in UTM zone 55 south."""
    folder = folder_of("cvact", root)
    table = read_act_table(folder)
    listed = {"train": (SMALL, table.train), "val": (SMALL, table.val), "test": (TEST, table.test)}
    paths: list[str] = []
    rows: list[int] = []
    for part in _CVACT_SPLITS if split == ALL else (split,):
        where, indices = listed[part]
        if split == ALL and not folder.has(where):
            continue  # the large test set is a download of its own
        names = folder.file_names(f"{where}/satview_polish")
        kept = [int(i) for i in indices if f"{table.ids[i]}{TILE_END}" in names]
        if len(kept) < len(indices):
            LOGGER.warning(
                "CVACT: %d of %d images of %s are not there", len(indices) - len(kept),
                len(indices), part,
            )  # fmt: skip
        paths += [f"{where}/satview_polish/{table.ids[i]}{TILE_END}" for i in kept]
        rows += kept
    if not rows:
        raise folder.problem("no listed satellite image is there")
    lonlat = _canberra(folder, table.utm_m[rows])
    return SatelliteImages(tuple(paths), lonlat, np.full(len(rows), np.nan))


def _canberra(folder: DataFolder, utm_m: Float64) -> Float64:
    """Degrees of easting and northing.

    Raises:
        DataError: they are not near Canberra, so the table means something else.
    """
    to_degrees = Transformer.from_crs(_UTM_55_SOUTH, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(utm_m[:, 0], utm_m[:, 1])
    (west, east), (south, north) = _CANBERRA
    if not ((west <= lon) & (lon <= east) & (south <= lat) & (lat <= north)).all():
        raise folder.problem(
            "ACT_data.mat has places that are not near Canberra in UTM zone 55 south"
        )
    return np.stack([lon, lat], axis=1)


def _vigor(root: Path, split: str) -> SatelliteImages:
    """Places are in the names; sides are those of 640 pixels of Web Mercator at zoom 20."""
    folder = folder_of("vigor_same_area", root)
    labels = choose_labels(folder, CITIES, "auto")
    paths: list[str] = []
    names: list[str] = []
    for city in _VIGOR_SPLITS[split]:
        listed = tile_list(folder, city, labels)
        distributed = folder.has(f"{city}/satellite")
        where = f"{city}/satellite" if distributed else f"satellite/{city}"
        paths += [f"{where}/{name}" for name in listed]
        names += listed
    folder.require(paths)
    try:
        lonlat = lonlat_of_tiles(names)
    except (ValueError, IndexError) as problem:
        raise folder.problem(f"a tile's name has no place in it: {problem}") from problem
    return SatelliteImages(tuple(paths), lonlat, TILE_PX * resolution_m(lonlat[:, 1]))


def _university(folder: DataFolder, split: str, places: Path | None) -> SatelliteImages:
    """One image or more of each building, at the place a table gives the building."""
    if places is None:
        raise DataError(
            "University-1652 is distributed without the places of its buildings",
            hint="give --places with a CSV of building, lat, lon and perhaps size_m",
        )
    table = read_place_table(places)
    paths: list[str] = []
    buildings: list[str] = []
    for part, where in _UNIVERSITY_FOLDERS.items():
        if split not in (ALL, part) or (split == ALL and not folder.has(where)):
            continue
        for building in folder.subfolders(where):
            names = folder.image_names(f"{where}/{building}")
            paths += [f"{where}/{building}/{name}" for name in names]
            buildings += [building] * len(names)
    known = [i for i, building in enumerate(buildings) if building in table]
    if not known:
        raise DataError(
            f"{places} names none of the {len(set(buildings))} buildings in {folder.root}",
            hint="its column building holds the names of their folders, such as 0001",
        )
    if len(known) < len(buildings):
        LOGGER.warning(
            "University-1652: %d of %d images are of buildings without a place",
            len(buildings) - len(known), len(buildings),
        )  # fmt: skip
    found = np.array([table[buildings[i]] for i in known])
    return SatelliteImages(tuple(paths[i] for i in known), found[:, :2], found[:, 2])


_READERS: Mapping[SatelliteDataSet, Callable[[Path, str], SatelliteImages]] = {
    "cvusa": _cvusa,
    "cvact": _cvact,
    "vigor": _vigor,
}


def split_names(names: Sequence[SatelliteDataSet] = SATELLITE_DATA_SETS) -> str:
    """For help texts."""
    return "; ".join(f"{name}: {', '.join(SPLITS[name])}" for name in names)
