"""What every loss looks at: the features of a whole batch, and who is whose negative."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class FeatureBatch:
    """The features of B pairs, gathered from all processes.

    Attributes:
        photo, tile: (B, D); row i of one is the match of row i of the other.
        places: (B,) whole numbers; rows of one place are never each other's negatives.
        turns: (B,) by how many quarters each tile was turned on its own; None if none was.
    """

    photo: Tensor
    tile: Tensor
    places: Tensor
    turns: Tensor | None = None

    def scaled(self, scale: float, *, normalise: bool) -> "FeatureBatch":
        """The features times `scale`, brought to unit length before if `normalise`."""
        photo, tile = self.photo, self.tile
        if normalise:
            photo, tile = functional.normalize(photo, dim=-1), functional.normalize(tile, dim=-1)
        return replace(self, photo=scale * photo, tile=scale * tile)

    def negatives(self) -> Tensor:
        """(B, B) bool: tile k is a negative of photo i."""
        return self.places[:, None] != self.places[None, :]


@dataclass(frozen=True)
class When:
    """Where in the run a loss is taken; both count from 0.

    Attributes:
        step: seeds, with the run's seed, what the loss draws; the same in all processes.
    """

    step: int
    epoch: int


def squared_distances(anchors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1) to each anchor's own match, and (B, B) to every other, squared Euclidean.

    By |a|^2 + |b|^2 - 2 a.b, with the matches read from the same matrix.
    """
    lengths = anchors.square().sum(1)[:, None] + others.square().sum(1)[None, :]
    every = lengths - 2 * anchors @ others.T
    return every.diagonal()[:, None], every


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen (bool) values; 0 where none is."""
    return torch.where(chosen, values, 0).sum() / chosen.sum().clamp(min=1)
