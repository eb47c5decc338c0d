"""Every recipe of the two other systems trains, is measured, is exported and answers by HTTP."""

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

import training
from crossfix.encoder import Encoder
from index_builder.__main__ import main as index_main
from service.settings import Settings
from tests.service_world import serve
from tests.tiny_datasets import CITIES, write_cvact, write_cvusa, write_university, write_vigor
from tests.tiny_towns import write_town
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
    "cvusa": (lambda root: polar_cvusa(root), (56, 112), 0.1, 4, 1),
    "cvact": (lambda root: write_cvact(root, train=14), (56, 112), 0.0, 4, 1),
    "vigor_same": (lambda root: polar_vigor(root), (56, 112), 0.0, 3, 1),
}
NETWORKS = {"resnet18": "resnet10t", "resnet34": "resnet10t", "resnet50": "resnet14t",
            "vgg16": "vgg11"}  # fmt: skip
NAMES = (
    "her_university1652", "instance_university1652", "her_cvusa", "her_cvusa_paper", "safa_cvusa",
    "safa_cvact", "safa_vigor_same", "polar_cvusa", "polar_cvusa_paper", "affine_cvusa",
    "stacked_cvusa", "stn_cvusa", "polar_vigor_same", "polar_vigor_same_paper",
    "affine_vigor_same", "stacked_vigor_same", "stn_vigor_same",
)  # fmt: skip
FIRST = ("polar_cvusa_paper",)  # others export the same ways, or for half a minute
LAST = ("safa_cvact", "safa_vigor_same")  # train as safa_cvusa does


def late(names, slow):
    """The names, some of them marked as slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if slow(n) else n for n in names]


def polar_cvusa(root):
    write_cvusa(root, train=14, val=6)
    write_polar(root / "bingmap", root / "polarmap")
    return root


def polar_vigor(root):
    write_vigor(root, corrected=True)
    for city in CITIES:
        write_polar(root / city / "satellite", root / city / "polarmap", "--stretch")
    return root


def write_polar(tiles, out, *more):
    words = ["polar-tiles", "--tiles", str(tiles), "--out", str(out), "--height", "112"]
    assert main([*words, "--width", "224", *more]) == 0


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
    return name.removesuffix("_paper").split("_", 1)[1]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {name: write(folder / name) for name, (write, *_) in DATA.items()}


def test_all_recipes_of_the_two_systems_are_here():
    others = ("cvact", "demo", "sample4geo", "study", "tiny", "cvusa", "vigor", "university1652")
    shipped = {path.stem for path in RECIPES.glob("*.yaml") if not path.stem.startswith(others)}
    assert shipped == set(NAMES)


@pytest.fixture(scope="module")
def trained(roots, tmp_path_factory):
    """The run of a recipe; trained when it is first asked for."""
    runs = {}

    def run_of(name):
        if name not in runs:
            folder = tmp_path_factory.mktemp(name)
            words = ["--recipe", small_recipe(folder, name), "--data", roots[data_of(name)]]
            assert main(["train", *map(str, words), "--out", str(folder / "run")]) == 0
            runs[name] = folder / "run"
        return runs[name]

    return run_of


@pytest.mark.parametrize("name", late(NAMES, lambda name: name in LAST))
def test_a_recipe_of_the_two_systems_trains_and_is_measured(name, roots, trained):
    root, run = str(roots[data_of(name)]), trained(name)
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(losses) >= 2
    assert np.isfinite(losses).all()
    assert main(["evaluate", "--checkpoint", str(run), "--data", root]) == 0
    (row,) = json.loads((run / "evaluation-best.json").read_text())["rows"]
    assert 0 <= row["recall_at_1"] <= row["recall_at_10"] <= 1


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("towns") / "town"
    write_town(folder, seed=1, drone=4, panoramas=4, street=0)
    return folder


@pytest.mark.parametrize("name", late(NAMES, lambda name: name not in FIRST))
def test_a_recipe_of_the_two_systems_exports_builds_and_answers(
    name, roots, trained, town, tmp_path
):
    root, encoder, gallery = roots[data_of(name)], tmp_path / "encoder", tmp_path / "gallery"
    words = ["--checkpoint", trained(name), "--data", root, "--out", encoder]
    assert main(["export", *map(str, words), "--max-bytes", "200000000"]) == 0
    recipe, manifest = load_recipe(RECIPES / f"{name}.yaml"), Encoder.load(encoder).manifest
    assert (manifest.views["satellite"].height_px, manifest.views["satellite"].width_px) == (64, 64)
    for view in manifest.views.values():
        assert (view.mean, view.std) == (recipe.data.mean, recipe.data.std)
    words = ["--encoder", encoder, "--source", town / "satellite.tif", "--tile-size-m", 64]
    assert index_main(["build", *map(str, words), "--out", str(gallery)]) == 0
    asked = "ground" if "ground" in manifest.views else "drone"
    photo = town / ("panorama" if asked == "ground" else "drone") / "0002.jpg"
    with serve(Settings(encoder=encoder, gallery=gallery, port=0, device="cpu")) as base:
        response = httpx.post(
            f"{base}/localize", content=photo.read_bytes(), params={"view": asked, "k": 3},
            headers={"Content-Type": "image/jpeg"}, timeout=60,
        )  # fmt: skip
    assert response.status_code == 200, response.text
    scores = [match["score"] for match in response.json()["matches"]]
    assert len(scores) == 3
    assert np.isfinite(scores).all()
