"""Colour changes of one image as the published training made them: recompression and jitter."""

import io
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageStat

from crossfix.images import UInt8
from training.augmentation.hue import turn_hue

_RAMP = Image.frombytes("L", (256, 1), bytes(range(256)))


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
    return _from_level(image, 0, factor)


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    """Away from or towards the mean of the grey image, one number."""
    mean = ImageStat.Stat(image.convert("L")).mean[0]
    return _from_level(image, int(mean + 0.5), factor)


def _from_level(image: Image.Image, level: int, factor: float) -> Image.Image:
    """Every value's distance from a level times the factor: by table, and as Pillow rounds it."""
    table = Image.blend(Image.new("L", _RAMP.size, level), _RAMP, factor).tobytes()
    return image.point(list(table) * 3)


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    """Away from or towards the grey image (ITU-R 601 luma), pixel by pixel."""
    return ImageEnhance.Color(image).enhance(factor)


def _hue(image: Image.Image, factor: float) -> Image.Image:
    """Turned by ``factor - 1`` of the colour circle."""
    if factor == 1:
        return image
    return Image.fromarray(turn_hue(np.asarray(image), share=factor - 1))


_CHANGES: tuple[Callable[[Image.Image, float], Image.Image], ...] = (
    _brightness,
    _contrast,
    _saturation,
    _hue,
)
