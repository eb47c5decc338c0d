"""Gradients, safety and options of the losses; their values are in the golden tests."""

import math

import pytest
import torch
from pydantic import ValidationError

from training.losses.batch import FeatureBatch, When
from training.losses.build import build_criterion
from training.losses.her import her_triplets
from training.losses.triplets import batch_hard_loss, hinge_loss, soft_margin_loss
from training.recipe_losses import HerLoss, InstanceLoss, SoftMarginLoss

NOW = When(step=5, epoch=0)
SOFT = {"kind": "soft_margin", "directions": "both", "alpha": 10.0,
        "hard_fractions": [{"epochs": None, "fraction": 1.0}]}  # fmt: skip
HER = {"kind": "her", "directions": "both", "normalise": True, "feature_scale": 5.0,
       "margin_share": 0.15, "pruned_weight": 0.1, "detach_weights": False,
       "orientation_weight": 0.0}  # fmt: skip
HINGE = {"kind": "hinge", "directions": "both", "normalise": True, "margin": 0.6}
HARD = {"kind": "batch_hard", "directions": "both", "normalise": True, "margin": 0.6}
EVERY = {one["kind"]: one for one in (SOFT, HER, HINGE, HARD)}


def criterion_of(values, **changes):
    kinds = {"her": HerLoss, "soft_margin": SoftMarginLoss}
    recipe = InstanceLoss(kind="instance", dropout=0.0, plus={**values, **changes}).plus
    assert not kinds.get(values["kind"]) or isinstance(recipe, kinds[values["kind"]])
    return build_criterion(recipe, embedding_dim=5, places=7, seed=1)


def rows(seed, count=6, grad=True):
    generator = torch.Generator().manual_seed(seed)
    photo = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    tile = photo + 0.6 * torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return photo.requires_grad_(grad), tile.requires_grad_(grad)


PLACES = torch.tensor([0, 1, 2, 3, 0, 5])


@pytest.mark.parametrize("kind", EVERY)
def test_gradients_are_those_of_the_values(kind):
    """Unit length makes HER's margin a constant, so that nothing detached is left."""
    criterion = criterion_of(EVERY[kind])

    def value(photo, tile):
        return criterion(FeatureBatch(photo, tile, PLACES), NOW)

    for seed in range(3):
        assert torch.autograd.gradcheck(value, rows(seed))


def test_instance_and_orientation_have_the_gradients_of_their_values():
    plain = InstanceLoss(kind="instance", dropout=0.3, plus=HER | {"orientation_weight": 0.5})
    criterion = build_criterion(plain, embedding_dim=5, places=7, seed=1).double()
    turns = torch.tensor([0, 1, 2, 3, 1, 0])

    def value(photo, tile):
        return criterion(FeatureBatch(photo, tile, PLACES, turns), NOW)

    assert torch.autograd.gradcheck(value, rows(4))


def test_hers_weights_carry_gradients_unless_detached():
    photo, tile = rows(0)
    negatives = PLACES[:, None] != PLACES[None]
    settings = {"margin": 3.75, "pruned_weight": 0.1}
    through = her_triplets(3 * photo, 3 * tile, negatives, detach_weights=False, **settings)
    held = her_triplets(3 * photo, 3 * tile, negatives, detach_weights=True, **settings)
    torch.testing.assert_close(through.loss(), held.loss())
    (free,) = torch.autograd.grad(through.loss(), photo, retain_graph=True)
    (stopped,) = torch.autograd.grad(held.loss(), photo, retain_graph=True)
    (by_hand,) = torch.autograd.grad((held.weights.detach() * held.losses).mean(), photo)
    torch.testing.assert_close(stopped, by_hand)
    assert float((free - stopped).abs().max()) > 1e-3


@pytest.mark.parametrize("detach_weights", [False, True])
def test_hers_gradients_with_a_given_margin_are_those_of_its_values_for_raw_features(
    detach_weights,
):
    negatives = PLACES[:, None] != PLACES[None]

    def value(photo, tile):
        found = her_triplets(
            photo, tile, negatives, margin=1.3, pruned_weight=0.1, detach_weights=detach_weights
        )
        # Detached weights are constants; what is left has to be differentiated alone.
        return found.losses.mean() if detach_weights else found.loss()

    for seed in range(3):
        assert torch.autograd.gradcheck(value, rows(seed))


