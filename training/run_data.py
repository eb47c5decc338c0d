"""The data of a run: what is trained on, and what the best weights are chosen by."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.hold_out import hold_out
from training.datasets.registry import open_dataset
from training.datasets.split import Dataset, DatasetCard, EvaluationSplit, PairTable
from training.datasets.towns import find_towns
from training.datasets.unreadable import find_unreadable, without
from training.recipe import Recipe

LOGGER = logging.getLogger(__name__)

CACHE, UNREADABLE_FILE = "cache", "unreadable.txt"


@dataclass(frozen=True)
class RunData:
    """Training pairs per query view, and splits to validate on (none: no validation).

    Attributes:
        validation_towns: folders of the towns the splits are of, for calibration at export.
    """

    card: DatasetCard
    tables: Mapping[ViewName, PairTable]
    validation: Sequence[EvaluationSplit]
    validation_towns: Sequence[Path] = ()


def open_run_data(
    recipe: Recipe, folders: Sequence[Path], validation: Sequence[Path], run: Path, *,
    skip_unreadable: bool,
) -> RunData:  # fmt: skip
    """Opens a recipe's data set and holds something out for validation.

    Args:
        validation: town folders; only for the sample world.
        run: where caches and the list of unreadable images go.

    Raises:
        DataError: something is missing or damaged.
    """
    if recipe.data.dataset == "sample_world":
        folders, validation = split_towns(folders, validation, recipe)
    elif validation:
        raise DataError(
            f"--val is for towns, and the recipe reads {recipe.data.dataset}",
            hint="data.validation_share holds places out of the training data",
        )
    dataset = open_dataset(recipe, folders, validation=validation, cache=run / CACHE)
    tables = dataset.training()
    if skip_unreadable:
        tables = leave_out_unreadable(tables, run / UNREADABLE_FILE)
    return _with_validation(recipe, dataset, tables, towns=validation)


def _with_validation(
    recipe: Recipe, dataset: Dataset, tables: Mapping[ViewName, PairTable], *, towns: Sequence[Path]
) -> RunData:
    if recipe.data.dataset == "sample_world":
        splits = dataset.evaluation(dataset.protocols[0]) if towns else []
        return RunData(dataset.card, tables, splits, towns)
    if recipe.mode == "paper":
        return RunData(dataset.card, tables, dataset.evaluation(dataset.protocols[0]))
    if not recipe.data.validation_share:
        return RunData(dataset.card, tables, [])
    share, seed = recipe.data.validation_share, recipe.runtime.seed
    held = {view: hold_out(table, share=share, seed=seed) for view, table in tables.items()}
    return RunData(
        dataset.card,
        {view: kept for view, (kept, _) in held.items()},
        [split for _, split in held.values()],
    )


def split_towns(
    data: Sequence[Path], val: Sequence[Path], recipe: Recipe
) -> tuple[list[Path], list[Path]]:
    """Town folders to train on and to validate on; no town is in both.

    Raises:
        DataError: nothing is left to train on.
    """
    training, validation = find_towns(data), find_towns(val)
    held = recipe.towns.validation_towns
    if not val and held:
        training, validation = training[:-held], training[-held:]
    both = {town.resolve() for town in training} & {town.resolve() for town in validation}
    if val and both:
        training = [town for town in training if town.resolve() not in both]
    if not training:
        raise DataError(
            "no town is left to train on",
            hint="give more towns or set data.towns.validation_towns to 0",
        )
    return training, validation


def leave_out_unreadable(
    tables: Mapping[ViewName, PairTable], listing: Path
) -> dict[ViewName, PairTable]:
    """Reads every image once; what cannot be read is left out, counted and listed in a file."""
    kept, names = {}, []
    for view, table in tables.items():
        photos, tiles = find_unreadable(table.queries), find_unreadable(table.tiles)
        names += [table.queries.name(i) for i in photos] + [table.tiles.name(i) for i in tiles]
        kept[view] = without(table, photos, tiles)
        LOGGER.warning(
            "%s: left out %d unreadable photos and %d unreadable tiles, %d of %d pairs remain",
            view, len(photos), len(tiles), len(kept[view]), len(table),
        )  # fmt: skip
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return kept
