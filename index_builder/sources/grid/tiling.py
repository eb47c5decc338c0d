"""What a grid of tiles is made of: extents, sides, strides, and the limits of all three."""

import math
from dataclasses import dataclass
from fractions import Fraction

from crossfix.errors import InvalidParameter
from crossfix.geodesy import LocalFrame, LonLat

MAX_LATITUDE = 85.0  # the local frame's limit


@dataclass(frozen=True)
class Extent:
    """A box in degrees whose east is greater than its west, beyond 180 where needed."""

    west: float
    south: float
    east: float
    north: float


def stride_share(overlap: float) -> Fraction:
    """Share of the side from one tile to the next, ``1 - overlap`` to the nearest hundredth part.

    A fraction of small numbers puts every tile of a row on one pixel grid.

    Raises:
        InvalidParameter: `overlap` is not in 0..0.95.
    """
    if not 0 <= overlap <= 0.95:
        raise InvalidParameter(
            f"overlap {overlap} is not a share of a tile's side",
            hint="give 0 to 0.95; 0.5 makes neighbours share half their side",
        )
    return (1 - Fraction(overlap)).limit_denominator(100)


def check_tile_size(tile_size_m: float) -> None:
    """Refuses sides that no local metric frame carries.

    Raises:
        InvalidParameter: outside 1 m .. 20 km.
    """
    if not 1 <= tile_size_m <= 20_000:
        raise InvalidParameter(
            f"tile size {tile_size_m} m is not usable", hint="give 1 to 20000 metres"
        )


def count_along(extent_m: float, tile_size_m: float, stride_m: float) -> int:
    """Tiles needed so that none of the extent is left out."""
    return 1 + max(0, math.ceil((extent_m - tile_size_m) / stride_m - 1e-6))


def degrees_per_metre(lat: float) -> tuple[float, float]:
    """Degrees of longitude and of latitude that one metre is there."""
    lon_deg, lat_deg = LocalFrame(LonLat(0.0, lat)).to_lonlat(1.0, 1.0)
    return float(lon_deg), float(lat_deg) - lat
