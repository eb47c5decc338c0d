"""The contrastive step: one way for any number of processes, chunks and precisions.

The loss needs the features of the whole batch at once, the network does not. Features are taken
first, the loss is differentiated with respect to them, and their gradients are then carried into
the network: at once, or chunk by chunk with a second forward pass (Gao et al. 2021, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", section 3).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Module

from training.loop.pair_batch import PairBatch
from training.losses.batch import FeatureBatch, When
from training.losses.criterion import Criterion


@dataclass(frozen=True)
class ContrastiveStep:
    """Gradients of a loss over the batch of all processes.

    Networks with BatchNorm normalise over what passes them at once, which is a chunk of one view
    in one process, and with `micro_batch` update their running statistics twice a step; the
    equalities below then do not hold. ConvNeXt and transformers have no BatchNorm.

    Attributes:
        encoder: images (N, 3, h, w) to features (N, D), prepared by `accelerator`.
        criterion: not wrapped for several processes; each computes its whole gradient.
        micro_batch: images that pass the encoder at once; None for all of a view.
    """

    accelerator: Accelerator
    encoder: Module
    criterion: Criterion
    micro_batch: int | None

    def backward(self, pairs: PairBatch, when: When) -> Tensor:
        """Adds the step's gradients to the encoder's and the criterion's.

        The gradients are those of one process with the whole batch, times the loss scale in fp16.

        Args:
            pairs: as many in all processes.

        Returns:
            The loss of the whole batch, scalar fp32, detached; the same in all processes.
        """
        chunks = [*self._chunks(pairs.photo), *self._chunks(pairs.tile)]
        if self.micro_batch is None:
            features = [self.encoder(chunk) for chunk in chunks]
            loss, gradients = self._feature_gradients(features, pairs, when)
            torch.autograd.backward(features, gradients)
            return loss
        states, features = self._without_graph(chunks)
        loss, gradients = self._feature_gradients(features, pairs, when)
        self._recompute(chunks, states, gradients)
        return loss

    def _chunks(self, images: Tensor) -> Sequence[Tensor]:
        return [images] if self.micro_batch is None else torch.split(images, self.micro_batch)

    @torch.no_grad()
    def _without_graph(self, chunks: Sequence[Tensor]) -> tuple[list["_RandomState"], list[Tensor]]:
        states, features = [], []
        for chunk in chunks:
            states.append(_RandomState.now(chunk.device))
            features.append(self.encoder(chunk))
        return states, features

    def _feature_gradients(
        self, features: Sequence[Tensor], pairs: PairBatch, when: When
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss, and its gradient for each chunk of this process's features."""
        own, count = torch.cat([part.detach() for part in features]).float(), len(pairs.photo)
        photo, tile = (
            self.accelerator.gather(part).requires_grad_() for part in (own[:count], own[count:])
        )
        places = self.accelerator.gather(pairs.places)
        turns = None if pairs.turns is None else self.accelerator.gather(pairs.turns)
        loss = self.criterion(FeatureBatch(photo, tile, places, turns), when)
        self.accelerator.backward(loss)
        first = self.accelerator.process_index * count
        rows = [images.grad[first : first + count] for images in (photo, tile)]
        # Wrapped encoders average their gradients over the processes; the loss is one sum.
        gradients = torch.cat(rows) * self.accelerator.num_processes
        return loss.detach(), list(gradients.split([len(part) for part in features]))

    def _recompute(
        self, chunks: Sequence[Tensor], states: Sequence["_RandomState"],
        gradients: Sequence[Tensor],
    ) -> None:  # fmt: skip
        """Each chunk once more, now with its graph; processes synchronise on the last only."""
        last = len(chunks) - 1
        for i, (chunk, state, gradient) in enumerate(zip(chunks, states, gradients, strict=True)):
            state.restore()
            with nullcontext() if i == last else self.accelerator.no_sync(self.encoder):
                torch.autograd.backward(self.encoder(chunk), gradient)


@dataclass(frozen=True)
class _RandomState:
    """What dropout and stochastic depth draw from."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "_RandomState":
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)
