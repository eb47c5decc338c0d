"""Half-precision and 8-bit variants: measured, gated, recorded, loaded; old artifacts too."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from crossfix.encoder import Encoder
from crossfix.encoder_writer import EncoderDescription, VariantOutcome, write_encoder
from crossfix.errors import DataError, EncoderCorrupt, InvalidParameter
from crossfix.matches import Matches
from crossfix.preprocess import normalise
from crossfix.view import ViewSpec
from tests.tiny_encoder import write_tiny_encoder
from training.datasets.split import EvaluationSplit
from training.export import variants as variants_module
from training.export.onnx_graph import write_onnx
from training.export.procedural import procedural_golden, procedural_image
from training.export.variants import (
    SplitEmbeddings,
    compare,
    judge,
    make_variants,
    model_embedder,
    part_of,
)
from training.model import CrossViewEncoder
from training.recipe import MODEL_FILE
from training.recipe_history import FORMER
from training.recipe_network import ModelRecipe

SIDE = 32
DEMO = Path(__file__).parents[2] / "encoders" / "demo"


def spec_of(view):
    return ViewSpec(
        view=view, model_file=MODEL_FILE, height_px=SIDE, width_px=SIDE, mean=(0.5,) * 3,
        std=(0.25,) * 3, heading="any" if view == "drone" else "north_up", fit="squash",
        projection="oblique" if view == "drone" else "nadir",
    )  # fmt: skip


VIEWS = {view: spec_of(view) for view in ("satellite", "drone")}


@dataclass(frozen=True)
class Images:
    """Images held in memory."""

    spec: ViewSpec
    pixels: np.ndarray

    def __len__(self):
        return len(self.pixels)

    def read(self, index, rng=None):
        del rng
        return self.pixels[index]

    def name(self, index):
        return str(index)


def split_of(count=24, gallery=24, name="made up"):
    """Queries are their tiles with a little noise."""
    tiles = np.stack([procedural_image(SIDE, SIDE, seed=i) for i in range(gallery)])
    noise = np.random.default_rng(0).normal(0, 12, tiles.shape)
    photos = np.clip(tiles + noise, 0, 255).astype(np.uint8)
    wanted = np.arange(count) % gallery
    return EvaluationSplit(
        name=name, protocol="id-exact", queries=Images(VIEWS["drone"], photos[wanted]),
        gallery=Images(VIEWS["satellite"], tiles), positives=Matches.one_each(wanted),
        semi_positives=None, percent_of=gallery, query_positions=None, gallery_positions=None,
        kinds=None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def onnx(tmp_path_factory):
    """A tiny network; large weights before the norm make its squares overflow float16."""
    torch.manual_seed(0)
    recipe = ModelRecipe.model_validate({
        **FORMER["model"], "name": "test_convnext", "kwargs": {}, "pretrained": False,
        "embedding_dim": 32, "orientation_maps": False,
    })  # fmt: skip
    assert timm.is_model(recipe.name)
    model = CrossViewEncoder(recipe, VIEWS).eval()
    with torch.no_grad():
        model.heads["shared"].projection.weight *= 300
    path = tmp_path_factory.mktemp("model") / MODEL_FILE
    write_onnx(model, path)
    return path


def models_of(path):
    return {MODEL_FILE: path}


@pytest.fixture(scope="module")
def made(onnx):
    split = split_of()
    inputs = {"drone": split.queries.pixels[:8], "satellite": split.gallery.pixels[:8]}
    return make_variants(
        {MODEL_FILE: onnx}, VIEWS, [split], inputs, names=("fp16", "int8"), gate=0.1
    )


def write(directory, onnx, made):
    description = EncoderDescription(
        name="tiny", architecture="test", embedding_dim=32, opset=18, licence_weights="none",
        licence_data="none", recipe={}, revision="test", evaluation=[],
    )  # fmt: skip
    return write_encoder(
        directory, description, models={MODEL_FILE: onnx}, views=VIEWS, calibration={},
        golden_images=procedural_golden(VIEWS), variants=made,
    )  # fmt: skip


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, onnx, made):
    directory = tmp_path_factory.mktemp("artifact") / "encoder"
    write(directory, onnx, made)
    return directory


@pytest.mark.parametrize(("name", "lowest"), [("fp16", 0.9999), ("int8", 0.9)])
def test_variants_within_the_gate_are_written_smaller_and_load(artifact, onnx, name, lowest):
    full = Encoder.load(artifact, device="cpu")
    variant = Encoder.load(artifact, device="cpu", precision=name)
    record = full.manifest.variants[name]
    assert record.written
    assert (artifact / record.model_files[MODEL_FILE]).stat().st_size < onnx.stat().st_size
    tensors = normalise(split_of().queries.pixels, VIEWS["drone"])
    exact, approximate = full.encode(tensors, "drone"), variant.encode(tensors, "drone")
    assert not np.array_equal(exact, approximate)
    assert (exact * approximate).sum(axis=1).min() > lowest
    np.testing.assert_allclose(np.linalg.norm(approximate, axis=1), 1, atol=1e-5)


def test_what_was_measured_is_recorded_for_each_variant(artifact):
    content = json.loads((artifact / "encoder.json").read_text())["variants"]
    assert set(content) == {"fp16", "int8"}
    for record in content.values():
        (measured,) = record["measured"]
        assert (measured["split"], measured["view"]) == ("made up", "drone")
        assert (measured["queries"], measured["gallery"]) == (24, 24)
        assert measured["fp32"]["at_10"] >= measured["fp32"]["at_1"] > 0.5
        assert measured["lowest_cosine"] <= measured["mean_cosine"] <= 1.000001
        assert record["recall_gate"] == 0.1
        assert record["reason"].startswith("written")


def test_variants_share_the_embedding_space_of_full_precision(artifact, tmp_path, onnx):
    alone = write(tmp_path / "alone", onnx, None)
    for precision in ("fp32", "fp16", "int8"):
        encoder = Encoder.load(artifact, device="cpu", precision=precision)
        assert encoder.embedding_space_id == alone.embedding_space_id


def test_recorded_recalls_are_those_of_the_written_files(artifact, onnx):
    split = split_of()
    full = SplitEmbeddings.of(split, model_embedder(models_of(onnx)))
    record = Encoder.load(artifact, device="cpu").manifest.variants["int8"]
    variant = SplitEmbeddings.of(
        split, model_embedder(models_of(artifact / record.model_files[MODEL_FILE]))
    )
    assert compare(full, variant) == record.measured[0]


def embeddings(split, *, broken=0):
    """Perfect embeddings; the first `broken` queries point to a wrong tile."""
    tiles = np.eye(len(split.gallery), dtype=np.float32)
    wanted = np.arange(len(split.queries)) % len(tiles)
    wanted[:broken] = (wanted[:broken] + 1) % len(tiles)
    return SplitEmbeddings(split, tiles[wanted], tiles)


@pytest.mark.parametrize(
    ("broken", "gate", "written"), [(0, 0.0, True), (2, 0.1, True), (2, 0.08, False)]
)
def test_the_gate_compares_the_loss_of_recall(broken, gate, written):
    split = split_of(count=20, gallery=20)
    outcome = judge(
        [embeddings(split)], [embeddings(split, broken=broken)], {"m": Path("x")}, gate=gate
    )
    assert bool(outcome.models) == written
    assert outcome.reason.startswith("written" if written else "refused")
    assert outcome.measured[0].fp32.at_1 == 1.0
    assert outcome.measured[0].against_fp32_gallery.at_1 == 1 - broken / 20
    assert outcome.measured[0].mean_cosine == pytest.approx(1 - broken / 40)


def test_the_worst_split_and_the_mixed_pairing_decide():
    """Queries and tiles turned together find each other, but nothing in the old gallery."""
    fine, turned = split_of(12, 12, "fine"), split_of(12, 12, "turned")
    shifted = np.roll(np.eye(12, dtype=np.float32), 1, axis=1)
    variant = SplitEmbeddings(turned, shifted, shifted)
    outcome = judge(
        [embeddings(fine), embeddings(turned)], [embeddings(fine), variant], {"m": Path("x")},
        gate=0.5,
    )  # fmt: skip
    assert outcome.measured[1].against_own_gallery.at_1 == 1.0
    assert outcome.measured[1].against_fp32_gallery.at_1 == 0.0
    assert "on turned" in outcome.reason
    assert not outcome.models


def test_numbers_that_are_not_finite_are_refused_without_figures():
    split = split_of(5, 5)
    broken = embeddings(split)
    broken.queries[0, 0] = np.nan
    outcome = judge([embeddings(split)], [broken], {"m": Path("x")}, gate=1.0)
    assert "not finite" in outcome.reason
    assert outcome.measured == ()
    assert outcome.models == {}


def test_a_refused_variant_is_recorded_and_cannot_be_loaded(tmp_path, onnx):
    split = split_of(20, 20)
    outcome = judge([embeddings(split)], [embeddings(split, broken=5)], {MODEL_FILE: onnx},
                    gate=0.01)  # fmt: skip
    write(tmp_path / "encoder", onnx, {"int8": outcome})
    encoder = Encoder.load(tmp_path / "encoder", device="cpu")
    record = encoder.manifest.variants["int8"]
    assert not record.written
    assert record.measured[0].largest_loss == 0.25
    assert sorted(path.name for path in (tmp_path / "encoder").glob("*.onnx")) == [MODEL_FILE]
    with pytest.raises(InvalidParameter, match=r"no int8 variant: refused: recall falls.*0\.25"):
        Encoder.load(tmp_path / "encoder", device="cpu", precision="int8")


def test_an_unknown_or_absent_variant_is_named_with_what_there_is(artifact, tmp_path):
    with pytest.raises(InvalidParameter, match="no int4 variant") as caught:
        Encoder.load(artifact, device="cpu", precision="int4")
    assert "fp32 or fp16 or int8" in caught.value.hint
    directory = write_tiny_encoder(tmp_path / "tiny")
    with pytest.raises(InvalidParameter, match="no fp16 variant") as caught:
        Encoder.load(directory, device="cpu", precision="fp16")
    assert caught.value.hint.startswith("use fp32,")


def test_a_variant_that_no_longer_agrees_with_the_golden_samples_is_refused(artifact, tmp_path):
    copy = tmp_path / "encoder"
    shutil.copytree(artifact, copy)
    content = json.loads((copy / "encoder.json").read_text())
    for sample in content["golden"]:
        sample["embedding"] = list(np.roll(sample["embedding"], 1))
    (copy / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(EncoderCorrupt, match="golden sample"):
        Encoder.load(copy, device="cpu", precision="fp16")


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(written=False),
        lambda record: record.update(model_files={}),
        lambda record: record.update(model_files={MODEL_FILE: "elsewhere.onnx"}),
        lambda record: record.update(golden_min_cosine=None),
    ],
)
def test_records_that_contradict_themselves_are_refused(artifact, tmp_path, change):
    content = json.loads((artifact / "encoder.json").read_text())
    change(content["variants"]["int8"])
    (tmp_path / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(EncoderCorrupt, match=r"encoder\.json is not valid"):
        Encoder.load(tmp_path, device="cpu")


def test_artifacts_from_before_there_were_variants_load_and_new_ones_without_are_the_same(
    tmp_path,
):
    assert "variants" not in json.loads((DEMO / "encoder.json").read_text())
    assert Encoder.load(DEMO, device="cpu").manifest.variants == {}
    directory = write_tiny_encoder(tmp_path / "tiny")
    assert "variants" not in json.loads((directory / "encoder.json").read_text())


def test_variants_are_not_made_without_anything_to_measure_on(onnx):
    with pytest.raises(DataError, match="no evaluation split"):
        make_variants({MODEL_FILE: onnx}, VIEWS, [], {}, names=("fp16",))
    assert make_variants({MODEL_FILE: onnx}, VIEWS, [], {}, names=()) == {}


def test_large_splits_are_measured_on_a_fixed_part_with_all_right_tiles(monkeypatch):
    monkeypatch.setattr(variants_module, "MAX_QUERIES", 7)
    monkeypatch.setattr(variants_module, "MAX_GALLERY", 12)
    split = split_of(30, 20)
    part = part_of(split)
    assert (len(part.queries), len(part.gallery), len(part.positives)) == (7, 12, 7)
    for i in range(7):
        (tile,) = part.positives.of(i)
        assert int(part.gallery.name(tile)) == int(part.queries.name(i)) % 20
    again = part_of(split)
    assert [again.gallery.name(i) for i in range(12)] == [part.gallery.name(i) for i in range(12)]
    assert part_of(part) is part


def test_an_outcome_without_models_needs_no_golden_samples(tmp_path, onnx):
    outcome = VariantOutcome("refused: for a test", 0.01, (), {})
    manifest = write(tmp_path / "encoder", onnx, {"fp16": outcome})
    assert manifest.variants["fp16"].golden_min_cosine is None
