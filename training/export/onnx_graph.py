"""The torch model as one ONNX file for all views, checked number by number."""

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


def write_onnx(model: CrossViewEncoder, path: Path, *, side_px: int | None = None) -> None:
    """Exports with dynamic batch, height and width; weights inside the one file.

    Args:
        side_px: for networks bound to one square size (vision transformers); only the batch is
            dynamic then.

    Raises:
        PublishError: torch cannot export the network.
    """
    exported = ExportedEncoder(model).eval()
    dynamic = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, 3, side_px or EXAMPLE_PX, side_px or EXAMPLE_PX)
    sides = {} if side_px else {2: dynamic, 3: dynamic}
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
    model: CrossViewEncoder, path: Path, specs: Mapping[ViewName, ViewSpec],
    real: Mapping[ViewName, UInt8], *, batch_sizes: Sequence[int] = BATCH_SIZES,
) -> float:  # fmt: skip
    """Compares torch and ONNX Runtime on random and real images of every view's shape.

    Args:
        real: (N, h, w, 3) uint8 images per view.
        batch_sizes: of the random images.

    Returns:
        The smallest cosine seen.

    Raises:
        PublishError: an output is not finite, not unit-norm, or differs.
    """
    session = open_session(path, Device("cpu"), threads=1)
    exported, worst = ExportedEncoder(model).eval(), 1.0
    for view, spec in specs.items():
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
