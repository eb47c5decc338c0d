"""CVACT: panoramas and tiles of Canberra, with places in metres (Liu and Li, CVPR 2019)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from crossfix.matches import Matches
from crossfix.view import ViewName, ViewSpec
from training.datasets.act_table import ActTable, read_act_table
from training.datasets.cards import card_of, folder_of
from training.datasets.folder import DataFolder
from training.datasets.image_files import ImageFiles
from training.datasets.split import DatasetCard, EvaluationSplit, Int64, PairTable, Positions

LOGGER = logging.getLogger(__name__)

SMALL, TEST = "ANU_data_small", "ANU_data_test"
PANORAMA_END, TILE_END = "_grdView.jpg", "_satView_polish.jpg"
HIT_RADIUS_M = 5.0  # of the authors' evaluation: any tile so near the camera is right


@dataclass(frozen=True)
class Cvact:
    """The data set at its folder.

    Attributes:
        views: preprocessing of `satellite` and `ground`.
    """

    folder: DataFolder
    views: Mapping[ViewName, ViewSpec]
    table: ActTable

    @classmethod
    def open(cls, root: Path, views: Mapping[ViewName, ViewSpec]) -> "Cvact":
        """Reads `ACT_data.mat`.

        Raises:
            DataError: it is missing or not of the known form.
        """
        folder = folder_of("cvact", root)
        return cls(folder, views, read_act_table(folder))

    @property
    def card(self) -> DatasetCard:
        """What CVACT is, and how many listed pairs lack an image."""
        if not self.folder.has(SMALL):
            return card_of("cvact", {})
        whole = self._whole_ids(SMALL)
        lists = {"training": self.table.train, "validation": self.table.val}
        lacking = {
            f"{name} pairs lacking an image": sum(self.table.ids[i] not in whole for i in indices)
            for name, indices in lists.items()
        }
        return card_of("cvact", {name: f"{count:,}" for name, count in lacking.items()})

    @property
    def protocols(self) -> tuple[str, ...]:
        """By id, as most papers do, and by the authors' rule of 5 m."""
        return ("val", "test", "val-5m", "test-5m")

    def training(self) -> Mapping[ViewName, PairTable]:
        """The pairs of `trainSet` whose two images are there; the others are counted and logged.

        Raises:
            DataError: a folder of images is missing, or no pair has both.
        """
        ids, places = self._small("training", self.table.train)
        table = PairTable(
            view="ground",
            queries=self._panoramas(SMALL, ids),
            tiles=self._tiles(SMALL, ids),
            reference=np.arange(len(ids), dtype=np.int64),
            positions=places,
            semi_positives=np.zeros((len(ids), 0), np.int64),
        )
        return {"ground": table}

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """`val`: the pairs of `valSet`; `test`: all pairs of `ANU_data_test`, by id.

        With `-5m` every tile within 5 m (UTM) of the camera is right, as in the authors'
        `RecallGeo.m`; `test-5m` has the pairs of `test` that `valSetAll` lists, since only those
        have a place.

        Raises:
            DataError: no such protocol; a folder of images is missing or holds no pair.
        """
        self.folder.check_protocol(protocol, self.protocols)
        part = SMALL if protocol.startswith("val") else TEST
        if protocol == "test":
            ids, places = sorted(self._whole_ids(TEST)), None
            self._refuse_none(TEST, ids)
        elif part == SMALL:
            ids, places = self._small("validation", self.table.val)
        else:
            ids, places = self._test_with_places()
        nearby = protocol.endswith("-5m")
        split = EvaluationSplit(
            name=f"cvact {protocol}",
            protocol=f"within {HIT_RADIUS_M:.0f} m" if nearby else "id-exact",
            queries=self._panoramas(part, ids),
            gallery=self._tiles(part, ids),
            positives=_within(places) if nearby and places else Matches.one_each(range(len(ids))),
            semi_positives=None,
            percent_of=len(ids),
            query_positions=places,
            gallery_positions=places,
            kinds=None,
        )
        return [split]

    def _small(self, name: str, listed: Int64) -> tuple[list[str], Positions]:
        whole = self._whole_ids(SMALL)
        kept = [int(i) for i in listed if self.table.ids[i] in whole]
        if len(kept) < len(listed):
            lacking = len(listed) - len(kept)
            LOGGER.warning("CVACT: %d of %d %s pairs lack an image", lacking, len(listed), name)
        ids = [self.table.ids[i] for i in kept]
        self._refuse_none(SMALL, ids)
        return ids, Positions("plane_m", self.table.utm_m[kept])

    def _test_with_places(self) -> tuple[list[str], Positions]:
        whole = self._whole_ids(TEST)
        row = {self.table.ids[i]: int(i) for i in self.table.test}
        ids = sorted(whole & row.keys())
        if len(ids) < len(whole):
            LOGGER.warning("CVACT: %d test pairs are not in valSetAll", len(whole) - len(ids))
        self._refuse_none(TEST, ids)
        return ids, Positions("plane_m", self.table.utm_m[[row[name] for name in ids]])

    def _whole_ids(self, part: str) -> frozenset[str]:
        """Names of which both images are there: one listing of each folder."""
        return self._ids(f"{part}/streetview", PANORAMA_END) & self._ids(
            f"{part}/satview_polish", TILE_END
        )

    def _ids(self, folder: str, end: str) -> frozenset[str]:
        names = self.folder.file_names(folder)
        return frozenset(name.removesuffix(end) for name in names if name.endswith(end))

    def _refuse_none(self, part: str, ids: Sequence[str]) -> None:
        if not ids:
            raise self.folder.problem(f"{part} holds no listed pair of a panorama and a tile")

    def _panoramas(self, part: str, ids: Sequence[str]) -> ImageFiles:
        names = [f"{part}/streetview/{name}{PANORAMA_END}" for name in ids]
        return self.folder.images(names, self.views["ground"], panoramas=True)

    def _tiles(self, part: str, ids: Sequence[str]) -> ImageFiles:
        names = [f"{part}/satview_polish/{name}{TILE_END}" for name in ids]
        return self.folder.images(names, self.views["satellite"])


def _within(places: Positions) -> Matches:
    tree = cKDTree(places.xy)
    return Matches.from_lists(tree.query_ball_point(places.xy, HIT_RADIUS_M))
