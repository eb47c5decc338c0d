"""An ONNX model in half precision, or with whole-number weights and activations."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from crossfix.encoder import INPUT_NAME
from crossfix.errors import PublishError

Float32 = NDArray[np.float32]

QUANTISED_OPERATORS = ("MatMul", "Gemm", "Conv")
NORM_OPERATOR, SAMPLING_OPERATOR, CAST_OPERATOR = "ReduceL2", "GridSample", "Cast"


def write_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic in float16; input, output and the final unit norm in float32.

    The squares that the norm sums may exceed float16, and its guard against zero is below it.
    Tile transforms stay in float32 throughout, from the input to the sampled image: half-precision
    coordinates would be off by pixels.

    Raises:
        PublishError: the model does not end in a norm as ours do.
    """
    model = onnx.load(source)
    norm = _cut_off_norm(model)
    precise = _up_to_sampling(model.graph)
    inner = [node for node in model.graph.node if node.name in precise]
    shared = _read_by_others(model.graph, inner)
    model.graph.initializer.extend(_own_weights(inner, shared, prefix="sampling"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about each weight too small for float16; recall decides
        half = convert_float_to_float16(model, keep_io_types=True, node_block_list=sorted(precise))
    graph = half.graph
    # A tensor that two float32 nodes read is cast twice under one name by the converter.
    once = {tuple(node.output): node for node in reversed(graph.node)}
    _replace(graph.node, [*reversed(once.values())])
    _skip_casts(graph, precise)
    graph.node.extend(norm.node)
    graph.initializer.extend(norm.initializer)
    del graph.output[:]
    graph.output.extend(norm.output)
    onnx.save(half, target)


def _up_to_sampling(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that sample images at coordinates, and of all they depend on."""
    wanted = {name for node in graph.node if node.op_type == SAMPLING_OPERATOR
              for name in node.output}  # fmt: skip
    found = set()
    for node in reversed(graph.node):  # in topological order, as ONNX demands
        if wanted & set(node.output):
            found.add(node.name)
            wanted |= set(node.input)
    return found


def _skip_casts(graph: onnx.GraphProto, precise: Collection[str]) -> None:
    """Lets the float32 nodes read what was float32 before it was cast to float16 and back.

    The converter casts whatever passes from one of them to the next, and the graph's input.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.name in precise:
            for i, name in enumerate(node.input):
                node.input[i] = _before_casts(name, made_by, precise)
    for _ in range(2):  # a cast back, then the cast that only it has read
        used = {name for node in graph.node for name in node.input}
        used |= {one.name for one in graph.output}
        _replace(graph.node, [
            node for node in graph.node
            if node.op_type != CAST_OPERATOR or used & set(node.output)
        ])  # fmt: skip


def _before_casts(
    name: str, made_by: Mapping[str, onnx.NodeProto], precise: Collection[str]
) -> str:
    found = name
    for _ in range(2):
        node = made_by.get(found)
        if node is None or node.op_type != CAST_OPERATOR or node.name in precise:
            return name
        found = node.input[0]
    return found


def _read_by_others(
    graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]
) -> list[onnx.TensorProto]:
    """The weights that other nodes than these read, too; the converter would round them."""
    own = {node.name for node in nodes}
    read = {name for node in graph.node if node.name not in own for name in node.input}
    return [one for one in graph.initializer if one.name in read]


def _cut_off_norm(model: onnx.ModelProto) -> onnx.GraphProto:
    """Takes the nodes from the last norm on out of a model; its outputs become what they read."""
    graph = model.graph
    norms = [i for i, node in enumerate(graph.node) if node.op_type == NORM_OPERATOR]
    if not norms:
        raise PublishError(
            f"the ONNX model has no {NORM_OPERATOR}, so fp16 cannot leave the unit norm out",
            hint="leave fp16 out of --variants, or try another torch version",
        )
    start = norms[-1]
    tail, body = list(graph.node)[start:], list(graph.node)[:start]
    made = {name for node in body for name in node.output}
    types = {one.name: one for one in onnx.shape_inference.infer_shapes(model).graph.value_info}
    between = sorted({name for node in tail for name in node.input} & made)
    norm = onnx.GraphProto(
        node=tail, initializer=_own_weights(tail, graph.initializer, prefix="norm"),
        output=graph.output,
    )  # fmt: skip
    _replace(graph.node, body)
    _replace(graph.output, [types[name] for name in between])
    del graph.value_info[:]  # they tell the types of before
    return norm


def _own_weights(
    nodes: Sequence[onnx.NodeProto], weights: Sequence[onnx.TensorProto], *, prefix: str
) -> list[onnx.TensorProto]:
    """Copies of the weights that the nodes read, under new names, which the nodes then use."""
    by_name, own = {one.name: one for one in weights}, {}
    for node in nodes:
        for i, name in enumerate(node.input):
            if name in by_name:
                own[name] = onnx.TensorProto()
                own[name].CopyFrom(by_name[name])
                node.input[i] = own[name].name = f"{prefix}_{name}"
    return list(own.values())


def _replace(field: Any, values: Sequence[Any]) -> None:  # noqa: ANN401 - a protobuf list
    kept = list(values)
    del field[:]
    field.extend(kept)


def write_int8(source: Path, target: Path, inputs: Sequence[Float32]) -> None:
    """Matrix products and convolutions in 8 bits, scaled by what real inputs reach.

    Weights have one scale per output channel and 7 bits: processors without VNNI add pairs of
    8-bit products in 16 bits, which 8-bit weights would overflow; so all compute the same.
    What leads to the coordinates that images are sampled at stays as it is.

    Args:
        inputs: normalised batches (N, 3, h, w), of one or several sizes.
    """
    prepared = target.with_name(f"{target.stem}.prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared), str(target), _Reader(inputs), quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTISED_OPERATORS), per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=sorted(_up_to_sampling(onnx.load(prepared).graph)),
    )  # fmt: skip
    prepared.unlink()


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Hands the calibrator one image at a time: sizes differ between views."""

    def __init__(self, inputs: Sequence[Float32]) -> None:
        self._images: Iterator[Float32] = (
            batch[i : i + 1] for batch in inputs for i in range(len(batch))
        )

    def get_next(self) -> dict[str, Float32] | None:
        """The next input of the model, or None at the end."""
        image = next(self._images, None)
        return None if image is None else {INPUT_NAME: np.ascontiguousarray(image)}
