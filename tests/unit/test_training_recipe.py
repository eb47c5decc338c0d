"""Recipes: the shipped ones are whole, unknown and missing keys are named."""

from pathlib import Path

import pytest
import yaml

import training
from crossfix.errors import RecipeError
from training.recipe import load_recipe, run_record

RECIPES = Path(training.__file__).parent / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_complete(path):
    recipe = load_recipe(path)
    views = recipe.views()
    assert set(views) == {"satellite", *recipe.data.query_views}
    assert views["satellite"].height_px == recipe.data.tile_px


def test_sample4geo_recipe_holds_the_published_settings():
    recipe = load_recipe(RECIPES / "sample4geo.yaml")
    assert recipe.model.name == "convnext_base.fb_in22k_ft_in1k_384"
    assert recipe.model.pretrained
    assert (recipe.data.tile_px, recipe.sampling.batch_size) == (384, 128)
    assert (recipe.optimiser.lr, recipe.loss.label_smoothing) == (1e-3, 0.1)
    assert recipe.sampling.strategy == "gps_then_dss"


def test_overrides_take_yaml_values():
    recipe = load_recipe(RECIPES / "tiny.yaml", ["optimiser.lr=3e-3", "runtime.max_minutes=null"])
    assert recipe.optimiser.lr == 0.003
    assert recipe.runtime.max_minutes is None


@pytest.mark.parametrize("override", ["optimiser.speed=1", "nothing.lr=1", "optimiser.lr", "lr=1"])
def test_unknown_override_is_refused(override):
    with pytest.raises(RecipeError):
        load_recipe(RECIPES / "tiny.yaml", [override])


def test_missing_and_unknown_keys_are_named(tmp_path):
    content = yaml.safe_load((RECIPES / "tiny.yaml").read_text())
    del content["loss"]["label_smoothing"]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=r"loss\.label_smoothing is missing"):
        load_recipe(path)
    content["loss"].update(label_smoothing=0.1, sharpness=2)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=r"loss\.sharpness is not known"):
        load_recipe(path)


def test_impossible_values_and_broken_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"optimiser\.lr"):
        load_recipe(RECIPES / "tiny.yaml", ["optimiser.lr=-1"])
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(RecipeError):
        load_recipe(tmp_path / "broken.yaml")
    with pytest.raises(RecipeError):
        load_recipe(tmp_path / "absent.yaml")


def test_run_record_names_code_and_libraries():
    record = run_record(load_recipe(RECIPES / "tiny.yaml"))
    assert record["revision"]
    assert {"torch", "timm", "numpy"} <= set(record["libraries"])
