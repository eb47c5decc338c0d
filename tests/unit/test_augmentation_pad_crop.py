"""The augmentation of University-1652's baseline: what it may do to a photo and to a tile."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from crossfix.errors import RecipeError
from tests.tiny_pairs import table, tiny
from training.augmentation.batched import Pair
from training.augmentation.pad_crop import pad_crop_pair, turned
from training.loop.devices import build_accelerator
from training.loop.loader import PairLoader, Task
from training.recipe import PadCropAugmentation

KIND = {"kind": "pad_crop", "pad_px": 3, "flip_probability": 0.5, "tile_turn_deg": 0.0}
SIDE = 12


def pair(count=200):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 3, SIDE, SIDE, generator=generator).expand(count, -1, -1, -1)
    return Pair(image[:, :, :8], image)


def augmented(seed=0, count=200, **changes):
    recipe = PadCropAugmentation(**(KIND | changes))
    return pad_crop_pair(pair(count), recipe, generator=torch.Generator().manual_seed(seed))


def cuts_of(image, pad):
    """Every part of the image with a repeated edge, plain and mirrored."""
    padded = np.pad(image.numpy(), ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    _, height, width = image.shape
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            part = padded[:, top : top + height, left : left + width]
            yield (top, left, False), part
            yield (top, left, True), part[..., ::-1]


def found_cuts(images, image, pad=3):
    known = {part.tobytes(): place for place, part in cuts_of(image, pad)}
    return [known[one.numpy().tobytes()] for one in images]


def test_images_are_cut_out_of_a_repeated_edge_and_half_are_mirrored():
    before, after = pair(), augmented()
    for was, now in ((before.photo, after.photo), (before.tile, after.tile)):
        places = found_cuts(now, was[0])
        assert {top for top, _, _ in places} == {left for _, left, _ in places} == set(range(7))
        assert 60 < sum(mirrored for *_, mirrored in places) < 140


def test_photo_and_tile_are_changed_independently_and_repeatably():
    after, again = augmented(), augmented()
    photos, tiles = found_cuts(after.photo, pair().photo[0]), found_cuts(after.tile, pair().tile[0])
    assert sum(a == b for a, b in zip(photos, tiles, strict=True)) < 20
    torch.testing.assert_close(after.photo, again.photo, rtol=0, atol=0)
    assert not torch.equal(after.tile, augmented(seed=1).tile)


def test_nothing_asked_for_is_nothing_done():
    after = augmented(pad_px=0, flip_probability=0.0)
    torch.testing.assert_close(after.photo, pair().photo, rtol=0, atol=0)
    torch.testing.assert_close(after.tile, pair().tile, rtol=0, atol=0)


def test_only_tiles_are_turned_by_any_angle_up_to_the_limit():
    after = augmented(tile_turn_deg=90.0, flip_probability=0.0)
    found_cuts(after.photo, pair().photo[0])
    assert len({one.numpy().tobytes() for one in after.tile}) > 190
    assert float((after.tile == 0).all(dim=1).float().mean()) > 0.01  # black corners


def test_a_quarter_turn_is_exact_and_others_are_what_pillow_gives():
    image = pair(1).tile
    quarter = turned(image, torch.tensor([math.pi / 2]))
    same = (quarter == image.rot90(1, (2, 3))).all() or (quarter == image.rot90(-1, (2, 3))).all()
    assert bool(same)
    pixels = np.random.default_rng(0).integers(1, 256, (40, 40, 3), np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    sign = 1 if torch.equal(quarter, image.rot90(1, (2, 3))) else -1
    for degrees in (-70, -33, 10, 45):
        wanted = np.asarray(
            Image.fromarray(pixels).rotate(sign * degrees, Image.Resampling.NEAREST)
        )
        found = turned(tensor, torch.deg2rad(torch.tensor([float(degrees)])))
        found = found[0].permute(1, 2, 0).numpy()
        assert (found == wanted).all(axis=2).mean() > 0.97, degrees


def test_a_run_can_use_it():
    recipe = tiny("augmentation={kind: pad_crop, pad_px: 4, flip_probability: 0.5, "
                  "tile_turn_deg: 90.0}")  # fmt: skip
    loader = PairLoader({"drone": table(recipe)}, recipe, build_accelerator(recipe))
    tasks = [Task("drone", np.arange(4), step) for step in (0, 1)]
    (_, first), (_, second) = loader.batches(tasks)
    assert first.photo.shape == first.tile.shape == (4, 3, 32, 32)
    assert not torch.equal(first.photo, second.photo)
    assert torch.isfinite(first.tile).all()


def test_tiles_are_not_turned_twice():
    with pytest.raises(RecipeError, match="tile_turn_deg to 0"):
        tiny("augmentation={kind: pad_crop, pad_px: 4, flip_probability: 0.5, tile_turn_deg: 90.0}",
             "loss={kind: her, directions: both, normalise: true, feature_scale: 5.0, "
             "margin_share: 0.15, pruned_weight: 0.1, detach_weights: false, "
             "orientation_weight: 0.5}")  # fmt: skip
