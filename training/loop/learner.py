"""What learns: the network, what its loss learns, optimiser and averaged weights; how a step goes.

Devices, precision and processes are the library accelerate's.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from training.loop.average import AveragedWeights
from training.loop.devices import build_accelerator
from training.loop.optimiser import build_optimiser, clip_gradients
from training.loop.pair_batch import PairBatch
from training.loop.step import ContrastiveStep, prepared_encoder, take_main_weights
from training.losses.batch import When
from training.losses.build import build_criterion
from training.model import CrossViewEncoder
from training.recipe import Recipe
from training.recipe_history import weights_brought_up_to_date
from training.seeds import seed_of


class Learner:
    """Everything a step changes.

    Args:
        places: how many there are to train on; the classes of the instance loss.

    Raises:
        DeviceUnavailable: the recipe wants CUDA and there is none.
        RecipeError: precision, batch or checkpointing do not suit the device or the network.
    """

    def __init__(self, recipe: Recipe, *, places: int) -> None:
        self.recipe, runtime = recipe, recipe.runtime
        self.accelerator = build_accelerator(recipe)
        device = self.accelerator.device
        torch.manual_seed(runtime.seed)
        with self.accelerator.local_main_process_first():  # one download of pretrained weights
            self.model = CrossViewEncoder(recipe.model, recipe.views()).to(device)
        if runtime.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if runtime.gradient_checkpointing:
            self.model.forget_activations()
        if runtime.compile:
            for backbone in self.model.backbones.values():
                backbone.compile()
        self.criterion = build_criterion(
            recipe.loss, embedding_dim=self.model.embedding_dim, places=places, seed=runtime.seed
        ).to(device)
        take_main_weights(self.criterion, self.accelerator.num_processes)
        built = build_optimiser(
            [self.model, self.criterion], recipe.optimiser, slower=self.model.backbones
        )
        self.optimiser = self.accelerator.prepare(built)
        self._step = ContrastiveStep(
            self.accelerator, prepared_encoder(self.accelerator, self.model), self.criterion,
            guide_weight=recipe.model.guide_weight, micro_batch=runtime.micro_batch,
            loss_scale_at=recipe.schedule.loss_scale_at,
        )  # fmt: skip
        self.average = AveragedWeights(self.model, runtime.ema_decay)
        self.lr = recipe.optimiser.lr  # of the last step, but for the backbones' share

    def take_step(self, pairs: PairBatch, *, lr: float, when: When) -> Tensor:
        """One step on this process's pairs.

        Args:
            when: steps and epochs done before; dropout and stochastic depth follow from it.

        Returns:
            The loss over the batch of all processes, scalar, on the device.
        """
        self.lr = lr
        for group in self.optimiser.param_groups:
            group["lr"] = lr * group.get("lr_share", 1.0)  # former checkpoints have none
        process = self.accelerator.process_index
        torch.manual_seed(seed_of(self.recipe.runtime.seed, when.step, process))
        self.optimiser.zero_grad()
        loss = self._step.backward(pairs, when)
        self.accelerator.unscale_gradients()
        parameters = [*self.model.parameters(), *self.criterion.parameters()]
        clip_gradients(parameters, self.recipe.optimiser)
        self.optimiser.step()
        self.average.update(self.model, when.step + 1)
        return loss

    def averaged_model(self) -> CrossViewEncoder:
        """A copy of the model with the averaged weights, for evaluation."""
        untrained = self.recipe.model.model_copy(update={"pretrained": False})
        model = CrossViewEncoder(untrained, self.recipe.views())
        model.to(self.accelerator.device)
        model.load_state_dict(self.average.values, strict=True)
        return model.eval()

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        scaler = self.accelerator.scaler
        return {
            "model": self.model.state_dict(),
            "criterion": self.criterion.state_dict(),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }

    def restore(self, content: Mapping[str, Any]) -> None:
        """Takes what `content` gave.

        Raises:
            RuntimeError, ValueError, KeyError: it is of another model or optimiser.
        """
        self.model.load_state_dict(weights_brought_up_to_date(content["model"]), strict=True)
        learned = content["criterion"] if "criterion" in content else content["temperature"]
        self.criterion.load_state_dict(learned, strict=True)  # the second name is of former runs
        self.optimiser.load_state_dict(content["optimiser"])
        self.average.restore(weights_brought_up_to_date(content["average"]))
        if self.accelerator.scaler is not None and content["scaler"]:
            self.accelerator.scaler.load_state_dict(content["scaler"])
