"""Places as classes, told apart by one classifier for all views."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.losses.batch import FeatureBatch, When
from training.losses.criterion import Criterion
from training.seeds import seed_of

FIRST_STD = 0.001  # of the classifier's weights, as in the baseline of University-1652
DROPOUT = 1  # last counter of its seeds: the network draws from others at the same step


class Instance(Criterion):
    """Cross-entropies of naming the place by the photo and by the tile, summed.

    Zheng, Wei and Yang, "University-1652", ACM MM 2020. That one classifier serves both views is
    what brings them together; the rows need not be pairs.

    Args:
        classes: how many places there are; `places` of a batch are 0 .. classes - 1.
        seed: of the run; dropout follows from it and from the step.
        plus: another loss to add, or None.
    """

    def __init__(
        self, embedding_dim: int, classes: int, *, dropout: float, seed: int,
        plus: Criterion | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dropout, self.classes, self.seed, self.plus = dropout, classes, seed, plus
        self.classifier = nn.Linear(embedding_dim, classes)
        nn.init.normal_(self.classifier.weight, std=FIRST_STD)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""
        seed = seed_of(self.seed, when.step, 0, DROPOUT)
        generator = torch.Generator(batch.photo.device).manual_seed(seed)
        loss = batch.photo.new_zeros(())
        for features in (batch.photo, batch.tile):
            kept = self._dropped(features, generator)
            loss = loss + functional.cross_entropy(self.classifier(kept), batch.places)
        return loss if self.plus is None else loss + self.plus(batch, when)

    def _dropped(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Dropout from a generator of its own: all processes must drop the same numbers."""
        if not (self.training and self.dropout):
            return features
        drawn = torch.rand(features.shape, generator=generator, device=features.device)
        return torch.where(drawn < self.dropout, 0, features / (1 - self.dropout))

    def figures(self) -> dict[str, float]:
        """Those of the other loss."""
        return {} if self.plus is None else self.plus.figures()

    @property
    def nothing_is_worse(self) -> bool:
        """Unless the other loss can be."""
        return self.plus is None or self.plus.nothing_is_worse

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """Guessing among all places, twice; and what the other loss has."""
        own, other = 2 * math.log(self.classes), 0.0
        if self.plus is not None:
            known = self.plus.loss_when_collapsed(batch_size)
            if known is None:
                return None
            other = known
        return own + other
