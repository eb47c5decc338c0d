"""Black holes in one image: a regular grid of them, or some at random places."""

import numpy as np
from numpy.random import Generator

from crossfix.images import UInt8

# What the published training used.
GRID_CELLS_ACROSS = 10
HOLES = (10, 25)
HOLE_SHARES_OF_HEIGHT = (0.1, 0.2)


def drop_grid(pixels: UInt8, *, ratio: float) -> UInt8:
    """A black square in the upper left corner of every cell of a regular grid.

    Cells are squares of a tenth of the width; nothing here is random.

    Args:
        pixels: (h, w, 3) uint8.
        ratio: a hole's side over the cell's, 0..1.
    """
    height, width = pixels.shape[:2]
    cell = max(2, width // GRID_CELLS_ACROSS)
    cell_height = max(2, min(cell, height))
    in_row = np.arange(height) % cell_height < _hole_side(cell_height, ratio)
    in_column = np.arange(width) % cell < _hole_side(cell, ratio)
    holed = pixels.copy()
    holed[np.ix_(in_row, in_column)] = 0
    return holed


def _hole_side(cell: int, ratio: float) -> int:
    return min(max(int(cell * ratio), 1), cell - 1)


def drop_holes(pixels: UInt8, rng: Generator) -> UInt8:
    """10 to 25 black rectangles, each side a tenth to a fifth of the image's height.

    Args:
        pixels: (h, w, 3) uint8, at least as wide as a fifth of the height.
    """
    height, width = pixels.shape[:2]
    shortest, longest = (int(share * height) for share in HOLE_SHARES_OF_HEIGHT)
    holed = pixels.copy()
    for _ in range(rng.integers(*HOLES, endpoint=True)):
        rows, columns = rng.integers(shortest, longest, 2, endpoint=True)
        top = rng.integers(0, height - rows, endpoint=True)
        left = rng.integers(0, width - columns, endpoint=True)
        holed[top : top + rows, left : left + columns] = 0
    return holed
