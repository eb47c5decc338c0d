"""An image file as a tile: upright, what is transparent kept apart, cut square."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from crossfix.errors import ImageError, SourceError
from crossfix.images import ImageLimits, decode

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

MAX_EMPTY_SHARE = 0.5
_LIMITS = ImageLimits(max_bytes=500_000_000)


def read_square(path: Path, *, ground_aspect: float | None = None) -> UInt8 | None:
    """The largest centred square of ground in an image, (S, S, 3) uint8.

    The image is turned as its EXIF says. Where it has transparency, more than half of it makes
    the tile empty.

    Args:
        ground_aspect: width over height of the whole image on the ground; None takes its pixels
            to be square.

    Returns:
        pixels, or None where the tile is empty.

    Raises:
        SourceError: missing or unreadable, naming the file.
    """
    try:
        data = path.read_bytes()
        pixels = decode(data, limits=_LIMITS).pixels
    except OSError as problem:
        raise _unreadable(path, problem.strerror or str(problem)) from problem
    except ImageError as problem:
        raise _unreadable(path, str(problem)) from problem
    window = _square_window(pixels.shape[0], pixels.shape[1], ground_aspect)
    solid = _solid(data)
    if solid is not None and np.count_nonzero(solid[window]) < (
        (1 - MAX_EMPTY_SHARE) * solid[window].size
    ):
        return None
    return _as_square(pixels[window])


def _square_window(height: int, width: int, ground_aspect: float | None) -> tuple[slice, slice]:
    """Rows and columns of the square on the ground."""
    # Ground width over ground height of one pixel.
    pixel_aspect = 1.0 if ground_aspect is None else ground_aspect * height / width
    rows = min(height, max(1, round(width * pixel_aspect)))
    columns = min(width, max(1, round(height / pixel_aspect)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def _as_square(pixels: UInt8) -> UInt8:
    height, width = pixels.shape[:2]
    if height == width:
        return np.ascontiguousarray(pixels)
    side = max(height, width)
    squared = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    return np.asarray(squared, np.uint8)


def _solid(data: bytes) -> Bool | None:
    """Which pixels are not transparent; None where nothing can be."""
    with Image.open(io.BytesIO(data)) as image:
        if "A" not in image.getbands() and "transparency" not in image.info:
            return None
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    return np.asarray(alpha) > 0


def _unreadable(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"image {path} cannot be read: {reason}",
        hint="repair or remove it, or use --skip-unreadable",
    )
