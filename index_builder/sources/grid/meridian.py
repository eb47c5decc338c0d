"""Metres along a meridian of WGS84, so that rows of tiles lie evenly whatever their latitude.

Series in the third flattening, good to a tenth of a millimetre: Snyder 1987, "Map projections, a
working manual", equations 3-21 and 3-26 written in n = f / (2 - f).
"""

import math

from crossfix.geodesy import WGS84_A_M, WGS84_F

_N = WGS84_F / (2 - WGS84_F)
_RECTIFYING_RADIUS_M = WGS84_A_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_TO_ARC = (-3 / 2 * _N + 9 / 16 * _N**3, 15 / 16 * _N**2, -35 / 48 * _N**3)
_TO_LATITUDE = (3 / 2 * _N - 27 / 32 * _N**3, 21 / 16 * _N**2, 151 / 96 * _N**3)


def arc_from_latitude_m(lat: float) -> float:
    """Metres from the equator to a latitude in degrees; negative in the south."""
    return _RECTIFYING_RADIUS_M * _add_series(math.radians(lat), _TO_ARC)


def latitude_from_arc(arc_m: float) -> float:
    """Degrees of latitude that many metres from the equator."""
    return math.degrees(_add_series(arc_m / _RECTIFYING_RADIUS_M, _TO_LATITUDE))


def _add_series(angle: float, terms: tuple[float, ...]) -> float:
    return angle + sum(term * math.sin(2 * (order + 1) * angle) for order, term in enumerate(terms))
