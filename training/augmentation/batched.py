"""Augmentation of whole batches: photo and tile kept in step, colours changed independently.

Images are float tensors (N, 3, h, w) in 0..1 until `normalise_batch`.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from crossfix.view import Rgb, ViewName
from training.recipe import BatchedAugmentation


@dataclass(frozen=True)
class Pair:
    """A batch of photos (N, 3, h, w) and their tiles (N, 3, s, s), 0..1."""

    photo: Tensor
    tile: Tensor


def augment_pair(
    pair: Pair, recipe: BatchedAugmentation, *, view: ViewName, mean: Rgb, generator: Generator
) -> Pair:
    """All augmentations in order: colour, dropout, field of view, flip, rotation.

    Args:
        mean: the colour of what is unseen; such pixels keep it.
        generator: all randomness comes from here.
    """
    fill = _fill(mean, pair.photo)
    photo = _drop_cells(_recolour(pair.photo, recipe, generator), fill, recipe, generator)
    tile = _drop_cells(_recolour(pair.tile, recipe, generator), fill, recipe, generator)
    if view == "ground":
        unseen = (pair.photo - fill).abs().amax(dim=1, keepdim=True) < 0.5 / 255
        photo = _limit_view(photo, unseen, fill, recipe, generator)
        photo = _add_heading_noise(photo, recipe, generator)
    else:
        photo = _zoom(photo, recipe, generator)
    count = len(photo)
    flip = torch.rand(count, generator=generator) < recipe.flip_probability
    turned = torch.rand(count, generator=generator) < recipe.rotate_probability
    turns = torch.randint(1, 4, (count,), generator=generator) * turned
    return rotate_pair(flip_pair(Pair(photo, tile), flip), turns, view=view)


def normalise_batch(images: Tensor, mean: Rgb, std: Rgb) -> Tensor:
    """0..1 to the model's input, as `crossfix.preprocess.normalise` does from uint8."""
    return (images - _fill(mean, images, rounded=False)) / _fill(std, images, rounded=False)


def flip_pair(pair: Pair, flip: Tensor) -> Pair:
    """Mirrors both images east-west where `flip` (N,) is set: a mirrored world."""
    photo, tile = pair.photo.clone(), pair.tile.clone()
    for images in (photo, tile):
        images[flip] = images[flip].flip(-1)
    return Pair(photo, tile)


