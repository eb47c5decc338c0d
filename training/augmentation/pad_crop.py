"""The augmentation of University-1652's baseline: pad, turn tiles, cut out, mirror.

Zheng, Wei and Yang, "University-1652", ACM MM 2020, and their code: the edge is repeated round an
image, a satellite tile is turned by any angle, an image of the old size is cut out, and half of
them are mirrored. Photo and tile are changed independently, as two photos of a class would be.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from training.augmentation.batched import Pair
from training.recipe import PadCropAugmentation


def pad_crop_pair(pair: Pair, recipe: PadCropAugmentation, *, generator: Generator) -> Pair:
    """The augmented pair, of its old sizes.

    Args:
        generator: all randomness comes from here.
    """
    photo = _changed(pair.photo, recipe, 0.0, generator)
    return Pair(photo, _changed(pair.tile, recipe, recipe.tile_turn_deg, generator))


def _changed(
    images: Tensor, recipe: PadCropAugmentation, turn_deg: float, generator: Generator
) -> Tensor:
    padded = functional.pad(images, (recipe.pad_px,) * 4, mode="replicate")
    if turn_deg:
        angle = (2 * torch.rand(len(images), generator=generator) - 1) * turn_deg
        padded = turned(padded, torch.deg2rad(angle))
    corners = torch.randint(0, 2 * recipe.pad_px + 1, (2, len(images)), generator=generator)
    cut = _cut_out(padded, corners, images.shape[2], images.shape[3])
    mirrored = torch.rand(len(images), generator=generator) < recipe.flip_probability
    return torch.where(mirrored[:, None, None, None], cut.flip(-1), cut)


def turned(images: Tensor, angle_rad: Tensor) -> Tensor:
    """Square images (N, C, s, s) turned about their middle; nearest pixel, black outside.

    Args:
        angle_rad: (N,), counter-clockwise.
    """
    cosine, sine, zero = angle_rad.cos(), angle_rad.sin(), torch.zeros_like(angle_rad)
    theta = torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )


def _cut_out(images: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """Parts (N, C, height, width), each from its own top and left, (2, N) pixels."""
    rows = (corners[0][:, None] + torch.arange(height))[:, :, None]
    columns = (corners[1][:, None] + torch.arange(width))[:, None, :]
    which = torch.arange(len(images))[:, None, None]
    return images[which, :, rows, columns].permute(0, 3, 1, 2)
