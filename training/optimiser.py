"""Where a run computes, and how its weights are stepped."""

import torch

from crossfix.errors import DeviceUnavailable
from training.model import CrossViewEncoder
from training.recipe import Recipe


def choose_device(name: str) -> torch.device:
    """The torch device of a recipe's word.

    Raises:
        DeviceUnavailable: CUDA was asked for and cannot be had.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable(
            "the recipe wants cuda, which is not available here", hint="set runtime.device to cpu"
        )
    chosen = "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(chosen)


def build_optimiser(model: CrossViewEncoder, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; vectors and scalars (norms, biases, temperature) are not decayed."""
    wanted = recipe.optimiser
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": wanted.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=wanted.lr, betas=(0.9, wanted.beta2))
