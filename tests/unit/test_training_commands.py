"""Runs are neither overwritten nor continued as something else; names of what is written."""

import json
from pathlib import Path

import pytest

import training
from tests.tiny_towns import write_town
from training.__main__ import main
from training.commands import evaluation_file

RECIPE = str(Path(training.__file__).parent / "recipes" / "tiny.yaml")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    for seed, part in enumerate(("train", "val")):
        write_town(root / part, seed=seed, drone=16, panoramas=0, street=0)
    assert run(root, "--set", *SMALL) == 0
    return root


SMALL = ("data.query_views=[drone]", "schedule.epochs=1", "sampling.batch_size=4")


def run(root, *extra, out="run"):
    return main(["train", "--recipe", RECIPE, "--data", str(root / "train"), "--val",
                 str(root / "val"), "--out", str(root / out), *extra])  # fmt: skip


@pytest.mark.parametrize(
    "change", ["model.embedding_dim=8", "sampling.strategy=random", "loss.label_smoothing=0.0",
               "mode=paper"],
)  # fmt: skip
def test_another_recipe_is_refused_and_the_runs_record_stays(world, capsys, change):
    before = (world / "run" / "recipe.json").read_bytes()
    assert run(world, "--resume", "--set", *SMALL, change) == 1
    assert change.split(".")[0].split("=")[0] in capsys.readouterr().err
    assert (world / "run" / "recipe.json").read_bytes() == before


def test_more_epochs_are_no_other_recipe(world):
    assert run(world, "--resume", "--set", *SMALL, "schedule.epochs=2") == 0
    record = json.loads((world / "run" / "recipe.json").read_text())
    assert record["recipe"]["schedule"]["epochs"] == 2
    assert record["dataset"]["name"] == "sample_world"


def test_a_mistyped_folder_is_not_trained_from_zero(world, capsys):
    assert run(world, "--resume", out="rnu") == 1
    assert "no run to resume" in capsys.readouterr().err
    assert not (world / "rnu").exists()


def test_a_loss_that_is_no_number_ends_the_run_in_one_sentence(world, capsys):
    wild = ("optimiser.lr=1e30", "optimiser.clip_norm=null", "schedule.warmup_epochs=0")
    assert run(world, "--set", *SMALL, *wild, "schedule.epochs=8", out="wild") == 1
    assert "no number" in capsys.readouterr().err
    log = (world / "wild" / "log.jsonl").read_text()
    assert "NaN" not in log


def test_an_unknown_network_is_named(world, capsys):
    assert run(world, "--set", *SMALL, "model.name=convnext_gigantic", out="other") == 1
    assert "convnext_gigantic" in capsys.readouterr().err


def test_each_protocol_and_choice_of_weights_has_its_own_file():
    names = {evaluation_file(weights, protocol) for weights in ("best", "last", "random")
             for protocol in (None, "drone-to-satellite", "satellite-to-drone")}  # fmt: skip
    assert len(names) == 9
