"""The loss against its formula in plain float64, and the schedule's corners."""

import numpy as np
import pytest
import torch

from training.loop.schedule import lr_share, progress_of, steps_per_epoch
from training.losses.info_nce import symmetric_info_nce
from training.recipe_optimiser import (
    CosineSchedule,
    EpochLinearSchedule,
    LinearSchedule,
    StepSchedule,
)

PLAIN = ({"epochs": None, "factor": 1.0},)  # the loss as it is


def plain_info_nce(query, tile, scale, smoothing):
    query = query / np.linalg.norm(query, axis=1, keepdims=True)
    tile = tile / np.linalg.norm(tile, axis=1, keepdims=True)
    count, total = len(query), 0.0
    for logits in (scale * query @ tile.T, scale * tile @ query.T):
        for i in range(count):
            log_p = logits[i] - np.log(np.exp(logits[i]).sum())
            target = np.full(count, smoothing / count)
            target[i] += 1 - smoothing
            total -= (target * log_p).sum() / count
    return total / 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_equals_the_formula(smoothing):
    rng = np.random.default_rng(3)
    query, tile = rng.standard_normal((2, 7, 5))
    found = symmetric_info_nce(
        torch.from_numpy(query), torch.from_numpy(tile), torch.tensor(9.0, dtype=torch.float64),
        label_smoothing=smoothing,
    )  # fmt: skip
    assert float(found) == pytest.approx(plain_info_nce(query, tile, 9.0, smoothing), abs=1e-12)


def test_collapsed_embeddings_cost_ln_of_the_batch():
    same = torch.ones(16, 4)
    loss = symmetric_info_nce(same, same, torch.tensor(14.3), label_smoothing=0.1)
    assert float(loss) == pytest.approx(np.log(16), abs=1e-6)


def cosine(epochs=25, warmup=1.0, final=0.0):
    return CosineSchedule(
        kind="cosine", epochs=epochs, warmup_epochs=warmup, final_lr_share=final, loss_scales=PLAIN
    )


def test_rate_warms_up_and_anneals_to_the_final_share():
    def share(step, progress, warmup=1.0, final=0.0):
        return lr_share(cosine(warmup=warmup, final=final), step=step, progress=progress,
                        steps_per_epoch=4)  # fmt: skip

    warm = [share(step, step / 100) for step in range(5)]
    np.testing.assert_allclose(warm, [0.2, 0.4, 0.6, 0.8, 1.0])
    assert share(52, 0.52) == pytest.approx(0.5)  # half of what follows the warm-up
    assert share(100, 1.0, final=0.1) == pytest.approx(0.1)
    assert share(0, 0.0, warmup=0.0) == 1.0
    assert share(3, 0.03, warmup=29.6 / 4) == pytest.approx(4 / 30.6)
    assert share(10, 0.9, warmup=19 / 4) < share(10, 0.1, warmup=19 / 4)  # a budget nearly used up


def test_rate_follows_the_published_schedule_after_warm_up():
    """Cosine over the steps that follow the warm-up, as the official code's scheduler has it."""
    warmup, total = 20, 200
    for step in range(warmup, total):
        expected = 0.5 * (1 + np.cos(np.pi * (step - warmup) / (total - warmup)))
        found = lr_share(
            cosine(epochs=10), step=step, progress=step / total, steps_per_epoch=20
        )  # fmt: skip
        assert found == pytest.approx(expected, abs=1e-12)


def test_rate_falls_along_a_line_or_in_steps():
    common = {"warmup_epochs": 0, "loss_scales": PLAIN}
    line = LinearSchedule(kind="linear", epochs=100, final_lr_share=0.0, **common)
    steps = StepSchedule(kind="steps", epochs=120, at_epochs=(80, 100), factor=0.1, **common)

    def share(schedule, epoch):
        return lr_share(
            schedule, step=7 * epoch, progress=epoch / schedule.epochs, steps_per_epoch=7
        )

    assert [share(line, epoch) for epoch in (0, 25, 99)] == pytest.approx([1, 0.75, 0.01])
    assert [share(steps, e) for e in (0, 79, 80, 99, 100, 119)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    constant = steps.model_copy(update={"at_epochs": ()})
    assert share(constant, 119) == 1


def test_the_rate_of_her_falls_once_an_epoch():
    """5e-5 (1 - e / 100) in the epochs e = 0 .. 99, the same in all steps of an epoch."""
    schedule = EpochLinearSchedule(
        kind="linear_by_epoch", epochs=100, warmup_epochs=0, final_lr_share=0.0, loss_scales=PLAIN
    )
    for step in range(700):
        share = lr_share(schedule, step=step, progress=step / 700, steps_per_epoch=7)
        assert 5e-5 * share == pytest.approx(5e-5 * (1 - step // 7 / 100), rel=1e-12), step
    assert lr_share(schedule, step=700, progress=1.0, steps_per_epoch=7) == pytest.approx(0.01)


def test_an_epoch_is_its_batches_or_on_paper_its_pairs_by_the_batch():
    counts = {"batches": 7, "pairs": [1000, 130], "batch_size": 128}
    assert steps_per_epoch(mode="correct", **counts) == 7
    assert steps_per_epoch(mode="paper", **counts) == 8 + 2


def test_progress_is_the_farther_of_steps_and_time():
    assert progress_of(step=10, total_steps=100, elapsed_s=30, max_minutes=1) == 0.5
    assert progress_of(step=90, total_steps=100, elapsed_s=30, max_minutes=1) == 0.9
    assert progress_of(step=10, total_steps=100, elapsed_s=1e9, max_minutes=None) == 0.1
    assert progress_of(step=10, total_steps=100, elapsed_s=1e9, max_minutes=1) == 1.0
