"""Poolings that round up, dropout inside VGG, and a first layer for other pixel values."""

from pathlib import Path

import pytest
import timm
import torch
from timm.layers import StdConv2d
from torch import nn

import training
from crossfix.errors import RecipeError
from tests.tiny_networks import AGGREGATIONS, network
from training.network.backbone import build_backbone, map_size
from training.network.surgery import fit_first_layer, round_poolings_up
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"
PLAIN = ("model.kwargs={}", "model.orientation_maps=false")
DROPOUT = "model.conv_dropout={share: 0.2, first_conv: %d}"


def recipe_of(name, *overrides):
    return network(
        f"model.name={name}", *PLAIN, *overrides, aggregation=AGGREGATIONS["average"]
    ).model  # fmt: skip


def backbone_of(name, *overrides):
    torch.manual_seed(0)
    return build_backbone(recipe_of(name, *overrides))


def images(height=48, width=80, count=2):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_vgg16_with_poolings_that_round_up_has_the_published_positions():
    assert map_size(backbone_of("vgg16"), 3, 112, 616) == (3, 19)
    assert map_size(backbone_of("vgg16", "model.pool_rounding=up"), 3, 112, 616) == (4, 20)


def test_a_pooling_that_rounds_up_takes_the_maximum_of_what_is_left():
    pooling = nn.Sequential(nn.MaxPool2d(2))
    round_poolings_up(pooling, "one pooling")
    maps = torch.arange(15.0).view(1, 1, 3, 5)
    expected = torch.tensor([[6.0, 8.0, 9.0], [11.0, 13.0, 14.0]])
    torch.testing.assert_close(pooling(maps)[0, 0], expected)


def test_even_sides_do_not_care_how_poolings_round():
    up = backbone_of("vgg11", "model.pool_rounding=up").eval()
    torch.testing.assert_close(
        up(images(64, 128)), backbone_of("vgg11").eval()(images(64, 128)), atol=0, rtol=0
    )


def test_vgg16_drops_a_fifth_from_conv4_1_on_and_nothing_of_it_is_left_in_evaluation():
    recipe = load_recipe(RECIPES / "safa_cvusa.yaml", ["model.pretrained=false"]).model
    torch.manual_seed(0)
    dropping = build_backbone(recipe)
    layers = list(dropping.network.named_children())
    drops = [name for name, layer in layers if isinstance(layer, nn.Sequential)]
    assert drops == [f"features_{i}" for i in (18, 20, 22, 25, 27, 29)]  # conv4_1 .. conv5_3
    shares = {one.p for one in dropping.modules() if isinstance(one, nn.Dropout)}
    assert shares == {0.2}
    plain = backbone_of("vgg16", "model.pool_rounding=up")
    plain.load_state_dict(dropping.state_dict(), strict=True)
    dropping.train()
    assert not torch.equal(dropping(images()), dropping(images()))
    torch.testing.assert_close(dropping.eval()(images()), plain.eval()(images()), atol=0, rtol=0)


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    backbone = backbone_of("vgg11", DROPOUT % 8).train()
    torch.manual_seed(2)
    (drop,) = [one for one in backbone.modules() if isinstance(one, nn.Dropout)]
    kept = drop(torch.ones(100_000))
    assert float((kept == 0).float().mean()) == pytest.approx(0.2, abs=0.01)
    assert float(kept.mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("name", "override", "sentence"), [
    ("convnext_atto", "model.pool_rounding=up", "convnext_atto has no max-pooling"),
    ("resnet18", DROPOUT % 1, "1 of the 20 convolutions of resnet18 follow each other"),
    ("vgg11", DROPOUT % 9, "no dropout from convolution 9 on: 8 of the 8 convolutions"),
])  # fmt: skip
def test_what_a_network_does_not_have_is_refused(name, override, sentence):
    with pytest.raises(RecipeError, match=sentence) as refused:
        backbone_of(name, override)
    assert refused.value.hint


def test_alexnet_may_drop_and_round_up_too():
    backbone = backbone_of("alexnet", DROPOUT % 5, "model.pool_rounding=up")
    assert map_size(backbone, 3, 240, 240) == (7, 7)
    assert map_size(backbone_of("alexnet"), 3, 240, 240) == (6, 6)
    assert len([one for one in backbone.modules() if isinstance(one, nn.Dropout)]) == 1


@pytest.fixture
def weights(tmp_path):
    """A file of weights, as timm takes them instead of a download."""
    torch.manual_seed(5)
    path = tmp_path / "resnet10t.pth"
    torch.save(timm.create_model("resnet10t").state_dict(), path)
    return path


@torch.no_grad()
def test_pretrained_weights_answer_the_same_to_values_that_are_not_divided(weights):
    overlay = f"{{pretrained_cfg_overlay: {{file: {weights}, num_classes: 1000}}}}"
    loaded = ("model.pretrained=true", f"model.kwargs={overlay}")
    known = build_backbone(recipe_of("resnet10t", *loaded)).eval()
    fitting = recipe_of("resnet10t", *loaded, "model.fit_first_layer=true")
    raw = build_backbone(fitting, std=(1 / 255,) * 3).eval()
    divided = images()
    std = torch.tensor([0.229, 0.224, 0.225])[None, :, None, None]
    torch.testing.assert_close(raw(255 * std * divided), known(divided), rtol=1e-3, atol=1e-5)
    assert float((raw(divided) - known(divided)).abs().max()) > 1e-3
    same = build_backbone(fitting).eval()
    torch.testing.assert_close(same(divided), known(divided), atol=0, rtol=0)


@pytest.mark.parametrize("first", [
    StdConv2d(3, 4, 3), nn.Conv2d(48, 4, 3), nn.Linear(3, 4)
], ids=["standardised", "of blocks", "linear"])  # fmt: skip
def test_a_first_layer_that_is_no_plain_convolution_of_the_pixels_is_refused(first):
    """Standardised weights, for one, would be brought back to their old scale, silently."""
    with pytest.raises(RecipeError, match="this one does not begin with a plain") as refused:
        fit_first_layer(nn.Sequential(first), "this one", known_std=(0.2,) * 3, std=(0.1,) * 3)
    assert "data.std" in refused.value.hint


def test_weights_that_are_not_pretrained_stay_as_they_are():
    recipe = recipe_of("vgg11", "model.fit_first_layer=true")
    torch.manual_seed(0)
    found = build_backbone(recipe, std=(1 / 255,) * 3).state_dict()
    for name, value in backbone_of("vgg11").state_dict().items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=0)
