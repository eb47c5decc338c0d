"""Bytes to an upright RGB photo, safely: limits are checked from the header before decoding."""

import io
import struct
import threading
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps

from crossfix.errors import EmptyImage, ImageTooLarge, UnreadableImage, UnsupportedImageFormat

UInt8 = NDArray[np.uint8]

_HEADER_LOCK = threading.Lock()
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_DECODE_PROBLEMS = (
    OSError,
    ValueError,
    SyntaxError,
    struct.error,
    EOFError,
    MemoryError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted; 80 megapixels covers every phone and most panoramas."""

    max_bytes: int = 20_000_000
    max_pixels: int = 80_000_000


@dataclass(frozen=True)
class Photo:
    """An upright RGB image and what its header told.

    Attributes:
        pixels: (H, W, 3) uint8; may be smaller than the file's image when decoded for a target.
        full_width_px, full_height_px: the upright size before any reduction.
        focal_35mm: EXIF focal length in 35 mm film terms, or None.
    """

    pixels: UInt8
    full_width_px: int
    full_height_px: int
    focal_35mm: float | None = None

    @classmethod
    def of(cls, pixels: UInt8) -> "Photo":
        """A photo that is already an array (rendered, or cut from a raster)."""
        height, width = pixels.shape[:2]
        return cls(pixels=pixels, full_width_px=width, full_height_px=height)


def decode(
    data: bytes, *, limits: ImageLimits | None = None, target_px: int | None = None
) -> Photo:
    """Decodes an image file held in memory.

    With `target_px`, JPEGs are decoded at the smallest DCT scale whose shorter side is at least
    that (a 12-megapixel JPEG then costs a fifth).

    Raises:
        EmptyImage: no bytes.
        ImageTooLarge: more bytes or pixels than `limits` allow.
        UnsupportedImageFormat: not a JPEG, PNG, WebP or TIFF.
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
    # Pillow warns about sizes and odd metadata while it reads headers; limits are enforced here,
    # by us. Warning filters belong to the whole process, hence the lock; pixels need none.
    with _HEADER_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = _open(data)
        _check_pixels(image, limits)  # before EXIF, for which Pillow may decode a whole PNG
        orientation, focal = _read_exif(image)
    return _decode_opened(image, orientation, focal, target_px)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as problem:
        raise ImageTooLarge(
            "the image declares far too many pixels", hint="send a smaller image"
        ) from problem
    except _DECODE_PROBLEMS as problem:
        raise UnsupportedImageFormat(
            "the bytes are not an image of an accepted format",
            hint=f"send one of {', '.join(FORMATS)}",
        ) from problem


def _check_pixels(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"the image is {width} x {height} pixels, more than {limits.max_pixels} in all",
            hint="send a smaller image",
        )


def _decode_opened(
    image: Image.Image,
    orientation: int,
    focal_35mm: float | None,
    target_px: int | None,
) -> Photo:
    width, height = image.size
    try:
        if target_px is not None:
            scale = target_px / min(width, height)
            image.draft("RGB", (max(1, int(width * scale)), max(1, int(height * scale))))
        upright = _to_rgb(ImageOps.exif_transpose(image))
        pixels = np.asarray(upright, dtype=np.uint8)
    except _DECODE_PROBLEMS as problem:
        raise UnreadableImage(
            "the image is damaged or cut short and cannot be decoded", hint="send the complete file"
        ) from problem
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return Photo(pixels=pixels, full_width_px=width, full_height_px=height, focal_35mm=focal_35mm)


def _read_exif(image: Image.Image) -> tuple[int, float | None]:
    """(orientation, 35 mm focal length); malformed EXIF counts as absent."""
    try:
        exif = image.getexif()
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
        details = exif.get_ifd(ExifTags.IFD.Exif)
        focal = float(details.get(ExifTags.Base.FocalLengthIn35mmFilm, 0) or 0)
    except Exception:
        return 1, None
    return orientation, focal if focal > 0 else None


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB in sRGB: transparency on grey, 16-bit scaled, embedded colour profile applied."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I;16") or values.max(initial=0) > 255:
            values = values / 257
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (127, 127, 127, 255))
        return Image.alpha_composite(backdrop, rgba).convert("RGB")
    profile = image.info.get("icc_profile")
    if profile and image.mode == "RGB":
        return _to_srgb(image, profile)
    return image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile is no reason to lose the photo
    return converted if converted is not None else image
