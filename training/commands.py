"""What the command line's verbs do, without arguments parsing and printing."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossfix.errors import DataError
from crossfix.manifest import write_json_atomic
from training.batches import PairSource
from training.checkpoint import CHECKPOINT_FILE, load_run, load_run_record, save_recipe
from training.embedding import torch_embedder
from training.evaluate import evaluation_rows, score_towns
from training.export import load_photos
from training.loop import Trainer, Validate
from training.model import CrossViewEncoder
from training.recipe import Recipe
from training.sample_world_data import find_towns, open_towns

LOGGER = logging.getLogger(__name__)

CACHE = "cache"


def split_towns(
    data: Sequence[Path], val: Sequence[Path], recipe: Recipe
) -> tuple[list[Path], list[Path]]:
    """Town folders to train on and to validate on; no town is in both.

    Raises:
        DataError: nothing is left to train on, or a town is in both.
    """
    training, validation = find_towns(data), find_towns(val)
    held = recipe.data.validation_towns
    if not val and held:
        training, validation = training[:-held], training[-held:]
    both = {town.resolve() for town in training} & {town.resolve() for town in validation}
    if val and both:
        training = [town for town in training if town.resolve() not in both]
    if not training:
        raise DataError(
            "no town is left to train on", hint="give more towns or set data.validation_towns to 0"
        )
    return training, validation


def train_run(
    recipe: Recipe, data: Sequence[Path], val: Sequence[Path], run: Path, *, resume: bool
) -> dict[str, Any]:
    """Trains into a run folder.

    Raises:
        DataError: bad data; a run is already there and `resume` is not set, or the reverse.
    """
    exists = (run / CHECKPOINT_FILE).exists()
    if exists and not resume:
        raise DataError(f"{run} already holds a run", hint="pass --resume or name a new folder")
    if exists and load_run_record(run)["recipe"] != recipe.model_dump(mode="json"):
        LOGGER.warning("the recipe differs from the one %s was started with", run)
    training, validation = split_towns(data, val, recipe)
    run.mkdir(parents=True, exist_ok=True)
    save_recipe(run, recipe, validation=validation)
    towns = open_towns(training)
    source = PairSource(recipe, towns, load_photos(towns, recipe, run / CACHE))
    validate = _validator(validation, recipe, run) if validation else None
    trainer = Trainer(recipe, source, run, validate=validate)
    if resume and exists:
        trainer.resume()
    return trainer.train()


def _validator(folders: Sequence[Path], recipe: Recipe, run: Path) -> Validate:
    towns = open_towns(folders)
    photos = load_photos(towns, recipe, run / CACHE)

    def validate(model: CrossViewEncoder) -> Mapping[str, float]:
        embed = torch_embedder(model, precision=recipe.runtime.precision)
        rows = evaluation_rows(list(score_towns(towns, photos, recipe, embed)), weights="trained")
        pooled = [row for row in rows if row["town"] == "pooled" or len(towns) == 1]
        return {
            f"{row['view']}_{row['kind']}_{name}": row[name]
            for row in pooled
            for name in ("recall_at_1", "recall_at_10", "median_error_m")
        }

    return validate


def evaluate_run(run: Path, data: Sequence[Path], *, random_weights: bool) -> list[dict[str, Any]]:
    """Evaluation rows of a run on towns, written into the run folder as well."""
    recipe, model = load_run(run, random_weights=random_weights)
    towns = open_towns(find_towns(data))
    photos = load_photos(towns, recipe, run / CACHE)
    weights = "random" if random_weights else "trained"
    scored = list(score_towns(towns, photos, recipe, torch_embedder(model)))
    rows = evaluation_rows(scored, weights=weights)
    write_json_atomic(run / f"evaluation-{weights}.json", {"towns": [t.name for t in towns],
                                                           "rows": rows})  # fmt: skip
    return rows
