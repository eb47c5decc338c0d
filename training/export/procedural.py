"""Images computed from a seed: golden samples where no real image may be put into an artifact."""

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from crossfix.images import UInt8
from crossfix.view import ViewName, ViewSpec

CELLS_PX = (4, 16, 64)
QUALITY = 92
PER_VIEW = 2


def procedural_image(height_px: int, width_px: int, *, seed: int) -> UInt8:
    """(height_px, width_px, 3) uint8 with structure at several scales and no two places alike."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height_px, width_px, 3))
    for cell in CELLS_PX:
        small = rng.integers(0, 256, (height_px // cell + 2, width_px // cell + 2, 3), np.uint8)
        large = Image.fromarray(small).resize((width_px, height_px), Image.Resampling.BICUBIC)
        total += np.asarray(large, np.float64)
    # Means of independent levels crowd round the middle; spread them over the range again.
    spread = (total / len(CELLS_PX) - 127.5) * np.sqrt(len(CELLS_PX)) + 127.5
    image: UInt8 = np.clip(spread, 0, 255).astype(np.uint8)
    return image


def procedural_golden(
    views: Mapping[ViewName, ViewSpec],
) -> dict[str, tuple[ViewName, bytes]]:
    """Golden images of every view, by their names in the artifact, as JPEG.

    They are larger than the encoder's input, so that replaying them checks the resizing too.
    """
    found: dict[str, tuple[ViewName, bytes]] = {}
    for number, (view, spec) in enumerate(views.items()):
        for i in range(PER_VIEW):
            height, width = source_size_px(spec)
            pixels = procedural_image(height, width, seed=100 * number + i)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
            found[f"golden/{view}-{i}.jpg"] = view, buffer.getvalue()
    return found


def source_size_px(spec: ViewSpec) -> tuple[int, int]:
    """(height, width) of an image 1.5 times the input's size; panoramas show what the view does."""
    width = round(1.5 * spec.width_px)
    if spec.fit == "panorama_canvas":
        top, bottom = spec.elevation_deg
        return round((top - bottom) / 360 * width), width
    return round(1.5 * spec.height_px), width
