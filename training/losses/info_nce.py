"""Symmetric InfoNCE over a batch of pairs, and its learned temperature."""

import math

import torch
from torch import Tensor, arange, nn
from torch.nn import functional

from training.losses.batch import FeatureBatch, When
from training.losses.criterion import Criterion
from training.recipe_losses import InfoNceLoss


def symmetric_info_nce(
    query: Tensor, tile: Tensor, scale: Tensor, *, label_smoothing: float
) -> Tensor:
    """Mean of the cross-entropies of finding each query's tile and each tile's query.

    Sample4Geo, ICCV 2023, section 3.1 (InfoNCE: van den Oord et al. 2018; symmetric: CLIP 2021).

    Args:
        query: (B, D) features, any length.
        tile: (B, D), row i is the match of query i; all other rows count as negatives.
        scale: inverse temperature, scalar.
    """
    query, tile = functional.normalize(query, dim=-1), functional.normalize(tile, dim=-1)
    logits = scale * query @ tile.T
    target = arange(len(query), device=query.device)
    forth = functional.cross_entropy(logits, target, label_smoothing=label_smoothing)
    back = functional.cross_entropy(logits.T, target, label_smoothing=label_smoothing)
    return (forth + back) / 2


class InfoNce(Criterion):
    """Symmetric InfoNCE; rows of one place count as negatives, which the sampler keeps apart.

    Attributes:
        logit_scale: the natural logarithm of the inverse temperature.
    """

    def __init__(self, recipe: InfoNceLoss) -> None:
        super().__init__()
        self.label_smoothing = recipe.label_smoothing
        self.max_log_scale = None if recipe.max_scale is None else math.log(recipe.max_scale)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / recipe.initial_temperature)))

    def scale(self) -> Tensor:
        """The inverse temperature, scalar; at most the recipe's `max_scale`, if that is set."""
        if self.max_log_scale is None:
            return self.logit_scale.exp()
        return self.logit_scale.clamp(max=self.max_log_scale).exp()

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""
        del when
        return symmetric_info_nce(
            batch.photo, batch.tile, self.scale(), label_smoothing=self.label_smoothing
        )

    def figures(self) -> dict[str, float]:
        """The inverse temperature."""
        return {"scale": float(self.scale().detach())}

    @property
    def nothing_is_worse(self) -> bool:
        """Guessing is the least that is asked of it."""
        return True

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """Guessing among the batch."""
        return math.log(batch_size)
