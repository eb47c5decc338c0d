"""Any decoded image to upright-ready RGB in sRGB, strip by strip, so that memory stays bounded."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

UInt8 = NDArray[np.uint8]
Strip = Callable[[Image.Image], Image.Image]

STRIP_PIXELS = 2_000_000
BACKDROP = (127, 127, 127, 255)  # behind transparent parts
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_SPACES = {"RGB": "RGB ", "CMYK": "CMYK", "L": "GRAY", "LAB": "Lab "}

# Linear RGB of these primaries to linear sRGB, both D65 (ITU-T H.273 tables; SMPTE RP 177).
_PRIMARIES = {
    12: ((1.22494, -0.22494, 0.0), (-0.04206, 1.04206, 0.0), (-0.01964, -0.07864, 1.09828)),
    9: (
        (1.66049, -0.58764, -0.07285),
        (-0.12455, 1.13290, -0.00835),
        (-0.01815, -0.10058, 1.11873),
    ),
}


def to_rgb(image: Image.Image, *, reduce: int = 1) -> UInt8:
    """(H, W, 3) uint8 in sRGB, smaller by a whole factor (box average).

    Transparency is laid on grey, deep values are brought to 8 bits, an embedded profile or
    HEIF's colour words are applied; a broken profile is left out.
    """
    width, height = image.size
    convert = _conversion(image)
    if reduce == 1 and width * height <= STRIP_PIXELS:
        return np.asarray(convert(image), dtype=np.uint8)
    rows = max(reduce, STRIP_PIXELS // width // reduce * reduce)
    out = np.empty((-(-height // reduce), -(-width // reduce), 3), np.uint8)
    for top in range(0, height, rows):
        box = (0, top, width, min(top + rows, height))
        strip = convert(image if rows >= height else image.crop(box))
        if reduce > 1:
            strip = strip.reduce(reduce)
        out[top // reduce : top // reduce + strip.height] = np.asarray(strip)
    return out


def _conversion(image: Image.Image) -> Strip:
    if image.mode in _DEEP:
        return _deep(image)
    if image.mode in ("La", "RGBa"):
        return lambda strip: _on_grey(strip.convert("LA" if strip.mode == "La" else "RGBA"))
    profile = _profile(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return lambda strip: profile(_on_grey(strip))
    if image.mode in _SPACES and image.mode != "RGB":
        return profile
    return lambda strip: profile(_rgb(strip))


def _rgb(strip: Image.Image) -> Image.Image:
    return strip if strip.mode == "RGB" else strip.convert("RGB")


def _on_grey(strip: Image.Image) -> Image.Image:
    rgba = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, BACKDROP), rgba).convert("RGB")


def _deep(image: Image.Image) -> Strip:
    """16-bit values over 257; others as they are up to 255, else by their own largest."""
    low, high = _extremes(image)
    if image.mode.startswith("I;16") or 255 < high <= 65535:
        high = 65535.0
    elif high <= 255:
        high = 1.0 if image.mode == "F" and 0 < high <= 1 and low >= 0 else 255.0

    def strip_to_rgb(strip: Image.Image) -> Image.Image:
        values = np.nan_to_num(np.asarray(strip, dtype=np.float32), posinf=high, neginf=0.0)
        scaled = np.clip(values * np.float32(255 / high), 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")

    return strip_to_rgb


def _extremes(image: Image.Image) -> tuple[float, float]:
    if image.mode.startswith("I;16"):
        return 0.0, 65535.0
    values: Any = image.getextrema()
    low, high = (float(value) for value in values)
    return (low, high) if np.isfinite([low, high]).all() else (0.0, 255.0)


def _profile(image: Image.Image) -> Strip:
    """What brings strips to sRGB. Modes with transparency arrive as RGB already."""
    mode = image.mode if image.mode in _SPACES else "RGB"
    transform = _transform(image.info.get("icc_profile"), mode)
    if transform is not None:
        return lambda strip: ImageCms.applyTransform(strip, transform) or strip
    nclx = image.info.get("nclx_profile") or {}
    matrix = _PRIMARIES.get(nclx.get("color_primaries", 1))
    # 16 and 18 are HDR curves, which this is not made for.
    if matrix is not None and nclx.get("transfer_characteristics") not in (16, 18):
        return lambda strip: _other_primaries(_rgb(strip), matrix)
    return _rgb


def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    if mode == "LAB":
        return ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
    if not profile or mode not in ("RGB", "CMYK", "L"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # lcms answers hostile profiles with whatever it likes
        return None


def _other_primaries(
    strip: Image.Image, matrix: tuple[tuple[float, float, float], ...]
) -> Image.Image:
    """The curve of sRGB (IEC 61966-2-1) undone, primaries changed, curve applied again."""
    steps = np.arange(256) / 255
    linear = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    fine = np.arange(4096) / 4095
    curve = np.where(fine <= 0.0031308, fine * 12.92, 1.055 * fine ** (1 / 2.4) - 0.055)
    light = linear.astype(np.float32)[np.asarray(strip)]
    mixed = np.clip(light @ np.asarray(matrix, np.float32).T, 0, 1)
    back = np.round(curve * 255).astype(np.uint8)
    return Image.fromarray(back[np.round(mixed * 4095).astype(np.uint16)])
