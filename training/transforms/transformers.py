"""Spatial transformers with a few numbers: affine, similarity, and three affine ones stacked.

Coordinates run from -1 to 1 between the outer edges of the images (`align_corners=False`), x to
the right, y down. What lies outside the tile is 0. A fresh transformer is a bilinear resize, but
that an enlarged tile fades towards 0 within half a tile's pixel of its edge; the stacked one is
none.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.transforms.localisation import Localisation

Size = tuple[int, int]  # height, width in pixels

HIDDEN = 64
STACKED_CHANNELS = 8


def pixel_centres(size: Size) -> Tensor:
    """(h * w, 2) float64 x and y of an image's pixels, row by row."""
    height, width = size
    y = (2 * torch.arange(height, dtype=torch.float64) + 1) / height - 1
    x = (2 * torch.arange(width, dtype=torch.float64) + 1) / width - 1
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def pixels_between_corners(size: Size) -> Tensor:
    """The same with -1 and 1 at the middle of the outermost pixels (`align_corners=True`)."""
    height, width = size
    y = torch.linspace(-1, 1, height, dtype=torch.float64)
    x = torch.linspace(-1, 1, width, dtype=torch.float64)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(-1, 2)


def sample(images: Tensor, places: Tensor, size: Size) -> Tensor:
    """The images (N, C, s, s) at (N, h * w, 2) places, as (N, C, h, w)."""
    grid = places.view(-1, *size, 2)
    return functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)


class AffineStn(nn.Module):
    """(N, C, s, s) to (N, C, h, w), each image under an affine map of its own.

    Args:
        channels, seen: of the input.
        size: of the output.
    """

    def __init__(self, channels: int, seen: Size, size: Size) -> None:
        super().__init__()
        self.size = size
        start = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        self.localisation = Localisation(channels, *seen, hidden=HIDDEN, start=start)
        places = pixel_centres(size)
        places = torch.cat([places, torch.ones(len(places), 1)], dim=1).float()
        self.register_buffer("places", places, persistent=False)
        self.places: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """The warped images."""
        maps = self.localisation(images).view(-1, 2, 3)
        return sample(images, self.places @ maps.transpose(1, 2), self.size)


class SimilarityStn(nn.Module):
    """As `AffineStn`, with turn, scale and shift only."""

    def __init__(self, channels: int, seen: Size, size: Size) -> None:
        super().__init__()
        self.size = size
        self.localisation = Localisation(channels, *seen, hidden=HIDDEN, start=(0.0,) * 4)
        self.register_buffer("places", pixel_centres(size).float(), persistent=False)
        self.places: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """The warped images."""
        log_scale, turn, right, down = self.localisation(images).unbind(dim=1)
        cosine, sine = log_scale.exp() * turn.cos(), log_scale.exp() * turn.sin()
        matrix = torch.stack([cosine, -sine, sine, cosine], dim=1).view(-1, 2, 2)
        shift = torch.stack([right, down], dim=1)[:, None]
        return sample(images, self.places @ matrix.transpose(1, 2) + shift, self.size)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; the shortcut gains zeros or loses channels."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.out = out
        self.layers = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1),
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(out)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, h, w) to (N, out, h, w), nowhere below 0."""
        more = self.out - images.shape[1]
        shortcut = functional.pad(images, (0, 0, 0, 0, 0, more))
        return functional.relu(self.norm(self.layers(images) + shortcut))


class StackedAffineStn(nn.Module):
    """Affine, residual block to 8 channels, affine, residual block back to 3, affine.

    Each transformer looks at what it warps. The output is at least 0 and no image any more.
    """

    def __init__(self, channels: int, seen: Size, size: Size) -> None:
        super().__init__()
        wide = STACKED_CHANNELS
        self.stack = nn.Sequential(
            AffineStn(channels, seen, size), ResidualBlock(channels, wide),
            AffineStn(wide, size, size), ResidualBlock(wide, channels),
            AffineStn(channels, size, size),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """The warped features."""
        found: Tensor = self.stack(images)
        return found
