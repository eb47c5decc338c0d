"""Triplets of squared distances: plain hinge, weighted soft margin, batch-hard."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.batch import FeatureBatch, When, mean_over, squared_distances
from training.losses.criterion import Criterion
from training.recipe_losses import BatchHardLoss, HingeLoss, SoftMarginLoss


def hinge_loss(anchors: Tensor, others: Tensor, negatives: Tensor, *, margin: float) -> Tensor:
    """Mean over all triplets of max(0, margin + dp - dn), scalar.

    Args:
        anchors, others: (B, D), row i of one matches row i of the other.
        negatives: (B, B) bool.
    """
    own, every = squared_distances(anchors, others)
    return mean_over(functional.relu(margin + own - every), negatives)


def soft_margin_loss(
    anchors: Tensor, others: Tensor, negatives: Tensor, *, alpha: float, fraction: float
) -> Tensor:
    """Mean of log(1 + exp(alpha (dp - dn))) over the hardest triplets of the batch, scalar.

    What is no negative is left out before the hardest are chosen; counted as zero gap, as
    published codes do, it would fill their places.

    Args:
        anchors, others: (B, D).
        negatives: (B, B) bool.
        fraction: of the triplets, above 0; at least one is taken.
    """
    own, every = squared_distances(anchors, others)
    losses = functional.softplus(alpha * (own - every))[negatives]
    if not len(losses):
        return 0 * own.sum()
    kept = max(1, math.floor(fraction * len(losses)))
    return losses.topk(kept).values.mean() if kept < len(losses) else losses.mean()


def batch_hard_loss(
    anchors: Tensor, others: Tensor, negatives: Tensor, *, margin: float | None
) -> Tensor:
    """Mean over the anchors of the triplet with the nearest negative, scalar.

    Args:
        anchors, others: (B, D).
        negatives: (B, B) bool; anchors without any count for nothing.
        margin: of the hinge; None for log(1 + exp(dp - dn)).
    """
    own, every = squared_distances(anchors, others)
    nearest = torch.where(negatives, every, math.inf).min(dim=1).values
    usable = negatives.any(dim=1)
    gap = own[:, 0] - torch.where(usable, nearest, 0)
    losses = functional.softplus(gap) if margin is None else functional.relu(margin + gap)
    return mean_over(losses, usable)


class Hinge(Criterion):
    """`hinge_loss` in the recipe's directions."""

    def __init__(self, recipe: HingeLoss) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""
        del when
        batch = batch.scaled(1, normalise=self.recipe.normalise)
        negatives = batch.negatives()
        return _mean([
            hinge_loss(anchors, others, negatives, margin=self.recipe.margin)
            for anchors, others in _directed(batch, self.recipe.directions)
        ])  # fmt: skip

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """The margin."""
        del batch_size
        return self.recipe.margin


class SoftMargin(Criterion):
    """`soft_margin_loss` of unit-length features in the recipe's directions."""

    def __init__(self, recipe: SoftMarginLoss) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""
        batch = batch.scaled(1, normalise=True)
        negatives, fraction = batch.negatives(), self.recipe.fraction_at(when.epoch)
        return _mean([
            soft_margin_loss(
                anchors, others, negatives, alpha=self.recipe.alpha, fraction=fraction
            )
            for anchors, others in _directed(batch, self.recipe.directions)
        ])  # fmt: skip

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """log(1 + exp(0))."""
        del batch_size
        return math.log(2)


class BatchHard(Criterion):
    """`batch_hard_loss` in the recipe's directions."""

    def __init__(self, recipe: BatchHardLoss) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""
        del when
        batch = batch.scaled(1, normalise=self.recipe.normalise)
        negatives = batch.negatives()
        return _mean([
            batch_hard_loss(anchors, others, negatives, margin=self.recipe.margin)
            for anchors, others in _directed(batch, self.recipe.directions)
        ])  # fmt: skip

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """The margin, or log(1 + exp(0))."""
        del batch_size
        return math.log(2) if self.recipe.margin is None else self.recipe.margin


def _directed(batch: FeatureBatch, directions: str) -> list[tuple[Tensor, Tensor]]:
    """(anchors, others) of each direction; the negatives are the same in both."""
    forth = [(batch.photo, batch.tile)]
    return [*forth, (batch.tile, batch.photo)] if directions == "both" else forth


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()
