"""The loss against its formula in plain float64, and the schedule's corners."""

import numpy as np
import pytest
import torch

from training.loss import symmetric_info_nce
from training.schedule import lr_share, progress_of


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


def test_rate_warms_up_and_anneals_to_the_final_share():
    warm = [lr_share(step=s, progress=0.0, warmup_steps=4, final_share=0.0) for s in range(6)]
    np.testing.assert_allclose(warm, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    half = lr_share(step=100, progress=0.5, warmup_steps=4, final_share=0.0)
    end = lr_share(step=100, progress=1.0, warmup_steps=4, final_share=0.1)
    assert (half, end) == (pytest.approx(0.5), pytest.approx(0.1))


def test_progress_is_the_farther_of_steps_and_time():
    assert progress_of(step=10, total_steps=100, elapsed_s=30, max_minutes=1) == 0.5
    assert progress_of(step=90, total_steps=100, elapsed_s=30, max_minutes=1) == 0.9
    assert progress_of(step=10, total_steps=100, elapsed_s=1e9, max_minutes=None) == 0.1
    assert progress_of(step=10, total_steps=100, elapsed_s=1e9, max_minutes=1) == 1.0
