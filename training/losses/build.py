"""From a recipe's loss to its criterion."""

from training.losses.criterion import Criterion
from training.losses.her import Her
from training.losses.info_nce import InfoNce
from training.losses.instance import Instance
from training.losses.triplets import BatchHard, Hinge, SoftMargin
from training.recipe_losses import (
    BatchHardLoss,
    HerLoss,
    HingeLoss,
    InfoNceLoss,
    InstanceLoss,
    LossRecipe,
)


def build_criterion(loss: LossRecipe, *, embedding_dim: int, places: int, seed: int) -> Criterion:
    """The criterion of a loss.

    Args:
        embedding_dim: D, the length of a feature.
        places: how many there are to train on; the classes of the instance loss.
        seed: of the run, for what a loss draws in its steps.
    """
    if isinstance(loss, InstanceLoss):
        plus = None
        if loss.plus is not None:
            plus = build_criterion(loss.plus, embedding_dim=embedding_dim, places=places, seed=seed)
        return Instance(embedding_dim, places, dropout=loss.dropout, seed=seed, plus=plus)
    if isinstance(loss, InfoNceLoss):
        return InfoNce(loss)
    if isinstance(loss, HerLoss):
        return Her(loss, embedding_dim)
    if isinstance(loss, HingeLoss):
        return Hinge(loss)
    if isinstance(loss, BatchHardLoss):
        return BatchHard(loss)
    return SoftMargin(loss)
