"""What the command line's verbs do, without arguments parsing and printing."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from accelerate import PartialState

from crossfix.encoder import Encoder
from crossfix.encoder_manifest import EncoderManifest
from crossfix.errors import DataError, RecipeError
from crossfix.manifest import write_json_atomic
from crossfix.metrics import PercentRule
from crossfix.variants import VariantName
from training.datasets.card_text import card_text
from training.datasets.cards import CARDS
from training.datasets.registry import open_dataset
from training.datasets.satellite_places import SatelliteDataSet
from training.datasets.split import EvaluationSplit
from training.datasets.towns import find_towns
from training.embedding import EmbedImages, artifact_embedder, image_set_embedder
from training.evaluation.picture import draw_top
from training.evaluation.report import evaluate_splits, file_name, result_rows
from training.export.artifact import export_run
from training.export.data import split_data, town_data
from training.loop.checkpoint import (
    CHECKPOINT_FILE,
    RECIPE_FILE,
    Weights,
    load_run,
    load_run_recipe,
    load_run_record,
    save_recipe,
    validation_towns,
)
from training.loop.devices import choose_device
from training.loop.trainer import Trainer
from training.recipe import DatasetName, Recipe
from training.recipe_history import brought_up_to_date
from training.run_data import CACHE, open_run_data, readable_splits, unreadable_names
from training.satellite_table import write_satellite_table
from training.validation import validator

LOGGER = logging.getLogger(__name__)

PICTURED = 8  # queries per picture
# What decides the steps of a run; epochs, precision and the like may change on resume.
FIXED_GROUPS = ("mode", "model", "data", "augmentation", "sampling", "loss", "optimiser")


def train_run(
    recipe: Recipe, data: Sequence[Path], val: Sequence[Path], run: Path, *, resume: bool,
    skip_unreadable: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Trains into a run folder.

    Raises:
        DataError: bad data; a run is already there and `resume` is not set.
    """
    exists = (run / CHECKPOINT_FILE).exists()
    _check_run_folder(run, recipe, exists=exists, resume=resume)
    opened = open_run_data(recipe, data, val, run, skip_unreadable=skip_unreadable)
    run.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        recipe, opened.tables, run,
        validate=validator(opened.validation, recipe, run) if opened.validation else None,
    )  # fmt: skip
    for view, table in opened.tables.items():
        LOGGER.info("%s: %d photos, %d tiles to train on", view, len(table), len(table.tiles))
    if exists:
        trainer.resume()
    if PartialState().is_main_process:
        save_recipe(run, recipe, validation=opened.validation_towns, data=asdict(opened.card))
    return trainer.train()


def _check_run_folder(run: Path, recipe: Recipe, *, exists: bool, resume: bool) -> None:
    """A run is neither overwritten nor continued as something else.

    Raises:
        DataError: there is a run and `resume` is not set, or the reverse.
        RecipeError: the recipe is not that of the run.
    """
    if exists and not resume:
        raise DataError(f"{run} already holds a run", hint="pass --resume or name a new folder")
    if resume and not (run / RECIPE_FILE).exists():
        raise DataError(f"there is no run to resume in {run}", hint="leave out --resume to start")
    if not exists:
        return
    former = brought_up_to_date(load_run_record(run)["recipe"])
    now = recipe.model_dump(mode="json")
    for group in FIXED_GROUPS:
        if former[group] != now[group]:
            raise RecipeError(
                f"{run} was started with another recipe: {group} differs",
                hint="resume with the recipe the run was started with, or name a new folder",
            )
    if former != now:
        LOGGER.warning("the recipe differs from the one %s was started with", run)


