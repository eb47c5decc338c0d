"""Places on the ground as points whose straight-line order is that of the distance."""

import numpy as np

from training.datasets.split import Float64


def unit_sphere(angles: Float64) -> Float64:
    """(N, 2) longitudes and latitudes in radians to (N, 3) points of length 1."""
    lon, lat = angles[:, 0], angles[:, 1]
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
