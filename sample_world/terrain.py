"""Gentle hills: the height of the ground anywhere in and around a town."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sample_world.scene import Float64

_WAVES = 5
_WAVE_BASE_M = 2000.0  # wavelengths are this over 0.5 .. 2.2


@dataclass(frozen=True)
class Terrain:
    """Sum of products of sines; call it with x, y in metres (any shape), get z in metres.

    Attributes:
        waves: per wave (amplitude_m, wave number x, wave number y, phase x, phase y), radians
            and radians per metre.
    """

    waves: tuple[tuple[float, float, float, float, float], ...]

    def __call__(self, x: ArrayLike, y: ArrayLike) -> Float64:
        """Height of the ground, metres; broadcasts x against y."""
        east, north = np.asarray(x, np.float64), np.asarray(y, np.float64)
        height = np.zeros(np.broadcast_shapes(east.shape, north.shape))
        for amplitude, kx, ky, px, py in self.waves:
            height = height + amplitude * np.sin(kx * east + px) * np.sin(ky * north + py)
        return height


def make_terrain(rng: np.random.Generator, *, relief: float = 1.0) -> Terrain:
    """Random hills of a few metres; `relief` scales their height."""
    amplitude = rng.uniform(1, 4, _WAVES) * relief
    wave_number = rng.uniform(0.5, 2.2, (_WAVES, 2)) * 2 * np.pi / _WAVE_BASE_M
    phase = rng.uniform(0, 2 * np.pi, (_WAVES, 2))
    rows = np.column_stack([amplitude, wave_number, phase]).tolist()
    return Terrain(waves=tuple((row[0], row[1], row[2], row[3], row[4]) for row in rows))
