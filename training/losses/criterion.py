"""What every loss of a recipe is to the training loop."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from training.losses.batch import FeatureBatch, When


class Criterion(nn.Module, ABC):
    """A loss of whole batches, with whatever it learns itself.

    Every process takes it over the whole batch, so its own parameters have their whole gradient
    in each: it must draw nothing at random but from the run's seed and `when.step`.
    """

    @property
    def nothing_is_worse(self) -> bool:
        """Whether a mean above `loss_when_collapsed` shows as well that nothing was learned.

        So it is with cross-entropies, whose value when collapsed is that of guessing. Triplets
        which are wrong, the hardest above all, cost more than equal ones.
        """
        return False

    @abstractmethod
    def forward(self, batch: FeatureBatch, when: When) -> Tensor:
        """The loss of a whole batch, scalar."""

    def figures(self) -> dict[str, float]:
        """What a log line tells of it besides the loss."""
        return {}

    def loss_when_collapsed(self, batch_size: int) -> float | None:
        """Its value when all features are alike: a run that stays there learns nothing.

        None where that cannot be known. Not always the highest value; see `nothing_is_worse`.
        """
        del batch_size
        return None
