"""The network: for each view a way through tile transform, backbone, aggregation and head."""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from crossfix.errors import RecipeError
from crossfix.view import ViewName, ViewSpec
from training.network.aggregation import build_aggregation
from training.network.backbone import FeatureMap, build_backbone, map_size
from training.recipe_network import ModelRecipe
from training.transforms.build import TileTransform, build_transform

PANORAMA_MIN_ASPECT = 1.5  # canvases are 2:1 or wider, tiles and drone photos about square


class Head(nn.Module):
    """Linear projection and batch normalisation, where the recipe wants them."""

    def __init__(self, width: int, recipe: ModelRecipe) -> None:
        super().__init__()
        dim = recipe.embedding_dim
        self.projection: nn.Module = nn.Identity() if dim is None else nn.Linear(width, dim)
        self.norm = nn.BatchNorm1d(dim or width) if recipe.embedding_norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """(N, width) to (N, D)."""
        return cast(Tensor, self.norm(self.projection(features)))


class CrossViewEncoder(nn.Module):
    """Images of any view to features; views share weights as the recipe says.

    Attributes:
        backbones, aggregations, heads: by the names that `ModelRecipe.backbone_of` and its
            neighbours give.
        tile_transform: of the satellite view, or None.
        embedding_dim: D, the length of a feature.

    Raises:
        RecipeError: timm does not know the network, or parts do not fit each other or the views.
        DataError: pretrained weights cannot be had.
    """

    def __init__(self, recipe: ModelRecipe, views: Mapping[ViewName, ViewSpec]) -> None:
        super().__init__()
        self.recipe, self.orientation_maps = recipe, recipe.orientation_maps
        names = list(views)
        std = next(iter(views.values())).std  # one for all views of a recipe
        self.backbones = nn.ModuleDict({
            key: build_backbone(recipe, std=std) for key in _once(map(recipe.backbone_of, names))
        })  # fmt: skip
        sizes = {view: self._map_size(views[view]) for view in names}
        self.aggregations = nn.ModuleDict()
        for view, (rows, columns) in sizes.items():
            key = recipe.aggregation_of(view)
            if key not in self.aggregations:
                self.aggregations[key] = build_aggregation(recipe.aggregation, rows * columns)
        widths = {view: self._pooled_width(size) for view, size in sizes.items()}
        _refuse_unequal(widths, recipe)
        of_head = {recipe.head_of(view): width for view, width in widths.items()}
        self.heads = nn.ModuleDict({key: Head(width, recipe) for key, width in of_head.items()})
        self.tile_transform: TileTransform | None = None
        if "satellite" in views:
            self.tile_transform = build_transform(recipe.tile_transform, views["satellite"])
        self.embedding_dim = recipe.embedding_dim or widths[names[0]]

    def forward(self, images: Tensor, view: ViewName, *, guide: bool = False) -> Tensor:
        """(N, 3, h, w) normalised images of a view to (N, D) features, not yet unit-norm.

        Args:
            guide: for tiles of a guided transform: puts behind the features, as one column more,
                how far the transformed tile is from the polar one.
        """
        behind: list[Tensor] = []
        if view == "satellite" and self.tile_transform is not None:
            transformed = self.tile_transform(images)
            if guide:
                behind = [self.tile_transform.apart_from_polar(images, transformed)[:, None]]
            images = transformed
        if self.orientation_maps:
            images = torch.cat([images, orientation_maps(images)], dim=1)
        recipe = self.recipe
        found = self.aggregations[recipe.aggregation_of(view)](
            self.backbones[recipe.backbone_of(view)](images)
        )
        features: Tensor = self.heads[recipe.head_of(view)](found)
        return torch.cat([features.float(), *behind], dim=1) if behind else features

    def forget_activations(self) -> None:
        """Switches gradient checkpointing on: activations are computed again when needed.

        Raises:
            RecipeError: this network cannot.
        """
        for backbone in self.backbones.values():
            try:
                backbone.set_grad_checkpointing(True)  # type: ignore[operator]
            except (AttributeError, AssertionError, NotImplementedError) as problem:
                inner = backbone.network if isinstance(backbone, FeatureMap) else backbone
                raise RecipeError(
                    f"{type(inner).__name__} has no gradient checkpointing",
                    hint="set runtime.gradient_checkpointing to false and use runtime.micro_batch",
                ) from problem

    def _map_size(self, spec: ViewSpec) -> tuple[int, int]:
        """(rows, columns) of a view's map of features; (0, 0) where the network pools itself."""
        recipe, transform = self.recipe, self.recipe.tile_transform
        if recipe.aggregation.kind == "network":
            return 0, 0
        size = spec.height_px, spec.width_px
        if spec.view == "satellite" and transform.kind != "none":
            size = transform.height_px, transform.width_px
        backbone = self.backbones[recipe.backbone_of(spec.view)]
        return map_size(backbone, 6 if self.orientation_maps else 3, *size)

    def _pooled_width(self, size: tuple[int, int]) -> int:
        """Numbers that leave the aggregation of a map of (rows, columns)."""
        width = int(cast(int, next(iter(self.backbones.values())).num_features))
        aggregation = self.recipe.aggregation
        if aggregation.kind == "flatten":
            return width * (size[0] // aggregation.pool) * (size[1] // aggregation.pool)
        return aggregation.masks * width if aggregation.kind == "safa" else width


def _refuse_unequal(widths: Mapping[ViewName, int], recipe: ModelRecipe) -> None:
    """Views of one head, or without a projection, must bring equally many numbers."""
    first: dict[str, int] = {}
    for view, width in widths.items():
        head = "no projection" if recipe.embedding_dim is None else recipe.head_of(view)
        if first.setdefault(head, width) != width:
            raise RecipeError(
                f"one view brings {first[head]} pooled numbers and the {view} view {width}, but "
                "they have one head or no projection",
                hint="set model.shared_head to false, and model.embedding_dim to a number",
            )


def _once(names: "map[str]") -> list[str]:
    return list(dict.fromkeys(names))


class ExportedEncoder(nn.Module):
    """What goes into the artifact: one view's way with L2 normalisation, in float32."""

    def __init__(self, encoder: CrossViewEncoder, view: ViewName) -> None:
        super().__init__()
        self.encoder, self.view = encoder, view

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, h, w) to (N, D) unit-norm."""
        return functional.normalize(self.encoder(image, self.view), dim=-1)


def orientation_maps(images: Tensor) -> Tensor:
    """Where each pixel looks: sine and cosine of its compass direction, and its distance.

    Panorama canvases (wide images) have the direction along their columns, north in the centre,
    and the row in place of the distance. Other images are taken as north-up maps. Everything is
    computed from the image's shape by tensor operations, so that one exported graph serves all
    sizes (idea: Liu and Li, CVPR 2019).

    Returns:
        (N, 3, h, w) in about -1..1.
    """
    ones = torch.ones_like(images[:1, :1], dtype=torch.float32)
    height, width = ones.sum(dim=2, keepdim=True), ones.sum(dim=3, keepdim=True)
    x = (ones.cumsum(dim=3) - 0.5) / width - 0.5
    y = (ones.cumsum(dim=2) - 0.5) / height - 0.5
    radius = torch.sqrt(x * x + y * y) + 1e-6
    nadir = torch.cat([x / radius, -y / radius, 2 * radius - 0.75], dim=1)
    panorama = torch.cat([torch.sin(2 * math.pi * x), torch.cos(2 * math.pi * x), 2 * y], dim=1)
    is_panorama = (width > PANORAMA_MIN_ASPECT * height).to(torch.float32)
    maps = is_panorama * panorama + (1 - is_panorama) * nadir
    return maps.to(images.dtype).expand(images.shape[0], -1, -1, -1)
