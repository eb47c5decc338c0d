"""The triplet losses against their formulas written out in plain NumPy, triplet by triplet."""

import math

import numpy as np
import pytest
import torch

from training.losses.batch import FeatureBatch, When
from training.losses.build import build_criterion
from training.losses.her import her_triplets, orientation_loss
from training.recipe_losses import BatchHardLoss, HerLoss, HingeLoss, InstanceLoss, SoftMarginLoss

DIM, PLACES = 6, 20
START = When(step=0, epoch=0)
HER = {"kind": "her", "directions": "query_to_tile", "normalise": True, "feature_scale": 5.0,
       "margin_share": 0.15, "pruned_weight": 0.1, "detach_weights": False,
       "orientation_weight": 0.0}  # fmt: skip


def features(seed, count=9, spread=0.7):
    """Photos, and tiles near them, so that triplets of all sorts occur."""
    rng = np.random.default_rng(seed)
    photo = rng.standard_normal((count, DIM))
    return photo, photo + spread * rng.standard_normal((count, DIM))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def gaps(anchors, others, places):
    """(i, k, dp - dn) of all triplets."""
    for i in range(len(anchors)):
        for k in range(len(anchors)):
            if places[i] != places[k]:
                dp = np.sum((anchors[i] - others[i]) ** 2)
                yield i, k, dp - np.sum((anchors[i] - others[k]) ** 2)


def plain_her(photo, tile, places, *, normalise, feature_scale, margin_share, pruned_weight,
              **_):  # fmt: skip
    if normalise:
        photo, tile = unit(photo), unit(tile)
    photo, tile = feature_scale * photo, feature_scale * tile
    count, total = len(photo), 0.0
    m = margin_share * np.mean([(g @ g + s @ s) / 2 for g, s in zip(photo, tile, strict=True)])
    low, high = math.log2(1 + math.exp(-m / 2)), math.log2(1 + math.exp(m / 2))
    sorts = set()
    for _, _, gap in gaps(photo, tile, places):
        weight = -math.log2(1 / (1 + math.exp(gap + m / 2)))
        if weight < low:
            weight, sort = pruned_weight / count, "pruned"
        elif weight > high:
            weight, sort = high, "limited"
        else:
            sort = "kept"
        sorts.add(sort)
        total += weight * math.log(1 + math.exp(gap))
    return total / count**2, sorts


def taken(loss, photo, tile, places, *, when=START, turns=None):
    criterion = build_criterion(loss, embedding_dim=DIM, places=PLACES, seed=1).double()
    batch = FeatureBatch(*map(torch.from_numpy, (photo, tile, places)), turns)
    return float(criterion(batch, when).detach()), criterion


PLACE_LISTS = {"all differ": np.arange(9), "some are one": np.array([0, 1, 2, 3, 0, 5, 1, 7, 0])}


@pytest.mark.parametrize("places", PLACE_LISTS.values(), ids=PLACE_LISTS)
@pytest.mark.parametrize(("normalise", "scale"), [(True, 5.0), (True, 1.0), (False, 1.0)])
def test_her_equals_the_formulas_in_each_direction(places, normalise, scale):
    photo, tile = features(1, spread=1.5)
    changes = {"normalise": normalise, "feature_scale": scale}
    forth, sorts = plain_her(photo, tile, places, **(HER | changes))
    back, _ = plain_her(tile, photo, places, **(HER | changes))
    if scale == 5.0:
        assert sorts == {"pruned", "kept", "limited"}
    one, _ = taken(HerLoss(**(HER | changes)), photo, tile, places)
    both, _ = taken(HerLoss(**(HER | changes | {"directions": "both"})), photo, tile, places)
    assert one == pytest.approx(forth, rel=1e-9)
    assert both == pytest.approx((forth + back) / 2, rel=1e-9)


