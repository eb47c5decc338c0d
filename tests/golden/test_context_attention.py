"""Attention in a ResNet against its formulas, number by number in NumPy."""

import numpy as np
import pytest
import torch
from timm.models.resnet import BasicBlock
from torch import nn

from crossfix.errors import RecipeError
from tests.tiny_networks import AGGREGATIONS, network
from training.model import CrossViewEncoder
from training.network.attention import BlockAttention, ContextMask
from training.network.backbone import build_backbone
from training.recipe_network import ChannelContextAttention

KERNELS = (3, 5, 7)
ATTENTION = "{kind: channel_context, reduction: 16, kernels: [3, 5, 7], block_filters: 1, " \
            "last_filters: 32}"  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolved(image, weight, bias):
    """(C, h, w) by (O, C, k, k) with zeros outside, loop by loop."""
    out, _, k, _ = weight.shape
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    found = np.empty((out, height, width))
    for o in range(out):
        for i in range(height):
            for j in range(width):
                found[o, i, j] = bias[o] + (weight[o] * padded[:, i : i + k, j : j + k]).sum()
    return found


def plain_mask(image, module, pooled):
    seen = np.stack([image.mean(axis=0), image.max(axis=0)]) if pooled else image
    answers = [
        np.maximum(0, convolved(seen, w.weight.detach().numpy(), w.bias.detach().numpy()))
        for w in module.windows
    ]
    join, bias = module.join.weight.detach().numpy()[0, :, 0, 0], float(module.join.bias.detach())
    return sigmoid(np.tensordot(join, np.concatenate(answers), axes=1) + bias)


@pytest.mark.parametrize("pooled", [True, False])
def test_a_context_mask_is_its_formula(pooled):
    torch.manual_seed(1)
    module = ContextMask(4, pooled=pooled, kernels=KERNELS, filters=2).double()
    maps = torch.randn(2, 4, 5, 6).double()
    found = module(maps).detach().numpy()
    for one, image in zip(found, maps.numpy(), strict=True):
        np.testing.assert_allclose(one, image * plain_mask(image, module, pooled), rtol=1e-9)


def test_attention_after_a_block_weighs_channels_first_and_positions_then():
    torch.manual_seed(2)
    recipe = ChannelContextAttention(
        kind="channel_context", reduction=4, kernels=KERNELS, block_filters=1, last_filters=2
    )
    module = BlockAttention(8, recipe).double()
    maps = torch.randn(2, 8, 4, 5).double()
    found = module(maps).detach().numpy()
    first, second = (
        layer.weight.detach().numpy()[:, :, 0, 0] for layer in (module.channel.fc1,
                                                                module.channel.fc2)
    )  # fmt: skip
    assert first.shape == (2, 8)
    for one, image in zip(found, maps.numpy(), strict=True):
        mlp = [second @ np.maximum(0, first @ seen)
               for seen in (image.mean(axis=(1, 2)), image.max(axis=(1, 2)))]  # fmt: skip
        weighed = image * sigmoid(sum(mlp))[:, None, None]
        expected = weighed * plain_mask(weighed, module.context, pooled=True)
        np.testing.assert_allclose(one, expected, rtol=1e-9)


def test_every_block_of_resnet_18_is_followed_by_attention_and_the_last_stage_by_a_mask():
    recipe = network(
        "model.name=resnet18", "model.kwargs={}", "model.orientation_maps=false",
        f"model.attention={ATTENTION}", aggregation=AGGREGATIONS["average"],
    ).model  # fmt: skip
    backbone = build_backbone(recipe)
    followed = [
        (type(one[0]), one[1].channel.fc2.out_channels)
        for one in backbone.modules()
        if isinstance(one, nn.Sequential) and len(one) == 2 and isinstance(one[1], BlockAttention)
    ]
    assert followed == [(BasicBlock, c) for c in (64, 64, 128, 128, 256, 256, 512, 512)]
    assert isinstance(backbone.after, ContextMask)
    assert [w.in_channels for w in backbone.after.windows] == [512] * 3
    plain = build_backbone(recipe.model_copy(update={"attention": {"kind": "none"}}))
    assert isinstance(plain.after, nn.Identity)


@pytest.mark.parametrize(("override", "sentence"), [
    ("model.attention={kind: channel_context, reduction: 4, kernels: [2], block_filters: 1, "
     "last_filters: 1}", "kernels are odd sides"),
    ("model.aggregation={kind: network}", "needs a model.aggregation other than network"),
    ("model.name=convnext_atto", "convnext_atto has no residual blocks"),
])  # fmt: skip
def test_attention_where_it_cannot_be_is_refused(override, sentence):
    with pytest.raises(RecipeError, match=sentence):
        attentive(override)


def attentive(override):
    recipe = network(
        "model.name=resnet18", "model.kwargs={}", f"model.attention={ATTENTION}",
        "model.aggregation={kind: average}", override,
    )  # fmt: skip
    return build_backbone(recipe.model)


def test_flattened_positions_are_all_there_channel_by_channel():
    recipe = network(
        "model.name=resnet10t", "model.kwargs={}", "model.orientation_maps=false",
        "model.embedding_dim=null", "data.ground_height_px=64", "data.ground_width_px=64",
        aggregation="{kind: flatten, pool: 2}", sharing="none",
    )  # fmt: skip
    model = CrossViewEncoder(recipe.model, recipe.views()).eval()
    maps = torch.randn(2, 512, 5, 6, dtype=torch.float64)
    found = model.aggregations["ground"](maps).numpy()
    for one, image in zip(found, maps.numpy(), strict=True):
        pooled = image[:, :4].reshape(512, 2, 2, 3, 2).max(axis=(2, 4))  # the fifth row is left out
        np.testing.assert_array_equal(one, pooled.ravel())
    assert model.embedding_dim == 512


def test_one_head_for_views_of_different_sizes_is_refused():
    recipe = network(
        "model.name=resnet10t", "model.kwargs={}", "model.orientation_maps=false",
        "data.ground_height_px=64", aggregation="{kind: flatten, pool: 1}",
    )  # fmt: skip
    with pytest.raises(
        RecipeError, match="one view brings 2048 pooled numbers and the ground view"
    ):
        CrossViewEncoder(recipe.model, recipe.views())
    apart = {"sharing": "none", "shared_head": False}
    own_heads = recipe.model.model_copy(update=apart)
    assert CrossViewEncoder(own_heads, recipe.views()).embedding_dim == 16
    with pytest.raises(RecipeError, match="one head or no projection"):
        CrossViewEncoder(own_heads.model_copy(update={"embedding_dim": None}), recipe.views())
