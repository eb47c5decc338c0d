"""Reasons to end a run early: a person's signal, and embeddings that are all alike."""

import logging
import math
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, ClassVar, Self

from crossfix.errors import CrossfixError

LOGGER = logging.getLogger(__name__)

COLLAPSED_WITHIN = 0.02  # of the loss of equal features
COLLAPSED_MOST = 0.9  # of the last losses
REPEATED_WITHIN_S = 2.0  # launchers pass on to their processes what the terminal sent to all
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingCollapsed(CrossfixError):
    """The loss is that of embeddings which are all alike, or no number."""

    code: ClassVar[str] = "training_collapsed"


class TrainingStopped(CrossfixError):
    """Somebody ended the run; everything is saved."""

    code: ClassVar[str] = "training_stopped"


def check_collapse(
    losses: Sequence[float], *, step: int, collapsed_loss: float | None, nothing_is_worse: bool
) -> None:
    """Looks whether the loss has left that of features which are all alike.

    Triplet losses of a healthy run may be higher than that, and pass it on their way down: only a
    run whose last losses nearly all lie at it has collapsed.

    Args:
        losses: of the last steps.
        collapsed_loss: that loss; None where it is not known, and nothing is checked.
        nothing_is_worse: a mean above it has not left it either.

    Raises:
        TrainingCollapsed: it has not.
    """
    if collapsed_loss is None:
        return
    mean = sum(losses) / len(losses) if losses else math.nan
    near = COLLAPSED_WITHIN * abs(collapsed_loss)
    if nothing_is_worse:
        stuck = not mean < collapsed_loss - near
    else:
        at_it = sum(abs(loss - collapsed_loss) <= near for loss in losses)
        stuck = at_it >= COLLAPSED_MOST * len(losses)
    if stuck:
        raise TrainingCollapsed(
            f"after {step} steps the loss is {mean:.3f}, and embeddings that are all alike have "
            f"{collapsed_loss:.3f}",
            hint="lower optimiser.lr, raise schedule.warmup_epochs or use a larger batch",
        )


def finite_losses(losses: Sequence[float], *, step: int) -> list[float]:
    """The losses that are numbers; with fp16 a step may overflow and is then not taken.

    Raises:
        TrainingCollapsed: half of them or more are none.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if 2 * len(finite) <= len(losses) and losses:
        raise TrainingCollapsed(
            f"at step {step} the loss is no number any more",
            hint="lower optimiser.lr, or use bf16 or fp32; the last checkpoint is from before",
        )
    return finite


class StopRequest:
    """Notes Ctrl-C and SIGTERM instead of dying of them; a later second one works as usual.

    Attributes:
        asked: one has come.
    """

    def __init__(self) -> None:
        self.asked = False
        self._asked_s = 0.0
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number in list(self._former):
            signal.signal(number, self._former.pop(number))

    def _note(self, number: int, _: FrameType | None) -> None:
        if not self.asked:
            self.asked, self._asked_s = True, time.monotonic()
            LOGGER.warning("stopping after this step; once more ends the run without saving")
        elif time.monotonic() - self._asked_s > REPEATED_WITHIN_S:
            self.__exit__()
            signal.raise_signal(number)
