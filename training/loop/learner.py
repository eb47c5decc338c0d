"""What learns: the network, its temperature, optimiser and averaged weights, and how one step goes.

Devices, precision and processes are the library accelerate's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.augmentation.batched import Pair
from training.loop.average import AveragedWeights
from training.loop.devices import build_accelerator
from training.loop.loader import seed_of
from training.loop.optimiser import build_optimiser, clip_gradients
from training.loop.step import ContrastiveStep
from training.model import CrossViewEncoder, Temperature
from training.recipe import Recipe


class Learner:
    """Everything a step changes.

    Raises:
        DeviceUnavailable: the recipe wants CUDA and there is none.
        RecipeError: precision, batch or checkpointing do not suit the device or the network.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, runtime = recipe, recipe.runtime
        self.accelerator = build_accelerator(recipe)
        device = self.accelerator.device
        torch.manual_seed(runtime.seed)
        with self.accelerator.local_main_process_first():  # one download of pretrained weights
            self.model = CrossViewEncoder(recipe.model).to(device)
        if runtime.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if runtime.gradient_checkpointing:
            self.model.forget_activations()
        if runtime.compile:
            self.model.backbone.compile()
        self.temperature = Temperature(recipe.loss).to(device)
        adamw = build_optimiser([self.model, self.temperature], recipe.optimiser)
        self.optimiser = self.accelerator.prepare(adamw)
        self._step = ContrastiveStep(
            self.accelerator, self.accelerator.prepare(self.model), self.temperature,
            label_smoothing=recipe.loss.label_smoothing, micro_batch=runtime.micro_batch,
        )  # fmt: skip
        self.average = AveragedWeights(self.model, runtime.ema_decay)

    def take_step(self, pair: Pair, *, lr: float, number: int) -> Tensor:
        """One step on this process's pairs.

        Args:
            number: steps done before; dropout and stochastic depth follow from it.

        Returns:
            The loss over the batch of all processes, scalar, on the device.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        torch.manual_seed(seed_of(self.recipe.runtime.seed, number, self.accelerator.process_index))
        self.optimiser.zero_grad()
        loss = self._step.backward(pair.photo, pair.tile)
        self.accelerator.unscale_gradients()
        parameters = [*self.model.parameters(), *self.temperature.parameters()]
        clip_gradients(parameters, self.recipe.optimiser)
        self.optimiser.step()
        self.average.update(self.model, number + 1)
        return loss

    def averaged_model(self) -> CrossViewEncoder:
        """A copy of the model with the averaged weights, for evaluation."""
        untrained = self.recipe.model.model_copy(update={"pretrained": False})
        model = CrossViewEncoder(untrained).to(self.accelerator.device)
        model.load_state_dict(self.average.values, strict=True)
        return model.eval()

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "temperature": self.temperature.state_dict(),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Takes what `content` gave.

        Raises:
            RuntimeError, ValueError, KeyError: it is of another model or optimiser.
        """
        self.model.load_state_dict(content["model"], strict=True)
        self.temperature.load_state_dict(content["temperature"], strict=True)
        self.optimiser.load_state_dict(content["optimiser"])
        self.average.restore(content["average"])
        if self.accelerator.scaler is not None and content["scaler"]:
            self.accelerator.scaler.load_state_dict(content["scaler"])
