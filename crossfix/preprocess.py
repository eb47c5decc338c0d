"""One preprocessing for training, gallery building and serving, driven by a `ViewSpec`."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.bilinear import resize_sampled
from crossfix.errors import InvalidParameter
from crossfix.images import Photo, UInt8
from crossfix.panorama import place_on_canvas, roll_to_north
from crossfix.view import ViewSpec

Float32 = NDArray[np.float32]

ASSUMED_HFOV_DEG = 65.0  # a phone's main camera held upright or level: 60-70 degrees
PANORAMA_MIN_ASPECT = 1.9  # wider than any camera's format, and a full panorama is 2:1


@dataclass(frozen=True)
class Prepared:
    """The encoder's input for one photo: `tensor` (3, h, w) float32, and what was assumed."""

    tensor: Float32
    warnings: tuple[str, ...]


def prepare(
    photo: Photo, view: ViewSpec, *, heading_deg: float | None = None, hfov_deg: float | None = None
) -> Prepared:
    """A photo to the encoder's input.

    Args:
        heading_deg: compass direction of the photo's centre column, 0 = north.
        hfov_deg: horizontal field of view, 360 for a full panorama; else from EXIF, else assumed.

    Raises:
        InvalidParameter: `hfov_deg` outside 10..360.
    """
    pixels, warnings = fit_pixels(photo, view, heading_deg=heading_deg, hfov_deg=hfov_deg)
    return Prepared(tensor=normalise(pixels, view), warnings=warnings)


def fit_pixels(
    photo: Photo, view: ViewSpec, *, heading_deg: float | None = None, hfov_deg: float | None = None
) -> tuple[UInt8, tuple[str, ...]]:
    """The geometric part: (h, w, 3) uint8 of the view's size, and warnings.

    Raises:
        InvalidParameter: `hfov_deg` outside 10..360.
    """
    if hfov_deg is not None and not 10 <= hfov_deg <= 360:
        raise InvalidParameter(
            f"hfov_deg {hfov_deg} is not a field of view",
            hint="give 10 to 360 degrees; 360 is a full panorama",
        )
    if view.fit == "panorama_canvas":
        return _fit_ground(photo, view, heading_deg, hfov_deg)
    warnings: tuple[str, ...] = ()
    if heading_deg is not None and view.heading == "any":
        warnings = (
            f"heading_deg is not used: this encoder takes {view.view} photos of any heading",
        )
    pixels = (
        center_crop(photo.pixels, view.width_px / view.height_px)
        if view.fit == "center_crop"
        else photo.pixels
    )
    return resize(pixels, view), warnings


def _fit_ground(
    photo: Photo, view: ViewSpec, heading_deg: float | None, hfov_deg: float | None
) -> tuple[UInt8, tuple[str, ...]]:
    warnings = []
    if heading_deg is None:
        warnings.append("heading_deg was not given: the photo's centre was taken to look north")
    heading = heading_deg or 0.0
    if _is_panorama(photo, hfov_deg):
        cut = _cut_elevations(photo.pixels, view)
        return roll_to_north(resize(cut, view), heading_deg=heading), tuple(warnings)
    hfov, assumption = _field_of_view(photo, hfov_deg)
    if assumption:
        warnings.append(assumption)
    canvas = place_on_canvas(photo.pixels, view, heading_deg=heading, hfov_deg=hfov)
    return canvas, tuple(warnings)


def _is_panorama(photo: Photo, hfov_deg: float | None) -> bool:
    if hfov_deg is not None:
        return hfov_deg >= 355
    return photo.full_width_px / photo.full_height_px >= PANORAMA_MIN_ASPECT


def _field_of_view(photo: Photo, hfov_deg: float | None) -> tuple[float, str | None]:
    """Horizontal field of view: the parameter, else EXIF, else a stated assumption."""
    if hfov_deg is not None:
        return hfov_deg, None
    if photo.focal_35mm is not None:
        # The 35 mm equivalent is defined on the frame's diagonal, 43.27 mm (CIPA DCG-001).
        width, height = photo.full_width_px, photo.full_height_px
        frame_mm = 43.2666 * width / math.hypot(width, height)
        return math.degrees(2 * math.atan(frame_mm / (2 * photo.focal_35mm))), None
    return ASSUMED_HFOV_DEG, (
        f"hfov_deg was neither given nor in EXIF: {ASSUMED_HFOV_DEG:.0f} degrees were assumed"
    )


def _cut_elevations(pixels: UInt8, view: ViewSpec) -> UInt8:
    """Rows of the view's elevation range; a panorama's rows are centred on the horizon.

    Rows beyond what the panorama shows repeat its edge row.
    """
    height, width = pixels.shape[:2]
    rows_per_deg = width / 360.0
    top, bottom = view.elevation_deg
    first = round(height / 2 - top * rows_per_deg)
    last = round(height / 2 - bottom * rows_per_deg)
    if first >= 0 and first < last <= height:
        return pixels[first:last]
    rows = np.clip(np.arange(first, max(last, first + 1)), 0, height - 1)
    cut: UInt8 = pixels[rows]
    return cut


def center_crop(pixels: UInt8, aspect: float) -> UInt8:
    """The largest centred window of this width / height."""
    height, width = pixels.shape[:2]
    if width > height * aspect:
        keep = max(1, round(height * aspect))
        start = (width - keep) // 2
        return pixels[:, start : start + keep]
    keep = max(1, round(width / aspect))
    start = (height - keep) // 2
    return pixels[start : start + keep]


def resize(pixels: UInt8, view: ViewSpec) -> UInt8:
    """To the view's size with Pillow's antialiased filter, or by plain sampling."""
    size = (view.width_px, view.height_px)
    if pixels.shape[1::-1] == size:
        return np.ascontiguousarray(pixels)
    if view.interpolation == "sampled_bilinear":
        return resize_sampled(pixels, height_px=view.height_px, width_px=view.width_px)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        size, filters[view.interpolation], reducing_gap=3.0
    )
    return np.asarray(resized, dtype=np.uint8)


def normalise(pixels: UInt8, view: ViewSpec) -> Float32:
    """(..., h, w, 3) uint8 to (..., 3, h, w) float32, ``(p / 255 - mean) / std`` per channel."""
    std = np.asarray(view.std, np.float32)
    scale: Float32 = np.float32(1 / 255) / std
    offset: Float32 = np.asarray(view.mean, np.float32) / std
    planes: Float32 = np.moveaxis(pixels, -1, -3).astype(np.float32)
    planes *= scale[:, None, None]
    planes -= offset[:, None, None]
    return planes
