"""The state of a run on disk: written atomically, read without pickle's code execution."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from crossfix.errors import DataError
from crossfix.manifest import fsync_directory, fsync_file, write_json_atomic
from training.model import CrossViewEncoder
from training.recipe import Recipe, recipe_of, run_record

CHECKPOINT_FILE, RECIPE_FILE = "checkpoint.pt", "recipe.json"
VALIDATION_KEY = "validation_towns"


@dataclass
class RunState:
    """Where a run is. All randomness derives from the seed and these counters.

    Attributes:
        step: optimiser steps done.
        epoch, step_in_epoch: the position inside the batches of `epoch`.
        elapsed_s: training time so far, earlier processes included.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    elapsed_s: float = 0.0


class AveragedWeights:
    """Exponential moving average of a model's state (Polyak averaging), faster at the start."""

    def __init__(self, model: Module, decay: float | None) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in _state(model).items()}

    @torch.no_grad()
    def update(self, model: Module, step: int) -> None:
        """Moves towards the model; `decay` None follows it exactly."""
        decay = 0.0 if self.decay is None else min(self.decay, (1 + step) / (10 + step))
        for name, value in _state(model).items():
            self.values[name].lerp_(value.detach(), 1 - decay)


def _state(model: Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def save_checkpoint(
    run: Path, model: Module, average: AveragedWeights, optimiser: torch.optim.Optimizer,
    state: RunState,
) -> None:  # fmt: skip
    """Replaces the run's checkpoint in one step."""
    content = {
        "model": model.state_dict(),
        "average": average.values,
        "optimiser": optimiser.state_dict(),
        "state": vars(state),
    }
    temporary = run / f".{CHECKPOINT_FILE}.{os.getpid()}"
    torch.save(content, temporary)
    fsync_file(temporary)
    os.replace(temporary, run / CHECKPOINT_FILE)
    fsync_directory(run)


def load_checkpoint(run: Path) -> dict[str, Any]:
    """Reads a checkpoint's content, tensors on the CPU.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = run / CHECKPOINT_FILE
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as problem:
        raise DataError(
            f"there is no checkpoint in {run}", hint="give the folder of a training run"
        ) from problem
    except Exception as problem:  # torch raises many classes for damaged files
        raise DataError(f"checkpoint {path} is damaged", hint="train again") from problem
    return content


def save_recipe(run: Path, recipe: Recipe, *, validation: Sequence[Path] = ()) -> None:
    """Writes the resolved recipe, the code's revision, library versions and validation towns."""
    towns = [str(folder.resolve()) for folder in validation]
    write_json_atomic(run / RECIPE_FILE, {**run_record(recipe), VALIDATION_KEY: towns})


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


def load_run(run: Path, *, random_weights: bool = False) -> tuple[Recipe, CrossViewEncoder]:
    """The recipe and the averaged model of a run; or the same model untrained, as a control.

    Raises:
        DataError: no run there.
    """
    recipe = recipe_of(load_run_record(run)["recipe"], source=str(run / RECIPE_FILE))
    torch.manual_seed(recipe.runtime.seed)
    untrained = recipe.model.model_copy(update={"pretrained": False})
    model = CrossViewEncoder(untrained, recipe.loss)
    if not random_weights:
        model.load_state_dict(load_checkpoint(run)["average"], strict=True)
    return recipe, model.eval()
