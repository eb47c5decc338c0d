"""Evaluation and calibration on embeddings whose answer is known."""

from pathlib import Path

import numpy as np
import pytest

import training
from crossfix.errors import DataError
from crossfix.estimate import FEATURES, estimate
from tests.tiny_towns import write_town
from training.datasets.photo_cache import load_view
from training.datasets.registry import open_dataset
from training.datasets.towns import find_towns, open_towns
from training.evaluation.calibrate import calibrate, choose_limit, fit_logistic, fit_temperature
from training.evaluation.report import evaluate_split, result_rows
from training.evaluation.towns import build_gallery, score_photos, top_candidates
from training.recipe_file import load_recipe

TINY = Path(training.__file__).parent / "recipes" / "tiny.yaml"
RECIPE = load_recipe(TINY, ["data.query_views=[drone]"])


@pytest.fixture(scope="module")
def towns(tmp_path_factory):
    root = tmp_path_factory.mktemp("towns")
    for seed in range(2):
        write_town(root / f"t{seed}", seed=seed, drone=60, panoramas=0, street=0)
    return open_towns(find_towns([root]))


@pytest.fixture(scope="module")
def photos(towns):
    spec = RECIPE.views()["drone"]
    return {
        "drone": load_view(
            towns, spec, tile_size_m=RECIPE.towns.tile_size_m,
            tile_offset_share=RECIPE.towns.tile_offset_share, cache=None,
        )
    }  # fmt: skip


def scores_at_home(towns, photos, embed):
    """Every photo against its own town's gallery, as the calibration scores them."""
    galleries = [build_gallery(town, RECIPE, embed) for town in towns]
    drone = photos["drone"]
    found = embed(drone.pixels, drone.spec)
    return [
        score_photos(drone, drone.town == i, found, galleries[i], town.name, i)
        for i, town in enumerate(towns)
    ]


def random_embedder(seed):
    rng = np.random.default_rng(seed)

    def embed(pixels, _spec):
        found = rng.standard_normal((len(pixels), 16)).astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    return embed


class ByPlace:
    """Embeds a picture by where it is, as a perfect encoder would: a random Fourier map."""

    def __init__(self, towns, photos, noise):
        self.rng = np.random.default_rng(0)
        self.waves = self.rng.standard_normal((2, 256)) / 40
        self.phase = self.rng.uniform(0, 2 * np.pi, 256)
        galleries = [town.satellite.grid(RECIPE.towns.tile_size_m) for town in towns]
        self.tiles = [self.of(xy, number) for number, xy in enumerate(galleries)]
        self.photos = self.of(photos["drone"].xy_px, photos["drone"].town)
        self.photos += noise * self.rng.standard_normal(self.photos.shape) / 16
        self.photos /= np.linalg.norm(self.photos, axis=1, keepdims=True)

    def of(self, xy, town):
        plane = xy + np.broadcast_to(np.asarray(town) * 5000, len(xy))[:, None]
        return np.cos(plane @ self.waves + self.phase) / np.sqrt(128)

    def __call__(self, pixels, spec):
        found = self.tiles.pop(0) if spec.view == "satellite" else self.photos
        assert len(found) == len(pixels)
        return found.astype(np.float32)


def test_towns_score_high_with_a_perfect_encoder_and_at_chance_with_a_random_one(towns):
    folders = [town.folder for town in towns]
    splits = open_dataset(RECIPE, [], validation=folders).evaluation("towns")
    rng = np.random.default_rng(1)

    def perfect(images):
        # The tiles' and photos' places, one town after the other, through a Fourier map.
        photos = getattr(images, "photos", None)
        xy = images.centres_px if photos is None else photos.xy_px[images.chosen]
        waves = np.random.default_rng(0).standard_normal((2, 256)) / 40
        turned = xy @ waves
        return np.float32(np.concatenate([np.cos(turned), np.sin(turned)], axis=1) / 16)

    def random(images):
        return rng.standard_normal((len(images), 16)).astype(np.float32)

    rows = {}
    for label, embed in (("trained", perfect), ("random", random)):
        results = [evaluate_split(split, embed) for split in splits]
        found = result_rows(results, weights=label)
        rows[label] = next(row for row in found if row["split"] == "pooled")
    assert rows["trained"]["queries"] == sum(len(split.queries) for split in splits)
    assert rows["trained"]["recall_at_1"] > 0.95
    assert rows["trained"]["median_error_m"] < 0.35 * RECIPE.towns.tile_size_m
    assert rows["random"]["recall_at_1"] < 4 * rows["random"]["chance_at_1"] + 0.05


