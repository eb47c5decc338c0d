"""Backbones by name, who shares weights with whom, aggregation, and the files that come of it."""

import numpy as np
import pytest
import torch
from torch import nn

from crossfix.errors import DataError, RecipeError
from tests.tiny_networks import AGGREGATIONS, TRANSFORMS, network
from training.model import CrossViewEncoder
from training.network.aggregation import Gem, Safa
from training.network.alexnet import AlexNet
from training.network.backbone import build_backbone, map_size


def model_of(recipe):
    torch.manual_seed(0)
    return CrossViewEncoder(recipe.model, recipe.views())


def weights(module):
    return {id(p) for p in module.parameters()}


def photo(height=32, width=128, count=2):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "width", "size"), [
    ("vgg16", 512, (8, 8)), ("vgg16_bn", 512, (8, 8)), ("resnet18", 512, (8, 8)),
    ("densenet121", 1024, (8, 8)), ("alexnet", 256, (7, 7)), ("convnext_atto", 320, (8, 8)),
])  # fmt: skip
def test_backbones_give_the_maps_they_are_known_for(name, width, size):
    recipe = network(
        f"model.name={name}", "model.kwargs={}", "model.orientation_maps=false",
        aggregation=AGGREGATIONS["average"],
    ).model  # fmt: skip
    backbone = build_backbone(recipe)
    assert backbone.num_features == width
    assert map_size(backbone, 3, 256, 256) == size
    assert backbone.training


def test_resnet_34_without_its_stem_pool_and_last_stage_is_that_of_the_transformers():
    """Stride 8 and 256 channels: 14 x 77 positions of 112 x 616 pixels."""
    recipe = network(
        "model.name=resnet34", "model.kwargs={}", "model.orientation_maps=false",
        "model.stem_pool=false", "model.feature_level=3", aggregation=AGGREGATIONS["average"],
    ).model  # fmt: skip
    backbone = build_backbone(recipe)
    assert backbone.num_features == 256
    assert map_size(backbone, 3, 112, 616) == (14, 77)
    masks = Safa(14 * 77, masks=8, reduce="max")
    assert sum(p.numel() for p in masks.parameters()) == 9_309_608


def test_parts_that_a_network_does_not_have_are_refused():
    convnext = network("model.stem_pool=false", aggregation=AGGREGATIONS["average"])
    with pytest.raises(RecipeError, match="no max-pooling at its beginning"):
        model_of(convnext)
    with pytest.raises(RecipeError, match="alexnet has no pooling"):
        model_of(network("model.name=alexnet", "model.kwargs={}"))
    with pytest.raises(RecipeError, match="timm builds no model"):
        model_of(network("model.name=resnet1", "model.kwargs={}"))
    with pytest.raises(RecipeError, match="timm builds no model"):
        model_of(network("model.feature_level=9", aggregation=AGGREGATIONS["gem"]))
    with pytest.raises(RecipeError, match="leaves out the network's own pooling"):
        network("model.feature_level=2")
    with pytest.raises(RecipeError, match="shared_head is true"):
        network("model.shared_head=false")


def test_alexnet_takes_the_weights_that_torchvision_has(monkeypatch):
    models = pytest.importorskip("torchvision.models")
    network_of = AlexNet()
    known = {f"features.{k}": torch.full_like(v, 0.5)
             for k, v in network_of.features.state_dict().items()}  # fmt: skip
    known["classifier.1.weight"] = torch.zeros(1)
    monkeypatch.setattr(
        models.AlexNet_Weights.IMAGENET1K_V1.__class__, "get_state_dict", lambda *_, **__: known
    )
    reference = models.alexnet().features.state_dict()
    assert {k: v.shape for k, v in reference.items()} == {
        k: v.shape for k, v in network_of.features.state_dict().items()
    }
    recipe = network("model.name=alexnet", "model.kwargs={}", "model.pretrained=true",
                     "model.orientation_maps=false", "data.ground_height_px=64",
                     aggregation=AGGREGATIONS["gem"])  # fmt: skip
    assert float(next(model_of(recipe).backbones["shared"].parameters()).detach().mean()) == 0.5

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(
        models.AlexNet_Weights.IMAGENET1K_V1.__class__, "get_state_dict", unreachable
    )
    with pytest.raises(DataError, match="pretrained weights of alexnet cannot be had: no route"):
        model_of(recipe)


