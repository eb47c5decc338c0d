"""The classical baselines find what they should, and say nothing where there is nothing."""

import numpy as np
from PIL import Image

from benchmarks.baselines import score_colour_histograms, score_sift
from tests.tiny_encoder import png, random_texture


def turned(pixels, degrees):
    return np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC))


def test_sift_finds_a_turned_crop_among_strangers():
    town = random_texture(400, 400, seed=1)
    pictures = [png(random_texture(256, 256, seed=seed)) for seed in (2, 3)]
    pictures.insert(1, png(town[80:336, 80:336]))
    scores = score_sift([png(turned(town, 33)[100:300, 100:300])], pictures)
    assert scores.shape == (1, 3)
    assert scores[0].argmax() == 1
    assert scores[0, 1] > 3 * max(scores[0, 0], scores[0, 2])


def test_sift_scores_zero_where_nothing_can_be_seen():
    flat = png(np.full((120, 120, 3), 90, np.uint8))
    assert score_sift([flat], [flat, png(random_texture(120, 120))]).tolist() == [[0, 0]]


def test_histograms_see_colours_and_not_their_order():
    rng = np.random.default_rng(0)
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = rng.integers(100, 255, (64, 64))
    green = np.roll(red, 1, axis=2)
    shuffled = rng.permutation(red.reshape(-1, 3)).reshape(red.shape)
    scores = score_colour_histograms([png(shuffled)], [png(green), png(red)])
    assert scores[0, 1] == 1
    assert scores[0, 0] == 0
