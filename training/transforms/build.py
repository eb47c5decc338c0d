"""From a recipe's tile transform to its module, and the guide towards the polar tile."""

import torch
from torch import Tensor, nn

from crossfix.errors import RecipeError
from crossfix.view import ViewSpec
from training.recipe_network import (
    AffineTransform,
    CornerTpsTransform,
    NoTransform,
    PolarTransform,
    SimilarityTransform,
    StackedTransform,
    TpsTransform,
    TransformRecipe,
)
from training.transforms.polar import Polar
from training.transforms.thin_plate import ThinPlateStn
from training.transforms.transformers import AffineStn, SimilarityStn, StackedAffineStn

CHANNELS = 3


class TileTransform(nn.Module):
    """A transform of normalised tiles, in full precision whatever the network computes in.

    Half-precision coordinates would be off by pixels.

    Args:
        inner: (N, 3, s, s) to (N, 3, h, w).
        polar: the guide's goal, or None.
    """

    def __init__(self, inner: nn.Module, polar: Polar | None) -> None:
        super().__init__()
        self.inner, self.polar = inner, polar

    def forward(self, tiles: Tensor) -> Tensor:
        """The transformed tiles."""
        if not torch.is_autocast_enabled(tiles.device.type):
            found: Tensor = self.inner(tiles)
            return found
        with torch.autocast(tiles.device.type, enabled=False):
            lowered: Tensor = self.inner(tiles.float())
        return lowered

    def apart_from_polar(self, tiles: Tensor, transformed: Tensor) -> Tensor:
        """(N,) mean absolute difference to the polar tile, in units of normalised values."""
        if self.polar is None:
            raise ValueError("this transform has no guide")
        with torch.autocast(tiles.device.type, enabled=False):
            apart: Tensor = transformed.float() - self.polar(tiles.float())
            return apart.abs().mean(dim=(1, 2, 3))


def build_transform(recipe: TransformRecipe, spec: ViewSpec) -> TileTransform | None:
    """The transform of a satellite view, or None.

    Raises:
        RecipeError: the tiles are too small for it, or not square.
    """
    if isinstance(recipe, NoTransform):
        return None
    if spec.height_px != spec.width_px:
        raise RecipeError(
            f"tiles of {spec.width_px} x {spec.height_px} pixels are not square",
            hint="tile transforms want square tiles",
        )
    guided = getattr(recipe, "guide_weight", 0.0) > 0
    return TileTransform(_inner(recipe, spec), _polar(recipe, spec) if guided else None)


def _inner(recipe: TransformRecipe, spec: ViewSpec) -> nn.Module:
    if isinstance(recipe, NoTransform | PolarTransform):
        return _polar(recipe, spec)
    seen, size = (spec.height_px, spec.width_px), (recipe.height_px, recipe.width_px)
    if isinstance(recipe, AffineTransform):
        return AffineStn(CHANNELS, seen, size)
    if isinstance(recipe, SimilarityTransform):
        return SimilarityStn(CHANNELS, seen, size)
    if isinstance(recipe, StackedTransform):
        return StackedAffineStn(CHANNELS, seen, size)
    return _thin_plate(recipe, seen, size)


def _thin_plate(
    recipe: TpsTransform | CornerTpsTransform, seen: tuple[int, int], size: tuple[int, int]
) -> nn.Module:
    return ThinPlateStn(
        CHANNELS, seen, size, rows=recipe.lattice_rows, columns=recipe.lattice_columns,
        bounded=recipe.bounded, corners=isinstance(recipe, CornerTpsTransform),
    )  # fmt: skip


def _polar(recipe: TransformRecipe, spec: ViewSpec) -> Polar:
    if isinstance(recipe, NoTransform):
        raise ValueError("no transform has no polar tile")
    return Polar(
        spec.width_px, recipe.height_px, recipe.width_px,
        stretch=getattr(recipe, "stretch", False), mean=spec.mean, std=spec.std,
    )  # fmt: skip
