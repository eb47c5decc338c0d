"""Triplets of squared distances: plain hinge, weighted soft margin, batch-hard."""

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from training.losses.batch import FeatureBatch, When, mean_over, squared_distances
from training.losses.criterion import Criterion
from training.recipe_losses import BatchHardLoss, Directions, HingeLoss, SoftMarginLoss


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


class _Directed(Criterion):
    """The mean over the recipe's directions of what `one_way` gives."""

    def __init__(self, directions: Directions, *, normalise: bool) -> None:
        super().__init__()
        self.directions, self.normalise = directions, normalise

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""
        batch = batch.scaled(1, normalise=self.normalise)
        negatives = batch.negatives()  # the same in both directions
        ways = [(batch.photo, batch.tile)]
        if self.directions == "both":
            ways.append((batch.tile, batch.photo))
        return torch.stack([self.one_way(*way, negatives, when) for way in ways]).mean()

    @abstractmethod
    def one_way(self, anchors: Tensor, others: Tensor, negatives: Tensor, when: When) -> Tensor:
        """The loss in one direction, scalar, of (B, D), (B, D) and (B, B) bool."""


class Hinge(_Directed):
    """`hinge_loss` in the recipe's directions."""

    def __init__(self, recipe: HingeLoss) -> None:
        super().__init__(recipe.directions, normalise=recipe.normalise)
        self.margin = recipe.margin

    def one_way(self, anchors: Tensor, others: Tensor, negatives: Tensor, when: When) -> Tensor:
        """`hinge_loss`."""
        del when
        return hinge_loss(anchors, others, negatives, margin=self.margin)

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """The margin."""
        del batch_size
        return self.margin


class SoftMargin(_Directed):
    """`soft_margin_loss` of unit-length features in the recipe's directions."""

    def __init__(self, recipe: SoftMarginLoss) -> None:
        super().__init__(recipe.directions, normalise=True)
        self.recipe = recipe

    def one_way(self, anchors: Tensor, others: Tensor, negatives: Tensor, when: When) -> Tensor:
        """`soft_margin_loss` with the epoch's fraction."""
        recipe = self.recipe
        return soft_margin_loss(
            anchors, others, negatives, alpha=recipe.alpha, fraction=recipe.fraction_at(when.epoch)
        )

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """log(1 + exp(0))."""
        del batch_size
        return math.log(2)


class BatchHard(_Directed):
    """`batch_hard_loss` in the recipe's directions."""

    def __init__(self, recipe: BatchHardLoss) -> None:
        super().__init__(recipe.directions, normalise=recipe.normalise)
        self.margin = recipe.margin

    def one_way(self, anchors: Tensor, others: Tensor, negatives: Tensor, when: When) -> Tensor:
        """`batch_hard_loss`."""
        del when
        return batch_hard_loss(anchors, others, negatives, margin=self.margin)

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """The margin, or log(1 + exp(0))."""
        del batch_size
        return math.log(2) if self.margin is None else self.margin
