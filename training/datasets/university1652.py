"""University-1652: buildings seen by satellite, drone and from the street (Zheng et al., 2020).

The reference is the building: its one satellite tile in training, all its images of the other
view in evaluation. Files come in sorted order, whatever the file system says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossfix.matches import Matches
from crossfix.view import QUERY_VIEWS, ViewName, ViewSpec
from training.datasets.cards import card_of, folder_of
from training.datasets.folder import DataFolder
from training.datasets.image_files import ImageFiles
from training.datasets.split import DatasetCard, EvaluationSplit, Int64, PairTable
from training.recipe import Mode

TRAIN, TEST = "train", "test"
DISTRACTORS_160K = "test/gallery_satellite_160k"
_FOLDER_NAMES: Mapping[ViewName, str] = {
    "satellite": "satellite", "drone": "drone", "ground": "street",
}  # fmt: skip
_DIRECTIONS: Mapping[str, tuple[ViewName, ViewName]] = {
    "drone-to-satellite": ("drone", "satellite"),
    "satellite-to-drone": ("satellite", "drone"),
    "street-to-satellite": ("ground", "satellite"),
    "satellite-to-street": ("satellite", "ground"),
    "drone-to-satellite-160k": ("drone", "satellite"),
    "drone-to-satellite-multi": ("drone", "satellite"),
    "street-to-satellite-multi": ("ground", "satellite"),
}


@dataclass(frozen=True)
class _Listed:
    """Images of one view: files (N,) below the root and the names of their buildings (N,)."""

    paths: tuple[str, ...]
    buildings: tuple[str, ...]


@dataclass(frozen=True)
class University1652:
    """The data set at its folder.

    Attributes:
        views: preprocessing of `satellite` and of the query views that are used.
        mode: `paper` takes buildings without a query out of the gallery, as Sample4Geo's
            evaluation does (R@1% still counts them); in `correct` mode they compete, as in the
            evaluation of the data set's authors.
        google: trains the street view on `train/google`, too.
    """

    folder: DataFolder
    views: Mapping[ViewName, ViewSpec]
    mode: Mode
    google: bool = False

    @classmethod
    def open(
        cls, root: Path, views: Mapping[ViewName, ViewSpec], *, mode: Mode, google: bool = False
    ) -> "University1652":
        """Opens it.

        Raises:
            DataError: neither `train` nor `test` is there.
        """
        folder = folder_of("university1652", root)
        if not (folder.has(TRAIN) or folder.has(TEST)):
            raise folder.missing(TRAIN)
        return cls(folder, views, mode, google)

    @property
    def card(self) -> DatasetCard:
        """What University-1652 is, and whether the 160k distractors were found."""
        found = "found" if self.folder.has(DISTRACTORS_160K) else "not found"
        return card_of("university1652", {DISTRACTORS_160K: found})

    @property
    def protocols(self) -> tuple[str, ...]:
        """Those whose views the recipe has, `drone-to-satellite` first."""
        return tuple(
            name for name, directed in _DIRECTIONS.items() if set(directed) <= set(self.views)
        )

    def training(self) -> Mapping[ViewName, PairTable]:
        """Every drone (or street) photo with its building's satellite tile.

        All views have the same tiles; a building without street photos keeps its tile there.

        Raises:
            DataError: a folder is missing or empty.
        """
        buildings = self.folder.subfolders("train/satellite")
        tiles = self.folder.images(self._one_tile_each(buildings), self.views["satellite"])
        return {
            view: self._training_table(view, buildings, tiles)
            for view in QUERY_VIEWS
            if view in self.views
        }

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """One direction, every image a query of its own.

        `-multi`: all images of a building ask together, by the mean of their embeddings.

        `drone-to-satellite-160k` adds the challenge's distractors to the gallery, where they
        and the buildings without a query compete in either mode.

        Raises:
            DataError: no such protocol, or a folder is missing or empty.
        """
        self.folder.check_protocol(protocol, self.protocols)
        query_view, gallery_view = _DIRECTIONS[protocol]
        queries = self._listed("query", query_view)
        gallery = self._listed("gallery", gallery_view)
        whole = len(gallery.paths)
        if protocol.endswith("-160k"):
            gallery = self._with_distractors(gallery)
            whole = len(gallery.paths)
        elif self.mode == "paper":
            gallery = _without_distractors(gallery, queries)
        asking, groups = queries.buildings, None
        if protocol.endswith("-multi"):
            asking = tuple(dict.fromkeys(queries.buildings))
            groups = _same_building(asking, queries.buildings)
        split = EvaluationSplit(
            name=f"university1652 {protocol}",
            protocol="same building" + self._gallery_note(protocol),
            queries=self._images(queries.paths, query_view),
            gallery=self._images(gallery.paths, gallery_view),
            positives=_same_building(asking, gallery.buildings),
            semi_positives=None,
            percent_of=whole,
            query_positions=None,
            gallery_positions=None,
            kinds=None,
            query_groups=groups,
        )
        return [split]

    def _gallery_note(self, protocol: str) -> str:
        together = ", all photos of a building together" if protocol.endswith("-multi") else ""
        if self.mode == "paper" and not protocol.endswith("-160k"):
            return f"{together}, buildings without a query left out"
        return together

    def _one_tile_each(self, buildings: Sequence[str]) -> list[str]:
        found = []
        for building in buildings:
            names = self.folder.image_names(f"train/satellite/{building}")
            if not names:
                raise self.folder.problem(f"train/satellite/{building} holds no image")
            found.append(f"train/satellite/{building}/{names[0]}")
        return found

    def _training_table(
        self, view: ViewName, buildings: Sequence[str], tiles: ImageFiles
    ) -> PairTable:
        paths: list[str] = []
        counts = []
        for building in buildings:
            found = self._training_photos(view, building)
            paths += found
            counts.append(len(found))
        if not paths:
            raise self.folder.problem(f"train/{_FOLDER_NAMES[view]} holds no photo of a building")
        return PairTable(
            view=view,
            queries=self._images(paths, view),
            tiles=tiles,
            reference=np.repeat(np.arange(len(buildings), dtype=np.int64), counts),
            positions=None,
            semi_positives=np.zeros((len(paths), 0), np.int64),
        )

    def _training_photos(self, view: ViewName, building: str) -> list[str]:
        """Of one building; only street views may have none, as in the release."""
        kinds = ["street", *(["google"] if self.google else [])] if view == "ground" else ["drone"]
        folders = [f"train/{kind}/{building}" for kind in kinds]
        found = [f"{f}/{name}" for f in folders for name in self.folder.image_names(f)]
        if view == "drone" and not found:
            raise self.folder.problem(f"train/drone/{building} holds no image or is missing")
        return found

    def _listed(self, part: str, view: ViewName) -> _Listed:
        folder = f"test/{part}_{_FOLDER_NAMES[view]}"
        paths: list[str] = []
        buildings: list[str] = []
        for building in self.folder.subfolders(folder):
            names = self.folder.image_names(f"{folder}/{building}")
            paths += [f"{folder}/{building}/{name}" for name in names]
            buildings += [building] * len(names)
        if not paths:
            raise self.folder.problem(f"{folder} holds no image")
        return _Listed(tuple(paths), tuple(buildings))

    def _with_distractors(self, gallery: _Listed) -> _Listed:
        """Distractors belong to no building; the name is one no folder can have."""
        if not self.folder.has(DISTRACTORS_160K):
            raise self.folder.missing(DISTRACTORS_160K)
        names = self.folder.image_names(DISTRACTORS_160K)
        paths = gallery.paths + tuple(f"{DISTRACTORS_160K}/{name}" for name in names)
        return _Listed(paths, gallery.buildings + ("",) * len(names))

    def _images(self, paths: Sequence[str], view: ViewName) -> ImageFiles:
        return self.folder.images(paths, self.views[view])


def _without_distractors(gallery: _Listed, queries: _Listed) -> _Listed:
    asked = set(queries.buildings)
    kept = [i for i, building in enumerate(gallery.buildings) if building in asked]
    return _Listed(tuple(gallery.paths[i] for i in kept), tuple(gallery.buildings[i] for i in kept))


def _same_building(queries: Sequence[str], gallery: Sequence[str]) -> Matches:
    """Rows of queries of a building that the gallery lacks are empty."""
    members: dict[str, list[int]] = {}
    for index, building in enumerate(gallery):
        members.setdefault(building, []).append(index)
    rows: dict[str, Int64] = {b: np.array(found, np.int64) for b, found in members.items()}
    none = np.zeros(0, np.int64)
    return Matches.from_lists(rows.get(building, none) for building in queries)
