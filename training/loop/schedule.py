"""The learning rate as a function of progress, so that a time budget anneals fully."""

import math
from collections.abc import Iterable

from training.recipe import Mode
from training.recipe_optimiser import (
    CosineSchedule,
    EpochLinearSchedule,
    LinearSchedule,
    ScheduleRecipe,
)

ROUNDING = 1e-9  # of a progress that is the last step's share


def steps_per_epoch(
    *, batches: int, pairs: Iterable[int], batch_size: int, mode: Mode
) -> int:  # fmt: skip
    """How long the schedule takes an epoch to be.

    Sample4Geo's code divides the pairs by the batch size and rounds up, before its sampler drops
    what fills no batch; its rate therefore ends above zero (`paper`). `correct` counts batches.

    Args:
        batches: batches of the first epoch.
        pairs: training pairs of each query view.
    """
    if mode == "paper":
        return sum(math.ceil(count / batch_size) for count in pairs)
    return batches


def progress_of(
    *, step: int, total_steps: int, elapsed_s: float, max_minutes: float | None
) -> float:
    """How far the run is, 0..1: by steps or by its time budget, whichever is farther."""
    by_steps = step / max(1, total_steps)
    by_time = elapsed_s / (60 * max_minutes) if max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def lr_share(
    schedule: ScheduleRecipe, *, step: int, progress: float, steps_per_epoch: int
) -> float:
    """Share of the full rate: linear over the warm-up, then as the schedule says.

    Cosine without restarts: Loshchilov and Hutter 2017; linear warm-up as in Goyal et al. 2017.
    The warm-up's steps need not be whole.

    Args:
        progress: how far the run is, 0..1; what is left after the warm-up is annealed along it.
    """
    warmup_steps = schedule.warmup_epochs * steps_per_epoch
    warm = min(1.0, (step + 1) / (warmup_steps + 1))
    began = min(1.0, warmup_steps / max(1, steps_per_epoch * schedule.epochs))
    annealed = max(0.0, progress - began) / (1 - began) if began < 1 else 0.0
    if isinstance(schedule, CosineSchedule):
        left = 0.5 * (1 + math.cos(math.pi * annealed))
    elif isinstance(schedule, LinearSchedule):
        left = 1 - annealed
    elif isinstance(schedule, EpochLinearSchedule):
        # Of the whole run, warm-up included; a last step at progress 1 is the last epoch's.
        epoch = min(int(progress * schedule.epochs + ROUNDING), schedule.epochs - 1)
        left = 1 - epoch / schedule.epochs
    else:
        # In epochs of the schedule, so that a time budget passes all of them.
        passed = sum(progress * schedule.epochs >= epoch for epoch in schedule.at_epochs)
        return warm * schedule.factor**passed
    return warm * (schedule.final_lr_share + (1 - schedule.final_lr_share) * left)
