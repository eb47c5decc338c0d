"""How a raster's bands become uint8 RGB."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from crossfix.errors import SourceError

UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

STRETCH_PERCENTILES = (2.0, 98.0)
_WHOLE_PX = 1 << 26  # up to here a raster without overviews is sampled all over
_LATTICE, _WINDOW_PX = 8, 128


@dataclass(frozen=True)
class Stretch:
    """Values from `low` to `high` become 0 to 255; one pair for all bands keeps the hue."""

    low: float
    high: float

    def apply(self, values: NDArray[Any]) -> UInt8:
        """Same shape, uint8; not-a-number becomes 0."""
        if values.dtype in (np.uint16, np.int16):
            levels: UInt8 = _stretch_table(self, values.dtype.name)[values.view(np.uint16)]
            return levels
        return _stretch(values, self)


def _stretch(values: NDArray[Any], stretch: Stretch) -> UInt8:
    share = (values.astype(np.float32) - stretch.low) / (stretch.high - stretch.low)
    levels: UInt8 = (np.clip(np.nan_to_num(share), 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


@lru_cache(maxsize=64)
def _stretch_table(stretch: Stretch, dtype: str) -> UInt8:
    """The level of each of the 65536 values, by the value's bits."""
    values: NDArray[Any] = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    return _stretch(values, stretch)


@dataclass(frozen=True)
class Colours:
    """Which bands are used, one-based: three of them, or one that is grey or a palette.

    Attributes:
        dtype: the bands' number type.
        palette: 256 colours for a palette band, as bytes.
    """

    bands: tuple[int, ...]
    dtype: str
    palette: bytes | None

    @property
    def needs_stretch(self) -> bool:
        """Whether its numbers are not levels of 0..255 as they are."""
        return self.palette is None and self.dtype != "uint8"

    def to_rgb(self, values: NDArray[Any], stretch: Stretch | None) -> UInt8:
        """(bands, H, W) of the raster's type to (H, W, 3) uint8."""
        if self.palette is not None:
            table = np.frombuffer(self.palette, np.uint8).reshape(256, 3)
            painted: UInt8 = table[np.clip(values[0], 0, 255).astype(np.uint8)]
            return painted
        pixels = np.empty((*values.shape[1:], 3), np.uint8)
        for channel in range(3):
            plane = values[channel if len(values) == 3 else 0]
            pixels[..., channel] = stretch.apply(plane) if stretch else plane
        return pixels


def find_colours(path: Path, source: Any) -> Colours:  # noqa: ANN401
    """Chooses bands from their declared colours.

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
    names = [source.dtypes[band - 1] for band in bands]
    if not bands or any(name.startswith("complex") for name in names):
        raise SourceError(
            f"raster {path} has no band of real numbers", hint="give an image in grey or RGB"
        )
    palette = _palette(source, bands[0]) if kinds[bands[0] - 1] == ColorInterp.palette else None
    return Colours(bands=bands, dtype=np.result_type(*names).name, palette=palette)


def _palette(source: Any, band: int) -> bytes:  # noqa: ANN401
    table = np.zeros((256, 3), np.uint8)
    for value, colour in source.colormap(band).items():
        if 0 <= value < 256:
            table[value] = colour[:3]
    return table.tobytes()


def sample_values(source: Any, bands: tuple[int, ...], *, max_px: int) -> Float64:  # noqa: ANN401
    """Valid values spread over a raster; the same at every call.

    From its overviews, at most `max_px` on a side; a large raster without any is sampled in
    windows, so that it need not be read from end to end.
    """
    if source.overviews(1) or source.width * source.height <= _WHOLE_PX:
        reduce = max(1.0, max(source.shape) / max_px)
        shape = (len(bands), *(max(1, int(side / reduce)) for side in source.shape))
        parts = [source.read(list(bands), out_shape=shape, masked=True)]
    else:
        parts = [
            source.read(list(bands), window=window, masked=True)
            for window in _lattice(source.width, source.height)
        ]
    values = np.concatenate([part.astype(np.float64).compressed() for part in parts])
    finite: Float64 = values[np.isfinite(values)]
    return finite


def _lattice(width: int, height: int) -> list[Window]:
    share = (np.arange(_LATTICE) + 0.5) / _LATTICE
    return [
        Window(int(x * width), int(y * height), _WINDOW_PX, _WINDOW_PX).intersection(
            Window(0, 0, width, height)
        )
        for y in share
        for x in share
    ]


def find_stretch(values: Float64) -> Stretch:
    """The stretch between the `STRETCH_PERCENTILES` of the values."""
    low, high = np.percentile(values, STRETCH_PERCENTILES) if len(values) else (0.0, 1.0)
    return Stretch(low=float(low), high=float(max(high, low + 1e-9 * max(1.0, abs(low)))))
