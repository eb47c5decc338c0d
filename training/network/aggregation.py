"""From a map of features (N, C, h, w) to one vector (N, E)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.recipe_network import AggregationRecipe, FlattenPooling, GemPooling, SafaPooling

FIRST_STD, FIRST_BIAS = 0.005, 0.1  # of SAFA's masks, as published
SMALLEST = 1e-6


class Average(nn.Module):
    """The mean over all positions."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C)."""
        return features.mean(dim=(2, 3))


class Gem(nn.Module):
    """The generalised mean (mean x^p)^(1/p) with a learned p; numbers below 1e-6 are raised to it.

    Attributes:
        power: p.
    """

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C); computed in float32."""
        raised = features.float().clamp(min=SMALLEST).pow(self.power)
        return raised.mean(dim=(2, 3)).pow(1 / self.power)


class Safa(nn.Module):
    """Weighted sums over the positions, by masks that two linear layers make of the map.

    With v the mean (or maximum) of the map over its channels, mask k is
    W2_k (W1_k v + b1_k) + b2_k without an activation, and the vector holds, for all k,
    sum_i mask_k(i) f(i). It grows with the number of positions and is brought to unit length by
    whoever compares.

    Args:
        positions: h * w.
    """

    def __init__(self, positions: int, *, masks: int, reduce: str) -> None:
        super().__init__()
        self.reduce, hidden = reduce, max(1, positions // 2)
        self.weight_in = nn.Parameter(torch.empty(masks, positions, hidden))
        self.bias_in = nn.Parameter(torch.full((masks, hidden), FIRST_BIAS))
        self.weight_out = nn.Parameter(torch.empty(masks, hidden, positions))
        self.bias_out = nn.Parameter(torch.full((masks, positions), FIRST_BIAS))
        for weight in (self.weight_in, self.weight_out):
            nn.init.trunc_normal_(weight, std=FIRST_STD, a=-2 * FIRST_STD, b=2 * FIRST_STD)

    def forward(self, features: Tensor) -> Tensor:
        """(N, masks * C)."""
        flat = features.flatten(2)
        seen = flat.mean(dim=1) if self.reduce == "mean" else flat.amax(dim=1)
        inner = torch.einsum("np,kph->nkh", seen, self.weight_in) + self.bias_in
        masks = torch.einsum("nkh,khp->nkp", inner, self.weight_out) + self.bias_out
        return torch.einsum("nkp,ncp->nkc", masks, flat).flatten(1)


class Flatten(nn.Module):
    """All positions behind each other, channel by channel, after a max-pooling.

    Args:
        pool: side and stride of the pooling, which leaves out the rest of a side; 1 for none.
    """

    def __init__(self, pool: int) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, features: Tensor) -> Tensor:
        """(N, C * (h // pool) * (w // pool))."""
        return functional.max_pool2d(features, self.pool).flatten(1)


def build_aggregation(recipe: AggregationRecipe, positions: int) -> nn.Module:
    """The aggregation of maps with so many positions; only SAFA is bound to the number."""
    if isinstance(recipe, SafaPooling):
        return Safa(positions, masks=recipe.masks, reduce=recipe.reduce)
    if isinstance(recipe, FlattenPooling):
        return Flatten(recipe.pool)
    if isinstance(recipe, GemPooling):
        return Gem(recipe.power)
    return Average() if recipe.kind == "average" else nn.Identity()
