"""Augmentation keeps photo and tile in step, and leaves unseen pixels unseen."""

import numpy as np
import pytest
import torch

from crossfix.preprocess import normalise
from crossfix.view import ViewSpec
from training.augmentation.batched import (
    Pair,
    augment_pair,
    flip_pair,
    normalise_batch,
    rotate_pair,
)
from training.loop.loader import to_float
from training.recipe import BatchedAugmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFF = dict.fromkeys(
    ("flip_probability", "rotate_probability", "colour_probability", "colour_strength",
     "gray_probability", "blur_probability", "dropout_probability", "dropout_share",
     "limited_view_probability", "heading_noise_deg"), 0.0,
) | {"dropout_cells": 4, "limited_view_min_deg": 60, "limited_view_max_deg": 60,
     "drone_zoom_min": 1.0, "kind": "batched"}  # fmt: skip


def recipe(**on):
    return BatchedAugmentation.model_validate(OFF | on)


def marker_pair(azimuth_deg, *, tile_px=64, width_px=128):
    """A bright spot in this direction from the tile's centre, and in the panorama's column."""
    tile, photo = torch.zeros(1, 3, tile_px, tile_px), torch.zeros(1, 3, 16, width_px)
    angle = np.radians(azimuth_deg)
    x = tile_px / 2 + 20 * np.sin(angle) - 0.5
    y = tile_px / 2 - 20 * np.cos(angle) - 0.5
    tile[0, :, round(y), round(x)] = 1
    photo[0, :, :, int(((azimuth_deg + 180) % 360) / 360 * width_px)] = 1
    return Pair(photo=photo, tile=tile)


def directions_deg(pair):
    """Where the spot is now, by the tile and by the panorama."""
    row, column = divmod(int(pair.tile[0, 0].argmax()), pair.tile.shape[-1])
    centre = (pair.tile.shape[-1] - 1) / 2
    by_tile = np.degrees(np.arctan2(column - centre, centre - row)) % 360
    width = pair.photo.shape[-1]
    by_photo = ((int(pair.photo[0, 0, 0].argmax()) + 0.5) / width * 360 - 180) % 360
    return by_tile, by_photo


def apart_deg(a, b):
    return abs((a - b + 180) % 360 - 180)


@pytest.mark.parametrize("azimuth", [5, 70, 135, 200, 300])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_both_views_of_a_marker_move_together(azimuth, turns, flip):
    pair = flip_pair(marker_pair(azimuth), torch.tensor([flip]))
    pair = rotate_pair(pair, torch.tensor([turns]), view="ground")
    by_tile, by_photo = directions_deg(pair)
    assert apart_deg(by_tile, by_photo) < 5
    expected = (-azimuth if flip else azimuth) - 90 * turns
    assert apart_deg(by_tile, expected) < 5


def test_drone_photos_do_not_turn_with_the_tile():
    pair = marker_pair(30)
    turned = rotate_pair(pair, torch.tensor([1]), view="drone")
    assert torch.equal(turned.photo, pair.photo)
    assert not torch.equal(turned.tile, pair.tile)


def test_all_off_changes_nothing():
    pair = Pair(torch.rand(4, 3, 16, 64), torch.rand(4, 3, 16, 16))
    for view in ("ground", "drone"):
        same = augment_pair(pair, recipe(), view=view, mean=MEAN, generator=torch.Generator())
        assert torch.equal(same.photo, pair.photo)
        assert torch.equal(same.tile, pair.tile)


def test_unseen_canvas_keeps_its_colour_through_colour_changes():
    fill = (np.round(np.array(MEAN) * 255)).astype(np.uint8)
    pixels = np.random.default_rng(0).integers(0, 120, (4, 16, 64, 3)).astype(np.uint8)
    pixels[:, :, :20] = fill
    pair = Pair(to_float(torch.from_numpy(pixels), torch.device("cpu")), torch.rand(4, 3, 16, 16))
    changed = augment_pair(
        pair, recipe(colour_probability=1, colour_strength=0.5), view="ground", mean=MEAN,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    expected = torch.tensor(fill / 255.0, dtype=torch.float32)[None, :, None, None]
    assert torch.allclose(changed.photo[..., :20], expected.expand(4, 3, 16, 20))
    assert not torch.allclose(changed.photo[..., 20:], pair.photo[..., 20:], atol=0.02)


def test_limited_view_keeps_the_asked_for_window():
    pair = Pair(torch.zeros(32, 3, 16, 360), torch.zeros(32, 3, 8, 8))
    limited = augment_pair(
        pair, recipe(limited_view_probability=1), view="ground", mean=MEAN,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    seen = (limited.photo[:, 0, 8] == 0).sum(dim=1)
    assert int(seen.min()) >= 59
    assert int(seen.max()) <= 61


def test_same_generator_same_result_and_range_kept():
    pair = Pair(torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32))
    on = recipe(colour_probability=1, colour_strength=0.5, gray_probability=0.3, drone_zoom_min=0.7,
                blur_probability=0.5, dropout_probability=1, dropout_share=0.3)  # fmt: skip
    first, second = (
        augment_pair(pair, on, view="drone", mean=MEAN, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    )
    assert torch.equal(first.photo, second.photo)
    assert torch.equal(first.tile, second.tile)
    assert 0 <= float(first.photo.min()) <= float(first.photo.max()) <= 1


def test_training_normalises_as_the_contract_does():
    spec = ViewSpec(view="drone", model_file="m", height_px=8, width_px=8, projection="oblique",
                    fit="center_crop", mean=MEAN, std=STD, heading="any")  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    images = to_float(torch.from_numpy(pixels), torch.device("cpu"))
    ours = normalise_batch(images, MEAN, STD).numpy()
    np.testing.assert_allclose(ours, normalise(pixels, spec), atol=1e-5)
