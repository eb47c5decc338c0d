"""Blur and sharpening of one image by a small random kernel."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import Generator
from numpy.typing import NDArray

from crossfix.images import UInt8

Float64 = NDArray[np.float64]

# What the published training used: defaults of the library it was written with.
BLUR_SIDES_PX = (3, 5, 7)
BLUR_SIGMA_PX = (0.2, 1.0)
BLUR_TURN_DEG = 90.0
BLUR_SHAPE = (0.5, 8.0)
BLUR_NOISE = (0.9, 1.1)
SHARPEN_AMOUNT = (0.2, 0.5)
SHARPEN_LIGHTNESS = (0.5, 1.0)

_BLOCK_ROWS = 16  # few enough that a block and its sums stay in the processor's cache


def random_blur_kernel(rng: Generator) -> Float64:
    """A blur of random size, widths, direction, shape and unevenness; the sum is 1.

    Shapes below and above the plain Gaussian (1) are equally likely, as in Wang et al. 2021,
    "Real-ESRGAN", section 3.2.
    """
    side = int(rng.choice(BLUR_SIDES_PX))
    sigma_x, sigma_y = rng.uniform(*BLUR_SIGMA_PX, 2)
    turn = math.radians(rng.uniform(-BLUR_TURN_DEG, BLUR_TURN_DEG))
    low, high = BLUR_SHAPE
    shape = rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)
    noise = rng.uniform(*BLUR_NOISE, (side, side))
    kernel = generalised_gaussian(side, sigma_x, sigma_y, turn_rad=turn, shape=shape) * noise
    return np.asarray(kernel / kernel.sum(), np.float64)


def generalised_gaussian(
    side: int, sigma_x: float, sigma_y: float, *, turn_rad: float, shape: float
) -> Float64:
    """``exp(-q^shape / 2)`` on a grid, q the squared distance in the axes of the ellipse.

    Args:
        side: odd; the grid is -(side // 2) .. side // 2 pixels.
        sigma_x, sigma_y: pixels along the ellipse's axes.
        turn_rad: of the axes, from x towards y.
        shape: 1 is the Gaussian; larger is flatter with sharper edges.

    Returns:
        (side, side), 1 in the centre; rows are y.
    """
    reach = side // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    along = math.cos(turn_rad) * x + math.sin(turn_rad) * y
    across = -math.sin(turn_rad) * x + math.cos(turn_rad) * y
    squared = (along / sigma_x) ** 2 + (across / sigma_y) ** 2
    return np.asarray(np.exp(-0.5 * squared**shape), np.float64)


def random_sharpen_kernel(rng: Generator) -> Float64:
    """3 x 3: the image mixed with its Laplacian-sharpened self of random lightness."""
    amount, lightness = rng.uniform(*SHARPEN_AMOUNT), rng.uniform(*SHARPEN_LIGHTNESS)
    return sharpen_kernel(amount, lightness)


def sharpen_kernel(amount: float, lightness: float) -> Float64:
    """``(1 - amount) * image + amount * (8-neighbour Laplacian + lightness * image)``."""
    kernel = np.full((3, 3), -amount)
    kernel[1, 1] = 1 - amount + amount * (8 + lightness)
    return kernel


def filter_image(pixels: UInt8, kernel: Float64) -> UInt8:
    """Correlates every channel with a kernel; edges are mirrored without repeating the edge pixel.

    Args:
        pixels: (h, w, 3) uint8, both sides larger than half the kernel.
        kernel: (k, k), k odd.
    """
    side, (height, width) = len(kernel), pixels.shape[:2]
    reach = side // 2
    columns = np.ascontiguousarray(kernel.T, np.float32)
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    rows = padded.reshape(height + 2 * reach, -1)  # neighbours in x are three numbers apart
    filtered = np.empty((height, width * 3), np.uint8)
    for top in range(0, height, _BLOCK_ROWS):
        bottom = min(top + _BLOCK_ROWS, height)
        filtered[top:bottom] = _filter_rows(rows[top : bottom + 2 * reach], columns, width * 3)
    return filtered.reshape(pixels.shape)


def _filter_rows(rows: UInt8, columns: NDArray[np.float32], length: int) -> UInt8:
    """Every column of the kernel down every column of the rows, then the shifted sums.

    The first part is one small matrix product per row, on overlapping views of the rows: products
    of this size run several times as fast as sums over whole images, and in one thread.
    """
    side = len(columns)
    windows = sliding_window_view(rows.astype(np.float32), side, axis=0).swapaxes(1, 2)
    sums = columns @ windows
    total = sums[:, 0, :length] + np.float32(0.5)  # the cast below cuts, so this rounds
    for j in range(1, side):
        total += sums[:, j, 3 * j : 3 * j + length]
    return np.clip(total, 0, 255, out=total).astype(np.uint8)
