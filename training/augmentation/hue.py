"""Colours turned around the hue circle, in whole numbers and without a division per pixel."""

import numpy as np
from numpy.typing import NDArray

from crossfix.images import UInt8

Int16 = NDArray[np.int16]

_BLOCK_ROWS = 32  # few enough that a block's planes stay in the processor's cache


def turn_hue(pixels: UInt8, *, share: float) -> UInt8:
    """Value and saturation of HSV stay, the hue turns; exact to half a grey level.

    With value V, chroma C (V minus the smallest channel) and the hue as H = C * hue / 60 degrees,
    a channel is V - C + clip(2C - d, 0, C), where d is the way around the circle of 6C from H to
    the channel's own hue: 0 for red, 2C for green, 4C for blue (Smith 1978, the hexcone).

    Args:
        pixels: (h, w, 3) uint8.
        share: of the circle, any number; red goes towards green when positive.
    """
    sixths = np.float32(6 * (share - round(share)))
    turned = np.empty(pixels.shape, np.uint8)
    for top in range(0, len(pixels), _BLOCK_ROWS):
        rows = slice(top, top + _BLOCK_ROWS)
        planes = np.moveaxis(pixels[rows], 2, 0).astype(np.int16, order="C")
        _turn_planes(planes, sixths, turned[rows])
    return turned


def _turn_planes(planes: Int16, sixths: np.float32, turned: UInt8) -> None:
    red, green, blue = planes
    value = np.maximum(np.maximum(red, green), blue)
    smallest = np.minimum(np.minimum(red, green), blue)
    chroma = value - smallest
    double = chroma + chroma
    circle = 3 * double
    hue = _scaled_hue(planes, value, double)
    hue += np.rint(chroma * sixths).astype(np.int16)
    for channel in range(3):
        way = np.abs(hue)
        np.minimum(way, np.abs(circle - way), out=way)
        level = np.minimum(double - way, chroma)
        np.maximum(level, 0, out=level)
        np.add(level, smallest, out=turned[:, :, channel], casting="unsafe")
        hue -= double


def _scaled_hue(planes: Int16, value: Int16, double: Int16) -> Int16:
    """C * hue / 60 degrees, -C to 5C; masks are multiplied, which is faster than `where`."""
    red, green, blue = planes
    is_red = value == red
    is_green = (value == green) & ~is_red
    is_blue = ~(is_red | is_green)
    hue: Int16 = (green - blue) * is_red
    hue += (blue - red + double) * is_green
    hue += (red - green + double + double) * is_blue
    return hue
