"""The encoder artifact: load, verify against its own golden samples, encode."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from crossfix.encoder_manifest import MANIFEST_FILE, EncoderManifest, GoldenSample
from crossfix.errors import EncoderCorrupt, EncoderNotFound, InvalidParameter
from crossfix.images import decode
from crossfix.manifest import read_model, verify_files
from crossfix.onnx_session import Device, open_session
from crossfix.preprocess import prepare
from crossfix.variants import Precision
from crossfix.view import ViewSpec

Float32 = NDArray[np.float32]

INPUT_NAME, OUTPUT_NAME = "image", "embedding"
GOLDEN_MIN_COSINE = 0.999  # other CPUs round differently; another model is far below this


class Encoder:
    """An opened encoder artifact. Thread-safe: `encode` may be called from several threads.

    Attributes:
        manifest: the artifact's `encoder.json`.
        provider: the ONNX Runtime execution provider in use.
    """

    def __init__(
        self, manifest: EncoderManifest, sessions: Mapping[str, onnxruntime.InferenceSession]
    ) -> None:
        """Takes a session per full-precision model file, whatever precision it computes in."""
        self.manifest = manifest
        self._sessions = dict(sessions)
        self.provider: str = next(iter(self._sessions.values())).get_providers()[0]

    @classmethod
    def load(
        cls, path: Path, *, device: str = "auto", threads: int = 1, check_golden: bool = True,
        precision: Precision = "fp32",
    ) -> "Encoder":  # fmt: skip
        """Opens an encoder directory.

        Args:
            precision: `fp32`, or a variant the artifact holds; all share one embedding space.

        Raises:
            EncoderNotFound: no `encoder.json` there.
            EncoderCorrupt: a file is missing or altered, or a golden sample gives other numbers.
            DeviceUnavailable: `cuda` was asked for and cannot be had.
            InvalidParameter: the artifact does not hold this precision.
        """
        if not (path / MANIFEST_FILE).is_file():
            raise EncoderNotFound(
                f"there is no encoder at {path} ({MANIFEST_FILE} is missing)",
                hint="give the directory that `training export` wrote",
            )
        manifest = read_model(path / MANIFEST_FILE, EncoderManifest, EncoderCorrupt)
        verify_files(path, manifest.files, EncoderCorrupt)
        chosen = Device.parse(device)
        files, min_cosine = _models_of(manifest, precision)
        sessions = {
            name: open_session(path / file, chosen, threads=threads)
            for name, file in sorted(files.items())
        }
        encoder = cls(manifest, sessions)
        if check_golden:
            for sample in manifest.golden:
                encoder._replay(path, sample, min_cosine)
        return encoder

    @property
    def embedding_dim(self) -> int:
        """Length of every embedding."""
        return self.manifest.embedding_dim

    @property
    def embedding_space_id(self) -> str:
        """Which embeddings these may be compared with."""
        return self.manifest.embedding_space_id

    def view(self, name: str) -> ViewSpec:
        """A view's preprocessing.

        Raises:
            UnknownView: the encoder has no such view.
        """
        return self.manifest.view(name)

    def encode(self, tensors: Float32, view: str) -> Float32:
        """Embeds preprocessed images.

        Args:
            tensors: (N, 3, h, w) float32 of the view's size.
            view: which view they are.

        Returns:
            (N, D) float32, rows unit-norm.

        Raises:
            UnknownView: the encoder has no such view.
            EncoderCorrupt: the model's output is not finite.
        """
        spec = self.view(view)
        if tensors.shape[1:] != (3, spec.height_px, spec.width_px):
            raise ValueError(
                f"view {view} takes (N, 3, {spec.height_px}, {spec.width_px}), not {tensors.shape}"
            )
        if not len(tensors):
            return np.zeros((0, self.embedding_dim), np.float32)
        session = self._sessions[spec.model_file]
        (output,) = session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(tensors)})
        embeddings: Float32 = np.asarray(output, np.float32)
        if not np.isfinite(embeddings).all():
            raise EncoderCorrupt(
                f"encoder {self.manifest.name} gave a non-finite embedding",
                hint="its weights are damaged; export it again",
            )
        return embeddings

    def _replay(self, path: Path, sample: GoldenSample, min_cosine: float) -> None:
        photo = decode((path / sample.file).read_bytes())
        tensor = prepare(photo, self.view(sample.view), heading_deg=0.0).tensor
        cosine = float(self.encode(tensor[None], sample.view)[0] @ np.asarray(sample.embedding))
        if not cosine >= min_cosine:
            raise EncoderCorrupt(
                f"golden sample {sample.file} of encoder {self.manifest.name} gives an embedding "
                f"with cosine {cosine:.4f} to the stored one",
                hint="this machine computes something else than the trainer did; export again",
            )


def _models_of(manifest: EncoderManifest, precision: str) -> tuple[dict[str, str], float]:
    """Full-precision model file -> the file to open, and what golden samples must reach."""
    if precision == "fp32":
        return {name: name for name in manifest.model_names()}, GOLDEN_MIN_COSINE
    for name, record in manifest.variants.items():
        if name == precision and record.golden_min_cosine is not None:
            return record.model_files, record.golden_min_cosine
    held = ["fp32", *(name for name, record in manifest.variants.items() if record.written)]
    refused: dict[str, str] = {name: one.reason for name, one in manifest.variants.items()}
    raise InvalidParameter(
        f"encoder {manifest.name} has no {precision} variant"
        + (f": {refused[precision]}" if precision in refused else ""),
        hint=f"use {' or '.join(held)}, or export it with --variants",
    )
