"""A training run to an encoder artifact: ONNX, calibration, evaluation rows, golden samples."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from crossfix.encoder_manifest import EncoderManifest
from crossfix.encoder_writer import EncoderDescription, write_encoder
from crossfix.errors import PublishError
from crossfix.estimate import Calibration
from crossfix.variants import VariantName
from crossfix.view import ViewName
from training.embedding import image_set_embedder, torch_embedder
from training.evaluation.calibrate import calibrate
from training.evaluation.report import evaluate_splits, result_rows
from training.export.data import ExportData, Golden
from training.export.onnx_graph import OPSET, check_onnx, write_models
from training.export.variants import RECALL_GATE, make_variants
from training.loop.checkpoint import load_run, load_run_record
from training.loop.devices import choose_device
from training.model import CrossViewEncoder
from training.recipe import Recipe
from training.recipe_network import ModelRecipe

LOGGER = logging.getLogger(__name__)

LICENCE_WEIGHTS = "Apache-2.0"
MAX_ARTIFACT_BYTES = 15_000_000


def export_run(
    run: Path, out: Path, data: ExportData, *, weights: Literal["best", "last"] = "best",
    variants: Sequence[VariantName] = (), gate: float = RECALL_GATE,
    max_bytes: int | None = MAX_ARTIFACT_BYTES,
) -> EncoderManifest:  # fmt: skip
    """Writes the encoder artifact of a run.

    Args:
        data: never trained on; with two or more towns the scores are calibrated.
        weights: the best by the validation figure, or the last ones.
        variants: of lower precision, written if their recall stays within `gate`.
        max_bytes: the largest artifact that is written; None for any.

    Raises:
        DataError: no run there.
        PublishError: the ONNX model differs from torch, or the artifact is too large.
    """
    recipe, model = load_run(run, weights=weights)
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(
            model, Path(folder), recipe.views(), fixed="img_size" in recipe.model.kwargs
        )
        inputs = data.inputs()
        worst = check_onnx(model, models, recipe.views(), inputs)
        LOGGER.info("torch and ONNX Runtime agree: smallest cosine %.7f", worst)
        _refuse_too_large(list(models.values()), data.golden, max_bytes)
        made = make_variants(
            models, recipe.views(), data.gate_splits, inputs, names=variants, gate=gate
        )
        files = [
            *models.values(),
            *(file for outcome in made.values() for file in outcome.models.values()),
        ]
        _refuse_too_large(files, data.golden, max_bytes)
        calibration = _calibrate(data, recipe, model)
        rows = measure(data, run, recipe, model, calibration)
        return write_encoder(
            out, _describe(run, recipe, model, data, rows), models=models,
            views=recipe.views(), calibration=calibration, golden_images=data.golden,
            variants=made,
        )  # fmt: skip


def _refuse_too_large(files: Sequence[Path], golden: Golden, max_bytes: int | None) -> None:
    size = sum(file.stat().st_size for file in files) + sum(
        len(data) for _, data in golden.values()
    )
    if max_bytes is not None and size > max_bytes:
        raise PublishError(
            f"the artifact would have {size} bytes, more than {max_bytes}",
            hint="use a smaller model or pass --max-bytes",
        )


def measure(
    data: ExportData, run: Path, recipe: Recipe, model: CrossViewEncoder,
    calibration: Mapping[ViewName, Calibration],
) -> list[dict[str, Any]]:  # fmt: skip
    """Evaluation rows of the run's model and, as a control, of the same network untrained."""
    fitted = {view: one.temperature for view, one in calibration.items()}
    _, untrained = load_run(run, weights="random")
    rows: list[dict[str, Any]] = []
    for label, network, temperatures in (("trained", model, fitted), ("random", untrained, {})):
        embed = image_set_embedder(network.to(choose_device("auto")))
        results = evaluate_splits(data.splits, embed, recipe, temperatures=temperatures)
        rows += result_rows(results, weights=label)
    return rows


def _calibrate(
    data: ExportData, recipe: Recipe, model: CrossViewEncoder
) -> dict[ViewName, Calibration]:
    if len(data.towns) < 2 or data.photos is None:
        LOGGER.warning("fewer than two towns: the encoder is written without calibration")
        return {}
    names = ", ".join(town.name for town in data.towns)
    return calibrate(
        data.towns, data.photos, recipe, torch_embedder(model),
        data=f"{data.licence}; towns not trained on: {names}; half the queries of other towns",
    )  # fmt: skip


def _describe(
    run: Path, recipe: Recipe, model: CrossViewEncoder, data: ExportData,
    rows: list[dict[str, Any]],
) -> EncoderDescription:  # fmt: skip
    record = load_run_record(run)
    return EncoderDescription(
        name=recipe.name,
        architecture=architecture_of(recipe.model),
        embedding_dim=model.embedding_dim,
        opset=OPSET,
        licence_weights=_licence_of_weights(recipe, data),
        licence_data=data.licence,
        recipe=record["recipe"],
        revision=record["revision"],
        evaluation=rows,
    )


def architecture_of(model: ModelRecipe) -> str:
    """The network in a line: what every encoder has, then what is not the plain way."""
    parts = [f"{model.name} {model.kwargs}"]
    if model.sharing != "all":
        parts.append(f"weights shared by {model.sharing.replace('_', ' and ')}")
    if model.aggregation.kind != "network":
        parts.append(f"{model.aggregation.kind} aggregation")
    if model.tile_transform.kind != "none":
        parts.append(f"{model.tile_transform.kind} of tiles")
    return ", ".join(parts)


def _licence_of_weights(recipe: Recipe, data: ExportData) -> str:
    """Ours, unless the data or the weights that training began with are bound to other terms."""
    others = [] if data.may_be_shared else [f"the data it was trained on ({data.licence})"]
    if recipe.model.pretrained:
        others.append(f"the pretrained {recipe.model.name} it began with")
    if not others:
        return LICENCE_WEIGHTS
    return f"none granted here; subject to the terms of {' and of '.join(others)}"
