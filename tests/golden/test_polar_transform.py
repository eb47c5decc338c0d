"""The polar transform against its formula pixel by pixel, and against a marked tile."""

import math

import numpy as np
import pytest
import torch

from training.transforms.polar import Polar, polar_pixels, polar_places

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plain_polar(tile, height, width):
    """Loops over the output, four neighbours by hand."""
    side = len(tile)
    found = np.zeros((height, width, 3))
    for i in range(height):
        for j in range(width):
            r, t = side / 2 * (height - 1 - i) / height, 2 * math.pi * j / width
            row, column = side / 2 + r * math.cos(t), side / 2 - r * math.sin(t)
            for a in (math.floor(row), math.floor(row) + 1):
                for b in (math.floor(column), math.floor(column) + 1):
                    share = (1 - abs(row - a)) * (1 - abs(column - b))
                    found[i, j] += share * tile[min(max(a, 0), side - 1), min(max(b, 0), side - 1)]
    return found


@pytest.mark.parametrize(("side", "height", "width"), [(40, 12, 31), (25, 10, 16), (12, 24, 40)])
def test_pixels_are_those_of_the_formula(side, height, width):
    tile = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    expected = plain_polar(tile.astype(float), height, width)
    found = polar_pixels(tile, height_px=height, width_px=width)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("stretch", [False, True])
def test_the_part_of_the_network_gives_the_same_as_the_preprocessing(stretch):
    tile = np.random.default_rng(1).integers(30, 180, (64, 64, 3), np.uint8)
    module = Polar(64, 20, 70, stretch=stretch, mean=MEAN, std=STD)
    pixels = torch.from_numpy(tile).permute(2, 0, 1)[None].float() / 255
    found = module((pixels - module.mean) / module.std) * module.std + module.mean
    expected = polar_pixels(tile, height_px=20, width_px=70, stretch=stretch)
    difference = found[0].permute(1, 2, 0).numpy() * 255 - expected
    assert np.abs(difference).max() < 0.51
    if stretch:
        assert (expected.min(), expected.max()) == (0, 255)


def test_images_that_are_polar_already_pass_as_they_are():
    """Files of `polar-tiles` take the place of plain tiles in training."""
    module = Polar(64, 20, 70, stretch=True, mean=MEAN, std=STD)
    polar = torch.randn(2, 3, 20, 70)
    assert module(polar) is polar
    square = Polar(64, 64, 64, stretch=False, mean=MEAN, std=STD)
    tile = torch.randn(2, 3, 64, 64)
    assert not torch.equal(square(tile), tile)


def test_columns_look_south_west_north_and_east():
    """A tile with one bright spot towards each side; north is up."""
    side, far = 101, 40
    spots = {"south": (50 + far, 50), "west": (50, 50 - far), "north": (50 - far, 50),
             "east": (50, 50 + far)}  # fmt: skip
    columns = {}
    for name, (row, column) in spots.items():
        tile = np.zeros((side, side, 3), np.uint8)
        tile[row - 1 : row + 2, column - 1 : column + 2] = 255
        polar = polar_pixels(tile, height_px=50, width_px=360).sum(axis=(0, 2))
        angle = np.exp(2j * np.pi * np.arange(360) / 360)
        columns[name] = np.degrees(np.angle((polar * angle).sum())) % 360
    expected = {"south": 0, "west": 90, "north": 180, "east": 270}
    for name, column in columns.items():
        assert abs((column - expected[name] + 180) % 360 - 180) < 2, name


def test_the_bottom_row_is_the_centre_and_published_sizes_stay_inside():
    rows, columns = polar_places(750, 112, 616)
    np.testing.assert_array_equal(rows[-1], 375)
    np.testing.assert_array_equal(columns[-1], 375)
    assert rows.max() == pytest.approx(746.65, abs=0.01)
    assert min(rows.min(), columns.min()) > 0
    assert rows[0, 308] < rows[0, 0]  # the centre column looks up the tile, north


def test_turning_the_tile_rolls_the_polar_image():
    tile = np.random.default_rng(2).integers(0, 256, (65, 65, 3), np.uint8)
    rows, columns = polar_places(65, 30, 120)
    inside = (np.maximum(abs(rows - 32.5), abs(columns - 32.5)) < 30).all(axis=1)
    # The formula's centre is half a pixel off the turn's; smooth tiles hide that.
    smooth = np.asarray(tile, float)
    for _ in range(40):
        smooth = (smooth + np.roll(smooth, 1, 0) + np.roll(smooth, 1, 1)) / 3
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    turned = polar_pixels(np.rot90(smooth).astype(np.uint8), height_px=30, width_px=120)
    rolled = np.roll(
        polar_pixels(smooth.astype(np.uint8), height_px=30, width_px=120), -30, axis=1
    )  # fmt: skip
    difference = np.abs(turned.astype(float) - rolled)[inside]
    assert difference.mean() < 0.25 * np.abs(turned.astype(float) - rolled[:, ::-1])[inside].mean()


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="not square"):
        polar_pixels(np.zeros((4, 5, 3), np.uint8), height_px=4, width_px=8)
