"""The averaged weights that are evaluated and exported."""

import torch
from torch import Tensor
from torch.nn import Module


class AveragedWeights:
    """Exponential moving average of a model's state (Polyak averaging), faster at the start.

    Attributes:
        values: the averaged state by name; without a decay the model's own tensors.
    """

    def __init__(self, model: Module, decay: float | None) -> None:
        self.decay = decay
        self.values = {name: value.detach() for name, value in _state(model).items()}
        if decay is not None:
            self.values = {name: value.clone() for name, value in self.values.items()}

    @torch.no_grad()
    def update(self, model: Module, step: int) -> None:
        """Moves towards the model, by `1 - decay` and more during the first steps."""
        if self.decay is None:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in _state(model).items():
            if value.is_floating_point():
                self.values[name].lerp_(value.detach(), 1 - decay)
            else:  # counters of normalisation layers
                self.values[name].copy_(value)

    @torch.no_grad()
    def restore(self, values: dict[str, Tensor]) -> None:
        """Takes the averages of a checkpoint."""
        for name, value in self.values.items():
            value.copy_(values[name])


def _state(model: Module) -> dict[str, Tensor]:
    return dict(model.state_dict())