def rotate_pair(pair: Pair, turns: Tensor, *, view: ViewName) -> Pair:
    """Turns the world counter-clockwise by 90 degrees `turns` (N,) times.

    What was north of the place is west of it afterwards: the tile is rotated, a panorama with
    north in its centre is rolled a quarter to the left (Sample4Geo, official behaviour). Drone
    photos have any heading and stay as they are.
    """
    photo, tile = pair.photo.clone(), pair.tile.clone()
    for count in (1, 2, 3):
        chosen = turns == count
        if not chosen.any():
            continue
        tile[chosen] = torch.rot90(tile[chosen], count, dims=(2, 3))
        if view == "ground":
            shift = -(photo.shape[-1] * count // 4)
            photo[chosen] = torch.roll(photo[chosen], shift, dims=-1)
    return Pair(photo, tile)


def turn_tiles(pair: Pair, turns: Tensor) -> Pair:
    """Turns the tiles alone, counter-clockwise by 90 degrees `turns` (N,) times."""
    tile = pair.tile.clone()
    for count in (1, 2, 3):
        chosen = turns == count
        tile[chosen] = torch.rot90(tile[chosen], count, dims=(2, 3))
    return Pair(pair.photo, tile)


def _fill(colour: Rgb, like: Tensor, *, rounded: bool = True) -> Tensor:
    values = torch.tensor(colour, dtype=like.dtype)
    if rounded:  # the canvas of crossfix.panorama holds whole numbers
        values = torch.round(values * 255) / 255
    return values[None, :, None, None]


def _uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    return (low + (high - low) * torch.rand(count, generator=generator))[:, None, None, None]


def _chance(count: int, probability: float, generator: Generator) -> Tensor:
    return (torch.rand(count, generator=generator) < probability)[:, None, None, None]


def _recolour(images: Tensor, recipe: BatchedAugmentation, generator: Generator) -> Tensor:
    """Saturation, contrast, channel gains and brightness as one matrix per image; then gamma."""
    count, s = len(images), recipe.colour_strength
    if recipe.colour_probability or recipe.gray_probability:
        matrix, contrast = _colour_matrices(count, recipe, generator)
        middle = images.mean(dim=(1, 2, 3))[:, None, None]
        offset = middle * (1 - contrast) * matrix.sum(dim=2, keepdim=True)
        changed = torch.baddbmm(offset, contrast * matrix, images.flatten(2))
        chosen = _chance(count, recipe.colour_probability, generator)
        gamma = torch.exp(_uniform(count, -s, s, generator) * chosen)
        images = changed.view(images.shape).clamp_(1e-3, 1).pow_(gamma)
    return _blur(images, recipe, generator)


def _colour_matrices(
    count: int, recipe: BatchedAugmentation, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Matrices (N, 3, 3) on the channels, and the contrast (N, 1, 1) about an image's mean."""
    s, mix = recipe.colour_strength, torch.full((1, 3, 3), 1 / 3)
    chosen = _chance(count, recipe.colour_probability, generator)[..., 0]
    saturation = 1 + _uniform(count, -2 * s, s, generator)[..., 0] * chosen
    is_gray = _chance(count, recipe.gray_probability, generator)[..., 0]
    saturation = torch.where(is_gray, 0.0, saturation)
    contrast = 1 + _uniform(count, -s, s, generator)[..., 0] * chosen
    gains = 1 + s * (torch.rand(count, 3, 1, generator=generator) - 0.5) * chosen * ~is_gray
    gains = gains * (1 + _uniform(count, -s, s, generator)[..., 0] * chosen)
    return gains * (saturation * torch.eye(3) + (1 - saturation) * mix), contrast


def _blur(images: Tensor, recipe: BatchedAugmentation, generator: Generator) -> Tensor:
    """Halves the resolution of some images."""
    chosen = torch.rand(len(images), generator=generator) < recipe.blur_probability
    if chosen.any():
        small = functional.avg_pool2d(images[chosen], 2)
        size = images.shape[-2:]
        images = images.clone()
        images[chosen] = functional.interpolate(small, size=size, mode="bilinear")
    return images


def _drop_cells(
    images: Tensor, fill: Tensor, recipe: BatchedAugmentation, generator: Generator
) -> Tensor:
    """Blanks random cells of a coarse grid."""
    count, n = len(images), recipe.dropout_cells
    if not recipe.dropout_probability:
        return images
    cells = torch.rand(count, 1, n, n, generator=generator) < recipe.dropout_share
    cells = cells & _chance(count, recipe.dropout_probability, generator)
    hit = cells.flatten(1).any(dim=1)
    if hit.any():
        size = images.shape[-2:]
        mask = functional.interpolate(cells[hit].to(images.dtype), size=size, mode="nearest")
        images = images.clone()
        images[hit] = torch.where(mask > 0, fill, images[hit])
    return images


def _limit_view(
    photo: Tensor, unseen: Tensor, fill: Tensor, recipe: BatchedAugmentation, generator: Generator
) -> Tensor:
    """Keeps only a window of azimuths of some panoramas, and half the time a band of heights.

    Pixels `unseen` (N, 1, h, w) from the start get the fill colour back.
    """
    count, height, width = len(photo), photo.shape[-2], photo.shape[-1]
    kept = _uniform(count, recipe.limited_view_min_deg, recipe.limited_view_max_deg, generator)
    centre = _uniform(count, 0, 360, generator)
    azimuth = (torch.arange(width) + 0.5) / width * 360
    apart = ((azimuth - centre + 180) % 360 - 180).abs()
    rows = (torch.arange(height) + 0.5)[:, None] / height
    low, high = _uniform(count, 0, 0.25, generator), _uniform(count, 0.65, 1, generator)
    banded = _chance(count, 0.5, generator) & ((rows < low) | (rows > high))
    limited = _chance(count, recipe.limited_view_probability, generator)
    return torch.where(unseen | (limited & ((apart > kept / 2) | banded)), fill, photo)


def _add_heading_noise(photo: Tensor, recipe: BatchedAugmentation, generator: Generator) -> Tensor:
    width = photo.shape[-1]
    noise = _uniform(len(photo), -1, 1, generator) * recipe.heading_noise_deg / 360 * width
    columns = (torch.arange(width) + noise.round().long()) % width
    return torch.gather(photo, 3, columns.expand_as(photo))


def _zoom(photo: Tensor, recipe: BatchedAugmentation, generator: Generator) -> Tensor:
    """A random square part of at least `drone_zoom_min` of the side, resized back."""
    if recipe.drone_zoom_min >= 1:
        return photo
    count = len(photo)
    scale = recipe.drone_zoom_min + (1 - recipe.drone_zoom_min) * torch.rand(
        count, generator=generator
    )
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * (1 - scale)[:, None]
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = shift
    grid = functional.affine_grid(theta, list(photo.shape), align_corners=False)
    return functional.grid_sample(photo, grid, padding_mode="border", align_corners=False)