def evaluate_run(
    run: Path, data: Sequence[Path], *, weights: Weights, protocol: str | None = None,
    cutoff: PercentRule | None = None, pictures: Path | None = None,
    skip_unreadable: bool = False, add_mirrored: bool | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Evaluation rows of a run, written into the run folder as well.

    Args:
        add_mirrored: adds the features of mirrored images; None: as the recipe says.

    Raises:
        DataError: no run there, or bad data.
    """
    recipe, model = load_run(run, weights=weights)
    model.to(choose_device("auto"))
    mirrored = recipe.data.add_mirrored if add_mirrored is None else add_mirrored
    embed = image_set_embedder(
        model, precision=recipe.runtime.precision, workers=recipe.runtime.workers,
        add_mirrored=mirrored,
    )  # fmt: skip
    splits = _splits(recipe, data, protocol, cache=run / CACHE, skip_unreadable=skip_unreadable)
    rows = _evaluate(splits, embed, recipe, weights, cutoff=cutoff, pictures=pictures)
    found = {"splits": [split.name for split in splits], "weights": weights,
             "add_mirrored": mirrored, "rows": rows}  # fmt: skip
    write_json_atomic(run / evaluation_file(weights, protocol), found)
    return rows


def evaluation_file(weights: Weights, protocol: str | None) -> str:
    """The name of what `evaluate` writes into a run's folder."""
    return f"evaluation-{weights}{f'-{file_name(protocol)}' if protocol else ''}.json"


def evaluate_artifact(
    encoder: Path, recipe: Recipe | None, data: Sequence[Path], *, protocol: str | None = None,
    cutoff: PercentRule | None = None, pictures: Path | None = None,
    skip_unreadable: bool = False, add_mirrored: bool | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Evaluation rows of an encoder artifact, e.g. of imported official weights.

    Args:
        recipe: names the data set and the mode; sizes and preprocessing are the artifact's.
        add_mirrored: adds the embeddings of mirrored images; None: as the recipe says.

    Raises:
        DataError: no recipe, or bad data.
        EncoderError: the artifact cannot be used.
    """
    if recipe is None:
        raise DataError(
            "an artifact does not say which data set to evaluate it on",
            hint="pass --recipe training/recipes/NAME.yaml",
        )
    loaded = Encoder.load(encoder, device="auto")
    own_views = recipe_for_artifact(recipe, loaded.manifest)
    splits = _splits(own_views, data, protocol, cache=None, skip_unreadable=skip_unreadable)
    mirrored = recipe.data.add_mirrored if add_mirrored is None else add_mirrored
    embed = artifact_embedder(loaded, add_mirrored=mirrored)
    return _evaluate(splits, embed, recipe, "artifact", cutoff=cutoff, pictures=pictures)


def _splits(
    recipe: Recipe, data: Sequence[Path], protocol: str | None, *, cache: Path | None,
    skip_unreadable: bool,
) -> list[EvaluationSplit]:  # fmt: skip
    dataset = open_dataset(recipe, data, cache=cache, skip_unreadable=skip_unreadable)
    splits = dataset.evaluation(protocol or dataset.protocols[0])
    return readable_splits(splits, None) if skip_unreadable else splits


def _evaluate(
    splits: Sequence[EvaluationSplit], embed: EmbedImages, recipe: Recipe, weights: str, *,
    cutoff: PercentRule | None, pictures: Path | None,
) -> list[dict[str, Any]]:  # fmt: skip
    results = evaluate_splits(splits, embed, recipe, cutoff=cutoff)
    if pictures:
        for result in results:
            draw_top(result, pictures / f"{result.file_stem}.png", queries=PICTURED)
    return result_rows(results, weights=weights)


def recipe_for_artifact(recipe: Recipe, manifest: EncoderManifest) -> Recipe:
    """The recipe with the views' sizes and preprocessing of an artifact.

    Raises:
        DataError: the artifact has no view that the recipe's data set asks for.
    """
    missing = {"satellite", *recipe.data.query_views} - set(manifest.views)
    if missing:
        raise DataError(
            f"encoder {manifest.name} has no view {', '.join(sorted(missing))}",
            hint="choose a recipe whose data.query_views it has",
        )
    tile = manifest.views["satellite"]
    changed: dict[str, Any] = {
        "tile_px": tile.height_px, "mean": tile.mean, "std": tile.std,
        "interpolation": tile.interpolation, "polar_tiles": None,
    }  # fmt: skip
    if ground := manifest.views.get("ground"):
        changed |= {
            "ground_height_px": ground.height_px,
            "ground_width_px": ground.width_px,
            "ground_elevation_top_deg": ground.elevation_top_deg or 90.0,
            "ground_elevation_bottom_deg": ground.elevation_bottom_deg or -90.0,
        }
    if drone := manifest.views.get("drone"):
        changed["drone_px"] = drone.height_px
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changed)})


def export_to(
    run: Path, out: Path, *, calibrate_on: Sequence[Path], data: Sequence[Path],
    weights: Literal["best", "last"], variants: Sequence[VariantName], gate: float,
    max_bytes: int | None,
) -> EncoderManifest:  # fmt: skip
    """Writes the encoder artifact of a run.

    Args:
        calibrate_on: towns never trained on; by default those the run was validated on.
        data: the data set's folder, for runs on other data than towns.

    Raises:
        DataError: no run there, or no data to measure on.
        PublishError: the ONNX model differs from torch, or the artifact is too large.
    """
    recipe = load_run_recipe(run)
    if calibrate_on and recipe.data.dataset != "sample_world":
        raise DataError(
            f"--calibrate-on is for towns, and {run} was trained on {recipe.data.dataset}",
            hint="leave it out; encoders of other data are written without calibration",
        )
    if recipe.data.dataset == "sample_world":
        towns = find_towns(calibrate_on or validation_towns(run))
        exported = town_data(towns, recipe, run / CACHE)
    elif data:
        # What the artifact takes, and its figures are of, are plain tiles.
        dataset = open_dataset(recipe.for_plain_tiles(), data, cache=run / CACHE)
        exported = split_data(dataset, recipe, unreadable=unreadable_names(run))
    else:
        raise DataError(
            f"{run} was trained on {recipe.data.dataset}, which export measures it on",
            hint="pass --data with the data set's folder",
        )
    return export_run(
        run, out, exported, weights=weights, variants=variants, gate=gate, max_bytes=max_bytes
    )


def describe_datasets(name: DatasetName | None) -> str:
    """Cards of all data sets, or of one: source, licence, counts, layout."""
    chosen = [CARDS[name]] if name else list(CARDS.values())
    return "\n\n".join(card_text(card) for card in chosen)


def satellite_table(
    name: SatelliteDataSet, root: Path, out: Path, *, split: str, places: Path | None,
    size_m: float | None,
) -> str:  # fmt: skip
    """Writes the table of a data set's satellite images; what was written, and what to type next.

    Raises:
        DataError: images, lists or places are missing, or a side is not known.
    """
    written = write_satellite_table(name, root, out, split=split, places=places, size_m=size_m)
    low, high = written.sides_m
    sides = f"{low:.1f} m" if high - low < 0.05 else f"{low:.1f} to {high:.1f} m"
    return (
        f"wrote {written.path}: {written.images:,} satellite images of {name} ({split}), sides "
        f"{sides}\n"
        f"next: python -m index_builder build --encoder ENCODER --source {written.path} "
        "--out GALLERY"
    )
