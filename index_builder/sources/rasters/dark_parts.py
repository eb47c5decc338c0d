"""Empty parts of rasters that cannot mark them: (nearly) black."""

import numpy as np
from numpy.typing import NDArray

Bool = NDArray[np.bool_]

DARK_LEVEL = 8  # mosaics in JPEG cannot mark "no data" any better
_SOLID_PX = 5


def find_dark_parts(levels: NDArray[np.uint8], outside: Bool, *, keep_specks: bool) -> Bool:
    """Pixels that are dark because nothing is there, (H, W).

    Args:
        levels: the brightest band, (H, W).
        outside: where the raster is not; counts as dark.
        keep_specks: dark spots less than five pixels wide are shadows, which no other raster
            shall fill. Whoever makes them black anyway may save the time.
    """
    dark: Bool = (levels <= DARK_LEVEL) | outside
    if not keep_specks or not dark.any():
        return dark
    solid = _count_around(dark, _SOLID_PX) == _SOLID_PX**2
    return dark & (_count_around(solid, _SOLID_PX) > 0)


def _count_around(flags: Bool, side: int) -> NDArray[np.int32]:
    """How many of the `side` x `side` pixels around each are set; the edge goes on beyond."""
    padded = np.pad(flags, side // 2, mode="edge")
    sums = padded.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
    sums = np.pad(sums, ((1, 0), (1, 0)))
    counts: NDArray[np.int32] = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    )
    return counts
