"""The torch model as ONNX, one file per set of weights, checked number by number."""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from crossfix.encoder import INPUT_NAME, OUTPUT_NAME
from crossfix.errors import PublishError
from crossfix.images import UInt8
from crossfix.onnx_session import Device, open_session
from crossfix.preprocess import normalise
from crossfix.view import ViewName, ViewSpec
from training.model import CrossViewEncoder, ExportedEncoder

Float32 = NDArray[np.float32]

OPSET = 18
MIN_COSINE = 0.9999
BATCH_SIZES = (1, 3, 8)
EXAMPLE_PX = 96


def write_models(
    model: CrossViewEncoder, folder: Path, specs: Mapping[ViewName, ViewSpec], *,
    fixed: bool = False,
) -> dict[str, Path]:  # fmt: skip
    """Exports every model file that the views name, each with its views' weights.

    Args:
        fixed: for networks bound to one size (vision transformers).

    Returns:
        File name -> path, in the views' order.

    Raises:
        PublishError: torch cannot export the network.
    """
    found: dict[str, Path] = {}
    for view, spec in specs.items():
        if spec.model_file in found:
            continue
        found[spec.model_file] = folder / spec.model_file
        sizes = {
            (one.height_px, one.width_px)
            for one in specs.values()
            if one.model_file == spec.model_file
        }
        one_size = sizes.pop() if len(sizes) == 1 and (fixed or _is_bound(model, view)) else None
        write_onnx(model, found[spec.model_file], view=view, size=one_size)
    return found


def _is_bound(model: CrossViewEncoder, view: ViewName) -> bool:
    """Whether weights or grids depend on the size of a view's images."""
    recipe = model.recipe
    return recipe.is_bound or (view == "satellite" and recipe.tile_transform.kind != "none")


def write_onnx(
    model: CrossViewEncoder, path: Path, *, view: ViewName = "satellite",
    size: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Exports a view's way with dynamic batch, height and width; weights inside the one file.

    Args:
        size: (height, width) in pixels where it must not change; only the batch is dynamic then.

    Raises:
        PublishError: torch cannot export the network.
    """
    exported = ExportedEncoder(model, view).eval()
    dynamic = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, 3, *(size or (EXAMPLE_PX, EXAMPLE_PX)))
    sides = {} if size else {2: dynamic, 3: dynamic}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The exporter warns about its own internals; what matters is compared afterwards.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            exported, (example,), dynamo=True, opset_version=OPSET, verbose=False,
            input_names=[INPUT_NAME], output_names=[OUTPUT_NAME],
            dynamic_shapes={"image": {0: dynamic, **sides}},
        )  # fmt: skip
        if program is None:
            raise PublishError("torch gave no ONNX program", hint="check the installed torch")
        program.save(path, external_data=False)
    _forget_origins(path)


def _forget_origins(path: Path) -> None:
    """Drops what the exporter notes about every node: source lines and paths of this machine."""
    content = onnx.load(path)
    graph = content.graph
    for part in (content, graph, *graph.node, *graph.input, *graph.output, *graph.value_info,
                 *graph.initializer):  # fmt: skip
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(content, path)


def check_onnx(
    model: CrossViewEncoder, files: Mapping[str, Path], specs: Mapping[ViewName, ViewSpec],
    real: Mapping[ViewName, UInt8], *, batch_sizes: Sequence[int] = BATCH_SIZES,
) -> float:  # fmt: skip
    """Compares torch and ONNX Runtime on random and real images of every view's shape.

    Args:
        files: of `write_models`.
        real: (N, h, w, 3) uint8 images per view.
        batch_sizes: of the random images.

    Returns:
        The smallest cosine seen.

    Raises:
        PublishError: an output is not finite, not unit-norm, or differs.
    """
    worst, sessions = 1.0, {
        name: open_session(path, Device("cpu"), threads=1) for name, path in files.items()
    }  # fmt: skip
    for view, spec in specs.items():
        exported, session = ExportedEncoder(model, view).eval(), sessions[spec.model_file]
        for images in _inputs(spec, real.get(view), batch_sizes):
            with torch.inference_mode():
                expected = exported(torch.from_numpy(images)).numpy()
            (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: images})
            worst = min(worst, _agreement(expected, np.asarray(found), view))
    return worst


def _inputs(spec: ViewSpec, real: UInt8 | None, batch_sizes: Sequence[int]) -> list[Float32]:
    rng = np.random.default_rng(0)
    shape = (3, spec.height_px, spec.width_px)
    inputs = [rng.standard_normal((n, *shape)).astype(np.float32) for n in batch_sizes]
    if real is not None and len(real):
        inputs.append(np.ascontiguousarray(normalise(real, spec)))
    return inputs


def _agreement(expected: Float32, found: Float32, view: str) -> float:
    cosine = (expected * found).sum(axis=1)
    unit = np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-4
    lowest = float(cosine.min())
    if found.shape != expected.shape or not unit.all() or not lowest >= MIN_COSINE:
        raise PublishError(
            f"the ONNX model differs from torch on view {view} (cosine {lowest:.6f})",
            hint="nothing was written; try another torch or onnxruntime version",
        )
    return lowest
