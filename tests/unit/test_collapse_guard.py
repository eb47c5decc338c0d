"""When a run has collapsed: its loss is that of equal features, and not merely a high one."""

import math

import pytest
import torch
from torch.nn import functional

from tests.tiny_pairs import tiny
from training.loop.guard import TrainingCollapsed, check_collapse
from training.losses.batch import FeatureBatch, When
from training.losses.build import build_criterion

BATCH, DIM = 16, 8
HARDEST = "hard_fractions: [{epochs: null, fraction: 0.1}]"
HER = ("kind: her, directions: both, normalise: true, feature_scale: 5.0, margin_share: 0.15, "
       "pruned_weight: 0.1, detach_weights: false, orientation_weight: 0.0")  # fmt: skip
TRIPLETS = {
    "her": HER,
    "hinge": "kind: hinge, directions: both, normalise: true, margin: 0.6",
    "hardest": f"kind: soft_margin, directions: both, alpha: 10.0, {HARDEST}",
    "batch-hard": "kind: batch_hard, directions: both, normalise: true, margin: 0.6",
    "soft batch-hard": "kind: batch_hard, directions: both, normalise: true, margin: null",
}
CROSS_ENTROPIES = {
    "info_nce": "kind: info_nce, label_smoothing: 0.1, initial_temperature: 0.07, max_scale: null",
    "instance": "kind: instance, dropout: 0.0, plus: null",
}
EVERY = TRIPLETS | CROSS_ENTROPIES


def criterion_of(text):
    return build_criterion(tiny(f"loss={{{text}}}").loss, embedding_dim=DIM, places=BATCH, seed=1)


def losses_of(criterion, *, noise, count=20):
    """Losses of batches whose photos and tiles are noise around one vector, pairs not alike."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for step in range(count):
        middle = torch.ones(BATCH, DIM) / math.sqrt(DIM)
        noises = (noise * torch.randn(BATCH, DIM, generator=generator) for _ in range(2))
        pair = (functional.normalize(middle + one, dim=1) for one in noises)
        batch = FeatureBatch(*pair, torch.arange(BATCH))
        found.append(float(criterion(batch, When(step, 0)).detach()))
    return found


def check(criterion, losses):
    check_collapse(
        losses, step=500, collapsed_loss=criterion.loss_when_collapsed(BATCH),
        nothing_is_worse=criterion.nothing_is_worse,
    )  # fmt: skip


@pytest.mark.parametrize("kind", EVERY)
def test_nearly_equal_features_are_a_collapse_whatever_the_loss(kind):
    criterion = criterion_of(EVERY[kind])
    with pytest.raises(TrainingCollapsed, match="after 500 steps"):
        check(criterion, losses_of(criterion, noise=1e-3))


@pytest.mark.parametrize("kind", TRIPLETS)
def test_triplets_of_features_that_differ_may_cost_more_than_equal_ones(kind):
    criterion = criterion_of(EVERY[kind])
    losses = losses_of(criterion, noise=0.6)
    assert sum(losses) / len(losses) > 1.02 * criterion.loss_when_collapsed(BATCH)
    check(criterion, losses)


def test_cross_entropies_above_those_of_guessing_have_learned_nothing():
    for text in CROSS_ENTROPIES.values():
        criterion = criterion_of(text)
        with pytest.raises(TrainingCollapsed):
            check(criterion, [1.5 * criterion.loss_when_collapsed(BATCH)] * 3)
        check(criterion, [0.9 * criterion.loss_when_collapsed(BATCH)] * 3)


def test_a_sum_with_triplets_may_be_high_like_them():
    both = criterion_of(f"kind: instance, dropout: 0.0, plus: {{{HER}}}")
    assert not both.nothing_is_worse
    entropies = CROSS_ENTROPIES["info_nce"]
    assert criterion_of(f"kind: instance, dropout: 0.0, plus: {{{entropies}}}").nothing_is_worse


def test_a_run_that_passes_the_value_on_its_way_down_goes_on():
    passing = [2.0 - 0.1 * step for step in range(20)]
    assert sum(passing) / 20 == pytest.approx(1.05)
    check_collapse(passing, step=500, collapsed_loss=1.05, nothing_is_worse=False)
    mostly = [1.05] * 19 + [1.5]
    with pytest.raises(TrainingCollapsed, match=r"loss is 1\.073, .* have 1\.050"):
        check_collapse(mostly, step=500, collapsed_loss=1.05, nothing_is_worse=False)


def test_nothing_is_checked_where_the_value_is_not_known():
    check_collapse([1.0], step=500, collapsed_loss=None, nothing_is_worse=False)
