"""The learning rate as a function of progress, so that a time budget anneals fully."""

import math


def progress_of(
    *, step: int, total_steps: int, elapsed_s: float, max_minutes: float | None
) -> float:
    """How far the run is, 0..1: by steps or by its time budget, whichever is farther."""
    by_steps = step / max(1, total_steps)
    by_time = elapsed_s / (60 * max_minutes) if max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def lr_share(*, step: int, progress: float, warmup_steps: int, final_share: float) -> float:
    """Share of the full rate: linear over `warmup_steps`, times a cosine over progress.

    Loshchilov and Hutter 2017 (cosine without restarts), down to `final_share`.
    """
    warm = min(1.0, (step + 1) / (warmup_steps + 1))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return warm * (final_share + (1 - final_share) * cosine)
