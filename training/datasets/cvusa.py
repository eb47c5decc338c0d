"""CVUSA: panoramas and tiles of places all over the USA, one to one (Zhai et al., CVPR 2017).

The subset of 35,532 training and 8,884 test pairs that everybody reports on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossfix.matches import Matches
from crossfix.view import ViewName, ViewSpec
from training.datasets.cards import card_of, folder_of
from training.datasets.folder import DataFolder
from training.datasets.split import (
    DatasetCard,
    EvaluationSplit,
    Float64,
    Int64,
    PairTable,
    Positions,
)

TRAIN_LIST, VAL_LIST = "splits/train-19zl.csv", "splits/val-19zl.csv"
PLACES = "split_locations/all.csv"
_SATELLITE_COLUMNS, _GROUND_COLUMNS = (1, 0), (3, 2)  # lon, lat


@dataclass(frozen=True)
class _Pairs:
    """One list: files (N,) below the root, and the numbers of the places, from 1."""

    tiles: tuple[str, ...]
    panoramas: tuple[str, ...]
    number: Int64


@dataclass(frozen=True)
class Cvusa:
    """The data set at its folder.

    Attributes:
        views: preprocessing of `satellite` and `ground`.
    """

    folder: DataFolder
    views: Mapping[ViewName, ViewSpec]

    @classmethod
    def open(cls, root: Path, views: Mapping[ViewName, ViewSpec]) -> "Cvusa":
        """Opens it.

        Raises:
            DataError: no lists there.
        """
        folder = folder_of("cvusa", root)
        for path in (TRAIN_LIST, VAL_LIST):
            if not folder.has(path):
                raise folder.missing(path)
        return cls(folder, views)

    @property
    def card(self) -> DatasetCard:
        """What CVUSA is, and whether places were found."""
        places = "found" if self.folder.has(PLACES) else "missing: no GPS batches, no metres"
        return card_of("cvusa", {PLACES: places})

    @property
    def protocols(self) -> tuple[str, ...]:
        """Only `val`, which is what papers call the test set."""
        return ("val",)

    def training(self) -> Mapping[ViewName, PairTable]:
        """The pairs of `train-19zl.csv`; a tile's position is the camera's.

        Raises:
            DataError: the list, an image or a place is missing.
        """
        pairs = self._read(TRAIN_LIST)
        table = PairTable(
            view="ground",
            queries=self.folder.images(pairs.panoramas, self.views["ground"], panoramas=True),
            tiles=self.folder.images(pairs.tiles, self.views["satellite"]),
            reference=np.arange(len(pairs.tiles), dtype=np.int64),
            positions=self._positions(pairs.number, _GROUND_COLUMNS),
            semi_positives=np.zeros((len(pairs.tiles), 0), np.int64),
        )
        return {"ground": table}

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """The pairs of `val-19zl.csv`, each panorama against all tiles.

        Raises:
            DataError: no such protocol; the list, an image or a place is missing.
        """
        self.folder.check_protocol(protocol, self.protocols)
        pairs = self._read(VAL_LIST)
        split = EvaluationSplit(
            name="cvusa val",
            protocol="id-exact",
            queries=self.folder.images(pairs.panoramas, self.views["ground"], panoramas=True),
            gallery=self.folder.images(pairs.tiles, self.views["satellite"]),
            positives=Matches.one_each(np.arange(len(pairs.tiles))),
            semi_positives=None,
            percent_of=len(pairs.tiles),
            query_positions=self._positions(pairs.number, _GROUND_COLUMNS),
            gallery_positions=self._positions(pairs.number, _SATELLITE_COLUMNS),
            kinds=None,
        )
        return [split]

    def _read(self, path: str) -> _Pairs:
        tiles, panoramas, numbers = [], [], []
        for line, row in enumerate(self.folder.lines(path), 1):
            fields = [field.strip() for field in row.split(",")]
            stem = Path(fields[0]).stem
            if len(fields) < 2 or not stem.isdigit():
                raise self.folder.problem(
                    f"row {line} of {path} is not `tile,panorama,...` with a numbered tile: {row!r}"
                )
            tiles.append(fields[0])
            panoramas.append(fields[1])
            numbers.append(int(stem))
        self.folder.require([*tiles, *panoramas])
        return _Pairs(tuple(tiles), tuple(panoramas), np.array(numbers, np.int64))

    def _positions(self, number: Int64, columns: tuple[int, int]) -> Positions | None:
        """Row `number - 1` of the table of places; None where there is no table."""
        if not self.folder.has(PLACES):
            return None
        table = self._places(columns)
        if number.max() > len(table) or number.min() < 1:
            raise self.folder.problem(
                f"{PLACES} has {len(table)} rows, but the lists hold number {number.max()}"
            )
        return Positions("lonlat", table[number - 1])

    def _places(self, columns: tuple[int, int]) -> Float64:
        try:
            table = np.loadtxt(
                self.folder.root / PLACES, np.float64, delimiter=",", usecols=columns, ndmin=2
            )
        except (OSError, ValueError, IndexError) as problem:
            raise self.folder.problem(f"{PLACES} is not a table of places: {problem}") from problem
        return np.asarray(table, np.float64)
