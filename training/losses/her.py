"""Hard exemplar reweighting: in-batch triplets weighted by how hard they are.

Cai, Guo, Khan, Hu and Wen, "Ground-to-Aerial Image Geo-Localization With a Hard Exemplar
Reweighting Triplet Loss", ICCV 2019. With dp, dn the squared distances of a triplet, m the margin:

    weight   w = -log2 p,  p = 1 / (1 + exp(dp - dn + m/2))
    low      w < log2(1 + exp(-m/2)), that is dn > dp + m, apart by the margin: a small constant
    high     w > log2(1 + exp(+m/2)), that is dn < dp, the negative is nearer: that bound instead
    loss     mean over the whole B x B matrix, diagonal included, of w log(1 + exp(dp - dn))
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.batch import FeatureBatch, When, squared_distances
from training.losses.criterion import Criterion
from training.recipe_losses import HerLoss

LN2 = math.log(2)
QUARTER_RAD = math.pi / 2


@dataclass(frozen=True)
class HerTriplets:
    """All triplets of a batch in one direction.

    Attributes:
        weights: (B, B); 0 where tile k is no negative of photo i.
        losses: (B, B) log(1 + exp(dp - dn)), unweighted.
    """

    weights: Tensor
    losses: Tensor

    def loss(self) -> Tensor:
        """The weighted mean over the whole matrix, scalar."""
        return (self.weights * self.losses).mean()


def her_margin(a: Tensor, b: Tensor, share: float) -> float:
    """`share` of the mean of (|a|^2 + |b|^2) / 2 over the pairs (B, D); a constant."""
    return share * float((a.detach().square().sum() + b.detach().square().sum()) / (2 * len(a)))


def her_triplets(
    anchors: Tensor, others: Tensor, negatives: Tensor, *, margin: float, pruned_weight: float,
    detach_weights: bool,
) -> HerTriplets:  # fmt: skip
    """The triplets (anchor i, other i, other k) of B pairs.

    Args:
        anchors, others: (B, D), scaled as they shall be compared.
        negatives: (B, B) bool.
        pruned_weight: times 1 / B, of triplets that are apart by the margin.
        detach_weights: no gradient flows through the weights.
    """
    own, every = squared_distances(anchors, others)
    gap = own - every
    weights = functional.softplus(gap + margin / 2) / LN2
    high = (margin / 2 + math.log1p(math.exp(-margin / 2))) / LN2
    if detach_weights:
        weights = weights.detach()
    # Asked of the gaps, because the weights of long features underflow where the gaps do not.
    weights = torch.where(gap < -margin, pruned_weight / len(anchors), weights)
    weights = torch.where(gap > 0, high, weights)
    weights = torch.where(negatives, weights, 0)
    return HerTriplets(weights, functional.softplus(gap))


def orientation_loss(weights: Tensor, found: Tensor, turns: Tensor) -> Tensor:
    """Mean over the matrix of w(i, k) |o_i - (sin a_i, cos a_i)|^2.

    Args:
        weights: (B, B) of the triplets.
        found: (B, 2) regressed sine and cosine.
        turns: (B,) quarters that each tile was turned by.
    """
    angle = turns.to(found.dtype) * QUARTER_RAD
    wanted = torch.stack([angle.sin(), angle.cos()], dim=1)
    return (weights * (found - wanted).square().sum(1)[:, None]).mean()


class Her(Criterion):
    """The HER triplet loss, and the orientation regression where the recipe wants it.

    Attributes:
        orientation: from the features of photo and tile to the sine and cosine of the tile's
            turn, or None.
    """

    def __init__(self, recipe: HerLoss, embedding_dim: int) -> None:
        super().__init__()
        self.recipe = recipe
        wanted = recipe.orientation_weight > 0
        self.orientation = nn.Linear(2 * embedding_dim, 2) if wanted else None

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar; the mean over the directions."""
        del when
        scaled = batch.scaled(self.recipe.feature_scale, normalise=self.recipe.normalise)
        margin = her_margin(scaled.photo, scaled.tile, self.recipe.margin_share)
        negatives = batch.negatives()
        directions = [(scaled.photo, scaled.tile)]
        if self.recipe.directions == "both":
            directions.append((scaled.tile, scaled.photo))
        found = [
            her_triplets(
                anchors, others, negatives, margin=margin,
                pruned_weight=self.recipe.pruned_weight,
                detach_weights=self.recipe.detach_weights,
            )
            for anchors, others in directions
        ]  # fmt: skip
        loss = torch.stack([one.loss() for one in found]).mean()
        if self.orientation is None or batch.turns is None:
            return loss
        guessed = self.orientation(torch.cat([scaled.photo, scaled.tile], dim=1))
        turned = orientation_loss(found[0].weights, guessed, batch.turns)
        return loss + self.recipe.orientation_weight * turned

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """All distances 0: every weight is the high bound. Unknown for raw features."""
        if not self.recipe.normalise or self.orientation is not None:
            return None
        half = self.recipe.margin_share * self.recipe.feature_scale**2 / 2
        return (half + math.log1p(math.exp(-half))) * (batch_size - 1) / batch_size
