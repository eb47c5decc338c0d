"""The photo that service benchmarks send: a given one, or two made-up megapixels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH_PX, HEIGHT_PX, QUALITY = 1632, 1224, 85


def photo_file(given: Path | None, scratch: Path) -> Path:
    """The given file, or a made-up one."""
    if given is not None:
        return given
    path = scratch / "photo.jpg"
    path.write_bytes(made_up_jpeg())
    return path


def made_up_jpeg(seed: int = 0) -> bytes:
    """Noise whose amplitude falls with its frequency, as it does in photos, and a little grain.

    About as many bytes per pixel as a phone's JPEG of a street.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.rfftfreq(WIDTH_PX)[None], np.fft.fftfreq(HEIGHT_PX)[:, None])
    frequency[0, 0] = 1.0
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(rng.standard_normal((HEIGHT_PX, WIDTH_PX))) / frequency**1.2
        plane = np.fft.irfft2(spectrum, s=(HEIGHT_PX, WIDTH_PX))
        planes.append(plane / plane.std())
    grey = planes[0]
    rgb = np.stack([grey + 0.3 * plane for plane in planes], axis=-1) * 45 + 127
    rgb += rng.standard_normal((HEIGHT_PX, WIDTH_PX, 1)) * 2
    buffer = io.BytesIO()
    Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def describe(path: Path) -> dict[str, object]:
    """Columns that say which photo it was."""
    with Image.open(path) as image:
        megapixels = round(image.width * image.height / 1e6, 2)
    return {"photo_mp": megapixels, "photo_kb": round(path.stat().st_size / 1000)}
