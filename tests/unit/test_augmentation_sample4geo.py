"""The published augmentation: every step against a plain version, and photo and tile in step."""

import colorsys
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from training.augmentation.batched import Pair, flip_pair, rotate_pair
from training.augmentation.colour import _CHANGES, jitter, recompress
from training.augmentation.dropout import drop_grid, drop_holes
from training.augmentation.filters import (
    filter_image,
    generalised_gaussian,
    random_blur_kernel,
    random_sharpen_kernel,
    sharpen_kernel,
)
from training.augmentation.hue import turn_hue
from training.augmentation.sample4geo import augment_sample, draw_quality, turn_pair
from training.recipe import Sample4GeoAugmentation

NOTHING = Sample4GeoAugmentation(
    kind="sample4geo",
    flip_probability=0,
    rotate_probability=0,
    tile_random_turn=False,
    jpeg_probability=0,
    jpeg_quality_min=90,
    jpeg_quality_max=100,
    colour_probability=0,
    colour_strength=0.15,
    blur_or_sharpen_probability=0,
    dropout_probability=0,
    photo_grid_dropout_ratio=0.5,
    tile_grid_dropout_ratio=0.4,
)
PUBLISHED = NOTHING.model_copy(
    update={
        "flip_probability": 0.5,
        "rotate_probability": 0.75,
        "jpeg_probability": 0.5,
        "colour_probability": 0.5,
        "blur_or_sharpen_probability": 0.3,
        "dropout_probability": 0.3,
    }
)
BRIGHTNESS, CONTRAST, SATURATION, HUE = _CHANGES


def only(**changes):
    return NOTHING.model_copy(update=changes)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def formula_image():
    """The image that the golden numbers below were taken of, in other libraries."""
    y, x, channel = np.mgrid[:9, :13, :3]
    return ((y * 53 + x * 37 + channel * 91 + (y * x) % 7 * 29) % 256).astype(np.uint8)


def test_without_probabilities_nothing_changes():
    photo, tile = noise(35, 96), noise(48, 48)
    found = augment_sample(photo, tile, NOTHING, view="ground", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found[0], photo)
    np.testing.assert_array_equal(found[1], tile)


@pytest.mark.parametrize(("view", "shape"), [("ground", (35, 96, 3)), ("drone", (48, 48, 3))])
def test_shapes_stay_inputs_are_not_written_and_seeds_repeat(view, shape):
    photo, tile = noise(*shape[:2]), noise(48, 48, 1)
    before = photo.copy(), tile.copy()
    recipe = PUBLISHED.model_copy(update={"tile_random_turn": view == "drone"})
    seen = set()
    for seed in range(30):
        first = augment_sample(photo, tile, recipe, view=view, rng=np.random.default_rng(seed))
        again = augment_sample(photo, tile, recipe, view=view, rng=np.random.default_rng(seed))
        assert first[0].shape == shape
        assert first[1].shape == (48, 48, 3)
        assert first[0].dtype == first[1].dtype == np.uint8
        assert all(image.flags.c_contiguous for image in first)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        seen.add(first[0].tobytes() + first[1].tobytes())
    assert len(seen) > 25
    np.testing.assert_array_equal(photo, before[0])
    np.testing.assert_array_equal(tile, before[1])


@pytest.mark.parametrize(
    ("field", "per_image", "expected"),
    [
        ("jpeg_probability", True, 0.5),
        ("colour_probability", True, 0.5),
        ("blur_or_sharpen_probability", True, 0.3),
        ("dropout_probability", True, 0.3),
        ("flip_probability", False, 0.5),
        ("rotate_probability", False, 0.75),
    ],
)
def test_each_step_happens_as_often_as_asked_and_for_each_image_by_itself(
    field, per_image, expected
):
    photo, tile = noise(20, 48), noise(20, 20, 1)
    recipe, rng = only(**{field: expected}), np.random.default_rng(5)
    changed = []
    for _ in range(600):
        found = augment_sample(photo, tile, recipe, view="ground", rng=rng)
        changed.append([(found[0] != photo).any(), (found[1] != tile).any()])
    changed = np.array(changed)
    assert changed.mean(axis=0) == pytest.approx([expected, expected], abs=0.08)
    together = (changed[:, 0] == changed[:, 1]).mean()
    independent = expected**2 + (1 - expected) ** 2
    assert together == pytest.approx(independent if per_image else 1.0, abs=0.08)


