"""How weights are stepped, and how the rate changes during a run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel


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


class _Schedule(StrictModel):
    """What every schedule has: a linear warm-up, which may be 0."""

    epochs: int = Field(ge=1)
    warmup_epochs: float = Field(ge=0)


class CosineSchedule(_Schedule):
    """Down to `final_lr_share` of the rate along half a cosine."""

    kind: Literal["cosine"]
    final_lr_share: float = Field(ge=0, le=1)


class LinearSchedule(_Schedule):
    """Down to `final_lr_share` of the rate along a line."""

    kind: Literal["linear"]
    final_lr_share: float = Field(ge=0, le=1)


class StepSchedule(_Schedule):
    """The rate times `factor` from each of the epochs on; no epochs: a constant rate."""

    kind: Literal["steps"]
    at_epochs: tuple[int, ...]
    factor: float = Field(gt=0, le=1)


ScheduleRecipe = Annotated[
    CosineSchedule | LinearSchedule | StepSchedule, Field(discriminator="kind")
]
