"""The contrastive step: one way for any number of processes, chunks and precisions.

The loss needs the features of the whole batch at once, the network does not. Features are taken
first, the loss is differentiated with respect to them, and their gradients are then carried into
the network: at once, or chunk by chunk with a second forward pass (Gao et al. 2021, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", section 3).

Gradients are added up over the processes once, at the end. Wrappers that do so while the backward
pass runs expect every weight in every pass, which views with weights of their own do not give.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, distributed
from torch.nn import Module

from crossfix.view import ViewName
from training.loop.pair_batch import PairBatch
from training.losses.batch import FeatureBatch, When
from training.losses.criterion import Criterion

BUCKET = 2**24  # numbers that are sent together


def _unscaled(epoch: int) -> float:
    del epoch
    return 1.0


@dataclass(frozen=True)
class ContrastiveStep:
    """Gradients of a loss over the batch of all processes.

    Networks with BatchNorm normalise over what passes them at once, which is a chunk of one view
    in one process, and with `micro_batch` update their running statistics twice a step; the
    equalities below then do not hold. ConvNeXt and transformers have no BatchNorm.

    Attributes:
        encoder: images (N, 3, h, w) of a view to features (N, D), made by `prepared_encoder`.
        criterion: each process computes its whole gradient.
        guide_weight: of the mean of what the encoder puts behind the tiles' features; 0 asks for
            none.
        micro_batch: images that pass the encoder at once; None for all of a view.
        loss_scale_at: what the loss is multiplied by in an epoch, counted from 0.
    """

    accelerator: Accelerator
    encoder: Module
    criterion: Criterion
    guide_weight: float
    micro_batch: int | None
    loss_scale_at: Callable[[int], float] = _unscaled

    def backward(self, pairs: PairBatch, when: When) -> Tensor:
        """Adds the step's gradients to the encoder's and the criterion's.

        The gradients are those of one process with the whole batch, times the loss scale in fp16.

        Args:
            pairs: as many in all processes, and of the same view.

        Returns:
            The loss of the whole batch, scalar fp32, detached; the same in all processes.
        """
        chunks = [*self._chunks(pairs.photo, pairs.view), *self._chunks(pairs.tile, "satellite")]
        if self.micro_batch is None:
            features = [self._embed(chunk) for chunk in chunks]
            loss, gradients = self._feature_gradients(features, pairs, when)
            torch.autograd.backward(features, gradients)
        else:
            states, features = self._without_graph(chunks)
            loss, gradients = self._feature_gradients(features, pairs, when)
            for chunk, state, gradient in zip(chunks, states, gradients, strict=True):
                state.restore()
                torch.autograd.backward(self._embed(chunk), gradient)
        add_up(self.encoder, self.accelerator.num_processes)
        return loss

    def _chunks(self, images: Tensor, view: ViewName) -> list["_Chunk"]:
        size = self.micro_batch or len(images)
        return [_Chunk(view, part) for part in torch.split(images, size)]

    def _embed(self, chunk: "_Chunk") -> Tensor:
        guide = self.guide_weight > 0 and chunk.view == "satellite"
        features: Tensor = self.encoder(chunk.images, chunk.view, guide=guide)
        return features

    @torch.no_grad()
    def _without_graph(
        self, chunks: Sequence["_Chunk"]
    ) -> tuple[list["_RandomState"], list[Tensor]]:
        states, features = [], []
        for chunk in chunks:
            states.append(_RandomState.now(chunk.images.device))
            features.append(self._embed(chunk))
        return states, features

    def _feature_gradients(
        self, features: Sequence[Tensor], pairs: PairBatch, when: When
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss, and its gradient for each chunk of this process's features."""
        parts = [part.detach().float() for part in features]
        of_photos = len(self._chunks(pairs.photo, pairs.view))
        photo, tile = (
            self.accelerator.gather(torch.cat(some)).requires_grad_()
            for some in (parts[:of_photos], parts[of_photos:])
        )
        loss = self._loss(photo, tile, pairs, when)
        self.accelerator.backward(loss)
        first = self.accelerator.process_index * len(pairs)
        gradients: list[Tensor] = []
        for rows, some in ((photo, parts[:of_photos]), (tile, parts[of_photos:])):
            assert rows.grad is not None
            own = rows.grad[first : first + len(pairs)]
            gradients += own.split([len(part) for part in some])
        return loss.detach(), gradients

    def _loss(self, photo: Tensor, tile: Tensor, pairs: PairBatch, when: When) -> Tensor:
        places = self.accelerator.gather(pairs.places)
        turns = None if pairs.turns is None else self.accelerator.gather(pairs.turns)
        dim = photo.shape[1]
        loss: Tensor = self.criterion(FeatureBatch(photo, tile[:, :dim], places, turns), when)
        if self.guide_weight > 0:
            loss = loss + self.guide_weight * tile[:, dim:].mean()
        scale = self.loss_scale_at(when.epoch)
        return loss if scale == 1 else scale * loss


def prepared_encoder(accelerator: Accelerator, model: Module) -> Module:
    """The model in the run's precision, with the main process's weights in all processes."""
    take_main_weights(model, accelerator.num_processes)
    # As for evaluation: in its precision, and not wrapped for several processes.
    prepared: Module = accelerator.prepare_model(model, evaluation_mode=True)
    return prepared


def take_main_weights(module: Module, processes: int) -> None:
    """Gives the weights and buffers of the main process to all processes."""
    if processes == 1:
        return
    for value in module.state_dict().values():
        sent = value.contiguous()
        distributed.broadcast(sent, src=0)
        value.copy_(sent)


def add_up(model: Module, processes: int) -> None:
    """Sums the gradients of all processes; means of the running statistics of BatchNorm.

    Weights without a gradient have none in any process.
    """
    if processes == 1:
        return
    _in_all([p.grad for p in model.parameters() if p.grad is not None], lambda flat: flat)
    kept, weights = model.state_dict(), {name for name, _ in model.named_parameters()}
    statistics = [v for name, v in kept.items() if name not in weights and v.is_floating_point()]
    _in_all(statistics, lambda flat: flat / processes)


def _in_all(tensors: Sequence[Tensor], finish: Callable[[Tensor], Tensor]) -> None:
    start = 0
    while start < len(tensors):
        stop, size = start, 0
        while stop < len(tensors) and (stop == start or size + tensors[stop].numel() <= BUCKET):
            size += tensors[stop].numel()
            stop += 1
        some = tensors[start:stop]
        flat = torch.cat([one.flatten() for one in some])
        distributed.all_reduce(flat)
        parts = torch.split(finish(flat), [one.numel() for one in some])
        for one, part in zip(some, parts, strict=True):
            one.copy_(part.view(one.shape))
        start = stop


@dataclass(frozen=True)
class _Chunk:
    """Images of one view that pass the network together."""

    view: ViewName
    images: Tensor


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
