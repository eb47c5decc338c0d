"""Colour changes of one image as the published training made them: recompression and jitter."""

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance

from crossfix.images import UInt8


def recompress(pixels: UInt8, *, quality: int) -> UInt8:
    """The image after a JPEG file of this quality (1..100, 4:2:0 chroma)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(buffer), np.uint8)


def jitter(pixels: UInt8, *, strength: float, rng: Generator) -> UInt8:
    """Brightness, contrast, saturation and hue changed in random order.

    Args:
        pixels: (h, w, 3) uint8.
        strength: factors are uniform in 1 - strength .. 1 + strength, the hue's turn in
            -strength .. strength of the whole colour circle.
    """
    factors = 1 + rng.uniform(-strength, strength, 4)
    image = Image.fromarray(pixels)
    for kind in rng.permutation(4):
        image = _CHANGES[kind](image, float(factors[kind]))
    return np.asarray(image, np.uint8)


def _brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    """Away from or towards the mean of the grey image, one number."""
    return ImageEnhance.Contrast(image).enhance(factor)


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    """Away from or towards the grey image (ITU-R 601 luma), pixel by pixel."""
    return ImageEnhance.Color(image).enhance(factor)


def _hue(image: Image.Image, factor: float) -> Image.Image:
    """Turned by ``factor - 1`` of the colour circle; Pillow divides the circle into 256."""
    turn = round((factor - 1) * 256)
    if not turn:
        return image  # the way to HSV and back would cost up to 5 grey levels
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + turn) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


_CHANGES: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _hue,
)
