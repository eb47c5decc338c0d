"""Ground photos on the panorama canvas: where each degree of heading and elevation goes.

The canvas is equirectangular: column 0 and the last column look south, a quarter looks west,
the centre looks north, three quarters look east; rows run from the top elevation to the bottom.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossfix.images import UInt8
from crossfix.view import ViewSpec


def roll_to_north(pixels: UInt8, *, heading_deg: float) -> UInt8:
    """Rolls a panorama (h, w, 3) whose centre looks to `heading_deg` so that it looks north."""
    shift = round(heading_deg / 360 * pixels.shape[1])
    return np.roll(pixels, shift, axis=1)


def fill_colour(view: ViewSpec) -> UInt8:
    """What unseen parts of the canvas hold: the mean colour, zero after normalisation."""
    return np.round(np.asarray(view.mean) * 255).astype(np.uint8)


def place_on_canvas(pixels: UInt8, view: ViewSpec, *, heading_deg: float, hfov_deg: float) -> UInt8:
    """A level perspective photo, projected onto the view's canvas by its field of view.

    Args:
        pixels: (H, W, 3).
        heading_deg: compass direction of the photo's centre.
        hfov_deg: horizontal field of view; clipped to 170, where a pinhole image degenerates.
    """
    half_width = math.tan(math.radians(min(hfov_deg, 170.0)) / 2)
    pixels = _shrink(pixels, view, hfov_deg)
    height, width = pixels.shape[:2]
    u, v, visible = _pinhole_coordinates(view, heading_deg)
    column = (u / half_width + 1) / 2 * width - 0.5
    row = (v / half_width * width / height + 1) / 2 * height - 0.5
    visible &= (column > -0.5) & (column < width - 0.5) & (row > -0.5) & (row < height - 0.5)
    canvas = np.broadcast_to(fill_colour(view), (view.height_px, view.width_px, 3)).copy()
    canvas[visible] = sample_bilinear(pixels, row[visible], column[visible])
    return canvas


def _pinhole_coordinates(
    view: ViewSpec, heading_deg: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Canvas pixels (h, w) to tangent coordinates right and down, and whether they lie ahead."""
    top, bottom = view.elevation_deg
    azimuth = ((np.arange(view.width_px) + 0.5) / view.width_px - 0.5) * 360 - heading_deg
    elevation = top - (np.arange(view.height_px) + 0.5) / view.height_px * (top - bottom)
    azimuth_rad, elevation_rad = np.meshgrid(np.radians(azimuth), np.radians(elevation))
    ahead = np.cos(azimuth_rad) > 1e-3
    forward = np.where(ahead, np.cos(azimuth_rad), 1.0)
    return np.tan(azimuth_rad), -np.tan(elevation_rad) / forward, ahead


def _shrink(pixels: UInt8, view: ViewSpec, hfov_deg: float) -> UInt8:
    """Antialiasing: brings the photo to about the canvas's pixels per degree before sampling."""
    height, width = pixels.shape[:2]
    target = max(8, round(view.width_px * min(hfov_deg, 170.0) / 360 * 1.5))
    if width <= target:
        return pixels
    size = (target, max(8, round(height * target / width)))
    shrunk = Image.fromarray(np.ascontiguousarray(pixels)).resize(
        size, Image.Resampling.BICUBIC, reducing_gap=3.0
    )
    return np.asarray(shrunk, dtype=np.uint8)


def sample_bilinear(pixels: UInt8, row: NDArray[np.float64], column: NDArray[np.float64]) -> UInt8:
    """Bilinear samples (N, 3) at fractional pixel centres, edges clamped."""
    height, width = pixels.shape[:2]
    row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    r0, c0 = np.floor(row).astype(np.intp), np.floor(column).astype(np.intp)
    r1, c1 = np.minimum(r0 + 1, height - 1), np.minimum(c0 + 1, width - 1)
    fr, fc = (row - r0)[:, None], (column - c0)[:, None]
    image = pixels.astype(np.float64)
    upper = image[r0, c0] * (1 - fc) + image[r0, c1] * fc
    lower = image[r1, c0] * (1 - fc) + image[r1, c1] * fc
    mixed: UInt8 = np.round(upper * (1 - fr) + lower * fr).astype(np.uint8)
    return mixed
