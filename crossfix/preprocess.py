"""One preprocessing for training, gallery building and serving, driven by a `ViewSpec`."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.bilinear import resize_sampled
from crossfix.errors import InvalidParameter
from crossfix.images import Photo, UInt8
from crossfix.images_exif import FILM_DIAGONAL_MM
from crossfix.images_gpano import PanoramaCrop
from crossfix.panorama import fill_colour, place_on_canvas, roll_to_north
from crossfix.view import ViewSpec

Float32 = NDArray[np.float32]

ASSUMED_HFOV_DEG = 65.0  # a phone's main camera across its longer side: 60-70 degrees
PANORAMA_MIN_ASPECT = 1.9  # wider than any camera's format, and a full panorama is 2:1
FULL_HFOV_DEG = 355.0  # from here on a photo goes all the way round
MAX_REPEATED_PIXELS = 64_000_000
SMALLEST_USEFUL_PX = 64


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
        hfov_deg: horizontal field of view, 360 for a full panorama; else GPano or EXIF tells it,
            else it is assumed and said in the warnings.

    Raises:
        InvalidParameter: `hfov_deg` outside 10..360.
    """
    pixels, warnings = fit_pixels(photo, view, heading_deg=heading_deg, hfov_deg=hfov_deg)
    width, height = photo.full_width_px, photo.full_height_px
    if min(width, height) < SMALLEST_USEFUL_PX:
        warnings = (*warnings, f"the photo is only {width} x {height} pixels: hardly to be found")
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
    warnings = []
    if heading_deg is not None and view.heading == "any":
        warnings.append(
            f"heading_deg is not used: this encoder takes {view.view} photos of any heading"
        )
    if hfov_deg is not None:
        warnings.append(
            f"hfov_deg is not used: this encoder takes {view.view} photos of any field of view"
        )
    pixels = (
        center_crop(photo.pixels, view.width_px / view.height_px)
        if view.fit == "center_crop"
        else photo.pixels
    )
    return resize(pixels, view), tuple(warnings)


def _fit_ground(
    photo: Photo, view: ViewSpec, heading_deg: float | None, hfov_deg: float | None
) -> tuple[UInt8, tuple[str, ...]]:
    crop = photo.panorama if _crop_counts(photo, hfov_deg) else None
    warnings = []
    if crop is not None:
        warnings.append("the photo says which part of a panorama it is (GPano): that was used")
    if heading_deg is None and crop is not None and crop.heading_deg is not None:
        heading_deg = crop.heading_deg
        warnings.append(f"heading_deg was not given: the panorama's own {heading_deg:g} was used")
    elif heading_deg is None:
        warnings.append("heading_deg was not given: the photo's centre was taken to look north")
    heading = heading_deg or 0.0
    if crop is not None:
        return place_crop(photo.pixels, view, crop, heading_deg=heading), tuple(warnings)
    if _is_panorama(photo, hfov_deg):
        if hfov_deg is None and not _is_full_sphere(photo):
            warnings.append("hfov_deg was not given: a photo this wide was taken to go all round")
        cut = _cut_elevations(photo.pixels, view)
        return roll_to_north(resize(cut, view), heading_deg=heading), tuple(warnings)
    hfov, assumption = field_of_view(photo, hfov_deg)
    if assumption:
        warnings.append(assumption)
    canvas = place_on_canvas(photo.pixels, view, heading_deg=heading, hfov_deg=hfov)
    return canvas, tuple(warnings)


def _crop_counts(photo: Photo, hfov_deg: float | None) -> bool:
    """GPano counts unless the caller's field of view contradicts it."""
    if photo.panorama is None or hfov_deg is None:
        return photo.panorama is not None
    return hfov_deg >= FULL_HFOV_DEG and photo.panorama.is_round


def _is_panorama(photo: Photo, hfov_deg: float | None) -> bool:
    if hfov_deg is not None:
        return hfov_deg >= FULL_HFOV_DEG
    return photo.full_width_px / photo.full_height_px >= PANORAMA_MIN_ASPECT


def _is_full_sphere(photo: Photo) -> bool:
    return abs(photo.full_width_px / photo.full_height_px - 2) < 0.02


def field_of_view(photo: Photo, hfov_deg: float | None) -> tuple[float, str | None]:
    """Horizontal field of view in degrees, and the assumption made if any.

    The parameter, else the focal length, else 65 degrees across the photo's longer side.
    """
    if hfov_deg is not None:
        return hfov_deg, None
    width, height = photo.full_width_px, photo.full_height_px
    if photo.focal_35mm is not None:
        # The 35 mm equivalent is defined on the frame's diagonal, 43.27 mm (CIPA DCG-001).
        frame_mm = FILM_DIAGONAL_MM * width / math.hypot(width, height)
        return math.degrees(2 * math.atan(frame_mm / (2 * photo.focal_35mm))), None
    half = math.tan(math.radians(ASSUMED_HFOV_DEG / 2)) * min(1.0, width / height)
    return math.degrees(2 * math.atan(half)), (
        f"hfov_deg was neither given nor in EXIF: {ASSUMED_HFOV_DEG:.0f} degrees were assumed "
        "across the photo's longer side"
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
    if (last - first) * width > MAX_REPEATED_PIXELS:  # a strip of 65535 x 1 would need gigabytes
        narrow = view.width_px * 4
        shape = (narrow, max(1, round(height * narrow / width)))
        return _cut_elevations(_resized(pixels, shape), view)
    rows = np.clip(np.arange(first, max(last, first + 1)), 0, height - 1)
    cut: UInt8 = pixels[rows]
    return cut


def _resized(pixels: UInt8, size: tuple[int, int]) -> UInt8:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BOX, reducing_gap=3.0), dtype=np.uint8)


def place_crop(pixels: UInt8, view: ViewSpec, crop: PanoramaCrop, *, heading_deg: float) -> UInt8:
    """Part of an equirectangular panorama (H, W, 3) on the view's canvas, the rest unseen.

    Args:
        heading_deg: compass direction of the whole sphere's centre column.
    """
    top, bottom = view.elevation_deg
    upper, lower = 90 - crop.top * 180, 90 - (crop.top + crop.height) * 180
    per_deg = view.height_px / (top - bottom)
    rows = _overlap((top - upper) * per_deg, (top - lower) * per_deg, view.height_px)
    left = crop.left * view.width_px
    columns = _overlap(left, left + crop.width * view.width_px, view.width_px)
    canvas = np.broadcast_to(fill_colour(view), (view.height_px, view.width_px, 3)).copy()
    seen = pixels[_part(rows, pixels.shape[0]), _part(columns, pixels.shape[1])]
    size = {"height_px": rows.stop - rows.start, "width_px": columns.stop - columns.start}
    if min(size.values()) > 0 and seen.size:
        canvas[rows.start : rows.stop, columns.start : columns.stop] = resize(
            seen, view.model_copy(update=size)
        )
    return roll_to_north(canvas, heading_deg=heading_deg)


@dataclass(frozen=True)
class _Overlap:
    """Canvas cells start..stop, and the share of the photo before and up to them."""

    start: int
    stop: int
    share_start: float
    share_stop: float


def _overlap(first: float, last: float, cells: int) -> _Overlap:
    start, stop = max(0, round(first)), min(cells, round(last))
    extent = last - first
    return _Overlap(start, stop, (start - first) / extent, (stop - first) / extent)


def _part(overlap: _Overlap, length: int) -> slice:
    start = min(max(0, round(overlap.share_start * length)), length - 1)
    return slice(start, max(start + 1, min(length, round(overlap.share_stop * length))))


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
