"""Writing an encoder artifact: the one place that fills in hashes and the space id."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfix.encoder import GOLDEN_MIN_COSINE, INPUT_NAME, OUTPUT_NAME, Encoder
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
from crossfix.variants import VariantMeasurement, VariantName, VariantRecord
from crossfix.view import ViewName, ViewSpec

Float32 = NDArray[np.float32]

GOLDEN_SLACK = 2.0  # other machines may differ this much more from fp32 than the exporting one


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


@dataclass(frozen=True)
class VariantOutcome:
    """What came of a variant that was asked for.

    Attributes:
        reason: why it is written, or why it is refused, in words.
        models: full-precision file name -> the variant's ONNX file to copy; none when refused.
    """

    reason: str
    recall_gate: float
    measured: Sequence[VariantMeasurement]
    models: Mapping[str, Path]


def write_encoder(
    directory: Path,
    description: EncoderDescription,
    *,
    models: Mapping[str, Path],
    views: Mapping[ViewName, ViewSpec],
    calibration: Mapping[ViewName, Calibration],
    golden_images: Mapping[str, tuple[ViewName, bytes]],
    variants: Mapping[VariantName, VariantOutcome] | None = None,
) -> EncoderManifest:
    """Writes, verifies and moves into place a whole artifact.

    Golden embeddings are computed here, from the stored bytes through the very code that will
    replay them.

    Args:
        directory: where the artifact goes; must not exist or must hold an older artifact, which
            is replaced.
        models: file name in the artifact -> ONNX file to copy.
        golden_images: file name in the artifact -> (view, JPEG or PNG bytes).
        variants: of lower precision, written or refused; all are recorded.

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
        for name, source in {**models, **_variant_files(variants or {})}.items():
            shutil.copyfile(source, staging / name)
        for name, (_, data) in golden_images.items():
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(data)
        manifest = _describe(
            staging, description, views, calibration, golden_images, variants or {}
        )
        # Readers from before there were variants refuse the key.
        left_out = None if manifest.variants else {"variants"}
        content = manifest.model_dump(mode="json", exclude=left_out)
        write_json_atomic(staging / MANIFEST_FILE, content)
        for name in manifest.files:
            fsync_file(staging / name)
        Encoder.load(staging, device="cpu")
        for precision, record in manifest.variants.items():
            if record.written:
                Encoder.load(staging, device="cpu", precision=precision)
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
    variants: Mapping[VariantName, VariantOutcome],
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
        variants={
            name: _record(staging, name, outcome, golden, views)
            for name, outcome in variants.items()
        },
    )


def _golden(staging: Path, view: ViewSpec, name: str) -> GoldenSample:
    embedding = _embed(staging, view.model_file, view, name)
    return GoldenSample(
        view=view.view, file=name, embedding=tuple(round(float(value), 6) for value in embedding)
    )


def _embed(staging: Path, model: str, view: ViewSpec, image: str) -> Float32:
    session = open_session(staging / model, Device("cpu"), threads=1)
    tensor = prepare(decode((staging / image).read_bytes()), view, heading_deg=0.0).tensor
    (embeddings,) = session.run([OUTPUT_NAME], {INPUT_NAME: tensor[None]})
    return np.asarray(embeddings[0], np.float32)


def variant_file(model: str, variant: VariantName) -> str:
    """What a variant of a model file is called in the artifact."""
    return f"{Path(model).stem}.{variant}.onnx"


def _variant_files(variants: Mapping[VariantName, VariantOutcome]) -> dict[str, Path]:
    return {
        variant_file(model, name): source
        for name, outcome in variants.items()
        for model, source in outcome.models.items()
    }


def _record(
    staging: Path,
    name: VariantName,
    outcome: VariantOutcome,
    golden: Sequence[GoldenSample],
    views: Mapping[ViewName, ViewSpec],
) -> VariantRecord:
    files = {model: variant_file(model, name) for model in outcome.models}
    cosines = [
        float(_embed(staging, files[views[one.view].model_file], views[one.view], one.file)
              @ np.asarray(one.embedding))
        for one in golden if files
    ]  # fmt: skip
    lowest = 1 - GOLDEN_SLACK * (1 - min(cosines, default=1.0))
    return VariantRecord(
        written=bool(files),
        reason=outcome.reason,
        recall_gate=outcome.recall_gate,
        measured=tuple(outcome.measured),
        model_files=files,
        golden_min_cosine=round(min(lowest, GOLDEN_MIN_COSINE), 6) if files else None,
    )


def _replace_directory(staging: Path, directory: Path) -> None:
    """Renames into place; an older artifact is moved aside first and then removed."""
    old = directory.with_name(f".{directory.name}-old-{os.getpid()}")
    if directory.exists():
        os.rename(directory, old)
    os.rename(staging, directory)
    fsync_directory(directory.parent)
    shutil.rmtree(old, ignore_errors=True)
