"""Cheap pseudo-random detail: a tileable noise picture and an integer hash."""

import numpy as np
from numpy.typing import NDArray

from sample_world.scene import Float32

_SIDE = 1024


class NoiseTexture:
    """Zero-mean, unit-variance noise over the plane, from the scene's tileable picture."""

    def __init__(self, noise: Float32) -> None:
        self._flat = np.ascontiguousarray(noise, np.float32).ravel()

    def sample(self, x: Float32, y: Float32, cells_per_m: float) -> Float32:
        """(n,) noise at points, `cells_per_m` texels to the metre, nearest texel."""
        scale = np.float32(cells_per_m)
        index = (y * scale).astype(np.int32)
        index &= _SIDE - 1
        index <<= 10
        column = (x * scale).astype(np.int32)
        column &= _SIDE - 1
        index |= column
        return self._flat.take(index)


def hash_unit(first: NDArray[np.int32], second: NDArray[np.int32], salt: int) -> Float32:
    """(n,) numbers in [0, 1) that depend on two integers and nothing else."""
    mixed = first.astype(np.uint32) * np.uint32(374761393)
    mixed += second.astype(np.uint32) * np.uint32(668265263)
    mixed += np.uint32(salt * 974711)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(1274126177)
    mixed ^= mixed >> np.uint32(16)
    mixed &= np.uint32(0xFFFF)
    return mixed.astype(np.float32) * np.float32(1 / 65536)
