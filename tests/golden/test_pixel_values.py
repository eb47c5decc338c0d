"""Pixel values with the mean subtracted and nothing divided, in training, service and index."""

from pathlib import Path

import numpy as np
import pytest
import torch

import training
from crossfix.panorama import fill_colour
from crossfix.preprocess import normalise
from training.augmentation.batched import normalise_batch
from training.loop.loader import to_float
from training.recipe_file import load_recipe

RECIPES = Path(training.__file__).parent / "recipes"
MEAN = (123.6, 116.779, 103.939)  # red, green, blue; Caffe's networks


@pytest.mark.parametrize("name", ["safa_cvusa", "safa_cvact", "safa_vigor_same", "her_cvusa_paper"])
def test_the_mean_is_subtracted_from_whole_values(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert recipe.model.fit_first_layer
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    expected = np.moveaxis(pixels.astype(np.float64) - MEAN, -1, 1)
    for spec in recipe.views().values():
        np.testing.assert_allclose(normalise(pixels, spec), expected, atol=1e-4)
        images = to_float(torch.from_numpy(pixels), torch.device("cpu"))
        trained = normalise_batch(images, spec.mean, spec.std).numpy()
        np.testing.assert_allclose(trained, expected, atol=1e-4)
    np.testing.assert_array_equal(fill_colour(recipe.views()["ground"]), [124, 117, 104])
