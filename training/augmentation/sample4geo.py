"""The augmentation of Sample4Geo (Deuser et al., ICCV 2023), one photo and its tile at a time.

Parameters are those of the official code; its text was not used. Flip and turn are in step, all
else is drawn for each image by itself.

The published order is flip, JPEG recompression at full size, resize, colour, filter, holes, turn.
In mode `paper` images in files are recompressed at full size by `read_image`; their flip follows
instead of leading, so that artefacts of a mirrored image are as strong as published but not the
very same. All other images are recompressed after the resize, 2 to 11 times as fast.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from crossfix.images import UInt8
from crossfix.view import ViewName
from training.augmentation.colour import jitter, recompress
from training.augmentation.dropout import drop_grid, drop_holes
from training.augmentation.filters import (
    filter_image,
    random_blur_kernel,
    random_sharpen_kernel,
)
from training.datasets.image_files import RecompressibleSet
from training.datasets.split import ImageSet
from training.recipe import Mode, Sample4GeoAugmentation


class ReadImage(NamedTuple):
    """Pixels (h, w, 3) uint8 of the view's size, and whether recompression is behind them."""

    pixels: UInt8
    recompressed: bool


def read_image(
    images: ImageSet, index: int, recipe: Sample4GeoAugmentation, *, mode: Mode, rng: Generator,
    cut: Generator | None = None,
) -> ReadImage:  # fmt: skip
    """One image of a set, recompressed at full size where the mode is `paper` and the set can.

    Args:
        rng: draws the recompression, if it takes place here; `augment_sample` does otherwise.
        cut: what the set draws its cut with, see `ImageSet.read`.

    Raises:
        DataError: the image cannot be read.
    """
    if mode != "paper" or not isinstance(images, RecompressibleSet):
        return ReadImage(images.read(index, cut), False)
    quality = draw_quality(recipe, rng)
    if quality is None:
        return ReadImage(images.read(index, cut), True)
    return ReadImage(images.read_recompressed(index, quality=quality), True)


def draw_quality(recipe: Sample4GeoAugmentation, rng: Generator) -> int | None:
    """The quality an image is recompressed with, 1..100; None: it is not."""
    if rng.random() >= recipe.jpeg_probability:
        return None
    low, high = recipe.jpeg_quality_min, recipe.jpeg_quality_max
    return int(rng.integers(low, high, endpoint=True))


def augment_sample(
    photo: UInt8, tile: UInt8, recipe: Sample4GeoAugmentation, *, view: ViewName, rng: Generator,
    recompressed: tuple[bool, bool] = (False, False),
) -> tuple[UInt8, UInt8]:  # fmt: skip
    """Photo and tile changed at random, of their old sizes.

    Args:
        photo: (h, w, 3) uint8 of the view's size; panoramas have north in the centre column.
        tile: (s, s, 3) uint8, north up.
        view: ground photos are rolled when the tile is turned; drone photos stay as they are.
        rng: all randomness comes from here.
        recompressed: photo and tile whose recompression was drawn when they were read.
    """
    if rng.random() < recipe.flip_probability:
        photo, tile = photo[:, ::-1], tile[:, ::-1]
    ratios = recipe.photo_grid_dropout_ratio, recipe.tile_grid_dropout_ratio
    photo, tile = (
        augment_image(pixels, recipe, grid_ratio=ratio, rng=rng, recompressed=done)
        for pixels, ratio, done in zip((photo, tile), ratios, recompressed, strict=True)
    )
    if recipe.tile_random_turn:
        tile = np.rot90(tile, int(rng.integers(4)))
    if rng.random() < recipe.rotate_probability:
        photo, tile = turn_pair(photo, tile, turns=int(rng.integers(1, 4)), view=view)
    return np.ascontiguousarray(photo), np.ascontiguousarray(tile)


def augment_image(
    pixels: UInt8, recipe: Sample4GeoAugmentation, *, grid_ratio: float, rng: Generator,
    recompressed: bool = False,
) -> UInt8:  # fmt: skip
    """JPEG artefacts, colour, blur or sharpening, holes: what needs no step with another image.

    Args:
        pixels: (h, w, 3) uint8.
        grid_ratio: a hole's side over the cell's when the holes form a grid.
        recompressed: leaves the JPEG artefacts out.
    """
    pixels = np.ascontiguousarray(pixels)
    quality = None if recompressed else draw_quality(recipe, rng)
    if quality is not None:
        pixels = recompress(pixels, quality=quality)
    if rng.random() < recipe.colour_probability:
        pixels = jitter(pixels, strength=recipe.colour_strength, rng=rng)
    if rng.random() < recipe.blur_or_sharpen_probability:
        is_blur = rng.random() < 0.5
        kernel = random_blur_kernel(rng) if is_blur else random_sharpen_kernel(rng)
        pixels = filter_image(pixels, kernel)
    if rng.random() < recipe.dropout_probability:
        is_grid = rng.random() < 0.5
        pixels = drop_grid(pixels, ratio=grid_ratio) if is_grid else drop_holes(pixels, rng)
    return pixels


def turn_pair(photo: UInt8, tile: UInt8, *, turns: int, view: ViewName) -> tuple[UInt8, UInt8]:
    """Turns the world counter-clockwise by `turns` quarters, as `batched.rotate_pair` does.

    What was north is west afterwards: the tile is rotated, a panorama rolled to the left by a
    quarter of its width (rounded up, as published) for each turn.
    """
    if view == "ground":
        photo = np.roll(photo, (-photo.shape[1] // 4) * turns, axis=1)
    return photo, np.rot90(tile, turns)
