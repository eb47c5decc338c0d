"""Satellite tiles of a data set read otherwise: a random centred square, or polar files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from numpy.random import Generator
from PIL import Image

from crossfix.errors import DataError
from crossfix.images import UInt8
from crossfix.view import ViewName, ViewSpec
from training.datasets.folder import DataFolder
from training.datasets.image_files import ImageFiles
from training.datasets.split import Dataset, DatasetCard, EvaluationSplit, PairTable
from training.recipe_tiles import PolarTiles, TileCrop

STRETCH_KEY = "crossfix-stretch"  # text in the polar files that we write
WRITE_HINT = "write the polar files with `python -m training polar-tiles`"


def with_tile_crop(
    tables: Mapping[ViewName, PairTable], crop: TileCrop | None
) -> Mapping[ViewName, PairTable]:
    """The tables with tiles that are cut wherever a set may cut at random, as in training."""
    if crop is None:
        return tables
    return {
        view: replace(table, tiles=CroppedFiles(_files(table.tiles), crop))
        for view, table in tables.items()
    }


def _files(images: object) -> ImageFiles:
    if not isinstance(images, ImageFiles):
        raise DataError(
            "data.tile_crop and data.polar_tiles are for tiles in files, which these are not",
            hint="set both to null",
        )
    return images


@dataclass(frozen=True)
class _OfFiles:
    """Images that are read from files in a way of their own."""

    files: ImageFiles

    @property
    def spec(self) -> ViewSpec:
        """The files' preprocessing."""
        return self.files.spec

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The file's name."""
        return self.files.name(index)


@dataclass(frozen=True)
class CroppedFiles(_OfFiles):
    """Tiles of which a centred square is read where a generator is given."""

    crop: TileCrop

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """The tile, or with `rng` a centred square of it, resized to the spec's size.

        Raises:
            DataError: the file is missing or damaged.
        """
        if rng is None:
            return self.files.read(index)
        side = int(rng.integers(self.crop.least_px, self.crop.most_px, endpoint=True))
        if side <= self.crop.used_above_px:
            return self.files.read(index)
        return self.files.read_centre(index, side_px=side)


@dataclass(frozen=True)
class PolarFiles(_OfFiles):
    """Polar files under the names of their tiles.

    Attributes:
        files: row i is the polar file of tile i.
        tiles: the plain ones, which are not read.
    """

    tiles: ImageFiles

    def name(self, index: int) -> str:
        """The plain tile's name, which held-out shares go by."""
        return self.tiles.name(index)

    def read(self, index: int, rng: Generator | None = None) -> UInt8:
        """The polar file, resized to the spec's size.

        Raises:
            DataError: the file is missing or damaged.
        """
        return self.files.read(index, rng)


@dataclass(frozen=True)
class WithPolarFiles:
    """A data set of panoramas whose satellite images are read from polar files.

    Attributes:
        spec: of the polar images.
        stretch: whether the files are contrast-stretched.
    """

    inner: Dataset
    root: Path
    polar: PolarTiles
    spec: ViewSpec
    stretch: bool

    @property
    def card(self) -> DatasetCard:
        """The data set's."""
        return self.inner.card

    @property
    def protocols(self) -> tuple[str, ...]:
        """The data set's."""
        return self.inner.protocols

    def training(self) -> Mapping[ViewName, PairTable]:
        """The training pairs, with polar tiles.

        Raises:
            DataError: lists or images, plain or polar, are missing, or files are not such ones.
        """
        return {
            view: replace(table, tiles=self._polar(_files(table.tiles)))
            for view, table in self.inner.training().items()
        }

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """The splits, with polar tiles in the gallery.

        Raises:
            DataError: as `training`, or no such protocol.
        """
        return [
            replace(split, gallery=self._polar(_files(split.gallery)))
            for split in self.inner.evaluation(protocol)
        ]

    def _polar(self, tiles: ImageFiles) -> PolarFiles:
        folder = DataFolder(self.root, self.inner.card.name, WRITE_HINT)
        paths = [self.polar.path_of(name) for name in tiles.names]
        known = [path for path in paths if path is not None]
        if len(known) < len(paths):
            raise folder.problem(
                f"tile {tiles.names[paths.index(None)]} is in no folder "
                f"{self.polar.tile_folder}, which data.polar_tiles replaces"
            )
        folder.require(known)
        for first in {path.rpartition("/")[0]: path for path in reversed(known)}.values():
            _refuse_other_files(self.root / first, stretch=self.stretch)
        return PolarFiles(replace(tiles, names=tuple(known), spec=self.spec), tiles)


def _refuse_other_files(path: Path, *, stretch: bool) -> None:
    """Looks at one file for its folder, since each folder is written by a command of its own."""
    try:
        with Image.open(path) as file:
            (width, height), told = file.size, file.info.get(STRETCH_KEY)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return  # whoever reads it tells what is wrong
    if width == height:
        raise DataError(f"{path} is square: a plain tile and no polar file", hint=WRITE_HINT)
    if told not in (None, str(stretch)):
        raise DataError(
            f"{path} was written with{'' if told == 'True' else 'out'} --stretch, but "
            f"model.tile_transform.stretch is {str(stretch).lower()}",
            hint=f"{WRITE_HINT}, {'with' if stretch else 'without'} --stretch",
        )
