"""Every kind of network gives in ONNX Runtime what it gives in torch, and is refused if not."""

import numpy as np
import onnx
import pytest
import torch

from crossfix.errors import PublishError
from tests.tiny_networks import AGGREGATIONS, TRANSFORMS, network
from training.export.onnx_graph import check_onnx, write_models
from training.export.precision import write_fp16
from training.export.variants import model_embedder
from training.model import CrossViewEncoder

KINDS = {
    **{f"{name} tiles": {"transform": text} for name, text in TRANSFORMS.items()
       if name not in ("polar", "tps", "guided tps", "guided affine")},
    "safa, separate weights": {"aggregation": AGGREGATIONS["safa by mean"], "sharing": "none"},
    "safa by maximum, polar": {"aggregation": AGGREGATIONS["safa by maximum"],
                               "transform": TRANSFORMS["polar"], "sharing": "none"},
    "gem, drone as satellite": {"aggregation": AGGREGATIONS["gem"], "sharing": "satellite_drone",
                                "views": "[ground, drone]"},
    "shared head": {"sharing": "none", "shared_head": True, "views": "[ground, drone]"},
}  # fmt: skip


def shaken(recipe):
    """A model whose transformers and running statistics are not those of the beginning."""
    torch.manual_seed(0)
    model = CrossViewEncoder(recipe.model, recipe.views())
    generator = torch.Generator().manual_seed(1)
    for name, value in model.state_dict().items():
        if "regression.2.bias" in name:
            value += 0.05 * torch.randn(value.shape, generator=generator)
        elif "regression.2.weight" in name:
            value += 0.02 * torch.randn(value.shape, generator=generator)
        elif "running" in name:
            value.add_(0.3 * torch.rand(value.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_torch_and_onnx_runtime_agree(kind, tmp_path):
    recipe = network("model.orientation_maps=false", **KINDS[kind])
    model, views = shaken(recipe), recipe.views()
    if set(KINDS[kind]) == {"transform"}:  # the other views have nothing new
        views = {"satellite": views["satellite"]}
    files = write_models(model, tmp_path, views)
    assert list(files) == list(dict.fromkeys(spec.model_file for spec in views.values()))
    assert check_onnx(model, files, views, {}) > 0.99999


def test_views_of_several_sizes_in_one_file_stay_dynamic_beside_a_transform(tmp_path):
    recipe = network(transform=TRANSFORMS["polar"], views="[ground, drone]")
    model, views = shaken(recipe), recipe.views()
    files = write_models(model, tmp_path, views)
    assert list(files) == ["satellite.onnx", "ground_drone.onnx"]
    assert check_onnx(model, files, views, {}) > 0.99999


def test_a_difference_is_refused(tmp_path):
    recipe = network(transform=TRANSFORMS["affine"], sharing="none")
    model, views = shaken(recipe), recipe.views()
    files = write_models(model, tmp_path, views)
    with torch.no_grad():
        model.tile_transform.inner.localisation.regression[-1].bias += 0.5
    with pytest.raises(PublishError, match="differs from torch on view satellite"):
        check_onnx(model, files, views, {})


def test_half_precision_leaves_the_sampling_where_it_was(tmp_path):
    """Coordinates in float16 would be off by a quarter of a pixel at 512."""

    def element_types(model):
        inferred = onnx.shape_inference.infer_shapes(model).graph
        types = {one.name: one.type.tensor_type.elem_type
                 for one in [*inferred.value_info, *inferred.input]}  # fmt: skip
        types |= {one.name: one.data_type for one in inferred.initializer}
        return [types[name] for node in inferred.node if node.op_type == "GridSample"
                for name in node.input]  # fmt: skip

    recipe = network(transform=TRANSFORMS["tps"], sharing="none")
    model, views = shaken(recipe), recipe.views()
    files = write_models(model, tmp_path, views)
    half = tmp_path / "satellite.fp16.onnx"
    write_fp16(files["satellite.onnx"], half)
    assert element_types(onnx.load(half)) == [onnx.TensorProto.FLOAT] * 2
    assert half.stat().st_size < files["satellite.onnx"].stat().st_size

    class Tiles:
        spec = views["satellite"]

        def __len__(self):
            return 6

        def read(self, index):
            rng = np.random.default_rng(index)
            return np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)

    full = model_embedder(files)(Tiles())
    lowered = model_embedder({"satellite.onnx": half})(Tiles())
    assert (full * lowered).sum(axis=1).min() > 0.999
