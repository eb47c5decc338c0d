"""Every recipe of the two other systems takes two steps on its data set, and is measured."""

import json
from pathlib import Path

import numpy as np
import pytest

import training
from tests.tiny_datasets import write_cvusa, write_university, write_vigor
from training.__main__ import main
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"
SMALL = """
extends: {recipe}
model: {{name: {network}, pretrained: false, kwargs: {{}}, {model}}}
data: {{tile_px: 64, ground_height_px: {ground[0]}, ground_width_px: {ground[1]}, drone_px: 64,
       validation_share: {share}}}
sampling: {{batch_size: {batch}}}
schedule: {{epochs: {epochs}}}
runtime: {{device: cpu, threads: 1, workers: 0, precision: fp32, evaluate_every: 0,
          pictured_queries: 0, collapse_after_steps: 0, log_every_steps: 1}}
"""
DATA = {  # folder of which recipes, ground size, held out, batch, epochs
    "university1652": (write_university, (64, 64), 0.0, 2, 2),
    "cvusa": (lambda root: write_cvusa(root, train=14, val=6), (56, 112), 0.1, 4, 1),
    "vigor_same": (lambda root: write_vigor(root, corrected=True), (56, 112), 0.0, 3, 1),
}
NETWORKS = {"resnet34": "resnet10t", "resnet50": "resnet14t", "vgg16": "vgg11"}
NAMES = (
    "her_university1652", "instance_university1652", "her_cvusa", "safa_cvusa", "polar_cvusa",
    "affine_cvusa", "stacked_cvusa", "stn_cvusa", "polar_vigor_same", "affine_vigor_same",
    "stacked_vigor_same", "stn_vigor_same",
)  # fmt: skip


def small_recipe(folder, name):
    """The recipe with a smaller network of the same family and smaller images."""
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    _, ground, share, batch, epochs = DATA[data_of(name)]
    sized = recipe.model.tile_transform.kind != "none"
    path = folder / f"{name}.yaml"
    path.write_text(SMALL.format(
        recipe=RECIPES / f"{name}.yaml", network=NETWORKS[recipe.model.name], ground=ground,
        model=f"tile_transform: {{height_px: {ground[0]}, width_px: {ground[1]}}}" if sized else "",
        share=share, batch=batch, epochs=epochs,
    ))  # fmt: skip
    return path


def data_of(name):
    return name.split("_", 1)[1]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {name: write(folder / name) for name, (write, *_) in DATA.items()}


def test_all_recipes_of_the_two_systems_are_here():
    others = ("cvact", "demo", "sample4geo", "study", "tiny", "cvusa", "vigor", "university1652")
    shipped = {path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith(others)}
    assert shipped == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_of_the_two_systems_trains_and_is_measured(name, roots, tmp_path):
    root, run = str(roots[data_of(name)]), tmp_path / "run"
    recipe = str(small_recipe(tmp_path, name))
    assert main(["train", "--recipe", recipe, "--data", root, "--out", str(run)]) == 0
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) >= 2
    assert np.isfinite(losses).all()
    assert main(["evaluate", "--checkpoint", str(run), "--data", root]) == 0
    (row,) = json.loads((run / "evaluation-best.json").read_text())["rows"]
    assert 0 <= row["recall_at_1"] <= row["recall_at_10"] <= 1
