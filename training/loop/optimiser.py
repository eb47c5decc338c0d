"""How the weights are stepped."""

from collections.abc import Sequence

import torch
from torch.nn import Module, Parameter

from training.recipe import OptimiserRecipe


def build_optimiser(modules: Sequence[Module], recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019) over the modules' parameters, in their order.

    Norms, biases and the temperature are decayed only with `decay_vectors`.
    """
    parameters = [p for module in modules for p in module.parameters()]
    decayed = [p for p in parameters if recipe.decay_vectors or p.ndim > 1]
    kept = [p for p in parameters if not recipe.decay_vectors and p.ndim <= 1]
    groups = [
        {"params": members, "weight_decay": decay}
        for members, decay in ((decayed, recipe.weight_decay), (kept, 0.0))
        if members
    ]
    fused = all(p.is_cuda for p in parameters)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, recipe.beta2), fused=fused)


def clip_gradients(parameters: Sequence[Parameter], recipe: OptimiserRecipe) -> None:
    """Limits the gradient's numbers, then its length, in place; gradients must be unscaled."""
    if recipe.clip_value is not None:
        torch.nn.utils.clip_grad_value_(parameters, recipe.clip_value)
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