def test_hers_margin_is_a_constant_even_of_raw_features():
    photo, tile = rows(1)
    criterion = criterion_of(HER, normalise=False, feature_scale=1.0, directions="query_to_tile")
    loss = criterion(FeatureBatch(photo, tile, PLACES), NOW)
    margin = 0.15 * float((photo.square().sum() + tile.square().sum()).detach() / 12)
    fixed = her_triplets(
        photo, tile, PLACES[:, None] != PLACES[None], margin=margin, pruned_weight=0.1,
        detach_weights=False,
    ).loss()  # fmt: skip
    for found, expected in zip(
        torch.autograd.grad(loss, (photo, tile)), torch.autograd.grad(fixed, (photo, tile)),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", EVERY)
def test_huge_and_equal_features_give_finite_losses_and_gradients(kind):
    criterion = criterion_of(EVERY[kind], **({} if kind == "soft_margin" else {"normalise": False}))
    for photo in (1e4 * torch.randn(6, 5), torch.ones(6, 5), torch.zeros(6, 5)):
        photo = photo.clone().requires_grad_()
        tile = photo.detach().roll(1, 0).requires_grad_()
        loss = criterion(FeatureBatch(photo, tile, PLACES), NOW)
        loss.backward()
        assert math.isfinite(float(loss.detach()))
        assert torch.isfinite(photo.grad).all()
        assert torch.isfinite(tile.grad).all()


@pytest.mark.parametrize("kind", EVERY)
def test_rows_of_one_place_push_nobody_away(kind):
    """With all rows of one place there is no negative, no loss and no gradient."""
    photo, tile = rows(2)
    loss = criterion_of(EVERY[kind])(FeatureBatch(photo, tile, torch.zeros(6).long()), NOW)
    loss.backward()
    assert float(loss.detach()) == 0
    assert float(photo.grad.abs().max()) == float(tile.grad.abs().max()) == 0


def test_masked_pairs_do_not_fill_the_places_of_the_hardest():
    """A pair of the same place is the hardest of all; counted, it would hide every real one."""
    anchors = torch.eye(4, dtype=torch.float64)
    others = anchors.clone()
    others[1] = anchors[0]  # place of row 0
    others[2] = -anchors[2]  # a real triplet that is wrong
    places = torch.tensor([0, 0, 2, 3])
    negatives = places[:, None] != places[None]
    assert int(negatives.sum()) == 10
    found = soft_margin_loss(anchors, others, negatives, alpha=10, fraction=0.1)
    assert float(found) == pytest.approx(10 * (4 - 2), abs=1e-6)


def test_the_part_that_counts_shrinks_with_the_epochs():
    fractions = [{"epochs": 20, "fraction": 1.0}, {"epochs": 40, "fraction": 0.1},
                 {"epochs": None, "fraction": 0.01}]  # fmt: skip
    loss = SoftMarginLoss(**(SOFT | {"hard_fractions": fractions}))
    assert [loss.fraction_at(epoch) for epoch in (0, 19, 20, 39, 40, 500)] == [
        1.0, 1.0, 0.1, 0.1, 0.01, 0.01,
    ]  # fmt: skip
    criterion = build_criterion(loss, embedding_dim=5, places=7, seed=1)
    batch = FeatureBatch(*rows(3), PLACES)
    values = [float(criterion(batch, When(0, epoch)).detach()) for epoch in (0, 20, 40)]
    assert values == sorted(values)
    assert values[2] > 2 * values[0]


@pytest.mark.parametrize("fractions", [
    [], [{"epochs": 5, "fraction": 1.0}],
    [{"epochs": None, "fraction": 1.0}, {"epochs": None, "fraction": 0.1}],
    [{"epochs": 5, "fraction": 1.0}, {"epochs": 5, "fraction": 0.5},
     {"epochs": None, "fraction": 0.1}],
])  # fmt: skip
def test_a_schedule_without_order_or_end_is_refused(fractions):
    with pytest.raises(ValidationError):
        SoftMarginLoss(**(SOFT | {"hard_fractions": fractions}))


def test_dropout_follows_from_the_seed_and_the_step_alone():
    recipe = InstanceLoss(kind="instance", dropout=0.5, plus=None)
    criterion, other = (
        build_criterion(recipe, embedding_dim=5, places=7, seed=seed).double() for seed in (1, 2)
    )
    other.load_state_dict(criterion.state_dict())
    batch = FeatureBatch(*rows(3), PLACES)
    torch.manual_seed(1)
    first = float(criterion(batch, When(3, 0)).detach())
    torch.manual_seed(2)
    assert float(criterion(batch, When(3, 0)).detach()) == first
    assert float(criterion(batch, When(4, 0)).detach()) != first
    assert float(other(batch, When(3, 0)).detach()) != first
    for one in (criterion, other):
        one.eval()
    assert float(other(batch, When(3, 0)).detach()) == float(criterion(batch, When(4, 0)).detach())


@pytest.mark.parametrize("kind", EVERY)
def test_the_loss_of_equal_features_is_known(kind):
    criterion, same = criterion_of(EVERY[kind]), torch.ones(6, 5, dtype=torch.float64)
    loss = float(criterion(FeatureBatch(same, same, torch.arange(6)), NOW))
    assert criterion.loss_when_collapsed(6) == pytest.approx(loss, rel=1e-9)


def test_where_the_loss_of_equal_features_is_not_known_nothing_is_claimed():
    assert criterion_of(HER, normalise=False).loss_when_collapsed(6) is None
    both = InstanceLoss(kind="instance", dropout=0, plus=HER | {"normalise": False})
    assert build_criterion(both, embedding_dim=5, places=7, seed=1).loss_when_collapsed(6) is None
    alone = InstanceLoss(kind="instance", dropout=0, plus=None)
    criterion = build_criterion(alone, embedding_dim=5, places=7, seed=1)
    assert criterion.loss_when_collapsed(6) == pytest.approx(2 * math.log(7))


def test_plain_functions_need_no_recipe():
    photo, tile = rows(0, grad=False)
    negatives = ~torch.eye(6, dtype=torch.bool)
    assert float(hinge_loss(photo, photo, negatives, margin=1e-9)) == 0
    assert float(hinge_loss(photo, tile, negatives, margin=100.0)) > 50
    assert float(batch_hard_loss(photo, photo, negatives, margin=None)) < math.log(2)
