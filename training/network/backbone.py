"""timm networks by name, as pooled features or as maps; and AlexNet."""

from typing import cast

import timm
import torch
from torch import Tensor, nn

from crossfix.errors import DataError, RecipeError
from training.network.alexnet import AlexNet
from training.recipe_network import ModelRecipe

ALEXNET = "alexnet"
LAST = -1


class FeatureMap(nn.Module):
    """A network whose output is one map of features, (N, C, h, w).

    Attributes:
        num_features: C.
    """

    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network, self.num_features = network, num_features

    def forward(self, images: Tensor) -> Tensor:
        """The map."""
        (found,) = self.network(images)
        return cast(Tensor, found)

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Computes activations again when they are needed.

        Raises:
            AttributeError, NotImplementedError: this network cannot.
        """
        self.network.set_grad_checkpointing(enable)  # type: ignore[operator]


def build_backbone(recipe: ModelRecipe) -> nn.Module:
    """The network: pooled features for `aggregation.kind: network`, else a map.

    Raises:
        RecipeError: timm does not know the name or an argument.
        DataError: pretrained weights cannot be had.
    """
    channels = 6 if recipe.orientation_maps else 3
    if recipe.name == ALEXNET:
        return _alexnet(recipe, channels)
    try:
        network = _timm_network(recipe, channels)
    except OSError as problem:
        raise _unavailable(recipe, problem) from problem
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as problem:
        raise RecipeError(
            f"timm builds no model {recipe.name!r}: {_first_line(problem)}",
            hint="see timm.list_models() for names, and model.kwargs for its arguments",
        ) from problem
    except Exception as problem:  # clients of hubs have errors of their own
        if not recipe.pretrained:
            raise
        raise _unavailable(recipe, problem) from problem
    if not recipe.stem_pool:
        _drop_stem_pool(recipe, network.network if isinstance(network, FeatureMap) else network)
    return network


def _timm_network(recipe: ModelRecipe, channels: int) -> nn.Module:
    common = {"pretrained": recipe.pretrained, "in_chans": channels, **recipe.kwargs}
    if recipe.aggregation.kind == "network":
        return timm.create_model(recipe.name, num_classes=0, **common)
    level = LAST if recipe.feature_level is None else recipe.feature_level
    network = timm.create_model(recipe.name, features_only=True, out_indices=(level,), **common)
    (width,) = network.feature_info.channels()  # type: ignore[operator, union-attr]
    return FeatureMap(network, int(width))


def _drop_stem_pool(recipe: ModelRecipe, network: nn.Module) -> None:
    if not isinstance(getattr(network, "maxpool", None), nn.Module):
        raise RecipeError(
            f"{recipe.name} has no max-pooling at its beginning that could be left out",
            hint="set model.stem_pool to true",
        )
    network.maxpool = nn.Identity()


def _alexnet(recipe: ModelRecipe, channels: int) -> AlexNet:
    if recipe.aggregation.kind == "network" or recipe.feature_level is not None or recipe.kwargs:
        raise RecipeError(
            "alexnet has no pooling, levels or arguments of its own",
            hint="choose model.aggregation average, gem or safa, model.feature_level null and "
            "model.kwargs {}",
        )
    network = AlexNet(channels)
    if recipe.pretrained:
        try:
            network.take_imagenet_weights()
        except (ImportError, OSError, RuntimeError) as problem:
            raise _unavailable(recipe, problem) from problem
    return network


def _unavailable(recipe: ModelRecipe, problem: Exception) -> DataError:
    return DataError(
        f"the pretrained weights of {recipe.name} cannot be had: {problem}",
        hint="check the connection, or set model.pretrained to false",
    )


def _first_line(problem: Exception) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]


@torch.no_grad()
def map_size(backbone: nn.Module, channels: int, height_px: int, width_px: int) -> tuple[int, int]:
    """(rows, columns) of the map that images of a size give.

    Raises:
        RecipeError: the network sees nothing in such images.
    """
    was_training = backbone.training
    try:
        found: Tensor = backbone.eval()(torch.zeros(1, channels, height_px, width_px))
    except RuntimeError as problem:  # of a pooling or convolution whose output would be empty
        inner = backbone.network if isinstance(backbone, FeatureMap) else backbone
        raise RecipeError(
            f"{type(inner).__name__} gives no map of images of {width_px} x {height_px} pixels: "
            f"{_first_line(problem)}",
            hint="use larger images; the sizes are in data and model.tile_transform",
        ) from problem
    backbone.train(was_training)
    return found.shape[2], found.shape[3]
