"""The small network of a spatial transformer that looks where to look."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossfix.errors import RecipeError

KERNELS, CHANNELS = (7, 5, 3, 3), (8, 10, 10, 10)


def remaining_px(side_px: int) -> int:
    """What four valid convolutions, each with a halving, leave of a side."""
    for kernel in KERNELS:
        side_px = (side_px - kernel + 1) // 2
    return side_px


class Localisation(nn.Module):
    """Images to some numbers, at first the same ones for every image.

    Convolutions of 7, 5, 3 and 3 pixels with 8 and three times 10 channels, each followed by
    max-pooling, batch normalisation and ReLU; then two linear layers.

    Args:
        start: the numbers it gives until it has learned.

    Raises:
        RecipeError: nothing would be left of the images.
    """

    def __init__(
        self, channels: int, height_px: int, width_px: int, *, hidden: int, start: Sequence[float]
    ) -> None:
        super().__init__()
        rows, columns = remaining_px(height_px), remaining_px(width_px)
        if rows < 1 or columns < 1:
            raise RecipeError(
                f"a spatial transformer cannot look at images of {width_px} x {height_px} pixels",
                hint="sides of 54 pixels are the least; raise data.tile_px",
            )
        layers: list[nn.Module] = []
        for kernel, out in zip(KERNELS, CHANNELS, strict=True):
            layers += [nn.Conv2d(channels, out, kernel), nn.MaxPool2d(2), nn.BatchNorm2d(out),
                       nn.ReLU()]  # fmt: skip
            channels = out
        self.features = nn.Sequential(*layers, nn.Flatten())
        last = nn.Linear(hidden, len(start))
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor(start))
        flat = channels * rows * columns
        self.regression = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU(), last)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) to (N, numbers)."""
        found: Tensor = self.regression(self.features(images))
        return found
