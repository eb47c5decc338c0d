"""Official Sample4Geo weights to an encoder artifact.

An official file is a bare state dict: `logit_scale` and the timm network's tensors under `model.`.
The views are those the official evaluation prepares for each data set.
"""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch
from torch import Tensor

from crossfix.encoder_manifest import EncoderManifest
from crossfix.encoder_writer import EncoderDescription, write_encoder
from crossfix.errors import DataError
from crossfix.images import UInt8, decode
from crossfix.manifest import sha256_file
from crossfix.preprocess import fit_pixels
from crossfix.view import ViewName, ViewSpec
from training.export.onnx_graph import OPSET, check_onnx, write_models
from training.export.procedural import procedural_golden
from training.model import CrossViewEncoder
from training.recipe import MODEL_FILE
from training.recipe_history import FORMER
from training.recipe_network import ModelRecipe
from training.run_record import git_revision

LOGGER = logging.getLogger(__name__)

OfficialDataset = Literal["cvusa", "cvact", "vigor", "university"]

ARCHITECTURE = "convnext_base.fb_in22k_ft_in1k_384"
IMAGE_SIZE = 384
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LICENCE_WEIGHTS = (
    "none stated: the Sample4Geo authors publish code and weights without a licence; "
    "ask them before passing this on"
)
TEMPERATURE, PARALLEL, NETWORK = "logit_scale", "module.", "model."
SHOWN_KEYS = 3
CHECKED_BATCHES = (1, 2)  # a large network on a CPU takes seconds per image


def import_official(
    weights: Path, dataset: OfficialDataset, out: Path, *, architecture: str = ARCHITECTURE,
    image_size: int = IMAGE_SIZE,
) -> EncoderManifest:  # fmt: skip
    """Writes the encoder artifact of an official weight file.

    Args:
        dataset: what the weights were trained on; decides the views.
        architecture: a timm model name.
        image_size: side of the satellite input, pixels; the other views scale with it.

    Raises:
        DataError: no such file, not a state dict, or of another network.
        PublishError: the ONNX model differs from torch, or `out` holds something else.
    """
    views = official_views(dataset, image_size)
    model = official_model(weights, architecture, views)
    golden = procedural_golden(views)
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(model, Path(folder), views, fixed=_is_of_fixed_size(architecture))
        inputs = {view: _inputs(golden, spec) for view, spec in views.items()}
        worst = check_onnx(model, models, views, inputs, batch_sizes=CHECKED_BATCHES)
        LOGGER.info("torch and ONNX Runtime agree: smallest cosine %.7f", worst)
        return write_encoder(
            out,
            _describe(weights, dataset, architecture, model.embedding_dim),
            models=models,
            views=views,
            calibration={},
            golden_images=golden,
        )


def official_views(dataset: OfficialDataset, image_size: int) -> dict[ViewName, ViewSpec]:
    """The preprocessing of the official evaluation: sizes, no crops, four-pixel interpolation.

    CVUSA's panoramas are distributed cut to 224 x 1232; CVACT's whole ones are squashed to the
    same shape. Images of 384 pixels have ground inputs of 140 x 768, or 384 x 768 for VIGOR.
    """
    tile = _spec(
        "satellite", image_size, image_size, projection="nadir", fit="squash", heading="north_up"
    )
    if dataset == "university":
        drone = _spec(
            "drone", image_size, image_size, projection="oblique", fit="squash", heading="any"
        )
        return {"satellite": tile, "drone": drone}
    width = 2 * image_size
    height = image_size if dataset == "vigor" else round(224 / 1232 * width)
    top = 32.727 if dataset == "cvusa" else 90.0
    ground = _spec(
        "ground", height, width, projection="equirectangular", fit="panorama_canvas",
        heading="north_centre", elevation_top_deg=top, elevation_bottom_deg=-top,
    )  # fmt: skip
    return {"satellite": tile, "ground": ground}


def _spec(view: ViewName, height_px: int, width_px: int, **rest: Any) -> ViewSpec:  # noqa: ANN401
    return ViewSpec(
        view=view, model_file=MODEL_FILE, height_px=height_px, width_px=width_px, mean=MEAN,
        std=STD, interpolation="sampled_bilinear", **rest,
    )  # fmt: skip


