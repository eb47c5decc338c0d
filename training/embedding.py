"""Images to embeddings with the torch model in evaluation mode, or with an exported artifact."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather
from numpy.typing import NDArray
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from crossfix.encoder import Encoder
from crossfix.errors import CrossfixError
from crossfix.images import UInt8
from crossfix.preprocess import normalise
from crossfix.view import ViewSpec
from training.augmentation.batched import normalise_batch
from training.datasets.split import ImageSet
from training.loop.loader import death_explained, leave_the_group, to_float, unchanged
from training.model import CrossViewEncoder

Float32 = NDArray[np.float32]

# (N, h, w, 3) uint8 of the view's size -> (N, D) unit-norm; the torch model or an artifact.
Embed = Callable[[UInt8, ViewSpec], Float32]

EmbedImages = Callable[[ImageSet], Float32]  # -> (N, D) unit-norm, row i of image i

CHUNK = 128
SHORTEST = 1e-12  # rows are never divided by less
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.bfloat16}


def torch_embedder(model: CrossViewEncoder, *, precision: str = "fp32") -> Embed:
    """An embedding function of a model as it is at the time of each call."""
    forward = _Forward(model, precision)

    def embed(pixels: UInt8, spec: ViewSpec) -> Float32:
        found = np.empty((len(pixels), model.embedding_dim), np.float32)
        for start in range(0, len(pixels), CHUNK):
            images = torch.from_numpy(np.ascontiguousarray(pixels[start : start + CHUNK]))
            found[start : start + CHUNK] = forward(images, spec).cpu().numpy()
        return found

    return embed


def image_set_embedder(
    model: CrossViewEncoder,
    *,
    precision: str = "fp32",
    workers: int = 0,
    add_mirrored: bool = False,
) -> EmbedImages:
    """An embedding function for sets of images, of a model as it is at the time of each call.

    Where torchrun started several processes, each embeds an equal part and receives all; then
    every process must call it, with the same set.

    Args:
        precision: of the network's arithmetic, as in recipes; fp16 on a GPU only.
        workers: loading processes; 0 reads in this process.
        add_mirrored: adds the features of the mirrored image before they are brought to unit
            length, as University-1652's authors do in their test.

    Raises:
        DataError: (when called) an image cannot be read, the message names it; or a loading
            process died.
    """
    forward = _Forward(model, precision, add_mirrored=add_mirrored)

    def embed_set(images: ImageSet) -> Float32:
        rank, processes = _rank_and_processes()
        part = -(-len(images) // processes)
        start = min(part * rank, len(images))
        stop = min(start + part, len(images))
        found = torch.zeros(part, model.embedding_dim, device=forward.device)
        done = 0
        with death_explained():
            for loaded in _read_chunks(images, start, stop, workers):
                found[done : done + len(loaded)] = forward(loaded, images.spec)
                done += len(loaded)
        everything = gather(found) if processes > 1 else found
        rows: Float32 = everything[: len(images)].cpu().numpy()
        return rows

    return embed_set


def artifact_embedder(encoder: Encoder, *, add_mirrored: bool = False) -> EmbedImages:
    """An embedding function of an exported encoder, for sets of images.

    Args:
        add_mirrored: adds the embedding of the mirrored image. Both have unit length here, which
            the features of `image_set_embedder` have not.

    Raises:
        DataError: (when called) an image cannot be read.
        EncoderError: (when called) the encoder has no such view, or another size for it.
    """

    def embed_set(images: ImageSet) -> Float32:
        found = np.empty((len(images), encoder.embedding_dim), np.float32)
        for start in range(0, len(images), CHUNK):
            stop = min(start + CHUNK, len(images))
            pixels = np.stack([images.read(i) for i in range(start, stop)])
            tensors = normalise(pixels, images.spec)
            embedded = encoder.encode(tensors, images.spec.view)
            if add_mirrored:
                mirrored = np.ascontiguousarray(tensors[..., ::-1])
                embedded = unit_rows(embedded + encoder.encode(mirrored, images.spec.view))
            found[start:stop] = embedded
        return found

    return embed_set


def unit_rows(rows: NDArray[Any]) -> Float32:
    """(N, D) rows brought to unit length; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float32 = (rows / np.maximum(lengths, SHORTEST)).astype(np.float32)
    return unit


class _Forward:
    """(N, h, w, 3) uint8 of a view to (N, D) unit-norm float32 on the model's device."""

    def __init__(
        self, model: CrossViewEncoder, precision: str, *, add_mirrored: bool = False
    ) -> None:
        self._model, self._add_mirrored = model, add_mirrored
        self.device = next(model.parameters()).device
        self._lowered = precision == "bf16" or (precision == "fp16" and self.device.type == "cuda")
        self._dtype = _AUTOCAST[precision]

    def __call__(self, pixels: Tensor, spec: ViewSpec) -> Tensor:
        was_training = self._model.training
        self._model.eval()
        with torch.no_grad(), self.device:
            images = normalise_batch(to_float(pixels, self.device), spec.mean, spec.std)
            with torch.autocast(self.device.type, self._dtype, enabled=self._lowered):
                found = self._model(images, spec.view).float()
                if self._add_mirrored:
                    found = found + self._model(images.flip(-1), spec.view).float()
        self._model.train(was_training)
        return torch.nn.functional.normalize(found, dim=-1)


@dataclass(frozen=True)
class _Chunks(Dataset["Tensor | CrossfixError"]):
    """Chunks of images `start`..`stop` as (N, h, w, 3) uint8."""

    images: ImageSet
    start: int
    stop: int

    def __len__(self) -> int:
        return -(-(self.stop - self.start) // CHUNK)

    def __getitem__(self, chunk: int) -> Tensor | CrossfixError:
        first = self.start + chunk * CHUNK
        try:
            read = [self.images.read(i) for i in range(first, min(first + CHUNK, self.stop))]
        except CrossfixError as problem:
            return problem
        return torch.from_numpy(np.stack(read))


def _read_chunks(images: ImageSet, start: int, stop: int, workers: int) -> Iterator[Tensor]:
    chunks = _Chunks(images, start, stop)
    loader: DataLoader[Tensor | CrossfixError] = DataLoader(
        chunks,
        batch_size=None,
        collate_fn=unchanged,
        num_workers=min(workers, max(0, len(chunks) - 1)),  # one chunk is not worth a process
        worker_init_fn=leave_the_group,
    )
    for loaded in loader:
        if isinstance(loaded, CrossfixError):
            raise loaded
        yield loaded


def _rank_and_processes() -> tuple[int, int]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
