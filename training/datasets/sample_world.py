"""Rendered towns as a data set: whole towns are trained on or validated on, never split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from crossfix.errors import DataError
from crossfix.matches import Matches
from crossfix.metrics import POSITIVE_RADIUS_SHARE
from crossfix.view import ViewName
from training.datasets.cards import card_of
from training.datasets.photo_cache import ViewPhotos, load_view
from training.datasets.split import (
    DatasetCard,
    EvaluationSplit,
    Float64,
    Int64,
    PairTable,
    Positions,
)
from training.datasets.town_images import TilesAroundTruth, TownGrid, TownPhotos
from training.datasets.towns import Town, find_towns, open_towns
from training.recipe import Recipe

TOWN_SPACING_M = 1e6  # towns lie this far apart in the plane: never neighbours, never in conflict


@dataclass(frozen=True)
class SampleWorld:
    """Towns at their folders; satellite images are read when they are first needed.

    Attributes:
        folders: towns to train on.
        validation: towns to evaluate on.
        cache: folder for preprocessed photos, or None for no files.
        skip_unreadable: damaged photos are left out and named by the photos of tables and splits.
    """

    recipe: Recipe
    folders: tuple[Path, ...]
    validation: tuple[Path, ...]
    cache: Path | None
    skip_unreadable: bool = False

    @classmethod
    def open(
        cls, recipe: Recipe, folders: Sequence[Path], validation: Sequence[Path],
        cache: Path | None, *, skip_unreadable: bool = False,
    ) -> "SampleWorld":  # fmt: skip
        """Finds the towns.

        Args:
            folders: towns, or folders of towns.
            validation: towns to evaluate on; without any, evaluation takes `folders`.
            skip_unreadable: leaves damaged photos out instead of stopping at the first.

        Raises:
            DataError: a folder holds no town.
        """
        found = tuple(find_towns(folders))
        held = tuple(find_towns(validation)) or found
        return cls(recipe, found, held, cache, skip_unreadable)

    @property
    def card(self) -> DatasetCard:
        """What the sample world is, and the towns' names."""
        towns = {"towns": self.folders, "evaluated towns": self.validation}
        names = {what: ", ".join(town.name for town in found) for what, found in towns.items()}
        return card_of("sample_world", names)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Only `towns`."""
        return ("towns",)

    @cached_property
    def _training_towns(self) -> list[Town]:
        return open_towns(self.folders)

    @cached_property
    def validation_towns(self) -> list[Town]:
        """The towns that are evaluated on."""
        same = self.validation == self.folders
        return self._training_towns if same else open_towns(self.validation)

    @cached_property
    def validation_photos(self) -> Mapping[ViewName, ViewPhotos]:
        """Their photos of each query view.

        Raises:
            DataError: a file is missing or damaged, or a view has no photo.
        """
        views = self.recipe.data.query_views
        return {view: self._photos(self.validation_towns, view) for view in views}

    def training(self) -> Mapping[ViewName, PairTable]:
        """Every photo with a tile cut round its place.

        Raises:
            DataError: a file is missing or damaged, or a view has no photo.
        """
        return {view: self._training_table(view) for view in self.recipe.data.query_views}

    def _training_table(self, view: ViewName) -> PairTable:
        towns = self._training_towns
        photos = self._photos(towns, view)
        chosen = np.arange(len(photos), dtype=np.int64)
        satellite = self.recipe.views()["satellite"]
        return PairTable(
            view=view,
            queries=TownPhotos(photos, chosen),
            tiles=TilesAroundTruth(towns, photos, satellite, self.recipe.towns),
            reference=chosen,
            positions=Positions("plane_m", plane_positions(photos, towns)),
            semi_positives=np.zeros((len(photos), 0), np.int64),
        )

    def evaluation(self, protocol: str) -> list[EvaluationSplit]:
        """One split per town and query view, against the town's half-overlapping tiles.

        Raises:
            DataError: no such protocol, a file is missing or damaged, or a view has no photo.
        """
        if protocol not in self.protocols:
            raise DataError(f"sample_world has no protocol {protocol!r}", hint="take `towns`")
        spec, size_m = self.recipe.views()["satellite"], self.recipe.towns.tile_size_m
        grids = [TownGrid.over(town, spec, size_m) for town in self.validation_towns]
        splits = []
        for photos in self.validation_photos.values():
            for number, grid in enumerate(grids):
                chosen = np.flatnonzero(photos.town == number)
                if len(chosen):
                    splits.append(self._split(grid, TownPhotos(photos, chosen), chosen))
        return splits

    def _split(self, grid: TownGrid, queries: TownPhotos, chosen: Int64) -> EvaluationSplit:
        town, photos = grid.town, queries.photos
        places = np.stack([photos.lon[chosen], photos.lat[chosen]], axis=1)
        return EvaluationSplit(
            name=town.name,
            protocol=f"tile centre within {POSITIVE_RADIUS_SHARE} sides",
            queries=queries,
            gallery=grid,
            positives=_near_tiles(photos.xy_px[chosen], grid),
            semi_positives=None,
            percent_of=len(grid),
            query_positions=Positions("lonlat", places),
            gallery_positions=Positions(
                "lonlat", np.stack(town.satellite.lonlat_of(grid.centres_px), axis=1)
            ),
            kinds=photos.kind[chosen],
        )

    def _photos(self, towns: Sequence[Town], view: ViewName) -> ViewPhotos:
        if not towns:
            raise DataError("no town was given", hint="name folders of rendered towns")
        settings = self.recipe.towns
        photos = load_view(
            towns, self.recipe.views()[view], tile_size_m=settings.tile_size_m,
            tile_offset_share=settings.tile_offset_share, cache=self.cache,
            skip_unreadable=self.skip_unreadable,
        )  # fmt: skip
        if not len(photos):
            raise DataError(
                f"the towns have no usable {view} photo",
                hint="render them with such photos or leave the view out of data.query_views",
            )
        return photos


def plane_positions(photos: ViewPhotos, towns: Sequence[Town]) -> Float64:
    """(N, 2) metres in one plane where different towns are far apart."""
    resolution = np.array([town.satellite.resolution_m for town in towns])[photos.town]
    positions = photos.xy_px * resolution[:, None]
    positions[:, 0] += photos.town * TOWN_SPACING_M
    return np.asarray(positions, np.float64)


def _near_tiles(xy_px: Float64, grid: TownGrid) -> Matches:
    """The tiles whose centre is near enough to each truth to count as right."""
    radius_m = POSITIVE_RADIUS_SHARE * grid.tile_size_m
    radius_px = radius_m / grid.town.satellite.resolution_m
    return Matches.from_lists(cKDTree(grid.centres_px).query_ball_point(xy_px, radius_px))
