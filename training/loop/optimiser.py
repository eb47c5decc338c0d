"""How the weights are stepped."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.nn import Module, Parameter

from training.recipe_optimiser import Adam, AdamW, OptimiserRecipe


def build_optimiser(
    modules: Sequence[Module], recipe: OptimiserRecipe, *, slower: Module | None = None
) -> torch.optim.Optimizer:
    """The recipe's optimiser over the modules' parameters, in their order.

    Norms, biases and the temperature are decayed only with `decay_vectors`. Every group says by
    `lr_share` what part of the rate is its.

    Args:
        slower: a part of the modules that has `backbone_lr_share` of the rate.
    """
    parameters = [p for module in modules for p in module.parameters()]
    held = {id(p) for p in slower.parameters()} if slower is not None else set()
    groups = []
    for share in dict.fromkeys((recipe.backbone_lr_share, 1.0)):
        of_share = [
            p for p in parameters if share == (recipe.backbone_lr_share if id(p) in held else 1.0)
        ]
        decayed = [p for p in of_share if recipe.decay_vectors or p.ndim > 1]
        kept = [p for p in of_share if not recipe.decay_vectors and p.ndim <= 1]
        groups += [
            {"params": members, "weight_decay": decay, "lr_share": share, "lr": share * recipe.lr}
            for members, decay in ((decayed, recipe.weight_decay), (kept, 0.0))
            if members
        ]
    return _optimiser(groups, recipe, fused=all(p.is_cuda for p in parameters))


def _optimiser(
    groups: Iterable[dict[str, Any]], recipe: OptimiserRecipe, *, fused: bool
) -> torch.optim.Optimizer:
    if isinstance(recipe, AdamW):
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, recipe.beta2), fused=fused)
    if isinstance(recipe, Adam):
        betas = recipe.beta1, recipe.beta2
        return torch.optim.Adam(groups, lr=recipe.lr, betas=betas, fused=fused)
    return torch.optim.SGD(
        groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=fused
    )


def clip_gradients(parameters: Sequence[Parameter], recipe: OptimiserRecipe) -> None:
    """Limits the gradient's numbers, then its length, in place; gradients must be unscaled."""
    if recipe.clip_value is not None:
        torch.nn.utils.clip_grad_value_(parameters, recipe.clip_value)
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
