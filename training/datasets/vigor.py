"""VIGOR: street panoramas of four cities among tiles that cover them (Zhu et al., CVPR 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from crossfix.matches import Matches
from crossfix.view import ViewName, ViewSpec
from training.datasets.cards import card_of, folder_of
from training.datasets.folder import DataFolder
from training.datasets.image_files import ImageFiles
from training.datasets.split import DatasetCard, EvaluationSplit, Float64, PairTable, Positions
from training.datasets.vigor_labels import (
    CityLabels,
    Labels,
    choose_labels,
    lonlat_of_panoramas,
    lonlat_of_tiles,
    read_labels,
    tile_list,
)

CITIES = ("Chicago", "NewYork", "SanFrancisco", "Seattle")
Area = Literal["same_area", "cross_area"]
Part = Literal["train", "test"]

_CITIES: Mapping[tuple[Area, Part], tuple[str, ...]] = {
    ("same_area", "train"): CITIES,
    ("same_area", "test"): CITIES,
    ("cross_area", "train"): ("NewYork", "Seattle"),
    ("cross_area", "test"): ("Chicago", "SanFrancisco"),
}
_LISTS: Mapping[tuple[Area, Part], str] = {
    ("same_area", "train"): "same_area_balanced_train",
    ("same_area", "test"): "same_area_balanced_test",
    ("cross_area", "train"): "pano_label_balanced",
    ("cross_area", "test"): "pano_label_balanced",
}


@dataclass(frozen=True)
class CityTiles:
    """All tiles of some cities, city after city.

    Attributes:
        paths: (R,) files below the root.
        index: of a tile's name.
        lonlat: (R, 2) degrees.
    """

    paths: tuple[str, ...]
    index: Mapping[str, int]
    lonlat: Float64


@dataclass(frozen=True)
class Vigor:
    """The data set at its folder.

    Attributes:
        views: preprocessing of `satellite` and `ground`.
        labels: which lists are read, `original` or `corrected` (SliceMatch, CVPR 2023: the
            offsets follow the true ground resolution of each city).
    """

    folder: DataFolder
    views: Mapping[ViewName, ViewSpec]
    area: Area
    labels: Labels

    @classmethod
    def open(
        cls, root: Path, views: Mapping[ViewName, ViewSpec], area: Area, *, labels: Labels = "auto"
    ) -> "Vigor":
        """Opens it.

        Args:
            labels: `auto` takes the corrected lists where every city has them.

        Raises:
            DataError: the lists or folders of a city are missing.
        """
        folder = folder_of("vigor_same_area" if area == "same_area" else "vigor_cross_area", root)
        return cls(folder, views, area, choose_labels(folder, CITIES, labels))

    @property
    def card(self) -> DatasetCard:
        """What VIGOR is, and which labels are read."""
        name: Literal["vigor_same_area", "vigor_cross_area"] = (
            "vigor_same_area" if self.area == "same_area" else "vigor_cross_area"
        )
        return card_of(name, {"labels": self.labels})

    @property
    def protocols(self) -> tuple[str, ...]:
        """Only `test`."""
        return ("test",)

    def training(self) -> Mapping[ViewName, PairTable]:
        """Each training panorama with its positive tile.

        The tiles are those that are some training panorama's positive, as in Sample4Geo's
        passes; a semi-positive that is nobody's positive can never be a negative either, and
        is left out.

        Raises:
            DataError: a list or an image is missing.
        """
        tiles, labels = self._read("train")
        used, reference = np.unique(labels.tiles[:, 0], return_inverse=True)
        local = np.full(len(tiles.paths), -1, np.int64)
        local[used] = np.arange(len(used))
        names = [tiles.paths[i] for i in used]
        self.folder.require(names)
        table = PairTable(
            view="ground",
            queries=self._panoramas("train", labels),
            tiles=self.folder.images(names, self.views["satellite"]),
            reference=reference.astype(np.int64).ravel(),
            positions=Positions("lonlat", tiles.lonlat[used]),
            semi_positives=local[labels.tiles[:, 1:]],
        )
        return {"ground": table}

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """Each test panorama against all tiles of the test cities.

        Raises:
            DataError: no such protocol; a list or an image is missing.
        """
        self.folder.check_protocol(protocol, self.protocols)
        tiles, labels = self._read("test")
        self.folder.require(tiles.paths)
        split = EvaluationSplit(
            name=f"vigor {self.area.replace('_', '-')} test",
            protocol="positive tile",
            queries=self._panoramas("test", labels),
            gallery=self.folder.images(tiles.paths, self.views["satellite"]),
            positives=Matches.one_each(labels.tiles[:, 0]),
            semi_positives=_semi_positives(labels),
            percent_of=len(tiles.paths),
            query_positions=Positions("lonlat", self._places(labels)),
            gallery_positions=Positions("lonlat", tiles.lonlat),
            kinds=None,
        )
        return [split]

    def read_part(self, part: Part) -> CityLabels:
        """The labels of the training or test panoramas, offsets included.

        Raises:
            DataError: a list is missing or not understood.
        """
        return self._read(part)[1]

    def _read(self, part: Part) -> tuple[CityTiles, CityLabels]:
        tiles = self._tiles(_CITIES[self.area, part])
        labels = read_labels(
            self.folder, _CITIES[self.area, part], _LISTS[self.area, part], self.labels, tiles.index
        )
        return tiles, labels

    def _tiles(self, cities: Sequence[str]) -> CityTiles:
        lists = {city: tile_list(self.folder, city, self.labels) for city in cities}
        names = [name for found in lists.values() for name in found]
        try:
            lonlat = lonlat_of_tiles(names)
        except (ValueError, IndexError) as problem:
            raise self.folder.problem(f"a tile's name has no place in it: {problem}") from problem
        folders = {city: self._subfolder(city, "satellite") for city in cities}
        paths = tuple(f"{folders[city]}/{name}" for city, found in lists.items() for name in found)
        return CityTiles(paths, {name: i for i, name in enumerate(names)}, lonlat)

    def _panoramas(self, part: Part, labels: CityLabels) -> ImageFiles:
        folders = [self._subfolder(city, "panorama") for city in _CITIES[self.area, part]]
        names = [
            f"{folders[city]}/{name}"
            for city, name in zip(labels.city, labels.panoramas, strict=True)
        ]
        self.folder.require(names)
        return self.folder.images(names, self.views["ground"], panoramas=True)

    def _places(self, labels: CityLabels) -> Float64:
        try:
            return lonlat_of_panoramas(labels.panoramas)
        except (ValueError, IndexError) as problem:
            raise self.folder.problem(f"a panorama's name has no place: {problem}") from problem

    def _subfolder(self, city: str, kind: Literal["panorama", "satellite"]) -> str:
        """The folder in either of the two arrangements in use; the distributed one comes first."""
        as_distributed = f"{city}/{kind}"
        rearranged = f"{'ground' if kind == 'panorama' else 'satellite'}/{city}"
        if not self.folder.has(as_distributed) and self.folder.has(rearranged):
            return rearranged
        return as_distributed


def _semi_positives(labels: CityLabels) -> Matches:
    count, each = labels.tiles[:, 1:].shape
    rows = np.repeat(np.arange(count), each)
    return Matches.from_pairs(rows, labels.tiles[:, 1:].ravel(), count=count)