def official_model(
    weights: Path, architecture: str, views: Mapping[ViewName, ViewSpec]
) -> CrossViewEncoder:
    """The network with the file's weights, every tensor accounted for.

    Raises:
        DataError: as `import_official`; or a network of fixed size that cannot take the views.
    """
    state = network_state(weights)
    model = _untrained(architecture, views)
    backbone = model.backbones[model.recipe.backbone_of("satellite")]
    expected = backbone.state_dict()
    _refuse_strangers(weights, architecture, expected, state)
    backbone.load_state_dict(state, strict=True)
    return model.eval()


def network_state(weights: Path) -> dict[str, Tensor]:
    """The timm network's tensors of an official file.

    Raises:
        DataError: no such file, not a bare state dict, or it would run code when read.
    """
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError as problem:
        raise DataError(f"there is no file {weights}", hint="name a .pth file") from problem
    except Exception as problem:  # torch raises many classes for damaged and malicious files
        raise DataError(
            f"{weights} is not a file of weights alone", hint="give an official .pth file"
        ) from problem
    if not isinstance(content, dict) or not content:
        raise DataError(f"{weights} holds no state dict", hint="give an official .pth file")
    if not all(isinstance(key, str) and torch.is_tensor(v) for key, v in content.items()):
        raise DataError(
            f"{weights} holds more than tensors by name, e.g. {next(iter(content))!r}",
            hint="official files are bare state dicts",
        )
    return _of_network(weights, content)


def _of_network(weights: Path, content: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {key.removeprefix(PARALLEL): value for key, value in content.items()}
    strangers = [key for key in plain if key != TEMPERATURE and not key.startswith(NETWORK)]
    if strangers or TEMPERATURE not in plain:
        found = f"besides `model.*`: {_some(strangers)}" if strangers else "no logit_scale"
        raise DataError(
            f"{weights} is not laid out as official weights are: it holds {found}",
            hint="official files hold logit_scale and model.*",
        )
    return {key.removeprefix(NETWORK): value for key, value in plain.items() if key != TEMPERATURE}


def _untrained(architecture: str, views: Mapping[ViewName, ViewSpec]) -> CrossViewEncoder:
    fixed = _is_of_fixed_size(architecture)
    side = views["satellite"].height_px
    if fixed and any((spec.height_px, spec.width_px) != (side, side) for spec in views.values()):
        raise DataError(
            f"{architecture} takes square images of one size, which panoramas are not",
            hint="vision transformers serve --dataset university only",
        )
    recipe = ModelRecipe.model_validate({
        **FORMER["model"], "name": architecture, "kwargs": {"img_size": side} if fixed else {},
        "pretrained": False, "embedding_dim": None, "orientation_maps": False,
    })  # fmt: skip
    if not timm.is_model(architecture):
        raise DataError(f"timm has no architecture {architecture!r}", hint="see timm.list_models()")
    return CrossViewEncoder(recipe, views)


def _is_of_fixed_size(architecture: str) -> bool:
    """As the official code has it: networks with "vit" in their name are built for one size."""
    return "vit" in architecture


def _refuse_strangers(
    weights: Path, architecture: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> None:
    differences = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            key for key in expected if key in state and expected[key].shape != state[key].shape
        ],
    }
    found = [f"{_some(keys)} {what}" for what, keys in differences.items() if keys]
    if found:
        raise DataError(
            f"{weights} does not fit {architecture}: {'; '.join(found)}",
            hint="name the network with --architecture, and its size with --image-size",
        )


def _some(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")
    return f"{len(keys)} tensors ({shown})"


def _inputs(golden: Mapping[str, tuple[ViewName, bytes]], spec: ViewSpec) -> UInt8:
    images = [
        fit_pixels(decode(data), spec, heading_deg=0.0)[0]
        for view, data in golden.values()
        if view == spec.view
    ]
    return np.stack(images)


def _describe(
    weights: Path, dataset: OfficialDataset, architecture: str, dim: int
) -> EncoderDescription:
    return EncoderDescription(
        name=f"sample4geo-{dataset}",
        architecture=architecture,
        embedding_dim=dim,
        opset=OPSET,
        licence_weights=LICENCE_WEIGHTS,
        licence_data=f"trained by the Sample4Geo authors on {dataset}; its own terms apply",
        recipe={
            "imported_from": weights.name,
            "sha256": sha256_file(weights),
            "dataset": dataset,
        },
        revision=git_revision(),
        evaluation=[],
    )
