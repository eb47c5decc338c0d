"""The contrastive step: chunks and several processes give the big batch's loss and gradients."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.step_in_processes import (
    LOCAL_PAIRS,
    LOSSES,
    NOW,
    build,
    embedded,
    gradients_of,
    losses_of_a_run,
    pair_batch,
)
from tests.tiny_pairs import tiny
from training.losses.batch import FeatureBatch, When

ROOT = Path(__file__).resolve().parents[2]
DROP = ("model.kwargs.drop_path_rate=0.4", "model.kwargs.drop_rate=0.3",
        "model.kwargs.ls_init_value=1.0")  # fmt: skip


def whole_batch(step, pairs, chunk=100):
    """Loss and gradients the direct way: every chunk keeps its graph, one backward."""
    guide = step.guide_weight > 0
    photo, tile = (
        torch.cat([step.encoder(part, view, guide=asked) for part in images.split(chunk)])
        for images, view, asked in (
            (pairs.photo, pairs.view, False), (pairs.tile, "satellite", guide),
        )
    )  # fmt: skip
    dim = photo.shape[1]
    loss = step.criterion(FeatureBatch(photo, tile[:, :dim], pairs.places, pairs.turns), NOW)
    if guide:
        loss = loss + step.guide_weight * tile[:, dim].mean()
    loss.backward()
    return float(loss.detach()), gradients_of(step)


def assert_same(found, expected):
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1].keys() == expected[1].keys()
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in expected[1].values())
    assert not any("backbones.ground" in name for name in expected[1])  # no photo of that view
    for name, gradient in expected[1].items():
        near = 1e-5 * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=near, msg=name)


def test_the_loss_and_its_gradients_are_scaled_as_the_epoch_wants():
    """Times 5 after the first two epochs, and of every other thing the same."""
    scales = "schedule.loss_scales=[{epochs: 2, factor: 1.0}, {epochs: null, factor: 5.0}]"
    recipe, pairs = tiny(scales), pair_batch(8)
    found = {}
    for epoch in (0, 1, 2, 40):
        step = replace(build(recipe), loss_scale_at=recipe.schedule.loss_scale_at)
        loss = float(step.backward(pairs, When(step=0, epoch=epoch)))
        found[epoch] = loss, gradients_of(step)
    assert found[0][0] == found[1][0]
    for epoch in (2, 40):
        assert found[epoch][0] == pytest.approx(5 * found[0][0], rel=1e-6)
        for name, gradient in found[0][1].items():
            near = 1e-4 * max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(
                found[epoch][1][name], 5 * gradient, rtol=1e-4, atol=near, msg=name
            )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("micro_batch", ["null", "3", "8", "100"])
def test_chunks_give_the_loss_and_gradients_of_the_whole_batch(micro_batch, loss):
    recipe = tiny(f"runtime.micro_batch={micro_batch}", *LOSSES[loss])
    step, pairs = build(recipe), pair_batch(8, tile_px=recipe.data.tile_px)
    found = float(step.backward(pairs, NOW)), gradients_of(step)
    step.encoder.zero_grad()
    step.criterion.zero_grad()
    assert_same(found, whole_batch(step, pairs))


def test_chunks_are_recomputed_with_the_same_stochastic_depth():
    step = build(tiny("runtime.micro_batch=3", *DROP))
    pairs = pair_batch(8)
    torch.manual_seed(7)
    found = float(step.backward(pairs, NOW)), gradients_of(step)
    step.encoder.zero_grad()
    step.criterion.zero_grad()
    torch.manual_seed(7)
    assert_same(found, whole_batch(step, pairs, 3))
    torch.manual_seed(8)
    assert float(step.backward(pairs, NOW)) != found[0]


def test_lower_precision_leaves_the_loss_in_full_precision():
    recipe = tiny("runtime.precision=bf16", "runtime.micro_batch=4")
    step = build(recipe)
    loss = step.backward(pair_batch(8), NOW)
    assert loss.dtype == torch.float32
    assert all(gradient.dtype == torch.float32 for gradient in gradients_of(step).values())
    exact = float(build(tiny()).backward(pair_batch(8), NOW))
    assert float(loss) != exact
    assert float(loss) == pytest.approx(exact, rel=0.05)


class DoublingScaler:
    """Scales like the loss scaler of fp16, which needs a GPU."""

    def scale(self, loss):
        return loss * 2


def test_a_loss_scale_reaches_network_and_criterion_alike():
    pairs = pair_batch(8)
    plain, scaled = build(tiny("runtime.micro_batch=3")), build(tiny("runtime.micro_batch=3"))
    loss = float(plain.backward(pairs, NOW))
    scaled.accelerator.scaler = DoublingScaler()
    assert float(scaled.backward(pairs, NOW)) == pytest.approx(loss)
    for name, gradient in gradients_of(plain).items():
        torch.testing.assert_close(gradients_of(scaled)[name], 2 * gradient)


def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
               "--nproc-per-node", "2", "-m", "tests.step_in_processes", str(tmp_path)]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=False, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = {}
    for loss, changes in LOSSES.items():
        recipe = tiny(*changes)
        step = build(recipe)
        value = float(step.backward(pair_batch(2 * LOCAL_PAIRS, tile_px=recipe.data.tile_px), NOW))
        expected[loss] = value, gradients_of(step)
    both = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    torch.testing.assert_close(both[0]["statistics"], both[1]["statistics"], rtol=0, atol=0)
    assert float(both[0]["statistics"].abs().max()) > 0
    for name, value in both[0]["criterion"].items():
        torch.testing.assert_close(both[1]["criterion"][name], value, rtol=0, atol=0, msg=name)
    assert float(both[1]["criterion"]["classifier.weight"].abs().max()) > 0
    for found in both:
        for loss, whole in expected.items():
            for case in ("whole", "chunks"):
                assert_same((found[loss, case]["loss"], found[loss, case]["gradients"]), whole)
        torch.testing.assert_close(found["embedded"], embedded(7), atol=1e-5, rtol=0)
        assert len(found["losses"]) == 8
        assert found["losses"] == pytest.approx(losses_of_a_run(tmp_path / "one"), abs=2e-3)