def test_calibration_makes_a_good_encoder_sure_at_home_and_not_abroad(towns, photos):
    found = calibrate(towns, photos, RECIPE, ByPlace(towns, photos, 0.3), data="test")["drone"]
    assert len(found.coefficients) == len(FEATURES)
    assert 0 < found.radius_share < 1
    embed = ByPlace(towns, photos, 0.3)
    home = scores_at_home(towns, photos, embed)
    abroad = photos["drone"].town != 0
    sure = [estimate(top_candidates(home[0], i), found).confidence for i in range(20)]
    strange = embed.photos[abroad].astype(np.float32) @ home[0].gallery.embeddings.T
    foreign = type(home[0])(
        "t0", "drone", home[0].gallery, strange, np.zeros(strange.shape, bool),
        photos["drone"].lon[abroad], photos["drone"].lat[abroad], photos["drone"].kind[abroad],
    )  # fmt: skip
    unsure = [estimate(top_candidates(foreign, i), found).confidence for i in range(20)]
    assert np.median(sure) > 0.7
    assert np.median(unsure) < 0.2


def test_a_poor_encoder_gets_low_confidence(towns, photos):
    random = random_embedder(4)
    found = calibrate(towns, photos, RECIPE, random, data="test")["drone"]
    scored = scores_at_home(towns, photos, random)
    answers = [estimate(top_candidates(scored[0], i), found) for i in range(20)]
    assert np.median([answer.confidence for answer in answers]) < 0.2
    assert np.mean([answer.refused for answer in answers]) > 0.7


def test_one_town_is_not_enough_to_calibrate(towns, photos):
    with pytest.raises(DataError, match="only one town"):
        calibrate(towns[:1], photos, RECIPE, ByPlace(towns, photos, 0.0), data="test")


def test_logistic_regression_recovers_its_coefficients():
    rng = np.random.default_rng(0)
    features = np.c_[np.ones(20_000), rng.standard_normal((20_000, 2))]
    wanted = np.array([-0.5, 1.5, -1.0])
    right = rng.random(20_000) < 1 / (1 + np.exp(-features @ wanted))
    np.testing.assert_allclose(fit_logistic(features, right), wanted, atol=0.08)
    separable = fit_logistic(features, features[:, 1] > 0)
    assert np.isfinite(separable).all()


def test_temperature_is_that_of_least_loss(towns, photos):
    scored = scores_at_home(towns, photos, ByPlace(towns, photos, 0.3))
    best = fit_temperature(scored)

    def loss(temperature):
        values = []
        for one in scored:
            p = np.exp(one.scores.astype(np.float64) / temperature)
            values += list(-np.log((p * one.positives).sum(1) / p.sum(1)))
        return np.mean(values)

    assert loss(best) <= min(loss(best * 1.2), loss(best / 1.2)) + 1e-9


def test_refusal_limit_is_the_lowest_with_the_asked_for_precision():
    confidence = np.array([0.45, 0.4, 0.35, 0.3, 0.25, 0.2])
    right = np.array([True, True, True, True, False, False])
    assert choose_limit(confidence, right) == pytest.approx(0.25)  # 4 of 5 are right
    assert choose_limit(confidence, ~right) == pytest.approx(0.5)
    assert choose_limit(np.full(4, 0.9), np.ones(4, bool)) == pytest.approx(0.5)


def test_gallery_tiles_lie_in_the_image(towns):
    gallery = build_gallery(towns[0], RECIPE, lambda pixels, _spec: np.zeros((len(pixels), 2)))
    half = RECIPE.towns.tile_size_m / 2
    assert gallery.xy_px.min() >= half
    assert gallery.xy_px.max() <= 300 - half
