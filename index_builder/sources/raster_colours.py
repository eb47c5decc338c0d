"""How a raster's bands become uint8 RGB."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from crossfix.errors import SourceError

UInt8 = NDArray[np.uint8]

STRETCH_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class Stretch:
    """Values from `low` to `high` become 0 to 255; one pair for all bands keeps the hue."""

    low: float
    high: float

    def apply(self, values: NDArray[Any]) -> UInt8:
        """Same shape, uint8; not-a-number becomes 0."""
        share = (values.astype(np.float32) - self.low) / (self.high - self.low)
        levels: UInt8 = (np.clip(np.nan_to_num(share), 0, 1) * 255 + 0.5).astype(np.uint8)
        return levels


@dataclass(frozen=True)
class Colours:
    """Which bands are used, one-based: three of them, or one that is grey or a palette.

    Attributes:
        palette: (256, 3) uint8 for a palette band.
        stretch: for anything but uint8.
    """

    bands: tuple[int, ...]
    palette: UInt8 | None
    stretch: Stretch | None

    def to_rgb(self, values: NDArray[Any]) -> UInt8:
        """(bands, H, W) of the raster's type to (H, W, 3) uint8."""
        if self.palette is not None:
            painted: UInt8 = self.palette[np.clip(values[0], 0, 255).astype(np.uint8)]
            return painted
        planes = self.stretch.apply(values) if self.stretch else values.astype(np.uint8)
        if len(planes) == 1:
            planes = np.repeat(planes, 3, axis=0)
        return np.ascontiguousarray(np.moveaxis(planes, 0, 2))


def find_colours(path: Path, source: Any, *, max_px: int) -> Colours:  # noqa: ANN401
    """Chooses bands from their declared colours, and a stretch from an overview.

    Raises:
        SourceError: complex numbers.
    """
    kinds = list(source.colorinterp)
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    plain = [index + 1 for index, kind in enumerate(kinds) if kind != ColorInterp.alpha]
    if all(kind in kinds for kind in wanted):
        bands = tuple(kinds.index(kind) + 1 for kind in wanted)
    else:
        bands = tuple(plain[:3]) if len(plain) >= 3 else tuple(plain[:1])
    dtypes = {source.dtypes[band - 1] for band in bands}
    if not bands or any(dtype.startswith("complex") for dtype in dtypes):
        raise SourceError(
            f"raster {path} has no band of real numbers", hint="give an image in grey or RGB"
        )
    palette = _palette(source, bands[0]) if kinds[bands[0] - 1] == ColorInterp.palette else None
    stretch = (
        None if palette is not None or dtypes == {"uint8"} else _stretch(source, bands, max_px)
    )
    return Colours(bands=bands, palette=palette, stretch=stretch)


def _palette(source: Any, band: int) -> UInt8:  # noqa: ANN401
    table = np.zeros((256, 3), np.uint8)
    for value, colour in source.colormap(band).items():
        if 0 <= value < 256:
            table[value] = colour[:3]
    return table


def _stretch(source: Any, bands: tuple[int, ...], max_px: int) -> Stretch:  # noqa: ANN401
    reduce = max(1.0, max(source.shape) / max_px)
    shape = (len(bands), *(max(1, math.floor(side / reduce)) for side in source.shape))
    sample = source.read(list(bands), out_shape=shape, masked=True).astype(np.float64)
    values = sample.compressed()
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, STRETCH_PERCENTILES) if len(values) else (0.0, 1.0)
    return Stretch(low=float(low), high=float(max(high, low + 1e-9 * max(1.0, abs(low)))))
