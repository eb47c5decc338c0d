"""Every kind of network gives in ONNX Runtime what it gives in torch, and is refused if not."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from crossfix.encoder import INPUT_NAME
from crossfix.errors import PublishError
from crossfix.preprocess import normalise
from tests.tiny_networks import AGGREGATIONS, TRANSFORMS, network
from training.export.onnx_graph import check_onnx, write_models
from training.export.precision import write_fp16, write_int8
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


class Tiles:
    """Blocks of random colours, in memory."""

    def __init__(self, spec):
        self.spec = spec

    def __len__(self):
        return 6

    def read(self, index):
        rng = np.random.default_rng(index)
        return np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture(scope="module", params=["polar", "similarity", "tps", "stacked"])
def precisions(request, tmp_path_factory):
    """A model with a tile transform, its variants, and images."""
    recipe = network(transform=TRANSFORMS[request.param], sharing="none")
    model, spec = shaken(recipe), recipe.views()["satellite"]
    folder = tmp_path_factory.mktemp("precisions")
    files = write_models(model, folder, {"satellite": spec})
    tiles = Tiles(spec)
    images = normalise(np.stack([tiles.read(i) for i in range(len(tiles))]), spec)
    paths = {"fp32": files["satellite.onnx"]}
    paths |= {name: folder / f"satellite.{name}.onnx" for name in ("fp16", "int8")}
    write_fp16(paths["fp32"], paths["fp16"])
    write_int8(paths["fp32"], paths["int8"], [images])
    return paths, tiles, images


def grids_of(path, images):
    """The coordinates that each sampling of a model reads at, in order."""
    model = onnx.load(path)
    names = [node.input[1] for node in model.graph.node if node.op_type == "GridSample"]
    kept = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    made = {name for node in model.graph.node for name in node.output}
    asked = [name for name in names if name in made]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = dict(zip(asked, session.run(asked, {INPUT_NAME: images}), strict=True))
    return [found[name] if name in found else kept[name] for name in names]


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_no_variant_moves_the_places_that_tiles_are_read_at(precisions, name):
    """Coordinates in float16 would be off by a quarter of a pixel at 512."""
    paths, _, images = precisions
    expected, found = grids_of(paths["fp32"], images), grids_of(paths[name], images)
    assert len(expected) == len(found) > 0
    for exact, grid in zip(expected, found, strict=True):
        assert grid.dtype == np.float32
        np.testing.assert_allclose(grid, exact, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "lowest", "operators"), [
    ("fp16", 0.999, {"Cast"}), ("int8", 0.9, {"QuantizeLinear", "DequantizeLinear"}),
])  # fmt: skip
def test_what_comes_after_the_sampling_is_still_made_smaller(precisions, name, lowest, operators):
    paths, tiles, _ = precisions
    content = onnx.load(paths[name])
    assert operators <= {node.op_type for node in content.graph.node}
    numbers = {one.data_type for one in content.graph.initializer}
    assert {"fp16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[name] in numbers
    full = model_embedder({"satellite.onnx": paths["fp32"]})(tiles)
    lowered = model_embedder({"satellite.onnx": paths[name]})(tiles)
    assert not np.array_equal(full, lowered)
    assert (full * lowered).sum(axis=1).min() > lowest
    if name == "fp16":
        assert paths[name].stat().st_size < paths["fp32"].stat().st_size
