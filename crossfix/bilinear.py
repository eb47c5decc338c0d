"""Resizing by sampling: four pixels per output pixel, whatever the reduction."""

import numpy as np
from numpy.typing import NDArray

from crossfix.images import UInt8

_ONE = 256  # weights are whole 256ths


def resize_sampled(pixels: UInt8, *, height_px: int, width_px: int) -> UInt8:
    """Bilinear interpolation at pixel centres without antialiasing.

    The whole-number arithmetic is that of OpenCV's ``INTER_LINEAR_EXACT``, to the last bit;
    ``INTER_LINEAR`` differs by at most one grey level.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        (height_px, width_px, 3) uint8.
    """
    upper, lower, weight_rows = _taps(height_px, pixels.shape[0])
    left, right, weight_columns = _taps(width_px, pixels.shape[1])
    down, across = weight_rows[:, None, None], weight_columns[:, None]
    first = _mix_columns(pixels[upper], left, right, across)
    second = _mix_columns(pixels[lower], left, right, across)
    total = first * (_ONE - down) + second * down
    mixed: UInt8 = ((total + _ONE * _ONE // 2) >> 16).astype(np.uint8)
    return mixed


def _taps(count: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint32]]:
    """For each of `count` samples the two pixels it lies between and the second's weight."""
    place = np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1)
    before = np.floor(place).astype(np.intp)
    after = np.minimum(before + 1, length - 1)
    return before, after, np.rint((place - before) * _ONE).astype(np.uint32)


def _mix_columns(
    rows: UInt8,
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    weight: NDArray[np.uint32],
) -> NDArray[np.uint32]:
    near = rows.take(left, axis=1).astype(np.uint32)
    near *= _ONE - weight
    far = rows.take(right, axis=1).astype(np.uint32)
    far *= weight
    near += far
    return near
