"""Every tile transform with aggregations and networks: torch, ONNX Runtime and fp16 agree."""

import numpy as np
import pytest
import torch

from crossfix.preprocess import normalise
from tests.tiny_datasets import picture
from tests.tiny_networks import AGGREGATIONS, TRANSFORMS, network
from training.export.onnx_graph import check_onnx, write_models
from training.export.precision import write_fp16
from training.export.variants import model_embedder
from training.model import CrossViewEncoder

PLAIN = {"none": "{kind: none}"}
TRANSFORMED = PLAIN | {n: t for n, t in TRANSFORMS.items() if not n.startswith("guided")}
NETWORKS = {
    "vgg": ("vgg11", "{}"), "resnet": ("resnet10t", "{}"),
    "densenet": ("densenet121", "{growth_rate: 8, block_config: [2, 2, 2, 2]}"),
    "convnext": ("convnext_atto", "{depths: [1, 1, 1, 1], dims: [8, 16, 24, 32]}"),
}  # fmt: skip
POOLINGS = (("average", "safa by mean"), ("gem", "safa by maximum"))
CASES = [
    # Networks and sharing go round.
    (transform, pooling, list(NETWORKS)[(i + j) % len(NETWORKS)], ("none", "all")[(i // 2) % 2])
    for i, transform in enumerate(TRANSFORMED)
    for j, pooling in enumerate(POOLINGS[i % 2])
]
REAL = {  # the networks of recipes and of the issue, as large as they are
    "vgg16": "{kind: safa, masks: 8, reduce: mean}", "resnet34": "{kind: gem, power: 3.0}",
    "resnet50": "{kind: average}", "densenet121": "{kind: average}",
    "alexnet": "{kind: gem, power: 3.0}", "convnext_tiny": "{kind: network}",
    "convnext_base": "{kind: network}",
}  # fmt: skip


class Pictures:
    """Pictures with blocks of colours, of a view's size."""

    def __init__(self, spec, count=4):
        self.spec, self.count = spec, count

    def __len__(self):
        return self.count

    def read(self, index, rng=None):
        del rng
        return picture(index, self.spec.width_px, self.spec.height_px)


def fresh(recipe):
    """A model whose running statistics are those of pictures, as after training."""
    torch.manual_seed(0)
    model = CrossViewEncoder(recipe.model, recipe.views())
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        for view, spec in recipe.views().items():
            model(torch.from_numpy(pixels(Pictures(spec))), view)
    return model.eval()


def pixels(images):
    return normalise(np.stack([images.read(i) for i in range(len(images))]), images.spec)


@pytest.mark.slow
@pytest.mark.parametrize(("transform", "aggregation", "family", "sharing"), CASES)
def test_every_transform_exports_behind_several_networks(
    transform, aggregation, family, sharing, tmp_path
):
    name, kwargs = NETWORKS[family]
    recipe = network(
        f"model.name={name}", f"model.kwargs={kwargs}", "model.orientation_maps=false",
        transform=TRANSFORMED[transform], aggregation=AGGREGATIONS[aggregation], sharing=sharing,
        shared_head=sharing == "all",
    )  # fmt: skip
    model, views = fresh(recipe), recipe.views()
    files = write_models(model, tmp_path, views)
    real = {v: np.stack([Pictures(s).read(i) for i in range(4)]) for v, s in views.items()}
    assert check_onnx(model, files, views, real, batch_sizes=(1, 3)) > 0.99999
    halves = {file: tmp_path / f"half-{file}" for file in files}
    for file, path in files.items():
        write_fp16(path, halves[file])
    for spec in views.values():
        full = model_embedder(files)(Pictures(spec))
        half = model_embedder(halves)(Pictures(spec))
        assert (full * half).sum(axis=1).min() > 0.999, spec.view


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_real_networks_are_built_by_name_embed_and_export(name, tmp_path):
    recipe = network(
        f"model.name={name}", "model.kwargs={}", "model.orientation_maps=false",
        "data.tile_px=224", "data.ground_height_px=112", "data.ground_width_px=336",
        "model.embedding_dim=64", aggregation=REAL[name],
        sharing="none" if "safa" in REAL[name] else "all",
    )  # fmt: skip
    model, views = fresh(recipe), recipe.views()
    files = write_models(model, tmp_path, views)
    assert check_onnx(model, files, views, {}, batch_sizes=(1, 3)) > 0.99999
