"""The losses a recipe can name: frozen records, told apart by `kind`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel
from training.recipe_optimiser import EpochSpan, ascending_and_open, in_force

# Published triplet losses take the photo as anchor only; `both` adds the tile as anchor.
Directions = Literal["query_to_tile", "both"]


class InfoNceLoss(StrictModel):
    """Symmetric InfoNCE.

    Attributes:
        max_scale: the inverse temperature never exceeds it; null lets it grow.
    """

    kind: Literal["info_nce"]
    label_smoothing: float = Field(ge=0, lt=1)
    initial_temperature: float = Field(gt=0)
    max_scale: float | None = Field(gt=1)


class HerLoss(StrictModel):
    """Hard exemplar reweighting (Cai et al., ICCV 2019); `training.losses.her` has the formulas.

    Attributes:
        normalise: features are brought to unit length first.
        feature_scale: then multiplied by this; its author recommends 5 for unit length, 1 for
            raw features. At 1 the weights are almost flat on unit length.
        margin_share: the margin is this share of the mean squared length.
        pruned_weight: times 1 / batch, the weight of triplets that are apart by the margin.
        detach_weights: the weights are constants; published is false.
        orientation_weight: of the regression of the tile's turn, relative to the triplets;
            published 0.5. Above 0, tiles alone are turned by random multiples of 90 degrees.
    """

    kind: Literal["her"]
    directions: Directions
    normalise: bool
    feature_scale: float = Field(gt=0)
    margin_share: float = Field(gt=0)
    pruned_weight: float = Field(ge=0)
    detach_weights: bool
    orientation_weight: float = Field(ge=0)


class HingeLoss(StrictModel):
    """The plain triplet loss max(0, margin + d+ - d-), mean over all triplets of the batch.

    Attributes:
        normalise: features are brought to unit length first.
        margin: in squared distance. A margin of cosines is half as large: 0.3 there is 0.6 here.
    """

    kind: Literal["hinge"]
    directions: Directions
    normalise: bool
    margin: float = Field(gt=0)


class HardFraction(EpochSpan):
    """Which part of the triplets counts.

    Attributes:
        fraction: of the triplets, those of the highest loss.
    """

    fraction: float = Field(gt=0, le=1)


class SoftMarginLoss(StrictModel):
    """Weighted soft margin log(1 + exp(alpha (d+ - d-))) of unit-length features.

    Hu et al., CVPR 2018 (CVM-Net); alpha 10.

    Attributes:
        hard_fractions: in order; the last one has no end.
    """

    kind: Literal["soft_margin"]
    directions: Directions
    alpha: float = Field(gt=0)
    hard_fractions: tuple[HardFraction, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_open_and_in_order(self) -> Self:
        if not ascending_and_open([one.epochs for one in self.hard_fractions]):
            raise ValueError("loss.hard_fractions need ascending epochs, and null in the last one")
        return self

    def fraction_at(self, epoch: int) -> float:
        """The fraction in force in an epoch, counted from 0."""
        return in_force(self.hard_fractions, epoch).fraction


class BatchHardLoss(StrictModel):
    """Triplets of each anchor with its hardest negative alone (Hermans et al. 2017).

    Attributes:
        normalise: features are brought to unit length first.
        margin: in squared distance; null takes the soft margin log(1 + exp(d+ - d-)).
    """

    kind: Literal["batch_hard"]
    directions: Directions
    normalise: bool
    margin: float | None = Field(gt=0)


PairLoss = Annotated[
    InfoNceLoss | HerLoss | HingeLoss | SoftMarginLoss | BatchHardLoss, Field(discriminator="kind")
]


class InstanceLoss(StrictModel):
    """Each place is a class, and one classifier serves both views (Zheng et al., ACM MM 2020).

    Attributes:
        dropout: of the features before the classifier, 0..1.
        plus: another loss that is added, e.g. the weighted soft margin; or null.
    """

    kind: Literal["instance"]
    dropout: float = Field(ge=0, lt=1)
    plus: PairLoss | None


LossRecipe = Annotated[
    InfoNceLoss | HerLoss | HingeLoss | SoftMarginLoss | BatchHardLoss | InstanceLoss,
    Field(discriminator="kind"),
]


def turns_tiles(loss: LossRecipe) -> bool:
    """Whether a loss wants tiles turned on their own."""
    inner = loss.plus if isinstance(loss, InstanceLoss) else loss
    return isinstance(inner, HerLoss) and inner.orientation_weight > 0