def test_her_thresholds_of_unit_features_times_five_are_the_published_ones():
    half = 0.15 * 25 / 2
    assert math.log2(1 + math.exp(-half)) == pytest.approx(0.2058, abs=1e-4)
    assert math.log2(1 + math.exp(half)) == pytest.approx(2.9109, abs=1e-4)
    same = np.ones((9, DIM))
    loss, criterion = taken(HerLoss(**HER), same, same, np.arange(9))
    expected = math.log2(1 + math.exp(half)) * math.log(2) * 8 / 9
    assert loss == pytest.approx(expected, rel=1e-9)
    assert criterion.loss_when_collapsed(9) == pytest.approx(expected, rel=1e-9)


def test_her_with_orientation_adds_the_weighted_regression():
    photo, tile = features(2)
    turns = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])
    torch.manual_seed(0)
    loss = HerLoss(**(HER | {"orientation_weight": 0.5}))
    found, criterion = taken(loss, photo, tile, np.arange(9), turns=turns)
    plain, _ = plain_her(photo, tile, np.arange(9), **HER)
    weight, bias = (p.detach().numpy() for p in criterion.orientation.parameters())
    a, b = 5 * unit(photo), 5 * unit(tile)
    m, extra = 3.75, 0.0
    for i, _, gap in gaps(a, b, np.arange(9)):
        w = math.log2(1 + math.exp(gap + m / 2))
        if w < math.log2(1 + math.exp(-m / 2)):
            w = 0.1 / 9
        w = min(w, math.log2(1 + math.exp(m / 2)))
        angle = np.radians(90 * int(turns[i]))
        off = weight @ np.concatenate([a[i], b[i]]) + bias - [np.sin(angle), np.cos(angle)]
        extra += w * np.sum(off**2) / 81
    assert found == pytest.approx(plain + 0.5 * extra, rel=1e-9)