# What was north (the centre column, the upper edge) lies west after one turn counter-clockwise.
# Columns of a panorama: 0.5 north, 0.25 west, 0 south, 0.75 east.
@pytest.mark.parametrize(
    ("turns", "column_share", "edge"),
    [
        (1, 0.25, np.s_[:, 0]),
        (2, 0.0, np.s_[-1, :]),
        (3, 0.75, np.s_[:, -1]),
    ],
)
def test_the_marked_north_of_photo_and_tile_end_on_the_same_side(turns, column_share, edge):
    photo, tile = np.zeros((4, 64, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    photo[:, 32] = tile[0, 1:-1] = 255
    photo, tile = turn_pair(photo, tile, turns=turns, view="ground")
    assert np.flatnonzero(photo[0, :, 0]).tolist() == [round(64 * column_share)]
    assert (tile[edge][1:-1] == 255).all()
    assert (tile == 255).sum() == 14 * 3


def test_a_flip_keeps_north_and_swaps_east_and_west_in_both_images():
    photo, tile = np.zeros((4, 64, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
    photo[:, 48:50] = 200  # east, its column and the next
    tile[:, -1] = 200
    photo, tile = augment_sample(
        photo, tile, only(flip_probability=1), view="ground", rng=np.random.default_rng(0)
    )
    assert np.flatnonzero(photo[0, :, 0]).tolist() == [14, 15]  # west, columns 15.5 = 63 - 47.5
    assert (tile[:, 0] == 200).all()
    assert (tile[:, 1:] == 0).all()


@pytest.mark.parametrize("view", ["ground", "drone"])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turns_agree_with_the_batched_augmentation(view, turns):
    photo, tile = noise(6, 32), noise(16, 16, 1)
    found = turn_pair(photo, tile, turns=turns, view=view)
    as_tensor = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in (photo, tile)]
    expected = rotate_pair(Pair(*as_tensor), torch.tensor([turns]), view=view)
    np.testing.assert_array_equal(found[0], expected.photo[0].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(found[1], expected.tile[0].permute(1, 2, 0).numpy())


def test_flips_agree_with_the_batched_augmentation():
    photo, tile = noise(6, 32), noise(16, 16, 1)
    found = augment_sample(
        photo, tile, only(flip_probability=1), view="ground", rng=np.random.default_rng(0)
    )
    as_tensor = [torch.from_numpy(image).permute(2, 0, 1)[None] for image in (photo, tile)]
    expected = flip_pair(Pair(*as_tensor), torch.tensor([True]))
    np.testing.assert_array_equal(found[0], expected.photo[0].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(found[1], expected.tile[0].permute(1, 2, 0).numpy())


def test_a_width_that_is_no_multiple_of_four_is_rolled_by_whole_columns_as_published():
    photo = noise(2, 30)
    turned, _ = turn_pair(photo, noise(8, 8), turns=3, view="ground")
    np.testing.assert_array_equal(turned, np.roll(photo, -24, axis=1))  # -30 // 4 is -8


def test_turns_are_drawn_equally_often_and_the_tile_alone_turns_for_drone_data():
    tile = np.zeros((8, 8, 3), np.uint8)
    tile[0] = 255
    rng, turns = np.random.default_rng(3), []
    for _ in range(400):
        photo, turned = augment_sample(
            noise(8, 8), tile, only(tile_random_turn=True), view="drone", rng=rng
        )
        np.testing.assert_array_equal(photo, noise(8, 8))
        turns.append(next(k for k in range(4) if np.array_equal(turned, np.rot90(tile, k))))
    assert np.bincount(turns) / 400 == pytest.approx([0.25] * 4, abs=0.07)


def test_jpeg_keeps_a_smooth_image_and_loses_more_at_lower_quality():
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    smooth = np.repeat(np.repeat(ramp[None, :, None], 64, axis=0), 3, axis=2)
    assert np.abs(recompress(smooth, quality=95).astype(int) - smooth).max() <= 3
    errors = [
        np.abs(recompress(noise(64, 64), quality=quality).astype(int) - noise(64, 64)).mean()
        for quality in (90, 95, 100)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0


# Golden numbers: the first four pixels of `formula_image`, changed by OpenCV-based code whose
# hue circle has 180 steps; Pillow's has 256, hence the wider tolerance there.
@pytest.mark.parametrize(
    ("change", "factor", "expected", "tolerance"),
    [
        (BRIGHTNESS, 1.1, [[0, 100, 200], [40, 140, 240], [81, 181, 0], [122, 222, 40]], 1),
        (CONTRAST, 0.9, [[12, 94, 176], [45, 127, 209], [79, 161, 12], [112, 194, 45]], 1),
        (SATURATION, 1.15, [[0, 94, 198], [26, 131, 235], [67, 172, 0], [104, 209, 19]], 1),
        (HUE, 1.1, [[18, 0, 182], [55, 37, 219], [0, 165, 28], [37, 202, 65]], 5),
    ],
)
def test_colour_changes_against_golden_numbers(change, factor, expected, tolerance):
    found = np.asarray(change(Image.fromarray(formula_image()), factor), int)[0, :4]
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_jitter_of_no_strength_changes_nothing():
    found = jitter(noise(16, 16), strength=0.0, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found, noise(16, 16))


@pytest.mark.parametrize("factor", [0.85, 0.931, 1.0, 1.15])
def test_tables_change_brightness_and_contrast_exactly_as_pillow_does(factor):
    for picture in (noise(40, 50), noise(40, 50) // 3 + 160, formula_image()):
        image = Image.fromarray(picture)
        for change, plain in ((BRIGHTNESS, ImageEnhance.Brightness),
                              (CONTRAST, ImageEnhance.Contrast)):  # fmt: skip
            np.testing.assert_array_equal(change(image, factor), plain(image).enhance(factor))


def plainly_turned(pixel, share):
    hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
    return np.array(colorsys.hsv_to_rgb((hue + share) % 1, saturation, value)) * 255


@pytest.mark.parametrize("share", [-0.5, -0.15, -0.031, 0.004, 0.1, 0.15, 0.36, 0.5, 1.2])
def test_turned_hues_are_those_of_hsv_to_half_a_grey_level(share):
    few = noise(34, 20, 3)
    few[:9] = few[:9] // 64 * 85  # equal channels, full and no saturation
    few[0, 0], few[0, 1] = 0, 255
    expected = [[plainly_turned(pixel, share) for pixel in row] for row in few]
    np.testing.assert_allclose(turn_hue(few, share=share), expected, atol=0.502)


def test_a_whole_turn_of_the_hue_changes_nothing():
    np.testing.assert_array_equal(HUE(Image.fromarray(noise(16, 16)), 2.0), noise(16, 16))


def test_images_recompressed_at_reading_are_not_recompressed_again():
    photo, tile = noise(20, 48), noise(20, 20, 1)
    for done in ((True, True), (True, False), (False, True)):
        rng = np.random.default_rng(0)
        found = augment_sample(
            photo, tile, only(jpeg_probability=1), view="ground", rng=rng, recompressed=done
        )
        unchanged = np.array_equal(found[0], photo), np.array_equal(found[1], tile)
        assert unchanged == done


def test_qualities_are_drawn_evenly_from_the_range_when_at_all():
    rng = np.random.default_rng(0)
    drawn = [draw_quality(only(jpeg_probability=0.5), rng) for _ in range(2200)]
    counts = np.bincount([quality for quality in drawn if quality is not None], minlength=101)
    assert counts.sum() == pytest.approx(1100, abs=100)
    assert not counts[:90].any()
    assert counts[90:] == pytest.approx([100] * 11, abs=40)


def test_jitter_stays_within_its_strength_on_grey():
    """Grey has no saturation and no hue; one value has no contrast: brightness alone is left."""
    grey = np.full((4, 4, 3), 100, np.uint8)
    levels = [
        int(jitter(grey, strength=0.15, rng=np.random.default_rng(seed))[0, 0, 0])
        for seed in range(300)
    ]
    assert 83 <= min(levels) <= 87
    assert 113 <= max(levels) <= 115


def plainly_filtered(pixels, kernel):
    reach = len(kernel) // 2
    padded = np.pad(pixels.astype(float), ((reach,) * 2, (reach,) * 2, (0, 0)), mode="reflect")
    found = np.zeros(pixels.shape)
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            window = padded[y : y + len(kernel), x : x + len(kernel)]
            found[y, x] = (window * kernel[:, :, None]).sum(axis=(0, 1))
    return np.clip(found, 0, 255)


@pytest.mark.parametrize("side", [3, 5, 7])
def test_filtering_against_the_plain_sum(side):
    kernel = np.random.default_rng(side).normal(0, 0.3, (side, side))
    pixels = noise(37, 11)
    found = filter_image(pixels, kernel)
    assert found.dtype == np.uint8
    assert np.abs(found - plainly_filtered(pixels, kernel)).max() <= 0.501


def test_sharpening_against_golden_numbers_of_opencv():
    found = filter_image(formula_image(), sharpen_kernel(0.3, 0.7))
    assert found[:3, :4, 0].tolist() == [[0, 0, 0, 3], [0, 185, 255, 255], [79, 255, 0, 152]]
    assert int(found.astype(int).sum()) == pytest.approx(43612, abs=20)


def test_sharpening_of_a_flat_image_only_darkens_it():
    """The Laplacian vanishes: 1 - amount + amount * lightness is left."""
    flat = np.full((8, 8, 3), 200, np.uint8)
    assert (filter_image(flat, sharpen_kernel(0.4, 0.5)) == 160).all()
    for seed in range(50):
        gain = random_sharpen_kernel(np.random.default_rng(seed)).sum()
        assert 1 - 0.5 * 0.5 <= gain <= 1


def test_blur_kernel_against_golden_numbers_of_the_library_the_paper_used():
    kernel = generalised_gaussian(5, 1.0, 0.3, turn_rad=math.pi / 6, shape=0.6)
    expected = [
        [0.0241, 0.0123, 0.0040, 0.0010, 0.0002],
        [0.0678, 0.0923, 0.0422, 0.0117, 0.0026],
        [0.0224, 0.0894, 0.2595, 0.0894, 0.0224],
        [0.0026, 0.0117, 0.0422, 0.0923, 0.0678],
        [0.0002, 0.0010, 0.0040, 0.0123, 0.0241],
    ]
    np.testing.assert_allclose(kernel / kernel.sum(), expected, atol=6e-5)


def test_the_shape_one_is_the_gaussian_and_turning_it_by_a_quarter_swaps_the_widths():
    kernel = generalised_gaussian(7, 0.9, 0.4, turn_rad=0.0, shape=1.0)
    x = np.arange(-3, 4)
    separable = np.outer(np.exp(-(x**2) / (2 * 0.4**2)), np.exp(-(x**2) / (2 * 0.9**2)))
    np.testing.assert_allclose(kernel, separable, rtol=1e-9)
    turned = generalised_gaussian(7, 0.9, 0.4, turn_rad=math.pi / 2, shape=1.0)
    np.testing.assert_allclose(turned, kernel.T, rtol=1e-9, atol=1e-300)


def test_blurring_keeps_flat_images_and_takes_contrast_away():
    flat, rough = np.full((8, 8, 3), 90, np.uint8), noise(64, 64)
    for seed in range(40):
        kernel = random_blur_kernel(np.random.default_rng(seed))
        assert kernel.shape in {(3, 3), (5, 5), (7, 7)}
        assert kernel.sum() == pytest.approx(1)
        assert (kernel >= 0).all()
        assert (filter_image(flat, kernel) == 90).all()
        assert filter_image(rough, kernel).std() <= rough.std() + 0.5


# The share of black pixels and the first holes, measured on the library the paper used.
@pytest.mark.parametrize(
    ("height", "width", "ratio", "black_share", "cell_px", "hole_px"),
    [
        (140, 768, 0.5, 0.2742559523809524, 76, 38),
        (384, 384, 0.4, 0.1608344184027778, 38, 15),
        (384, 768, 0.5, 0.2552354600694444, 76, 38),
    ],
)
def test_grid_of_holes_against_golden_numbers(height, width, ratio, black_share, cell_px, hole_px):
    found = drop_grid(np.full((height, width, 3), 255, np.uint8), ratio=ratio) == 0
    assert found.mean() == pytest.approx(black_share, abs=1e-9)
    for top in range(0, height, cell_px):
        for left in range(0, width, cell_px):
            assert found[top : top + hole_px, left : left + hole_px].all()
            assert not found[top : top + cell_px, left + hole_px : left + cell_px].any()


def test_random_holes_have_the_published_number_and_sizes():
    """Sides are 10-20 % of the height, also in wide images; holes may overlap and touch edges."""
    white = np.full((140, 768, 3), 255, np.uint8)
    shares = []
    for seed in range(200):
        holed = drop_holes(white, np.random.default_rng(seed))
        black = (holed == 0).all(axis=2)
        assert ((holed == 0) == black[:, :, None]).all()
        shares.append(black.mean())
        runs = np.diff(np.flatnonzero(np.diff(np.pad(black, ((0, 0), (1, 1))).astype(int))))[::2]
        assert runs.min() >= 14
    expected = 17.5 * 21**2 / (140 * 768)  # mean number times mean area, overlaps neglected
    assert np.mean(shares) == pytest.approx(expected, rel=0.12)
    assert max(shares) <= 25 * 28**2 / (140 * 768)


def test_photo_and_tile_have_their_own_grids():
    recipe = only(dropout_probability=1)
    white = np.full((40, 40, 3), 255, np.uint8)
    shares = set()
    for seed in range(20):
        found = augment_sample(white, white, recipe, view="drone", rng=np.random.default_rng(seed))
        grids = [drop_grid(white, ratio=ratio) for ratio in (0.5, 0.4)]
        shares |= {
            i for i in range(2) if np.array_equal(found[i], grids[i])
        }  # fmt: skip
    assert shares == {0, 1}
