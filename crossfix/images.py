"""Bytes to an upright RGB photo, safely: limits are checked from the header before decoding.

What counts is decided by content. Damage that a format's decoder can see refuses the photo; what
follows a file's end is ignored. Places in metadata are never read.
"""

import contextlib
import ctypes
import functools
import io
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.errors import EmptyImage, ImageTooLarge, UnsupportedImageFormat
from crossfix.images_colour import to_rgb
from crossfix.images_exif import ExifFacts, read_exif
from crossfix.images_formats import ACCEPTED, FORMATS, Container, damaged, take_apart
from crossfix.images_gpano import PanoramaCrop, read_gpano

__all__ = ["FORMATS", "ImageLimits", "Photo", "UInt8", "decode"]

UInt8 = NDArray[np.uint8]

# The WebP decoder holds three copies at 4 bytes per pixel (measured: 15 bytes; JPEG and PNG 4).
_COSTLINESS = {"WEBP": 3}
_QUIET = re.compile(r"PIL\.|pi_heif")


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted; 80 megapixels covers every phone and most panoramas.

    Attributes:
        max_pixels: of one decoded image; a third of it for WebP, whose decoder needs three times
            the memory.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 80_000_000


@dataclass(frozen=True)
class Photo:
    """An upright RGB image and what its header told.

    Attributes:
        pixels: (H, W, 3) uint8; may be smaller than the file's image when decoded for a target.
        full_width_px, full_height_px: the upright size before any reduction.
        focal_35mm: focal length in 35 mm film terms, from EXIF (as written, else from the
            sensor's size), or None.
        panorama: the part of a sphere the image says it shows (GPano), or None.
        format: of the file; empty for arrays.
    """

    pixels: UInt8
    full_width_px: int
    full_height_px: int
    focal_35mm: float | None = None
    panorama: PanoramaCrop | None = None
    format: str = ""

    @classmethod
    def of(cls, pixels: UInt8) -> "Photo":
        """A photo that is already an array (rendered, or cut from a raster)."""
        height, width = pixels.shape[:2]
        return cls(pixels=pixels, full_width_px=width, full_height_px=height)


def decode(
    data: bytes, *, limits: ImageLimits | None = None, target_px: int | None = None
) -> Photo:
    """Decodes an image file held in memory; of several images the first or primary one.

    With `target_px`, JPEGs are decoded at the smallest DCT scale whose shorter side is at least
    that (a 12-megapixel JPEG then costs a fifth), and others are averaged down to no less than
    twice that once decoded.

    Raises:
        EmptyImage: no bytes.
        ImageTooLarge: more bytes or pixels than `limits` allow.
        UnsupportedImageFormat: not a JPEG, PNG, WebP, TIFF or HEIC.
        UnreadableImage: truncated or damaged.
    """
    limits = limits or ImageLimits()
    if not data:
        raise EmptyImage("the image is empty (0 bytes)", hint="send the bytes of a photo")
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            f"the image has {len(data)} bytes, more than {limits.max_bytes}",
            hint="send a smaller or more strongly compressed image",
        )
    container = take_apart(data)
    most = limits.max_pixels // _COSTLINESS.get(container.format, 1)
    if container.format != "HEIF":
        _check_pixels((container.width_px, container.height_px), most)
    _quieten()
    image = _open_heif(container) if container.format == "HEIF" else _open(container)
    _check_pixels(image.size, most)
    return _photo(image, container, target_px)


def _check_pixels(size: tuple[int, int], most: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise damaged()
    if width * height > most:
        raise ImageTooLarge(
            f"the image is {width} x {height} pixels, more than {most} in all",
            hint="send a smaller image, or a JPEG",
        )


def _quieten() -> None:
    """Pillow warns about sizes and odd metadata; limits are enforced here, by us.

    A filter that stays, not `catch_warnings`: that one swaps a list of the whole process, and two
    threads leaving it in the wrong order would silence every warning for ever.
    """
    if not any(rule[0] == "ignore" and rule[3] == _QUIET for rule in warnings.filters):
        warnings.filters.insert(0, ("ignore", None, Warning, _QUIET, 0))  # type: ignore[attr-defined]
        warnings._filters_mutated()  # type: ignore[attr-defined]


@functools.cache
def _silence_libtiff() -> None:
    """Stops libtiff from writing to stderr, where any sender of bad files could flood a log.

    Pillow reports the failure itself and offers no setting, so the library of its wheel is found
    among those loaded (Linux). One shared with other programs, as GDAL, is left as it is.
    """
    with contextlib.suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        for path in set(re.findall(r"/\S*/pillow\.libs/libtiff\S*", maps, re.IGNORECASE)):
            library = ctypes.CDLL(path)
            for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
                handler = getattr(library, name)
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)


def _open(container: Container) -> Image.Image:
    if container.format == "TIFF":
        _silence_libtiff()
    try:
        return Image.open(io.BytesIO(container.data), formats=(container.format,))
    except Image.DecompressionBombError as problem:
        raise ImageTooLarge(
            "the image declares far too many pixels", hint="send a smaller image"
        ) from problem
    except Exception as problem:  # decoders answer hostile bytes with any error there is
        raise damaged() from problem


def _open_heif(container: Container) -> Image.Image:
    heif_file = heif_opener()
    if heif_file is None:
        raise UnsupportedImageFormat(
            "the photo is HEIC, which this installation cannot read",
            hint=f"install the Python package pi-heif, or send another of {ACCEPTED}",
        )
    try:
        image: Image.Image = heif_file(io.BytesIO(container.data))
    except Exception as problem:
        raise damaged() from problem
    return image


def heif_opener() -> Any:  # noqa: ANN401 - a class of an optional package
    """pi-heif's Pillow plugin, one thread per photo and no thumbnails; None where not installed."""
    try:
        import pi_heif
        from pi_heif import options
    except ImportError:
        return None
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return pi_heif.HeifImageFile


def _photo(image: Image.Image, container: Container, target_px: int | None) -> Photo:
    size, facts = image.size, _facts(image, container)
    try:
        if target_px is not None:
            scale = target_px / min(size)
            image.draft("RGB", (max(1, int(size[0] * scale)), max(1, int(size[1] * scale))))
        drafted = image.size != size
        image.load()
        reduce = 1 if target_px is None else max(1, min(image.size) // (2 * target_px))
        pixels = _upright(to_rgb(image, reduce=reduce), facts.orientation)
    except Exception as problem:  # as above; and no photo may end the process by its size
        raise damaged() from problem
    width, height = size if drafted else image.size  # a TIFF turns itself while it loads
    if facts.orientation >= 5:
        width, height = height, width
    xmp = container.xmp or image.info.get("xmp") or b""
    return Photo(
        pixels=pixels,
        full_width_px=width,
        full_height_px=height,
        focal_35mm=facts.focal_on_film(width, height),
        panorama=read_gpano(xmp, width, height) if facts.orientation == 1 and xmp else None,
        format=container.format,
    )


def _facts(image: Image.Image, container: Container) -> ExifFacts:
    """EXIF's facts; its orientation only where the decoder has not turned the image itself.

    Pillow does for TIFF. HEIF's own boxes turn, and its standard says EXIF's word is then void.
    """
    exif = container.exif or (image.info.get("exif") if container.format == "HEIF" else b"")
    facts = read_exif(exif) if exif else ExifFacts()
    return replace(facts, orientation=1) if container.format in ("TIFF", "HEIF") else facts


def _upright(pixels: UInt8, orientation: int) -> UInt8:
    """Undoes an EXIF orientation: the stored row 0 and column 0 say where top and left are."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
