"""How weights are stepped, and how the rate changes during a run."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel


def ascending_and_open(ends: Sequence[int | None]) -> bool:
    """Whether ends of spans of epochs ascend, and only the last span has none (None)."""
    closed = [end for end in ends[:-1] if end is not None]
    return ends[-1] is None and len(closed) == len(ends) - 1 and closed == sorted(set(closed))


class EpochSpan(StrictModel):
    """What holds for some epochs of a run, after the spans before it.

    Attributes:
        epochs: how many first epochs of the run it holds for; null for all that follow.
    """

    epochs: int | None = Field(gt=0)


SpanT = TypeVar("SpanT", bound=EpochSpan)


def in_force(spans: Sequence[SpanT], epoch: int) -> SpanT:
    """The span that an epoch, counted from 0, lies in; the last one has no end."""
    return next(one for one in spans if one.epochs is None or epoch < one.epochs)


class _Optimiser(StrictModel):
    """What every optimiser has.

    Attributes:
        decay_vectors: also decays norms, biases and the temperature, as the official code does.
        backbone_lr_share: the rate of the backbones, as a share of that of everything else.
        clip_norm, clip_value: limits of the gradient's length and of each of its numbers, or null.
    """

    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    decay_vectors: bool
    backbone_lr_share: float = Field(gt=0)
    clip_norm: float | None = Field(gt=0)
    clip_value: float | None = Field(gt=0)


class AdamW(_Optimiser):
    """Adam with decoupled decay (Loshchilov and Hutter 2019); beta1 is 0.9."""

    kind: Literal["adamw"]
    beta2: float = Field(gt=0, lt=1)


class Adam(_Optimiser):
    """Adam (Kingma and Ba 2015); the decay is part of the gradient."""

    kind: Literal["adam"]
    beta1: float = Field(ge=0, lt=1)
    beta2: float = Field(gt=0, lt=1)


class Sgd(_Optimiser):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    momentum: float = Field(ge=0, lt=1)
    nesterov: bool

    @model_validator(mode="after")
    def _nesterov_looks_along_the_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("optimiser.nesterov needs a momentum above 0")
        return self


OptimiserRecipe = Annotated[AdamW | Adam | Sgd, Field(discriminator="kind")]


class LossScale(EpochSpan):
    """What the loss is multiplied by."""

    factor: float = Field(gt=0)


class _Schedule(StrictModel):
    """What every schedule has: a linear warm-up, which may be 0, and a scale of the loss.

    Attributes:
        loss_scales: in order; the last one has no end. Adam takes no notice of them.
    """

    epochs: int = Field(ge=1)
    warmup_epochs: float = Field(ge=0)
    loss_scales: tuple[LossScale, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_open_and_in_order(self) -> Self:
        if not ascending_and_open([one.epochs for one in self.loss_scales]):
            raise ValueError("schedule.loss_scales need ascending epochs, and null in the last one")
        return self

    def loss_scale_at(self, epoch: int) -> float:
        """The factor in force in an epoch, counted from 0."""
        return in_force(self.loss_scales, epoch).factor


class CosineSchedule(_Schedule):
    """Down to `final_lr_share` of the rate along half a cosine."""

    kind: Literal["cosine"]
    final_lr_share: float = Field(ge=0, le=1)


class LinearSchedule(_Schedule):
    """Down to `final_lr_share` of the rate along a line."""

    kind: Literal["linear"]
    final_lr_share: float = Field(ge=0, le=1)


class EpochLinearSchedule(_Schedule):
    """The same in steps, one an epoch: `1 - e / epochs` of the way to the end in epoch e."""

    kind: Literal["linear_by_epoch"]
    final_lr_share: float = Field(ge=0, le=1)


class StepSchedule(_Schedule):
    """The rate times `factor` from each of the epochs on; no epochs: a constant rate."""

    kind: Literal["steps"]
    at_epochs: tuple[int, ...]
    factor: float = Field(gt=0, le=1)


ScheduleRecipe = Annotated[
    CosineSchedule | LinearSchedule | EpochLinearSchedule | StepSchedule,
    Field(discriminator="kind"),
]