def test_a_right_orientation_costs_nothing():
    turns = torch.tensor([0, 1, 2, 3])
    right = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]], dtype=torch.float64)
    assert float(orientation_loss(torch.ones(4, 4), right, turns)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("places", PLACE_LISTS.values(), ids=PLACE_LISTS)
def test_hinge_equals_the_formula(places):
    photo, tile = features(3)
    forth = np.mean([max(0, 0.6 + gap) for _, _, gap in gaps(unit(photo), unit(tile), places)])
    back = np.mean([max(0, 0.6 + gap) for _, _, gap in gaps(unit(tile), unit(photo), places)])
    loss = HingeLoss(kind="hinge", directions="both", normalise=True, margin=0.6)
    assert taken(loss, photo, tile, places)[0] == pytest.approx((forth + back) / 2, rel=1e-9)
    raw = np.mean([max(0, 2 + gap) for _, _, gap in gaps(photo, tile, places)])
    loss = HingeLoss(kind="hinge", directions="query_to_tile", normalise=False, margin=2)
    assert taken(loss, photo, tile, places)[0] == pytest.approx(raw, rel=1e-9)


@pytest.mark.parametrize("places", PLACE_LISTS.values(), ids=PLACE_LISTS)
@pytest.mark.parametrize("fraction", [1.0, 0.25, 0.001])
def test_soft_margin_is_the_mean_of_its_hardest_real_triplets(places, fraction):
    photo, tile = features(4)
    expected = []
    for a, b in ((unit(photo), unit(tile)), (unit(tile), unit(photo))):
        losses = sorted(math.log(1 + math.exp(10 * gap)) for _, _, gap in gaps(a, b, places))
        expected.append(np.mean(losses[-max(1, int(fraction * len(losses))) :]))
    loss = SoftMarginLoss(
        kind="soft_margin", directions="both", alpha=10,
        hard_fractions=[{"epochs": None, "fraction": fraction}],
    )  # fmt: skip
    found, _ = taken(loss, photo, tile, places)
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("places", PLACE_LISTS.values(), ids=PLACE_LISTS)
@pytest.mark.parametrize("margin", [0.6, None])
def test_batch_hard_takes_the_nearest_negative_of_each_anchor(places, margin):
    photo, tile = features(5)
    hardest = {}
    for i, _, gap in gaps(unit(photo), unit(tile), places):
        hardest[i] = max(gap, hardest.get(i, -math.inf))
    losses = [
        math.log(1 + math.exp(g)) if margin is None else max(0, margin + g)
        for g in hardest.values()
    ]
    loss = BatchHardLoss(kind="batch_hard", directions="query_to_tile", normalise=True,
                         margin=margin)  # fmt: skip
    assert taken(loss, photo, tile, places)[0] == pytest.approx(np.mean(losses), rel=1e-9)


def test_instance_sums_the_cross_entropies_of_one_classifier_and_adds_the_other_loss():
    photo, tile = features(6)
    places = np.arange(9) + 3
    plus = {"kind": "hinge", "directions": "both", "normalise": True, "margin": 0.6}
    loss = InstanceLoss(kind="instance", dropout=0.0, plus=plus)
    torch.manual_seed(1)
    found, criterion = taken(loss, photo, tile, places)
    weight, bias = (p.detach().numpy() for p in criterion.classifier.parameters())
    expected = 0.0
    for rows in (photo, tile):
        logits = rows @ weight.T + bias
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        expected -= np.mean(np.log(p[np.arange(9), places]))
    alone, _ = taken(HingeLoss(**plus), photo, tile, places)
    assert found == pytest.approx(expected + alone, rel=1e-9)


@pytest.mark.parametrize("length", [1.0, 30.0, 1000.0])
def test_her_of_raw_features_of_any_length_equals_the_formulas(length):
    """exp(m / 2) would overflow: the margin of features of length 1000 is 600000 here."""
    photo, tile = features(7, spread=1.2)
    photo, tile = length * unit(photo), length * unit(tile)
    places, count = PLACE_LISTS["some are one"], 9
    m, total, sorts = 0.6 * length**2, 0.0, set()
    for _, _, gap in gaps(photo, tile, places):
        sort = "pruned" if gap < -m else "limited" if gap > 0 else "kept"
        at = {"pruned": None, "limited": 0.0, "kept": gap}[sort]
        weight = 0.1 / count if at is None else np.logaddexp(0, at + m / 2) / math.log(2)
        total += weight * np.logaddexp(0, gap)
        sorts.add(sort)
    loss = HerLoss(**(HER | {"normalise": False, "feature_scale": 1.0, "margin_share": 0.6}))
    assert sorts == {"pruned", "kept", "limited"}
    assert taken(loss, photo, tile, places)[0] == pytest.approx(total / count**2, rel=1e-9)


def test_pruned_weights_of_long_features_are_still_the_constant():
    """They weigh the orientation term, too; as numbers both sides of the comparison underflow."""
    own = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    found = her_triplets(
        own, own, ~torch.eye(2, dtype=torch.bool), margin=150000.0, pruned_weight=0.1,
        detach_weights=False,
    )  # fmt: skip
    expected = torch.tensor([[0.0, 0.05], [0.05, 0.0]])
    torch.testing.assert_close(found.weights, expected)


@pytest.mark.parametrize("kind", ["her", "hinge", "soft_margin", "batch_hard"])
def test_the_smallest_batch_has_one_triplet_in_each_direction(kind):
    photo, tile = features(8, count=2)
    gap = next(gaps(unit(photo), unit(tile), np.arange(2)))[2]
    back = [one for *_, one in gaps(unit(photo), unit(tile), np.arange(2))][1]
    values = {
        "hinge": lambda g: max(0, 0.6 + g), "batch_hard": lambda g: math.log1p(math.exp(g)),
        "soft_margin": lambda g: math.log1p(math.exp(10 * g)),
    }  # fmt: skip
    common = {"kind": kind, "directions": "query_to_tile"}
    loss = {
        "hinge": lambda: HingeLoss(**common, normalise=True, margin=0.6),
        "batch_hard": lambda: BatchHardLoss(**common, normalise=True, margin=None),
        "soft_margin": lambda: SoftMarginLoss(
            **common, alpha=10, hard_fractions=[{"epochs": None, "fraction": 1.0}]
        ),
        "her": lambda: HerLoss(**HER),
    }[kind]()
    expected = (
        plain_her(photo, tile, np.arange(2), **HER)[0] if kind == "her"
        else np.mean([values[kind](g) for g in (gap, back)])
    )  # fmt: skip
    assert taken(loss, photo, tile, np.arange(2))[0] == pytest.approx(expected, rel=1e-9)
