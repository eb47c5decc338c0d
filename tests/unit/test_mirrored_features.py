"""Evaluation with the features of mirrored images added, as University-1652's authors test."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import training
from crossfix.preprocess import normalise
from tests.tiny_datasets import write_university
from tests.tiny_pairs import Pictures, right_of, table, tiny
from training.__main__ import main
from training.embedding import artifact_embedder, image_set_embedder
from training.loop import trainer
from training.model import CrossViewEncoder
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"


@dataclass(frozen=True)
class Mirrored:
    """The mirror images of a set."""

    inner: Pictures

    @property
    def spec(self):
        return self.inner.spec

    def __len__(self):
        return len(self.inner)

    def read(self, index, rng=None):
        return self.inner.read(index, rng)[:, ::-1]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(2)
    recipe = tiny()
    return CrossViewEncoder(recipe.model, recipe.views()).eval(), table(recipe, 5).queries


def pixels_of(images):
    return normalise(np.stack([images.read(i) for i in range(len(images))]), images.spec)


def test_features_of_image_and_mirror_image_are_added_before_they_get_unit_length(encoder):
    model, images = encoder
    tensors = torch.from_numpy(pixels_of(images))
    with torch.no_grad():
        plain, mirrored = model(tensors, "drone"), model(tensors.flip(-1), "drone")
    lengths = plain.norm(dim=1), mirrored.norm(dim=1)
    assert float((lengths[0] - lengths[1]).abs().max()) > 1e-3  # or the order would not matter
    expected = functional.normalize(plain + mirrored, dim=-1)
    found = image_set_embedder(model, add_mirrored=True)(images)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    assert np.abs(found - image_set_embedder(model)(images)).max() > 1e-3


def test_an_image_and_its_mirror_image_are_then_the_same(encoder):
    model, images = encoder
    embed = image_set_embedder(model, add_mirrored=True)
    np.testing.assert_allclose(embed(Mirrored(images)), embed(images), atol=1e-6)


class FakeEncoder:
    """Unit-norm embeddings that tell left from right."""

    embedding_dim = 3

    def encode(self, tensors, view):
        assert view == "drone"
        halves = tensors.shape[-1] // 2
        left, right = tensors[..., :halves].mean(axis=(2, 3)), tensors[..., halves:].mean((2, 3))
        rows = 2 * left + right + 1
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_an_artifact_adds_its_embeddings(encoder):
    _, images = encoder
    tensors, fake = pixels_of(images), FakeEncoder()
    both = fake.encode(tensors, "drone") + fake.encode(tensors[..., ::-1], "drone")
    found = artifact_embedder(fake, add_mirrored=True)(images)
    np.testing.assert_allclose(found, both / np.linalg.norm(both, axis=1)[:, None], atol=1e-6)


def test_the_recipes_of_the_authors_protocol_have_it_and_sample4geo_has_not():
    asked = {path.stem for path in RECIPES.glob("*.yaml") if load_recipe(path).data.add_mirrored}
    assert asked == {"her_university1652", "instance_university1652"}


def test_a_run_validates_with_it_and_looks_for_neighbours_without(tmp_path, monkeypatch):
    asked = []

    def noted(model, *, add_mirrored, **options):
        asked.append(add_mirrored)
        return image_set_embedder(model, add_mirrored=add_mirrored, **options)

    monkeypatch.setattr(trainer, "image_set_embedder", noted)
    recipe = tiny("data.add_mirrored=true", "schedule.epochs=3", "sampling.start_epoch=0",
                  "sampling.exclude_within_m=0")  # fmt: skip
    pairs = table(recipe, 24)
    trainer.Trainer(recipe, {"drone": pairs}, tmp_path, validate=right_of(pairs)).train()
    assert sorted(set(asked)) == [False, True]
    assert asked.count(True) == 3


def test_the_command_line_overrules_the_recipe_and_the_figures_say_which(tmp_path):
    root, run = write_university(tmp_path / "U"), tmp_path / "run"
    changes = ["data.dataset=university1652", "data.towns=null", "data.query_views=[drone]",
               "data.add_mirrored=true", "data.validation_share=0.0", "sampling.strategy=random",
               "sampling.exclude_within_m=0", "sampling.batch_size=3", "schedule.epochs=1",
               "runtime.pictured_queries=0"]  # fmt: skip
    recipe, words = str(RECIPES / "tiny.yaml"), ["--data", str(root)]
    assert main(["train", "--recipe", recipe, *words, "--out", str(run), "--set", *changes]) == 0
    for option, expected in (
        ((), True),
        (("--no-add-mirrored",), False),
        (("--add-mirrored",), True),
    ):
        assert main(["evaluate", "--checkpoint", str(run), *words, *option]) == 0
        found = json.loads((run / "evaluation-best.json").read_text())
        assert found["add_mirrored"] is expected
