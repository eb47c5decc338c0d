"""The network: shapes, the temperature's limit, orientation maps, collapse guard, checkpoints."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from crossfix.errors import DataError, DeviceUnavailable
from tests.tiny_towns import write_town
from training.batches import PairSource
from training.checkpoint import AveragedWeights, load_checkpoint
from training.company import refresh_company
from training.export import load_photos
from training.loop import Trainer, TrainingCollapsed
from training.model import CrossViewEncoder, ExportedEncoder, orientation_maps
from training.optimiser import choose_device
from training.recipe import load_recipe
from training.sample_world_data import find_towns, open_towns

TINY = Path(training.__file__).parent / "recipes" / "tiny.yaml"


def tiny(*overrides):
    return load_recipe(TINY, overrides)


@pytest.mark.parametrize("maps", ["true", "false"])
def test_one_network_embeds_all_shapes_to_unit_length(maps):
    recipe = tiny(f"model.orientation_maps={maps}")
    model = ExportedEncoder(CrossViewEncoder(recipe.model, recipe.loss)).eval()
    for height, width in ((32, 32), (32, 128), (64, 64)):
        found = model(torch.randn(3, 3, height, width))
        assert found.shape == (3, 16)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_temperature_starts_as_asked_and_is_clamped():
    recipe = tiny()
    model = CrossViewEncoder(recipe.model, recipe.loss)
    assert float(model.scale().detach()) == pytest.approx(1 / 0.07, rel=1e-5)
    model.logit_scale.data.fill_(50.0)
    assert float(model.scale().detach()) == pytest.approx(100.0, rel=1e-5)


def test_orientation_maps_point_north_at_the_top_and_in_the_canvas_centre():
    tile = orientation_maps(torch.zeros(2, 3, 64, 64))
    assert tile.shape == (2, 3, 64, 64)
    assert float(tile[0, 1, 0, 32]) > 0.99  # cosine at the top edge
    assert float(tile[0, 0, 32, 63]) > 0.99  # sine at the right edge: east
    canvas = orientation_maps(torch.zeros(1, 3, 32, 128))
    assert float(canvas[0, 1, 0, 64]) > 0.99
    assert float(canvas[0, 0, 0, 96]) > 0.99  # three quarters along: east


def test_average_follows_without_decay_and_lags_with_it():
    recipe = tiny()
    model = CrossViewEncoder(recipe.model, recipe.loss)
    follows, lags = AveragedWeights(model, None), AveragedWeights(model, 0.9)
    start = float(model.logit_scale.detach())
    model.logit_scale.data.add_(1.0)
    for average in (follows, lags):
        average.update(model, step=10_000)
    assert float(follows.values["logit_scale"]) == pytest.approx(start + 1)
    assert float(lags.values["logit_scale"]) == pytest.approx(start + 0.1, abs=1e-5)


def test_cuda_is_not_silently_replaced():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(DeviceUnavailable):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def trainer_on(folder, recipe):
    folder.mkdir(exist_ok=True)
    write_town(folder / "town", seed=5, panoramas=0, street=0)
    towns = open_towns(find_towns([folder / "town"]))
    return Trainer(recipe, PairSource(recipe, towns, load_photos(towns, recipe, None)), folder)


def test_a_collapsed_run_stops_with_its_name(tmp_path):
    recipe = tiny("data.query_views=[drone]", "runtime.collapse_after_steps=3",
                  "optimiser.lr=1e-12")  # fmt: skip
    trainer = trainer_on(tmp_path, recipe)
    trainer.model.projection.weight.data.zero_()
    with pytest.raises(TrainingCollapsed, match="after 3 steps"):
        trainer.train()


def test_resuming_takes_the_very_steps_an_unbroken_run_takes(tmp_path):
    recipe = tiny("data.query_views=[drone]", "sampling.strategy=random", "schedule.epochs=2")
    whole = trainer_on(tmp_path / "whole", recipe)
    whole.train()
    first = trainer_on(tmp_path / "parts", recipe)
    first._run_epoch()
    first._save()
    second = Trainer(recipe, first.source, first.run)
    second.resume()
    second.train()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, msg=name)


def test_similarity_sampling_never_pairs_conflicts_and_needs_no_gps(tmp_path):
    recipe = tiny("data.query_views=[drone]", "sampling.start_epoch=0")
    trainer = trainer_on(tmp_path, recipe)
    refresh = {"source": trainer.source, "recipe": recipe, "model": trainer.averaged_model}
    by_distance = refresh_company(trainer.items, epoch=0, **refresh)
    items = refresh_company(by_distance, epoch=1, **refresh)["drone"]
    assert not np.array_equal(items.neighbours, by_distance["drone"].neighbours)
    for i, row in enumerate(items.neighbours):
        assert not set(row[row >= 0].tolist()) & set(items.conflicts[i])


def test_a_damaged_or_absent_checkpoint_is_named(tmp_path):
    with pytest.raises(DataError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(tmp_path)


def test_a_budget_ends_the_run_with_the_rate_annealed(tmp_path):
    recipe = tiny("data.query_views=[drone]", "runtime.max_minutes=0.001",
                  "schedule.epochs=10000", "runtime.evaluate_every=0")  # fmt: skip
    done = trainer_on(tmp_path, recipe).train()
    assert 0 < done["step"] < 10_000
    assert math.isfinite(done["loss"])
    assert (tmp_path / "checkpoint.pt").exists()
