"""From a recipe and folders to the data set it names."""

from collections.abc import Sequence
from pathlib import Path

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.cvact import Cvact
from training.datasets.cvusa import Cvusa
from training.datasets.sample_world import SampleWorld
from training.datasets.split import Dataset
from training.datasets.tile_files import WithPolarFiles
from training.datasets.university1652 import University1652
from training.datasets.vigor import Area, Vigor
from training.recipe import Recipe


def open_dataset(
    recipe: Recipe, folders: Sequence[Path], *, validation: Sequence[Path] = (),
    cache: Path | None = None, skip_unreadable: bool = False,
) -> Dataset:  # fmt: skip
    """Opens the data set that a recipe names.

    VIGOR in `paper` mode is read with its original labels, as the official code does; in
    `correct` mode with the corrected ones where they are there.

    Args:
        folders: one root, or town folders for `sample_world`.
        validation: towns to evaluate on.
        cache: for preprocessed photos of towns.
        skip_unreadable: leaves damaged photos of towns out. Towns read their photos when they are
            opened; in other data sets `training.datasets.unreadable` finds what to leave out.

    Raises:
        DataError: the data set is not there or incomplete, not one folder was given, or it has
            no photos of a view that the recipe wants.
    """
    if recipe.data.dataset == "sample_world":
        return SampleWorld.open(recipe, folders, validation, cache, skip_unreadable=skip_unreadable)
    root = _only(folders, recipe)
    dataset, polar = _open_distributed(recipe, root), recipe.data.polar_tiles
    if polar is None:
        return dataset
    stretch = getattr(recipe.model.tile_transform, "stretch", False)
    return WithPolarFiles(dataset, root, polar, recipe.polar_spec(), stretch)


def _open_distributed(recipe: Recipe, root: Path) -> Dataset:
    views, name = recipe.views(), recipe.data.dataset
    if name == "university1652":
        return University1652.open(root, views, mode=recipe.mode, google=recipe.data.google_photos)
    _refuse_other_views(recipe, ("ground",))
    if name == "cvusa":
        return Cvusa.open(root, views)
    if name == "cvact":
        return Cvact.open(root, views)
    area: Area = "same_area" if name == "vigor_same_area" else "cross_area"
    return Vigor.open(root, views, area, labels="original" if recipe.mode == "paper" else "auto")


def _only(folders: Sequence[Path], recipe: Recipe) -> Path:
    if len(folders) != 1:
        raise DataError(
            f"{recipe.data.dataset} is read from one folder, but {len(folders)} were given",
            hint="give its root folder",
        )
    return folders[0]


def _refuse_other_views(recipe: Recipe, known: Sequence[ViewName]) -> None:
    for view in recipe.data.query_views:
        if view not in known:
            raise DataError(
                f"{recipe.data.dataset} has no {view} photos",
                hint=f"set data.query_views to [{', '.join(known)}]",
            )
