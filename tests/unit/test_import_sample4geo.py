"""Official Sample4Geo weight files become encoders: layout, preprocessing, refusals."""

import hashlib
import pickle

import numpy as np
import pytest
import timm
import torch

from crossfix.bilinear import resize_sampled
from crossfix.encoder import Encoder
from crossfix.errors import DataError
from crossfix.images import Photo
from crossfix.preprocess import fit_pixels, normalise
from training.export.sample4geo_weights import import_official, official_model, official_views

TINY, TINY_VIT = "test_convnext", "test_vit"
SIDE = 64


def network(architecture=TINY, **options):
    torch.manual_seed(0)
    return timm.create_model(architecture, pretrained=False, num_classes=0, **options)


def official_state(model, prefix=""):
    state = {f"{prefix}model.{key}": value for key, value in model.state_dict().items()}
    return {f"{prefix}logit_scale": torch.tensor(2.66)} | state


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("official") / "weights_e40_0.7786.pth"
    torch.save(official_state(network()), path)
    return path


@pytest.fixture(scope="module")
def imported(weights):
    out = weights.parent / "encoder"
    import_official(weights, "vigor", out, architecture=TINY, image_size=SIDE)
    return Encoder.load(out, device="cpu")


def test_the_artifact_gives_the_embeddings_of_the_official_network(imported):
    photo = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    spec = imported.view("ground")
    pixels, _ = fit_pixels(Photo.of(photo), spec, heading_deg=0)
    tensors = normalise(pixels[None], spec)
    with torch.inference_mode():
        expected = network().eval()(torch.from_numpy(tensors))
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()
    np.testing.assert_allclose(imported.encode(tensors, "ground"), expected, atol=1e-5)


def test_the_artifact_says_where_it_comes_from_and_that_no_licence_is_stated(imported, weights):
    manifest = imported.manifest
    assert manifest.recipe == {
        "imported_from": "weights_e40_0.7786.pth",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "dataset": "vigor",
    }
    assert "without a licence" in manifest.licence_weights
    assert manifest.calibration == {}
    assert len(manifest.golden) == 4


def test_importing_twice_gives_the_same_embedding_space(imported, weights, tmp_path):
    again = import_official(
        weights, "vigor", tmp_path / "again", architecture=TINY, image_size=SIDE
    )
    assert again.embedding_space_id == imported.embedding_space_id


@pytest.mark.parametrize(
    ("dataset", "image_size", "view", "size", "elevation_deg"),
    [
        ("cvusa", 384, "ground", (140, 768), (32.727, -32.727)),
        ("cvact", 384, "ground", (140, 768), (90.0, -90.0)),
        ("vigor", 384, "ground", (384, 768), (90.0, -90.0)),
        ("vigor", 256, "ground", (256, 512), (90.0, -90.0)),
        ("cvusa", 256, "ground", (93, 512), (32.727, -32.727)),
        ("university", 384, "drone", (384, 384), None),
    ],
)
def test_views_are_those_of_the_official_evaluation(dataset, image_size, view, size, elevation_deg):
    views = official_views(dataset, image_size)
    assert set(views) == {"satellite", view}
    assert (views[view].height_px, views[view].width_px) == size
    assert (views["satellite"].height_px, views["satellite"].width_px) == (image_size,) * 2
    for spec in views.values():
        assert spec.interpolation == "sampled_bilinear"
        assert spec.mean == (0.485, 0.456, 0.406)
        assert spec.std == (0.229, 0.224, 0.225)
    if elevation_deg:
        assert views[view].elevation_deg == elevation_deg
    else:
        assert views[view].fit == "squash"


@pytest.mark.parametrize(
    ("dataset", "height", "width"),
    [("cvusa", 224, 1232), ("cvact", 832, 1664), ("vigor", 256, 512)],
)
def test_distributed_panoramas_are_squashed_whole(dataset, height, width):
    """Nothing is cut off: the result is the resized whole image."""
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    spec = official_views(dataset, 384)["ground"]
    pixels, warnings = fit_pixels(Photo.of(photo), spec, heading_deg=0, hfov_deg=360)
    whole = resize_sampled(photo, height_px=spec.height_px, width_px=spec.width_px)
    np.testing.assert_array_equal(pixels, whole)
    assert warnings == ()


def test_the_prefix_of_parallel_training_is_taken_off(tmp_path):
    path = tmp_path / "parallel.pth"
    torch.save(official_state(network(), prefix="module."), path)
    model = official_model(path, TINY, official_views("vigor", SIDE))
    for key, value in network().state_dict().items():
        assert torch.equal(model.backbones["shared"].state_dict()[key], value)


def refusal(path, architecture=TINY, dataset="university", image_size=SIDE):
    with pytest.raises(DataError) as caught:
        official_model(path, architecture, official_views(dataset, image_size))
    return str(caught.value)


def test_missing_unexpected_and_misshapen_tensors_are_counted_and_named(tmp_path):
    state = official_state(network())
    del state["model.stem.0.weight"]
    state["model.head.fc.weight"] = torch.zeros(3)
    state["model.stem.0.bias"] = torch.zeros(7)
    for i in range(4):
        state[f"model.extra.{i}"] = torch.zeros(1)
    torch.save(state, tmp_path / "odd.pth")
    text = refusal(tmp_path / "odd.pth")
    assert "1 tensors (stem.0.weight) missing" in text
    assert "5 tensors (head.fc.weight, extra.0, extra.1, ...) unexpected" in text
    assert "1 tensors (stem.0.bias) of another shape" in text


def test_the_weights_of_another_network_are_refused(weights):
    assert "does not fit test_resnet" in refusal(weights, architecture="test_resnet")


def test_an_unknown_architecture_is_refused(weights):
    assert "no architecture 'convnext_gigantic'" in refusal(weights, "convnext_gigantic")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": torch.zeros(1)}}, "more than tensors"),
        ({}, "no state dict"),
        (torch.zeros(3), "no state dict"),
        ({"logit_scale": torch.tensor(1.0), "backbone.a": torch.zeros(1)}, "not laid out"),
        ({"model.a": torch.zeros(1)}, "no logit_scale"),
    ],
)
def test_other_contents_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pth")
    assert message in refusal(tmp_path / "other.pth")


def test_missing_and_damaged_files_are_refused(weights, tmp_path):
    assert "there is no file" in refusal(tmp_path / "nothing.pth")
    (tmp_path / "half.pth").write_bytes(weights.read_bytes()[:5000])
    assert "not a file of weights" in refusal(tmp_path / "half.pth")


class Malicious:
    """Unpickling this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_file_that_would_run_code_is_refused_and_the_code_is_not_run(tmp_path):
    victim = tmp_path / "made-by-the-weights"
    torch.save({"logit_scale": Malicious(victim)}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Malicious(victim)))
    for name in ("evil.pth", "evil.pkl"):
        assert "not a file of weights" in refusal(tmp_path / name)
    assert not victim.exists()


def test_vision_transformers_are_imported_for_square_views_of_their_size(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(official_state(network(TINY_VIT, img_size=SIDE)), path)
    manifest = import_official(
        path, "university", tmp_path / "vit", architecture=TINY_VIT, image_size=SIDE
    )
    assert set(manifest.views) == {"satellite", "drone"}
    assert "square images of one size" in refusal(path, TINY_VIT, dataset="cvusa")
    assert "of another shape" in refusal(path, TINY_VIT, image_size=SIDE * 2)
