"""Images to embeddings with the torch model, in evaluation mode."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from crossfix.images import UInt8
from crossfix.preprocess import normalise
from crossfix.view import ViewSpec
from training.model import CrossViewEncoder, ExportedEncoder

Float32 = NDArray[np.float32]

# (N, h, w, 3) uint8 of the view's size -> (N, D) unit-norm; the torch model or an artifact.
Embed = Callable[[UInt8, ViewSpec], Float32]

CHUNK = 128


def torch_embedder(model: CrossViewEncoder, *, precision: str = "fp32") -> Embed:
    """An embedding function of a model as it is at the time of each call."""
    device = next(model.parameters()).device
    exported = ExportedEncoder(model)

    def embed(pixels: UInt8, spec: ViewSpec) -> Float32:
        was_training = model.training
        model.eval()
        found = np.empty((len(pixels), model.embedding_dim), np.float32)
        bf16 = precision == "bf16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for start in range(0, len(pixels), CHUNK):
                images = torch.from_numpy(normalise(pixels[start : start + CHUNK], spec))
                images = images.to(device, memory_format=torch.channels_last)
                found[start : start + CHUNK] = exported(images).float().cpu().numpy()
        model.train(was_training)
        return found

    return embed
