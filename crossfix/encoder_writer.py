"""Writing an encoder artifact: the one place that fills in hashes and the space id."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossfix.encoder import INPUT_NAME, OUTPUT_NAME, Encoder
from crossfix.encoder_manifest import (
    MANIFEST_FILE,
    EncoderManifest,
    GoldenSample,
    embedding_space_id,
)
from crossfix.errors import PublishError
from crossfix.estimate import Calibration
from crossfix.images import decode
from crossfix.manifest import FileEntry, fsync_directory, fsync_file, write_json_atomic
from crossfix.onnx_session import Device, open_session
from crossfix.preprocess import prepare
from crossfix.view import ViewName, ViewSpec


@dataclass(frozen=True)
class EncoderDescription:
    """What a trainer knows about its encoder, besides the files."""

    name: str
    architecture: str
    embedding_dim: int
    opset: int
    licence_weights: str
    licence_data: str
    recipe: Mapping[str, Any]
    revision: str
    evaluation: Sequence[Mapping[str, Any]]


def write_encoder(
    directory: Path,
    description: EncoderDescription,
    *,
    models: Mapping[str, Path],
    views: Mapping[ViewName, ViewSpec],
    calibration: Mapping[ViewName, Calibration],
    golden_images: Mapping[str, tuple[ViewName, bytes]],
) -> EncoderManifest:
    """Writes, verifies and moves into place a whole artifact.

    Golden embeddings are computed here, from the stored bytes through the very code that will
    replay them.

    Args:
        directory: where the artifact goes; must not exist or must hold an older artifact, which
            is replaced.
        models: file name in the artifact -> ONNX file to copy.
        golden_images: file name in the artifact -> (view, JPEG or PNG bytes).

    Raises:
        PublishError: `directory` holds something that is not an encoder artifact.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / MANIFEST_FILE).exists():
        raise PublishError(
            f"{directory} exists and is not an encoder artifact", hint="name a new directory"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        staging.chmod(0o755)
        for name, source in models.items():
            shutil.copyfile(source, staging / name)
        for name, (_, data) in golden_images.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(data)
        manifest = _describe(staging, description, views, calibration, golden_images)
        write_json_atomic(staging / MANIFEST_FILE, manifest.model_dump(mode="json"))
        for name in manifest.files:
            fsync_file(staging / name)
        Encoder.load(staging, device="cpu")
        _replace_directory(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _describe(
    staging: Path,
    description: EncoderDescription,
    views: Mapping[ViewName, ViewSpec],
    calibration: Mapping[ViewName, Calibration],
    golden_images: Mapping[str, tuple[ViewName, bytes]],
) -> EncoderManifest:
    files = {
        str(path.relative_to(staging)): FileEntry.of(path)
        for path in sorted(staging.rglob("*"))
        if path.is_file()
    }
    golden = [_golden(staging, views[view], name) for name, (view, _) in golden_images.items()]
    return EncoderManifest(
        name=description.name,
        architecture=description.architecture,
        embedding_dim=description.embedding_dim,
        opset=description.opset,
        licence_weights=description.licence_weights,
        licence_data=description.licence_data,
        views=dict(views),
        files=files,
        embedding_space_id=embedding_space_id(files, views),
        recipe=dict(description.recipe),
        revision=description.revision,
        evaluation=[dict(row) for row in description.evaluation],
        calibration=dict(calibration),
        golden=golden,
    )


def _golden(staging: Path, view: ViewSpec, name: str) -> GoldenSample:
    session = open_session(staging / view.model_file, Device("cpu"), threads=1)
    tensor = prepare(decode((staging / name).read_bytes()), view, heading_deg=0.0).tensor
    (embedding,) = session.run([OUTPUT_NAME], {INPUT_NAME: tensor[None]})
    return GoldenSample(
        view=view.view, file=name, embedding=tuple(round(float(value), 6) for value in embedding[0])
    )


def _replace_directory(staging: Path, directory: Path) -> None:
    """Renames into place; an older artifact is moved aside first and then removed."""
    old = directory.with_name(f".{directory.name}-old-{os.getpid()}")
    if directory.exists():
        os.rename(directory, old)
    os.rename(staging, directory)
    fsync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
