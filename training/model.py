"""The network: one timm backbone for all views and a projection."""

import math
from typing import cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from crossfix.errors import DataError, RecipeError
from training.recipe import ModelRecipe

PANORAMA_MIN_ASPECT = 1.5  # canvases are 2:1 or wider, tiles and drone photos about square


class CrossViewEncoder(nn.Module):
    """Images of any view to features; one set of weights for all views.

    Attributes:
        backbone: the timm network with pooled features.
        projection: linear map to the embedding, or identity.
        embedding_dim: D, the length of a feature.

    Raises:
        RecipeError: timm does not know the network.
        DataError: pretrained weights cannot be had.
    """

    def __init__(self, recipe: ModelRecipe) -> None:
        super().__init__()
        channels = 6 if recipe.orientation_maps else 3
        self.orientation_maps = recipe.orientation_maps
        self.backbone = _backbone(recipe, channels)
        width = int(cast(int, self.backbone.num_features))
        dim = recipe.embedding_dim
        self.projection: nn.Module = nn.Identity() if dim is None else nn.Linear(width, dim)
        self.embedding_dim = dim or width

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, h, w) normalised images to (N, D) features, not yet unit-norm."""
        if self.orientation_maps:
            images = torch.cat([images, orientation_maps(images)], dim=1)
        return cast(Tensor, self.projection(self.backbone(images)))

    def forget_activations(self) -> None:
        """Switches gradient checkpointing on: activations are computed again when needed.

        Raises:
            RecipeError: this network cannot.
        """
        try:
            self.backbone.set_grad_checkpointing(True)  # type: ignore[operator]
        except (AttributeError, AssertionError, NotImplementedError) as problem:
            raise RecipeError(
                f"{type(self.backbone).__name__} has no gradient checkpointing",
                hint="set runtime.gradient_checkpointing to false and use runtime.micro_batch",
            ) from problem


def _backbone(recipe: ModelRecipe, channels: int) -> nn.Module:
    """The timm network.

    Raises:
        RecipeError: timm does not know the name or an argument.
        DataError: pretrained weights cannot be had.
    """
    try:
        return timm.create_model(
            recipe.name, pretrained=recipe.pretrained, num_classes=0, in_chans=channels,
            **recipe.kwargs,
        )  # fmt: skip
    except OSError as problem:
        raise _unavailable(recipe, problem) from problem
    except (RuntimeError, TypeError, ValueError) as problem:
        raise RecipeError(
            f"timm builds no model {recipe.name!r}: {str(problem).splitlines()[0]}",
            hint="see timm.list_models() for names, and model.kwargs for its arguments",
        ) from problem
    except Exception as problem:  # clients of hubs have errors of their own
        if not recipe.pretrained:
            raise
        raise _unavailable(recipe, problem) from problem


def _unavailable(recipe: ModelRecipe, problem: Exception) -> DataError:
    return DataError(
        f"the pretrained weights of {recipe.name} cannot be had: {problem}",
        hint="check the connection, or set model.pretrained to false",
    )


class ExportedEncoder(nn.Module):
    """What goes into the artifact: the encoder with L2 normalisation, in float32."""

    def __init__(self, encoder: CrossViewEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, h, w) to (N, D) unit-norm."""
        return functional.normalize(self.encoder(image), dim=-1)


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
