"""The options of the published set-ups give in ONNX Runtime what they give in torch."""

import numpy as np
import onnx
import pytest
import torch

from crossfix.encoder import INPUT_NAME, OUTPUT_NAME
from crossfix.onnx_session import Device, open_session
from tests.tiny_networks import AGGREGATIONS, network
from training.export.onnx_graph import check_onnx, write_models
from training.model import CrossViewEncoder, ExportedEncoder

ODD = ("data.tile_px=46", "data.ground_height_px=42", "data.ground_width_px=90")
VGG = ("model.name=vgg11", "model.kwargs={}", "model.orientation_maps=false",
       "model.pool_rounding=up", "model.conv_dropout={share: 0.2, first_conv: 5}")  # fmt: skip
HER = ("model.name=resnet10t", "model.kwargs={}", "model.orientation_maps=false",
       "model.attention={kind: channel_context, reduction: 16, kernels: [3, 5, 7], "
       "block_filters: 1, last_filters: 4}")  # fmt: skip
KINDS = {
    "poolings up, values not divided": (
        (*VGG, *ODD, "data.mean=[0.4847, 0.458, 0.4076]",
         "data.std=[0.00392157, 0.00392157, 0.00392157]"),
        {"aggregation": AGGREGATIONS["average"]}),
    "attention, flattened": ((*HER, "data.ground_height_px=64"),
                             {"aggregation": "{kind: flatten, pool: 2}", "sharing": "none"}),
}  # fmt: skip


def answers(model, path, spec, view):
    """Of torch and of ONNX Runtime, for images of large blocks of colour."""
    blocks = np.random.default_rng(3).uniform(-2, 2, (5, 3, 4, 4))
    images = np.kron(blocks, np.ones((spec.height_px // 4 + 1, spec.width_px // 4 + 1)))
    images = images[:, :, : spec.height_px, : spec.width_px].astype(np.float32)
    with torch.inference_mode():
        expected = ExportedEncoder(model, view).eval()(torch.from_numpy(images)).numpy()
    session = open_session(path, Device("cpu"), threads=1)
    return expected, session.run([OUTPUT_NAME], {INPUT_NAME: images})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_torch_and_onnx_runtime_agree(kind, tmp_path):
    overrides, others = KINDS[kind]
    recipe = network(*overrides, **others)
    torch.manual_seed(0)
    model, views = CrossViewEncoder(recipe.model, recipe.views()).eval(), recipe.views()
    for head in model.heads.values():
        torch.nn.init.zeros_(head.projection.bias)  # it would outweigh what images differ in
    files = write_models(model, tmp_path, views)
    assert check_onnx(model, files, views, {}, batch_sizes=(1, 2, 5)) > 0.99999
    for view, spec in views.items():
        expected, found = answers(model, files[spec.model_file], spec, view)
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
        assert np.abs(expected[0] - expected[1:]).max(axis=1).min() > 1e-3  # images do count
    operators = {node.op_type for path in files.values() for node in onnx.load(path).graph.node}
    assert "Dropout" not in operators
    if "poolings" in kind:
        modes = {
            one.i for path in files.values() for node in onnx.load(path).graph.node
            if node.op_type == "MaxPool" for one in node.attribute if one.name == "ceil_mode"
        }  # fmt: skip
        assert modes == {1}
