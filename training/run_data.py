"""The data of a run: what is trained on, and what the best weights are chosen by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import PartialState

from crossfix.errors import DataError
from crossfix.view import ViewName
from training.datasets.hold_out import hold_out_all
from training.datasets.registry import open_dataset
from training.datasets.split import Dataset, DatasetCard, EvaluationSplit, PairTable
from training.datasets.tile_files import with_tile_crop
from training.datasets.towns import find_towns
from training.datasets.unreadable import Scan
from training.loop.devices import choose_device
from training.recipe import Recipe

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
        skip_unreadable: reads every image of training and validation once and leaves out what
            cannot be read. Under torchrun each process reads them all and comes to the same
            result; the main one writes the list.

    Raises:
        DataError: something is missing, damaged and not to be skipped, or nothing is left.
        DeviceUnavailable: the recipe wants CUDA and there is none.
    """
    if recipe.data.dataset == "sample_world":
        folders, validation = split_towns(folders, validation, recipe)
    elif validation:
        raise DataError(
            f"--val is for towns, and the recipe reads {recipe.data.dataset}",
            hint="data.validation_share holds places out of the training data",
        )
    dataset = open_dataset(
        recipe, folders, validation=validation, cache=run / CACHE, skip_unreadable=skip_unreadable
    )
    whole = with_tile_crop(dataset.training(), recipe.data.tile_crop)
    if not skip_unreadable:
        return _with_validation(recipe, dataset, whole, towns=validation)
    scan = Scan()
    tables = {view: scan.readable_table(table) for view, table in whole.items()}
    opened = _with_validation(recipe, dataset, tables, towns=validation)
    opened = replace(opened, validation=[scan.readable_split(s) for s in opened.validation])
    if _is_main_process(recipe):
        _write_list(run / UNREADABLE_FILE, scan.names)
    return opened


def _is_main_process(recipe: Recipe) -> bool:
    """Of those that torchrun started. The first question settles the device for good."""
    cpu = choose_device(recipe.runtime.device).type == "cpu"
    return bool(PartialState(cpu=cpu).is_main_process)


def _with_validation(
    recipe: Recipe, dataset: Dataset, tables: Mapping[ViewName, PairTable], *, towns: Sequence[Path]
) -> RunData:
    if recipe.data.dataset == "sample_world":
        splits = dataset.evaluation(dataset.protocols[0]) if towns else []
        return RunData(dataset.card, tables, splits, towns)
    if recipe.mode == "paper":
        return RunData(dataset.card, tables, dataset.evaluation(dataset.protocols[0]))
    kept, held = hold_out_all(tables, recipe)
    return RunData(dataset.card, kept, held)


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


def readable_splits(
    splits: Sequence[EvaluationSplit], listing: Path | None
) -> list[EvaluationSplit]:
    """Reads every image of the splits once; what cannot be read is left out, counted and logged.

    Towns leave damaged photos out only if they were opened with `skip_unreadable`.

    Args:
        listing: file for the names of what was left out, one a line; None for no file. Meant for
            one process: each that gets a path writes it.

    Raises:
        DataError: no query or no gallery image of a split is left.
    """
    scan = Scan()
    readable = [scan.readable_split(split) for split in splits]
    if listing:
        _write_list(listing, scan.names)
    return readable


def unreadable_names(run: Path) -> list[str]:
    """What a run left out of its data set; nothing for runs without `--skip-unreadable`."""
    listing = run / UNREADABLE_FILE
    return listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []


def _write_list(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