def test_views_share_what_the_recipe_says_and_nothing_else():
    three = "[ground, drone]"
    every = model_of(network(views=three))
    assert list(every.backbones) == list(every.heads) == ["shared"]
    pairs = model_of(network(views=three, sharing="satellite_drone"))
    assert list(pairs.backbones) == ["satellite_drone", "ground"]
    alone = model_of(network(views=three, sharing="none"))
    assert list(alone.backbones) == list(alone.heads) == ["satellite", "ground", "drone"]
    assert not weights(alone.backbones["ground"]) & weights(alone.backbones["satellite"])
    one_head = model_of(network(views=three, sharing="none", shared_head=True))
    assert (len(one_head.backbones), list(one_head.heads)) == (3, ["shared"])
    one_head(photo(), "ground").sum().backward()
    touched = {name for name, p in one_head.named_parameters() if p.grad is not None}
    assert all(n.startswith(("backbones.ground", "heads.shared")) for n in touched)


FILES = [  # sharing, shared head, transform, aggregation -> file of satellite, ground, drone
    ("all", None, "none", "network", ["encoder.onnx"] * 3),
    ("none", None, "none", "network", ["satellite.onnx", "ground.onnx", "drone.onnx"]),
    ("none", True, "none", "network", ["satellite.onnx", "ground.onnx", "drone.onnx"]),
    ("satellite_drone", None, "none", "gem",
     ["satellite_drone.onnx", "ground.onnx", "satellite_drone.onnx"]),
    ("all", None, "polar", "network",
     ["satellite.onnx", "ground_drone.onnx", "ground_drone.onnx"]),
    ("all", None, "none", "safa by mean", ["satellite.onnx", "ground.onnx", "drone.onnx"]),
]  # fmt: skip


@pytest.mark.parametrize(("sharing", "head", "transform", "aggregation", "files"), FILES)
def test_views_of_one_way_have_one_file(sharing, head, transform, aggregation, files):
    recipe = network(
        sharing=sharing, shared_head=head, aggregation=AGGREGATIONS[aggregation],
        transform=TRANSFORMS.get(transform, "{kind: none}"), views="[ground, drone]",
    )  # fmt: skip
    assert [spec.model_file for spec in recipe.views().values()] == files


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_safa_is_its_formula(reduce):
    torch.manual_seed(2)
    safa, maps = Safa(6, masks=2, reduce=reduce).double(), torch.randn(3, 4, 2, 3).double()
    found = safa(maps).detach().numpy()
    w1, b1, w2, b2 = (
        getattr(safa, name).detach().numpy()
        for name in ("weight_in", "bias_in", "weight_out", "bias_out")
    )
    for n, one in enumerate(maps.flatten(2).numpy()):
        seen = one.mean(axis=0) if reduce == "mean" else one.max(axis=0)
        vector = [one @ ((seen @ w1[k] + b1[k]) @ w2[k] + b2[k]) for k in range(2)]
        np.testing.assert_allclose(found[n], np.concatenate(vector), rtol=1e-9)


def test_safas_masks_begin_as_published():
    safa = Safa(100, masks=8, reduce="mean")
    assert safa.weight_in.shape == (8, 100, 50)
    assert float(safa.weight_in.detach().std()) == pytest.approx(0.005, rel=0.15)
    assert float(safa.weight_in.detach().abs().max()) <= 0.01
    torch.testing.assert_close(safa.bias_in.detach(), torch.full((8, 50), 0.1))


def test_gem_lies_between_mean_and_maximum_and_learns_its_power():
    maps = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(0)) + 0.1
    mean, top = maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))
    torch.testing.assert_close(Gem(1.0)(maps), mean)
    torch.testing.assert_close(Gem(300.0)(maps), top, rtol=0.02, atol=0)
    gem = Gem(3.0)
    found = gem(maps)
    torch.testing.assert_close(found, maps.pow(3).mean(dim=(2, 3)).pow(1 / 3))
    found.sum().backward()
    assert float(gem.power.grad) > 0
    assert torch.isfinite(gem(torch.zeros(1, 5, 4, 6))).all()


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_every_aggregation_embeds_every_view(aggregation):
    model = model_of(network(aggregation=AGGREGATIONS[aggregation], views="[ground, drone]"))
    for view, size in (("satellite", (64, 64)), ("ground", (32, 128)), ("drone", (32, 32))):
        assert model(photo(*size), view).shape == (2, 16)


def test_an_embedding_may_be_normalised_over_the_batch_and_be_the_pooled_features():
    recipe = network("model.embedding_norm=true")
    model = model_of(recipe).train()
    found = model(photo(count=8), "ground")
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(16), atol=1e-5, rtol=0)
    pooled = model_of(network("model.embedding_dim=null", aggregation=AGGREGATIONS["safa by mean"]))
    assert pooled.embedding_dim == 3 * 32
    assert isinstance(pooled.heads["shared"].projection, nn.Identity)
