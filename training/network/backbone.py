"""timm networks by name, as pooled features or as maps; and AlexNet."""

from collections.abc import Sequence
from typing import cast

import timm
import torch
from torch import Tensor, nn

from crossfix.errors import DataError, RecipeError
from training.network.alexnet import AlexNet
from training.network.attention import ContextMask, attend_after_blocks
from training.network.surgery import drop_after_convolutions, fit_first_layer, round_poolings_up
from training.recipe_network import ChannelContextAttention, ModelRecipe

ALEXNET = "alexnet"
LAST = -1
IMAGENET_STD = (0.229, 0.224, 0.225)  # what most weights were trained with


class FeatureMap(nn.Module):
    """A network whose output is one map of features, (N, C, h, w).

    Attributes:
        num_features: C.
        after: what the map passes last.
    """

    def __init__(self, network: nn.Module, num_features: int) -> None:
        super().__init__()
        self.network, self.num_features = network, num_features
        self.after: nn.Module = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """The map."""
        (found,) = self.network(images)
        return cast(Tensor, self.after(found))

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Computes activations again when they are needed.

        Raises:
            AttributeError, NotImplementedError: this network cannot.
        """
        self.network.set_grad_checkpointing(enable)  # type: ignore[operator]


def build_backbone(recipe: ModelRecipe, *, std: Sequence[float] = IMAGENET_STD) -> nn.Module:
    """The network: pooled features for `aggregation.kind: network`, else a map.

    Args:
        std: by which the images' red, green and blue will be divided.

    Raises:
        RecipeError: timm does not know the name or an argument, or the network lacks a part that
            the recipe changes.
        DataError: pretrained weights cannot be had.
    """
    channels = 6 if recipe.orientation_maps else 3
    backbone = _alexnet(recipe, channels) if recipe.name == ALEXNET else _timm(recipe, channels)
    network = backbone.network if isinstance(backbone, FeatureMap) else backbone
    if recipe.pretrained and recipe.fit_first_layer:
        fit_first_layer(network, recipe.name, known_std=_known_std(network), std=std)
    if not recipe.stem_pool and recipe.name != ALEXNET:
        _drop_stem_pool(recipe, network)
    if recipe.pool_rounding == "up":
        round_poolings_up(network, recipe.name)
    if recipe.conv_dropout is not None:
        drop_after_convolutions(network, recipe.conv_dropout, recipe.name)
    if isinstance(recipe.attention, ChannelContextAttention):
        _attend(backbone, recipe.attention, recipe.name)
    return backbone


def _known_std(network: nn.Module) -> Sequence[float]:
    """What the pretrained weights' images were divided by."""
    about = getattr(network, "pretrained_cfg", None)
    return cast(Sequence[float], about["std"]) if isinstance(about, dict) else IMAGENET_STD


def _attend(backbone: nn.Module, attention: ChannelContextAttention, name: str) -> None:
    network = backbone.network if isinstance(backbone, FeatureMap) else backbone
    attend_after_blocks(network, attention, name)
    if isinstance(backbone, FeatureMap):
        backbone.after = ContextMask(
            backbone.num_features, pooled=False, kernels=attention.kernels,
            filters=attention.last_filters,
        )  # fmt: skip


def _timm(recipe: ModelRecipe, channels: int) -> nn.Module:
    try:
        return _timm_network(recipe, channels)
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
