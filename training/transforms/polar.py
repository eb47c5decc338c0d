"""The polar transform of north-up tiles, as preprocessing and as a part of the network.

With a tile of S x S pixels, an output of h x w, r = (S/2) (h-1-i)/h and t = 2 pi j / w, output
pixel (i, j) is the tile's value at row S/2 + r cos t, column S/2 - r sin t (array indices; Shi et
al., NeurIPS 2019, as their code has it). The bottom row is the tile's centre; columns look south,
west, north (in the middle) and east.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from crossfix.images import UInt8
from crossfix.view import Rgb

Float64 = NDArray[np.float64]


def polar_places(side_px: int, height_px: int, width_px: int) -> tuple[Float64, Float64]:
    """(h, w) rows and columns of the tile that the output's pixels are read at."""
    radius = side_px / 2 * (height_px - 1 - np.arange(height_px)[:, None]) / height_px
    angle = 2 * np.pi * np.arange(width_px)[None, :] / width_px
    return side_px / 2 + radius * np.cos(angle), side_px / 2 - radius * np.sin(angle)


def polar_pixels(tile: UInt8, *, height_px: int, width_px: int, stretch: bool = False) -> UInt8:
    """The polar transform of an image, rounded; bilinear, the tile's edge is repeated.

    Args:
        tile: (S, S, 3) uint8, north up.
        stretch: spreads the values of each image over 0..255, as some published scripts did when
            they saved their images.

    Returns:
        (height_px, width_px, 3) uint8.

    Raises:
        ValueError: the tile is not square.
    """
    side = len(tile)
    if tile.shape[:2] != (side, side):
        raise ValueError(f"a tile of {tile.shape[1]} x {side} pixels is not square")
    rows, columns = polar_places(side, height_px, width_px)
    values = _bilinear(tile.astype(np.float64), rows, columns)
    if stretch:
        low, high = values.min(), values.max()
        values = (values - low) * (255 / max(high - low, 1e-9))
    pixels: UInt8 = np.rint(values).astype(np.uint8)
    return pixels


def _bilinear(image: Float64, rows: Float64, columns: Float64) -> Float64:
    last = len(image) - 1
    top, left = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, right = (rows - top)[..., None], (columns - left)[..., None]
    above, below = np.clip(top, 0, last), np.clip(top + 1, 0, last)
    west, east = np.clip(left, 0, last), np.clip(left + 1, 0, last)
    upper = image[above, west] * (1 - right) + image[above, east] * right
    lower = image[below, west] * (1 - right) + image[below, east] * right
    mixed: Float64 = upper * (1 - down) + lower * down
    return mixed


class Polar(nn.Module):
    """The same on normalised tensors: (N, C, S, S) to (N, C, h, w).

    Images that are (h, w) already, and not square, are polar tiles from files and stay as they are.

    Args:
        stretch: needs `mean` and `std`, by which the images were normalised.
    """

    def __init__(
        self, side_px: int, height_px: int, width_px: int, *, stretch: bool, mean: Rgb, std: Rgb
    ) -> None:
        super().__init__()
        rows, columns = polar_places(side_px, height_px, width_px)
        places = 2 * np.stack([columns, rows], axis=-1) / (side_px - 1) - 1
        self.stretch, self.size = stretch, (height_px, width_px)
        self.register_buffer("grid", torch.from_numpy(places).float()[None], persistent=False)
        for name, values in (("mean", mean), ("std", std)):
            colour = torch.tensor(values)[None, :, None, None]
            self.register_buffer(name, colour, persistent=False)
        self.grid: Tensor
        self.mean: Tensor
        self.std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """The polar images, normalised as the input is."""
        if images.shape[2] != images.shape[3] and images.shape[2:] == self.size:
            return images
        grid = self.grid.expand(len(images), -1, -1, -1)
        found = functional.grid_sample(images, grid, padding_mode="border", align_corners=True)
        if not self.stretch:
            return found
        values = found * self.std + self.mean
        low = values.amin(dim=(1, 2, 3), keepdim=True)
        high = values.amax(dim=(1, 2, 3), keepdim=True)
        return ((values - low) / (high - low).clamp(min=1e-9) - self.mean) / self.std
