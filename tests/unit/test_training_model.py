"""The network and the temperature: shapes, limits, orientation maps, averaged weights."""

import pytest
import torch
from torch import nn

from crossfix.errors import DataError, RecipeError
from tests.tiny_pairs import tiny
from training.loop.average import AveragedWeights
from training.loop.optimiser import build_optimiser, clip_gradients
from training.losses.info_nce import InfoNce
from training.model import CrossViewEncoder, ExportedEncoder, orientation_maps
from training.network.aggregation import Safa


@pytest.mark.parametrize("maps", ["true", "false"])
def test_one_network_embeds_all_shapes_to_unit_length(maps):
    recipe = tiny(f"model.orientation_maps={maps}")
    model = ExportedEncoder(CrossViewEncoder(recipe.model, recipe.views()), "drone").eval()
    for height, width in ((32, 32), (32, 128), (64, 64)):
        found = model(torch.randn(3, 3, height, width))
        assert found.shape == (3, 16)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_temperature_starts_as_asked_and_is_limited_only_if_asked():
    limited, free = InfoNce(tiny().loss), InfoNce(tiny("loss.max_scale=null").loss)
    for criterion, largest in ((limited, 100.0), (free, 148.413)):
        assert criterion.figures()["scale"] == pytest.approx(1 / 0.07, rel=1e-5)
        criterion.logit_scale.data.fill_(5.0)
        assert criterion.figures()["scale"] == pytest.approx(largest, rel=1e-5)


def test_orientation_maps_point_north_at_the_top_and_in_the_canvas_centre():
    tile = orientation_maps(torch.zeros(2, 3, 64, 64))
    assert tile.shape == (2, 3, 64, 64)
    assert float(tile[0, 1, 0, 32]) > 0.99  # cosine at the top edge
    assert float(tile[0, 0, 32, 63]) > 0.99  # sine at the right edge: east
    canvas = orientation_maps(torch.zeros(1, 3, 32, 128))
    assert float(canvas[0, 1, 0, 64]) > 0.99
    assert float(canvas[0, 0, 0, 96]) > 0.99  # three quarters along: east


def test_forgetting_activations_changes_no_gradient():
    torch.manual_seed(0)
    model = CrossViewEncoder(tiny().model, tiny().views())
    images, gradients = torch.randn(4, 3, 32, 32), []
    for _ in range(2):
        model.zero_grad()
        model(images, "drone").square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
        model.forget_activations()
    for once, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, once)


def test_a_network_that_cannot_forget_activations_is_refused():
    model = CrossViewEncoder(tiny().model, tiny().views())
    model.backbones["shared"] = nn.Linear(2, 2)
    with pytest.raises(RecipeError, match="Linear has no gradient checkpointing"):
        model.forget_activations()


def test_average_follows_without_decay_and_lags_with_it():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    follows, lags = AveragedWeights(model, None), AveragedWeights(model, 0.9)
    start = model[0].bias.detach().clone()
    model[0].bias.data.add_(1.0)
    model[1].num_batches_tracked.add_(3)
    for average in (follows, lags):
        average.update(model, step=10_000)
        assert int(average.values["1.num_batches_tracked"]) == 3
    torch.testing.assert_close(follows.values["0.bias"], start + 1)
    torch.testing.assert_close(lags.values["0.bias"], start + 0.1)


def test_vectors_are_decayed_only_if_asked():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    plain = build_optimiser([model], tiny().optimiser)
    assert [(len(g["params"]), g["weight_decay"]) for g in plain.param_groups] == [
        (1, 0.03), (3, 0.0),
    ]  # fmt: skip
    every = build_optimiser([model], tiny("optimiser.decay_vectors=true").optimiser)
    assert [(len(g["params"]), g["weight_decay"]) for g in every.param_groups] == [(4, 0.03)]


def test_biases_are_no_matrices_whatever_their_shape():
    """SAFA's masks have a row of biases each."""
    safa = Safa(6, masks=2, reduce="mean")
    plain = build_optimiser([nn.ModuleDict({"safa": safa})], tiny().optimiser)
    decayed, kept = (group["params"] for group in plain.param_groups)
    assert [id(p) for p in decayed] == [id(safa.weight_in), id(safa.weight_out)]
    assert [id(p) for p in kept] == [id(safa.bias_in), id(safa.bias_out)]
    assert plain.param_groups[1]["weight_decay"] == 0.0


def test_backbones_may_learn_slower_and_every_kind_of_optimiser_steps():
    model = nn.ModuleDict({"backbone": nn.Linear(3, 2), "head": nn.Linear(2, 2)})
    common = "lr: 0.1, weight_decay: 0.0, decay_vectors: true, clip_norm: null, clip_value: null"
    for kind in ("kind: sgd, momentum: 0.9, nesterov: true", "kind: adam, beta1: 0.5, beta2: 0.999",
                 "kind: adamw, beta2: 0.999"):  # fmt: skip
        recipe = tiny(f"optimiser={{{kind}, {common}, backbone_lr_share: 0.1}}").optimiser
        optimiser = build_optimiser([model], recipe, slower=model["backbone"])
        assert [(g["lr"], g["lr_share"], len(g["params"])) for g in optimiser.param_groups] == [
            (pytest.approx(0.01), 0.1, 2), (0.1, 1.0, 2),
        ]  # fmt: skip
        before = [p.detach().clone() for p in model.parameters()]
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimiser.step()
        moved = [float((a - b).detach().abs().max()) for a, b in
                 zip(before, model.parameters(), strict=True)]  # fmt: skip
        assert moved[2] == pytest.approx(10 * moved[0], rel=1e-3)
    with pytest.raises(RecipeError, match="nesterov needs a momentum"):
        tiny(f"optimiser={{kind: sgd, momentum: 0.0, nesterov: true, {common}, "
             "backbone_lr_share: 1.0}")  # fmt: skip


def test_gradients_are_limited_by_number_and_by_length():
    weights = nn.Parameter(torch.zeros(2))

    def clipped(*overrides):
        weights.grad = torch.tensor([30.0, -4.0])
        clip_gradients([weights], tiny(*overrides).optimiser)
        return weights.grad.tolist()

    assert clipped("optimiser.clip_norm=null", "optimiser.clip_value=5") == [5.0, -4.0]
    assert clipped("optimiser.clip_norm=null", "optimiser.clip_value=null") == [30.0, -4.0]
    assert clipped("optimiser.clip_norm=5", "optimiser.clip_value=3") == [3.0, -3.0]


@pytest.mark.parametrize("problem", [ConnectionError("no route"), KeyError("hub")])
def test_pretrained_weights_that_cannot_be_had_are_named(monkeypatch, problem):
    def create_model(*_, **__):
        raise problem

    monkeypatch.setattr("timm.create_model", create_model)
    recipe = tiny("model.pretrained=true")
    with pytest.raises(DataError, match=f"pretrained weights of {recipe.model.name}"):
        CrossViewEncoder(recipe.model, recipe.views())
