"""The network a recipe describes: backbone, sharing between views, tile transform, aggregation."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crossfix.manifest import StrictModel
from crossfix.view import ViewName

# Who has common weights: all views; satellite and drone (University-1652's baseline, where street
# photos have their own); nobody.
Sharing = Literal["all", "satellite_drone", "none"]


class NetworkPooling(StrictModel):
    """The pooling that the timm network brings along."""

    kind: Literal["network"]


class AveragePooling(StrictModel):
    """The mean over all positions."""

    kind: Literal["average"]


class GemPooling(StrictModel):
    """The generalised mean (Radenovic et al., TPAMI 2019).

    Attributes:
        power: it starts from; learned.
    """

    kind: Literal["gem"]
    power: float = Field(gt=0)


class SafaPooling(StrictModel):
    """Spatial-aware feature aggregation (Shi et al., NeurIPS 2019).

    Attributes:
        masks: how many weighted sums over the positions are put behind each other.
        reduce: what the masks are made from: the `mean` over the channels, as published, or the
            `max`, as later codes (VIGOR's and others) have it.
    """

    kind: Literal["safa"]
    masks: int = Field(gt=0)
    reduce: Literal["mean", "max"]


class FlattenPooling(StrictModel):
    """All positions behind each other, after a max-pooling; bound to one size of images.

    Attributes:
        pool: side and stride of the max-pooling; 1 for none.
    """

    kind: Literal["flatten"]
    pool: int = Field(ge=1)


AggregationRecipe = Annotated[
    NetworkPooling | AveragePooling | GemPooling | SafaPooling | FlattenPooling,
    Field(discriminator="kind"),
]


class ConvDropout(StrictModel):
    """Dropout inside a plain chain of convolutions, in training only.

    Attributes:
        share: of the numbers that are set to 0.
        first_conv: the convolution, counted from 1, from which on it follows every activation;
            8 is VGG16's conv4_1.
    """

    share: float = Field(gt=0, lt=1)
    first_conv: int = Field(ge=1)


class NoAttention(StrictModel):
    """The network as it is."""

    kind: Literal["none"]


class ChannelContextAttention(StrictModel):
    """Channel attention and a context mask after every block of a ResNet, and a last mask.

    `training.network.attention` has the formulas, and says what of it is published.

    Attributes:
        reduction: of the channels inside the channel part.
        kernels: sides of the windows that the masks look through, odd.
        block_filters, last_filters: of each window, after a block and behind the last stage.
    """

    kind: Literal["channel_context"]
    reduction: int = Field(ge=1)
    kernels: tuple[int, ...] = Field(min_length=1)
    block_filters: int = Field(ge=1)
    last_filters: int = Field(ge=1)

    @model_validator(mode="after")
    def _windows_have_a_middle(self) -> Self:
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError("model.attention.kernels are odd sides")
        return self


AttentionRecipe = Annotated[NoAttention | ChannelContextAttention, Field(discriminator="kind")]


class NoTransform(StrictModel):
    """The tile goes into the network as it is."""

    kind: Literal["none"]


class _Resized(StrictModel):
    """What has a size of its own.

    Attributes:
        height_px, width_px: of what comes out, usually the panoramas' size.
    """

    height_px: int = Field(gt=1)
    width_px: int = Field(gt=1)


class PolarTransform(_Resized):
    """The polar transform: columns are compass directions, north in the centre.

    Attributes:
        stretch: spreads each image over the whole range of values, as the scripts did that saved
            the images other people's checkpoints were trained on.
    """

    kind: Literal["polar"]
    stretch: bool


class _Guided(_Resized):
    """What may be pulled towards the polar tile.

    Attributes:
        guide_weight: of the mean absolute difference to the polar tile, which is added to the
            loss; 0 computes no polar tile.
    """

    guide_weight: float = Field(ge=0)


class AffineTransform(_Guided):
    """A spatial transformer with six free numbers (Jaderberg et al., NeurIPS 2015)."""

    kind: Literal["affine_stn"]


class SimilarityTransform(_Guided):
    """A spatial transformer that only turns, scales and shifts."""

    kind: Literal["similarity_stn"]


class StackedTransform(_Resized):
    """Three affine transformers with residual blocks between; its output is no image any more."""

    kind: Literal["stacked_affine_stn"]


class _Spline(_Guided):
    """A spatial transformer by thin-plate splines.

    Attributes:
        lattice_rows, lattice_columns: control points.
        bounded: the points stay inside the tile (tanh).
    """

    lattice_rows: int = Field(ge=2)
    lattice_columns: int = Field(ge=2)
    bounded: bool


class TpsTransform(_Spline):
    """The spline in one coordinate convention throughout: a fresh one is a resize."""

    kind: Literal["tps_stn"]


class CornerTpsTransform(_Spline):
    """The spline as in the student project of 2022: a fresh one is a slight zoom.

    The spline reaches -1 and 1 at the middle of the outermost pixels, the sampling at their outer
    edges.
    """

    kind: Literal["corner_tps_stn"]


TransformRecipe = Annotated[
    NoTransform | PolarTransform | AffineTransform | SimilarityTransform | StackedTransform
    | TpsTransform | CornerTpsTransform,
    Field(discriminator="kind"),
]  # fmt: skip


class ModelRecipe(StrictModel):
    """The network.

    Attributes:
        name: a timm model name, or `alexnet`.
        kwargs: passed to timm as they are (depths, dims, kernel_sizes, ...).
        sharing: which views have one backbone together.
        shared_head: projection and normalisation are the same for all views, also behind
            different backbones.
        fit_first_layer: pretrained weights of the first layer are scaled from the `std` they were
            trained with to the data's, so that the network begins with answers it has learned.
        stem_pool: false removes the max-pooling at a ResNet's beginning.
        pool_rounding: `up`: max-poolings keep the rest of a side, as TensorFlow's `SAME` does where
            windows are as wide as their stride (VGG). Others (ResNet's, AlexNet's) may get a
            position more than `SAME` gives.
        conv_dropout: inside a plain chain of convolutions, or null.
        attention: in a ResNet.
        feature_level: the last of timm's feature levels that is computed, from 0; null for all.
        aggregation: how a map of features becomes one vector.
        embedding_dim: of a linear projection; null keeps the pooled features.
        embedding_norm: batch normalisation of the projected features.
        orientation_maps: adds three input channels holding each pixel's compass direction and
            distance (Liu and Li, CVPR 2019, "Lending Orientation to Neural Networks").
        tile_transform: what is done to satellite tiles first.
    """

    name: str
    kwargs: dict[str, Any]
    pretrained: bool
    sharing: Sharing
    shared_head: bool
    fit_first_layer: bool
    stem_pool: bool
    pool_rounding: Literal["down", "up"]
    conv_dropout: ConvDropout | None
    attention: AttentionRecipe
    feature_level: int | None = Field(ge=0)
    aggregation: AggregationRecipe
    embedding_dim: int | None = Field(gt=0)
    embedding_norm: bool
    orientation_maps: bool
    tile_transform: TransformRecipe

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.feature_level is not None and self.aggregation.kind == "network":
            raise ValueError(
                "model.feature_level leaves out the network's own pooling; choose another "
                "model.aggregation"
            )
        if self.attention.kind != "none" and self.aggregation.kind == "network":
            raise ValueError("model.attention needs a model.aggregation other than network")
        if self.sharing == "all" and not self.shared_head:
            raise ValueError("model.shared_head is true where model.sharing is all")
        return self

    def backbone_of(self, view: ViewName) -> str:
        """Which of the backbones serves a view."""
        if self.sharing == "all":
            return "shared"
        return "satellite_drone" if self.sharing == "satellite_drone" and view != "ground" else view

    def aggregation_of(self, view: ViewName) -> str:
        """Which aggregation; some belong to one view's positions."""
        return view if self.is_bound else self.backbone_of(view)

    def head_of(self, view: ViewName) -> str:
        """Which head."""
        return "shared" if self.shared_head else self.backbone_of(view)

    def path_of(self, view: ViewName) -> tuple[str, ...]:
        """All that serves a view; views of equal paths have one ONNX file."""
        first = self.tile_transform.kind if view == "satellite" else "none"
        return (first, self.backbone_of(view), self.aggregation_of(view), self.head_of(view))

    @property
    def is_bound(self) -> bool:
        """Whether what follows the backbone is bound to the number of a view's positions."""
        return self.aggregation.kind in ("safa", "flatten")

    @property
    def guide_weight(self) -> float:
        """Of the polar guide; 0 where there is none."""
        return float(getattr(self.tile_transform, "guide_weight", 0.0))
