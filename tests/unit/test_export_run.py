"""A run folder becomes an artifact: which weights, which data, which terms."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from crossfix.encoder import Encoder
from crossfix.errors import DataError, PublishError
from crossfix.matches import Matches
from crossfix.preprocess import normalise
from tests.tiny_towns import write_town
from training.datasets.hold_out import hold_out
from training.datasets.split import DatasetCard, EvaluationSplit, PairTable
from training.export.artifact import export_run
from training.export.data import split_data, town_data
from training.export.procedural import procedural_image
from training.loop.checkpoint import RunState, save_best, save_checkpoint, save_recipe
from training.model import CrossViewEncoder
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"


def write_run(run, recipe):
    """A run folder whose best and last weights differ; returns both models."""
    run.mkdir()
    save_recipe(run, recipe)
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(CrossViewEncoder(recipe.model, recipe.views()).eval())
    best, last = models
    save_best(run, best.state_dict(), RunState())
    save_checkpoint(run, {"average": last.state_dict()})
    return best, last


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("export")
    folders = [write_town(root / "towns" / f"town-{i}", seed=i, drone=12, panoramas=12, street=4)
               for i in range(2)]  # fmt: skip
    recipe = load_recipe(RECIPES / "tiny.yaml")
    best, last = write_run(root / "run", recipe)
    data = town_data(folders, recipe, root / "run" / "cache")
    export_run(root / "run", root / "best", data, variants=("fp16",), gate=1.0)
    return root, recipe, data, {"best": best, "last": last}


def embedding_difference(artifact, model, data):
    encoder = Encoder.load(artifact, device="cpu")
    tensors = normalise(data.inputs()["drone"], encoder.view("drone"))
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model(torch.from_numpy(tensors), "drone"), dim=-1)
    return np.abs(encoder.encode(tensors, "drone") - expected.numpy()).max()


def test_the_best_weights_are_exported_unless_the_last_are_asked_for(world, tmp_path):
    root, _, data, models = world
    assert embedding_difference(root / "best", models["best"], data) < 1e-4
    export_run(root / "run", tmp_path / "last", data, weights="last")
    assert embedding_difference(tmp_path / "last", models["last"], data) < 1e-4
    assert embedding_difference(tmp_path / "last", models["best"], data) > 1e-2


def test_without_best_weights_the_last_are_exported(world, tmp_path):
    root, _, data, models = world
    shutil.copytree(root / "run", tmp_path / "run")
    (tmp_path / "run" / "best.pt").unlink()
    export_run(tmp_path / "run", tmp_path / "encoder", data)
    assert embedding_difference(tmp_path / "encoder", models["last"], data) < 1e-4


def test_towns_give_calibration_figures_golden_photos_and_the_variant(world):
    root, recipe, data, _ = world
    manifest = Encoder.load(root / "best", device="cpu").manifest
    assert set(manifest.calibration) == {"ground", "drone"}
    assert "town-0, town-1" in manifest.calibration["drone"].data
    assert {row["weights"] for row in manifest.evaluation} == {"trained", "random"}
    assert {row["view"] for row in manifest.evaluation} == {"ground", "drone"}
    assert manifest.recipe == recipe.model_dump(mode="json")
    assert manifest.licence_weights == "Apache-2.0"
    assert len(manifest.golden) == 6
    assert {one.split for one in manifest.variants["fp16"].measured} == {
        split.name for split in data.splits
    }
    Encoder.load(root / "best", device="cpu", precision="fp16")


def test_no_towns_and_too_many_bytes_are_refused(world, tmp_path):
    root, recipe, data, _ = world
    with pytest.raises(DataError, match="no town was given"):
        town_data([], recipe, None)
    with pytest.raises(PublishError, match="more than 1000"):
        export_run(root / "run", tmp_path / "encoder", data, max_bytes=1000)
    assert not (tmp_path / "encoder").exists()


@dataclass(frozen=True)
class Images:
    """Computed images of one view."""

    spec: object
    first_seed: int

    def __len__(self):
        return 12

    def read(self, index, rng=None):
        del rng
        return procedural_image(
            self.spec.height_px, self.spec.width_px, seed=self.first_seed + index
        )

    def name(self, index):
        return str(index)


@dataclass(frozen=True)
class PairsOfOthers:
    """A data set of 12 pairs whose images may not be passed on."""

    views: dict

    card = DatasetCard("pairs", "nowhere", "not to be passed on", {}, ())
    protocols = ("id-exact",)

    def training(self):
        return {
            "ground": PairTable(
                view="ground", queries=Images(self.views["ground"], 200),
                tiles=Images(self.views["satellite"], 300), reference=np.arange(12),
                positions=None, semi_positives=np.full((12, 0), -1),
            )
        }  # fmt: skip

    def evaluation(self, protocol):
        return [
            EvaluationSplit(
                name="pairs test", protocol=protocol, queries=Images(self.views["ground"], 0),
                gallery=Images(self.views["satellite"], 100),
                positives=Matches.one_each(np.arange(12)), semi_positives=None, percent_of=12,
                query_positions=None, gallery_positions=None, kinds=None,
            )
        ]  # fmt: skip


SMALL = ("model.name=test_convnext", "model.pretrained=false", "data.tile_px=32",
         "data.ground_height_px=32", "data.ground_width_px=128",
         "data.validation_share=0.25")  # fmt: skip


def names_of(split):
    images = (split.queries, split.gallery)
    return [[part.name(i) for i in range(len(part))] for part in images]


def test_variants_are_judged_on_what_the_run_held_out_and_figures_on_the_test_split():
    recipe = load_recipe(RECIPES / "cvusa.yaml", SMALL)
    pairs = PairsOfOthers(recipe.views())
    data = split_data(pairs, recipe)
    kept, held = hold_out(pairs.training()["ground"], share=0.25, seed=recipe.runtime.seed)
    (gate,) = data.gate_splits
    assert names_of(gate) == names_of(held)
    assert not set(names_of(gate)[0]) & {kept.queries.name(i) for i in range(len(kept))}
    assert [split.name for split in data.splits] == ["pairs test"]
    for view, images in (("ground", gate.queries), ("satellite", gate.gallery)):
        expected = np.stack([images.read(i) for i in range(len(images))])
        np.testing.assert_array_equal(data.inputs()[view], expected)


@pytest.mark.parametrize("change", ["mode=paper", "data.validation_share=0"])
def test_where_nothing_was_held_out_the_evaluation_splits_judge(change):
    recipe = load_recipe(RECIPES / "cvusa.yaml", [*SMALL, change])
    data = split_data(PairsOfOthers(recipe.views()), recipe)
    assert data.gate_splits is data.splits


def test_images_that_the_run_left_out_are_left_out_before_holding_out():
    recipe = load_recipe(RECIPES / "cvusa.yaml", SMALL)
    pairs = PairsOfOthers(recipe.views())
    plain = names_of(split_data(pairs, recipe).gate_splits[0])
    (gate,) = split_data(pairs, recipe, unreadable=[plain[0][0], "another"]).gate_splits
    assert plain[0][0] not in names_of(gate)[0]
    assert len(gate.queries) >= 2


def test_other_data_sets_give_figures_but_neither_calibration_nor_their_images(tmp_path, caplog):
    recipe = load_recipe(RECIPES / "cvusa.yaml", SMALL)
    write_run(tmp_path / "run", recipe)
    data = split_data(PairsOfOthers(recipe.views()), recipe)
    assert "without calibration" in caplog.text
    manifest = export_run(tmp_path / "run", tmp_path / "encoder", data, variants=("int8",),
                          gate=1.0)  # fmt: skip
    encoder = Encoder.load(tmp_path / "encoder", device="cpu", precision="int8")
    assert encoder.manifest == manifest
    (measured,) = manifest.variants["int8"].measured
    assert measured.split == data.gate_splits[0].name == "held out of training, ground to satellite"
    assert {row["split"] for row in manifest.evaluation} == {"pairs test"}
    assert manifest.calibration == {}
    assert {row["weights"] for row in manifest.evaluation} == {"trained", "random"}
    assert manifest.licence_data == "pairs: not to be passed on"
    assert manifest.licence_weights.startswith("none granted here")
    again = split_data(PairsOfOthers(recipe.views()), recipe).golden
    assert {name: data for name, (_, data) in again.items()} == {
        sample.file: (tmp_path / "encoder" / sample.file).read_bytes() for sample in manifest.golden
    }
