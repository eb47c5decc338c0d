"""The tileable noise texture that mottles every surface of a town."""

import numpy as np

from sample_world.scene import Float32

TEXTURE_SIZE = 1024
_OCTAVES = ((4, 1.0), (8, 0.6), (16, 0.4), (64, 0.3), (256, 0.25))  # (cells per side, amplitude)


def _value_noise(rng: np.random.Generator, size: int, cells: int) -> Float32:
    """Random values on a wrapped lattice, blended by the smoothstep 3f^2 - 2f^3."""
    lattice = rng.standard_normal((cells, cells)).astype(np.float32)
    lattice = np.pad(lattice, ((0, 1), (0, 1)), mode="wrap")
    position = np.arange(size) * cells / size
    cell = position.astype(int)
    fraction = (position - cell).astype(np.float32)
    weight = fraction * fraction * (3 - 2 * fraction)
    rows = lattice[cell] * (1 - weight)[:, None] + lattice[cell + 1] * weight[:, None]
    return np.asarray(rows[:, cell] * (1 - weight) + rows[:, cell + 1] * weight, np.float32)


def make_noise(rng: np.random.Generator) -> Float32:
    """(1024, 1024) float32 value noise of five octaves: zero mean, unit variance, tileable."""
    texture = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    for cells, amplitude in _OCTAVES:
        texture += amplitude * _value_noise(rng, TEXTURE_SIZE, cells)
    texture -= texture.mean()
    return np.asarray(texture / texture.std(), np.float32)
