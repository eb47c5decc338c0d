"""A spatial transformer by thin-plate splines (Bookstein, TPAMI 1989).

A lattice of target points is fixed, their source points are regressed; between them the map bends
least: source(p) = a + A p + sum_k c_k U(|p - q_k|), U(d) = d^2 log d, with the c_k orthogonal to
1 and p. The sources enter linearly, so one matrix from sources to all pixels is made beforehand,
in float64: the system's condition is 2.5e3 for 6 x 10 points.
"""

import torch
from torch import Tensor, nn

from training.transforms.localisation import Localisation
from training.transforms.transformers import (
    Size,
    pixel_centres,
    pixels_between_corners,
    sample,
)

REACH = 0.9  # the lattice spans -REACH..REACH
HIDDEN = 512


def lattice(rows: int, columns: int) -> Tensor:
    """(rows * columns, 2) float64 x and y of the target points, row by row."""
    y = torch.linspace(-REACH, REACH, rows, dtype=torch.float64)
    x = torch.linspace(-REACH, REACH, columns, dtype=torch.float64)
    down, right = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([right, down], dim=-1).reshape(-1, 2)


def spline_matrix(targets: Tensor, places: Tensor) -> Tensor:
    """(P, K) float64: times the K source points it gives the sources of P places.

    Args:
        targets: (K, 2) float64, not all on a line.
        places: (P, 2) float64.
    """
    count = len(targets)
    system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
    system[:count, :count] = _bending(targets, targets)
    system[:count, count:] = _linear(targets)
    system[count:, :count] = _linear(targets).T
    basis = torch.cat([_bending(places, targets), _linear(places)], dim=1)
    every: Tensor = torch.linalg.solve(system, basis.T)  # the system is symmetric
    return every.T[:, :count]


def _bending(a: Tensor, b: Tensor) -> Tensor:
    squared = (a[:, None] - b[None]).square().sum(-1)
    return 0.5 * torch.xlogy(squared, squared)


def _linear(places: Tensor) -> Tensor:
    return torch.cat([torch.ones(len(places), 1, dtype=places.dtype), places], dim=1)


class ThinPlateStn(nn.Module):
    """(N, C, s, s) to (N, C, h, w), each image bent by its own source points.

    Args:
        rows, columns: of the lattice.
        bounded: source points stay inside the image, by tanh.
        corners: the spline has its -1 and 1 at the middle of the outermost pixels, while the
            sampling has them at their outer edges, as a student project of 2022 mixed them: a
            fresh one shows the tile a little smaller, and fades at its rim.
    """

    def __init__(
        self, channels: int, seen: Size, size: Size, *, rows: int, columns: int, bounded: bool,
        corners: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.bounded = size, bounded
        targets = lattice(rows, columns)
        start = (targets.atanh() if bounded else targets).flatten().tolist()
        self.localisation = Localisation(channels, *seen, hidden=HIDDEN, start=start)
        places = pixels_between_corners(size) if corners else pixel_centres(size)
        matrix = spline_matrix(targets, places).float()
        self.register_buffer("matrix", matrix, persistent=False)
        self.matrix: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """The warped images."""
        numbers = self.localisation(images)
        sources = (numbers.tanh() if self.bounded else numbers).view(len(images), -1, 2)
        return sample(images, self.matrix @ sources, self.size)
