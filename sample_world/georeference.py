"""Where a town is on Earth: a UTM place drawn from the seed, and the way there and back."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from pyproj import Transformer

from sample_world.randomness import stream
from sample_world.scene import Float64, Georeference

_MAX_MERIDIAN_DISTANCE_DEG = 0.5
# Inland boxes (lon west, lon east, lat south, lat north): an invented town should not lie in a sea.
_LAND: tuple[tuple[float, float, float, float], ...] = (
    (7, 24, 46, 53),  # central Europe
    (-6, -2, 38, 42.5),  # Iberia
    (30, 42, 37.5, 40.5),  # Anatolia
    (33, 55, 50, 58),  # Volga
    (70, 82, 18, 27),  # India
    (102, 116, 26, 37),  # China
    (-105, -82, 33, 46),  # Great Plains
    (-114, -98, 50, 55),  # prairies
    (-104, -99, 21, 27),  # Mexico
    (-55, -44, -22, -8),  # Brazil
    (-67, -61, -37, -28),  # Pampas
    (-4, 12, 8, 14),  # Sahel
    (26, 36, -13, -3),  # east Africa
    (21, 29, -31, -23),  # southern Africa
    (142, 149, -35, -27),  # Australia
)


def utm_zone(lon: float) -> int:
    """UTM zone 1..60 of a longitude in degrees (outside Norway and Svalbard)."""
    return int((lon + 180) // 6) % 60 + 1


def central_meridian_deg(epsg: int) -> float:
    """Longitude of the central meridian of a UTM zone given as EPSG 326xx or 327xx."""
    return float(epsg % 100 * 6 - 183)


@lru_cache(maxsize=16)
def _transformer(epsg: int) -> Transformer:
    return Transformer.from_crs("EPSG:4326", f"EPSG:{epsg}", always_xy=True)


def place_town(seed: int) -> Georeference:
    """Draw a place on land, within 0.5 degrees of its UTM zone's central meridian."""
    rng = stream(seed, "georeference")
    west, east, south, north = _LAND[int(rng.integers(len(_LAND)))]
    meridians = [m for m in range(-177, 180, 6) if west <= m <= east]
    meridian = meridians[int(rng.integers(len(meridians)))]
    lon = meridian + rng.uniform(-0.9, 0.9) * _MAX_MERIDIAN_DISTANCE_DEG
    lat = float(rng.uniform(south, north))
    epsg = (32600 if lat >= 0 else 32700) + utm_zone(lon)
    easting, northing = _transformer(epsg).transform(lon, lat)
    return Georeference(epsg, float(np.round(easting)), float(np.round(northing)))


def to_lonlat(place: Georeference, x_m: ArrayLike, y_m: ArrayLike) -> tuple[Float64, Float64]:
    """Local metres -> (lon, lat) in WGS84 degrees; shapes follow the input."""
    easting = np.asarray(x_m, np.float64) + place.easting_m
    northing = np.asarray(y_m, np.float64) + place.northing_m
    lon, lat = _transformer(place.epsg).transform(easting, northing, direction="INVERSE")
    return np.asarray(lon, np.float64), np.asarray(lat, np.float64)


def to_local(place: Georeference, lon: ArrayLike, lat: ArrayLike) -> tuple[Float64, Float64]:
    """(lon, lat) in WGS84 degrees -> local metres (x, y); shapes follow the input."""
    easting, northing = _transformer(place.epsg).transform(
        np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    )
    return np.asarray(easting) - place.easting_m, np.asarray(northing) - place.northing_m


def grid_convergence_deg(place: Georeference, x_m: ArrayLike, y_m: ArrayLike) -> Float64:
    """Clockwise angle from true north to grid north, degrees: true = grid heading + this.

    Transverse Mercator on the sphere, tan(gamma) = tan(lon - lon0) sin(lat) (Snyder 1987, "Map
    Projections - A Working Manual", section 8); the ellipsoid's part is below 1e-4 degrees
    within a degree of the central meridian.
    """
    lon, lat = to_lonlat(place, x_m, y_m)
    east_of_meridian = np.radians(lon - central_meridian_deg(place.epsg))
    tangent = np.tan(east_of_meridian) * np.sin(np.radians(lat))
    return np.asarray(np.degrees(np.arctan(tangent)), np.float64)


def true_heading_deg(
    place: Georeference, x_m: ArrayLike, y_m: ArrayLike, grid_heading_deg: ArrayLike
) -> Float64:
    """Compass heading 0..360 of a direction given clockwise from grid north at (x, y)."""
    heading = np.asarray(grid_heading_deg, np.float64) + grid_convergence_deg(place, x_m, y_m)
    return np.asarray(heading % 360.0, np.float64)
