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

    Norms, biases (of any shape, by their names) and the temperature are decayed only with
    `decay_vectors`. Every group says by `lr_share` what part of the rate is its.

    Args:
        slower: a part of the modules that has `backbone_lr_share` of the rate.
    """
    named = [one for module in modules for one in module.named_parameters()]
    parameters = [p for _, p in named]
    vectors = {id(p) for name, p in named if _is_vector(name, p)}
    held = {id(p) for p in slower.parameters()} if slower is not None else set()
    groups = []
    for share in dict.fromkeys((recipe.backbone_lr_share, 1.0)):
        of_share = [
            p for p in parameters if share == (recipe.backbone_lr_share if id(p) in held else 1.0)
        ]
        decayed = [p for p in of_share if recipe.decay_vectors or id(p) not in vectors]
        kept = [p for p in of_share if not recipe.decay_vectors and id(p) in vectors]
        groups += [
            {"params": members, "weight_decay": decay, "lr_share": share, "lr": share * recipe.lr}
            for members, decay in ((decayed, recipe.weight_decay), (kept, 0.0))
            if members
        ]
    return _optimiser(groups, recipe, fused=all(p.is_cuda for p in parameters))


def _is_vector(name: str, parameter: Parameter) -> bool:
    return parameter.ndim <= 1 or name.rpartition(".")[2].startswith("bias")


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
