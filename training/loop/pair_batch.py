"""One process's share of a batch, ready for a step."""

from dataclasses import dataclass

from torch import Tensor

from crossfix.view import ViewName


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one query view, augmented and normalised, on the device.

    Attributes:
        view: of the photos.
        photo: (B, 3, h, w).
        tile: (B, 3, s, s), row i is the match of photo i.
        places: (B,) the number of each tile in its table; rows of one place are not each other's
            negatives.
        turns: (B,) by how many quarters, counter-clockwise, each tile was turned on its own;
            None if none was.
    """

    view: ViewName
    photo: Tensor
    tile: Tensor
    places: Tensor
    turns: Tensor | None = None

    def __len__(self) -> int:
        return len(self.photo)
