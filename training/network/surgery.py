"""Small changes to a finished network: how poolings round, dropout, the first layer's scale."""

from collections.abc import Sequence

import torch
from timm.layers.std_conv import (
    ScaledStdConv2d,
    ScaledStdConv2dSame,
    StdConv2d,
    StdConv2dSame,
)
from torch import nn

from crossfix.errors import RecipeError
from training.recipe_network import ConvDropout

COLOURS = 3
CHANNELS = (COLOURS, 6)  # without and with orientation maps
STANDARDISED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)


def round_poolings_up(network: nn.Module, name: str) -> None:
    """Makes every max-pooling keep the rest of a side instead of leaving it out.

    Where windows are as wide as their stride, as in VGG, this is TensorFlow's padding `SAME`.

    Raises:
        RecipeError: the network has no max-pooling.
    """
    poolings = [one for one in network.modules() if isinstance(one, nn.MaxPool2d)]
    if not poolings:
        raise RecipeError(
            f"{name} has no max-pooling that could round up",
            hint="set model.pool_rounding to down",
        )
    for one in poolings:
        one.ceil_mode = True


def drop_after_convolutions(network: nn.Module, recipe: ConvDropout, name: str) -> None:
    """Puts dropout behind the activation of a convolution and of all that follow it.

    For networks that are a plain chain of layers (VGG, AlexNet). Dropout has no weights, and
    nothing of it is left in evaluation.

    Raises:
        RecipeError: the network is no such chain, or has fewer convolutions.
    """
    chain = _chain_of(network)
    every = sum(isinstance(one, nn.Conv2d) for one in chain.modules())
    layers = list(chain.named_children())
    in_chain = sum(isinstance(layer, nn.Conv2d) for _, layer in layers)
    if in_chain < every or in_chain < recipe.first_conv:
        raise RecipeError(
            f"no dropout from convolution {recipe.first_conv} on: {in_chain} of the {every} "
            f"convolutions of {name} follow each other in a chain",
            hint="set model.conv_dropout to null, or take a network such as vgg16",
        )
    passed = 0
    for key, layer in layers:
        passed += isinstance(layer, nn.Conv2d)
        if isinstance(layer, nn.ReLU) and passed >= recipe.first_conv:
            chain.add_module(key, nn.Sequential(layer, nn.Dropout(recipe.share)))


def _chain_of(network: nn.Module) -> nn.Module:
    """The part of a network that holds its convolutions one after the other."""
    inner = getattr(network, "features", network)
    return inner if isinstance(inner, nn.Module) else network


@torch.no_grad()
def fit_first_layer(
    network: nn.Module, name: str, *, known_std: Sequence[float], std: Sequence[float]
) -> None:
    """Scales the first convolution so that it answers as before to images normalised otherwise.

    Weights that know values (p - mean) / known_std get (p - mean) / std; the means are taken to
    be the same. Channels beyond the three colours stay.

    Args:
        known_std, std: of red, green and blue.

    Raises:
        RecipeError: the network does not begin with a convolution of the pixels, or with one that
            brings its weights to a scale of its own.
    """
    first = next((one for one in network.modules() if isinstance(one, nn.Conv2d)), None)
    if first is None or first.in_channels not in CHANNELS or isinstance(first, STANDARDISED):
        raise RecipeError(
            f"{name} does not begin with a plain convolution of the pixels that could be scaled",
            hint="set model.fit_first_layer to false, and data.mean and data.std to what its "
            "weights were trained with",
        )
    share = torch.tensor(std, dtype=torch.float64) / torch.tensor(known_std, dtype=torch.float64)
    first.weight[:, :COLOURS] *= share.to(first.weight.dtype)[None, :, None, None]
