"""The learning rate as a function of progress, so that a time budget anneals fully."""

import math
from collections.abc import Iterable

from training.recipe import Mode


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
    *, step: int, progress: float, warmup_steps: float, total_steps: int, final_share: float
) -> float:
    """Share of the full rate: linear over `warmup_steps`, then half a cosine over what is left.

    Loshchilov and Hutter 2017 (cosine without restarts), down to `final_share`; linear warm-up as
    in Goyal et al. 2017. `warmup_steps` need not be whole.
    """
    warm = min(1.0, (step + 1) / (warmup_steps + 1))
    began = min(1.0, warmup_steps / max(1, total_steps))
    annealed = max(0.0, progress - began) / (1 - began) if began < 1 else 0.0
    cosine = 0.5 * (1 + math.cos(math.pi * annealed))
    return warm * (final_share + (1 - final_share) * cosine)
