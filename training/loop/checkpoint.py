"""The state of a run on disk: written atomically, read without pickle's code execution."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from crossfix.errors import DataError
from crossfix.manifest import fsync_directory, fsync_file, write_json_atomic
from training.model import CrossViewEncoder
from training.recipe import Recipe
from training.recipe_file import recipe_of
from training.recipe_history import brought_up_to_date, weights_brought_up_to_date
from training.run_record import run_record

LOGGER = logging.getLogger(__name__)

CHECKPOINT_FILE, BEST_FILE, RECIPE_FILE = "checkpoint.pt", "best.pt", "recipe.json"
VALIDATION_KEY = "validation_towns"

Weights = Literal["best", "last", "random"]


@dataclass
class RunState:
    """Where a run is. All randomness derives from the seed and these counters.

    Attributes:
        step: optimiser steps done.
        epoch, step_in_epoch: the position inside the batches of `epoch`.
        elapsed_s: training time so far, earlier processes included.
        steps_per_epoch: of the schedule; 0 before the first epoch is known.
        evaluated_step: of the last evaluation, -1 for none.
        best: the best selection figure so far.
        figures: of the last evaluation.
        losses: of the last steps, oldest first.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    elapsed_s: float = 0.0
    steps_per_epoch: int = 0
    evaluated_step: int = -1
    best: float | None = None
    figures: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)


def save_checkpoint(run: Path, content: Mapping[str, Any]) -> None:
    """Replaces the run's checkpoint in one step.

    Raises:
        DataError: it cannot be written; the former one is untouched.
    """
    _write(run / CHECKPOINT_FILE, content)


def save_best(run: Path, average: Mapping[str, Tensor], state: RunState) -> None:
    """Replaces the run's best weights in one step.

    Raises:
        DataError: they cannot be written; the former ones are untouched.
    """
    _write(run / BEST_FILE, {"average": dict(average), "step": state.step, "best": state.best})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        torch.save(dict(content), partial)
        fsync_file(partial)
        os.replace(partial, path)
        fsync_directory(path.parent)
    except (OSError, RuntimeError) as problem:  # torch's writer raises the latter on a full disk
        partial.unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written: {str(problem).splitlines()[0]}",
            hint="free some disk space and pass --resume; what was saved before is untouched",
        ) from problem


def load_checkpoint(run: Path) -> dict[str, Any]:
    """Reads a checkpoint's content, tensors on the CPU.

    Raises:
        DataError: there is none, or it is damaged.
    """
    return _read(run / CHECKPOINT_FILE)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as problem:
        raise DataError(
            f"there is no checkpoint in {path.parent}", hint="give the folder of a training run"
        ) from problem
    except Exception as problem:  # torch raises many classes for damaged files
        raise DataError(f"checkpoint {path} is damaged", hint="train again") from problem
    return content


def save_recipe(
    run: Path, recipe: Recipe, *, validation: Sequence[Path] = (),
    data: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Writes the resolved recipe, the code's revision, library versions and what was read.

    Args:
        validation: folders of towns the run is validated on.
        data: the card of the data set, as it was found.
    """
    towns = [str(folder.resolve()) for folder in validation]
    record = {**run_record(recipe), VALIDATION_KEY: towns, "dataset": dict(data or {})}
    write_json_atomic(run / RECIPE_FILE, record)


def validation_towns(run: Path) -> list[Path]:
    """The town folders a run was validated on.

    Raises:
        DataError: no run there, or it had none.
    """
    towns = [Path(folder) for folder in load_run_record(run).get(VALIDATION_KEY, [])]
    if not towns:
        raise DataError(
            f"{run} was trained without validation towns",
            hint="pass --calibrate-on with towns that were not trained on",
        )
    return towns


def load_run_record(run: Path) -> dict[str, Any]:
    """Reads what `save_recipe` wrote.

    Raises:
        DataError: it is not there or not JSON.
    """
    try:
        content: dict[str, Any] = json.loads((run / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DataError(
            f"there is no {RECIPE_FILE} in {run}", hint="give the folder of a training run"
        ) from problem
    return content


def load_run_recipe(run: Path) -> Recipe:
    """The recipe of a run, without its weights.

    Raises:
        DataError: no run there.
    """
    recorded = brought_up_to_date(load_run_record(run)["recipe"])
    return recipe_of(recorded, source=str(run / RECIPE_FILE))


def load_run(run: Path, *, weights: Weights = "best") -> tuple[Recipe, CrossViewEncoder]:
    """The recipe and the averaged model of a run.

    Args:
        weights: `best` by the validation figure (the last ones of a run without validation),
            `last`, or `random`: the same network untrained, as a control.

    Raises:
        DataError: no run there, or its checkpoint is damaged or of another model.
    """
    recipe = load_run_recipe(run)
    torch.manual_seed(recipe.runtime.seed)
    model = CrossViewEncoder(recipe.model.model_copy(update={"pretrained": False}), recipe.views())
    if weights != "random":
        path = run / BEST_FILE
        if weights == "last" or not path.exists():
            path = run / CHECKPOINT_FILE
        content = _read(path)
        try:
            model.load_state_dict(weights_brought_up_to_date(content["average"]), strict=True)
        except (KeyError, RuntimeError) as problem:
            raise DataError(
                f"{path} is of another model than {run / RECIPE_FILE}", hint="train again"
            ) from problem
        LOGGER.info("weights of %s", path)
    return recipe, model.eval()
