"""A training run to an encoder artifact: ONNX, calibration, evaluation rows, golden samples."""

import io
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crossfix.encoder_manifest import EncoderManifest
from crossfix.encoder_writer import EncoderDescription, write_encoder
from crossfix.errors import DataError, PublishError
from crossfix.estimate import Calibration
from crossfix.images import UInt8
from crossfix.view import ViewName
from training.calibrate import calibrate
from training.checkpoint import load_run, load_run_record
from training.embedding import torch_embedder
from training.evaluate import evaluation_rows, score_towns
from training.model import CrossViewEncoder
from training.onnx_graph import OPSET, check_onnx, write_onnx
from training.photo_cache import ViewPhotos, load_view
from training.recipe import MODEL_FILE, Recipe
from training.sample_world_data import Town
from training.satellite_image import cut_tiles

LOGGER = logging.getLogger(__name__)

LICENCE_WEIGHTS, LICENCE_DATA = "Apache-2.0", "synthetic: sample_world"
MAX_ARTIFACT_BYTES = 15_000_000
GOLDEN_PER_VIEW = 2


@dataclass(frozen=True)
class ExportData:
    """Towns never trained on, and their photos: for calibration, figures and golden samples."""

    towns: Sequence[Town]
    photos: dict[ViewName, ViewPhotos]


def load_export_data(towns: Sequence[Town], recipe: Recipe, cache: Path | None) -> ExportData:
    """Preprocesses the towns' photos for every query view of the recipe that they have."""
    return ExportData(towns, load_photos(towns, recipe, cache))


def load_photos(
    towns: Sequence[Town], recipe: Recipe, cache: Path | None
) -> dict[ViewName, ViewPhotos]:
    """The photos of each query view.

    Raises:
        DataError: a view has no photo in any of the towns.
    """
    specs, photos = recipe.views(), {}
    for view in recipe.data.query_views:
        photos[view] = load_view(
            towns, specs[view], tile_size_m=recipe.data.tile_size_m,
            tile_offset_share=recipe.data.tile_offset_share, cache=cache,
        )  # fmt: skip
        if not len(photos[view]):
            raise DataError(
                f"the towns have no usable {view} photo",
                hint="render some, or take the view out of data.query_views",
            )
    return photos


def export_run(
    run: Path, out: Path, towns: Sequence[Town], *, max_bytes: int | None = MAX_ARTIFACT_BYTES
) -> EncoderManifest:
    """Writes the encoder artifact of a run.

    Args:
        towns: never trained on; with two or more of them the scores are calibrated.
        max_bytes: the largest artifact that is written; None for any.

    Raises:
        DataError: no run there, or no towns.
        PublishError: the ONNX model differs from torch, or the artifact is too large.
    """
    if not towns:
        raise DataError(
            "export needs photos for golden samples, but no town was given",
            hint="give --calibrate-on town folders that were not trained on",
        )
    recipe, model = load_run(run)
    data = load_export_data(towns, recipe, run / "cache")
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / MODEL_FILE
        write_onnx(model, onnx)
        worst = check_onnx(model, onnx, recipe.views(), _real_inputs(data, recipe))
        LOGGER.info("torch and ONNX Runtime agree: smallest cosine %.7f", worst)
        golden = golden_images(data, recipe)
        size = onnx.stat().st_size + sum(len(image) for _, image in golden.values())
        if max_bytes is not None and size > max_bytes:
            raise PublishError(
                f"the artifact would have {size} bytes, more than {max_bytes}",
                hint="use a smaller model or pass --max-bytes",
            )
        calibration = _calibrate(data, recipe, model)
        return write_encoder(
            out,
            _describe(run, recipe, model, measure(data, recipe, run, calibration)),
            models={MODEL_FILE: onnx},
            views=recipe.views(),
            calibration=calibration,
            golden_images=golden,
        )


def measure(
    data: ExportData, recipe: Recipe, run: Path, calibration: dict[ViewName, Calibration]
) -> list[dict[str, Any]]:
    """Evaluation rows of the run and, as a control, of the same network untrained."""
    rows = []
    temperatures = {view: fitted.temperature for view, fitted in calibration.items()}
    for name in ("trained", "random"):
        _, model = load_run(run, random_weights=name == "random")
        scored = list(score_towns(data.towns, data.photos, recipe, torch_embedder(model)))
        rows += evaluation_rows(
            scored, weights=name, temperatures=temperatures if name == "trained" else None
        )
    return rows


def _calibrate(
    data: ExportData, recipe: Recipe, model: CrossViewEncoder
) -> dict[ViewName, Calibration]:
    if len(data.towns) < 2:
        LOGGER.warning("one town only: the encoder is written without calibration")
        return {}
    names = ", ".join(town.name for town in data.towns)
    return calibrate(
        data.towns, data.photos, recipe, torch_embedder(model),
        data=f"{LICENCE_DATA}; towns not trained on: {names}; half the queries of other towns",
    )  # fmt: skip


def _describe(
    run: Path, recipe: Recipe, model: CrossViewEncoder, rows: list[dict[str, Any]]
) -> EncoderDescription:
    record = load_run_record(run)
    return EncoderDescription(
        name=recipe.name,
        architecture=f"{recipe.model.name} {recipe.model.kwargs}",
        embedding_dim=model.embedding_dim,
        opset=OPSET,
        licence_weights=LICENCE_WEIGHTS,
        licence_data=LICENCE_DATA,
        recipe=record["recipe"],
        revision=record["revision"],
        evaluation=rows,
    )


def golden_images(data: ExportData, recipe: Recipe) -> dict[str, tuple[ViewName, bytes]]:
    """A few images per view with their names in the artifact: photos as they are, tiles as PNG."""
    found: dict[str, tuple[ViewName, bytes]] = {}
    for view in data.photos:
        rows = [photo for town in data.towns for photo in town.photos_of(view)]
        kinds = sorted({row.kind for row in rows})
        for i in range(GOLDEN_PER_VIEW):
            row = next(row for row in rows[i:] if row.kind == kinds[i % len(kinds)])
            found[f"golden/{view}-{i}{row.path.suffix.lower()}"] = (view, row.path.read_bytes())
    for i, tile in enumerate(_some_tiles(data, recipe)[:GOLDEN_PER_VIEW]):
        buffer = io.BytesIO()
        Image.fromarray(tile).save(buffer, "PNG")
        found[f"golden/satellite-{i}.png"] = ("satellite", buffer.getvalue())
    return found


def _real_inputs(data: ExportData, recipe: Recipe) -> dict[ViewName, UInt8]:
    inputs: dict[ViewName, UInt8] = {view: p.pixels[:16] for view, p in data.photos.items()}
    inputs["satellite"] = _some_tiles(data, recipe)
    return inputs


def _some_tiles(data: ExportData, recipe: Recipe, count: int = 16) -> UInt8:
    image = data.towns[0].satellite
    centres = image.grid(recipe.data.tile_size_m)
    centres = centres[:: max(1, len(centres) // count)][:count]
    sides = np.full(len(centres), recipe.data.tile_size_m / image.resolution_m)
    return cut_tiles(
        image, centres, side_px=sides, out_px=recipe.data.tile_px,
        resampling=recipe.data.interpolation,
    )  # fmt: skip
