import json
import sys

import numpy as np
import pytest

from crossfix import onnx_session
from crossfix.encoder import Encoder
from crossfix.errors import (
    DeviceUnavailable,
    EncoderCorrupt,
    EncoderNotFound,
    InvalidParameter,
    UnknownView,
)
from crossfix.onnx_session import Device
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def directory(tmp_path):
    write_tiny_encoder(tmp_path / "encoder")
    return tmp_path / "encoder"


def edit(directory, change):
    path = directory / "encoder.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_embeddings_are_unit_norm_and_do_not_depend_on_the_batch(directory):
    encoder = Encoder.load(directory, device="cpu")
    view = encoder.view("ground")
    images = np.random.default_rng(0).standard_normal((5, 3, view.height_px, view.width_px))
    together = encoder.encode(images.astype(np.float32), "ground")
    alone = np.concatenate(
        [encoder.encode(image[None].astype(np.float32), "ground") for image in images]
    )
    assert together.shape == (5, encoder.embedding_dim)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_images_give_no_embeddings(directory):
    encoder = Encoder.load(directory, device="cpu")
    view = encoder.view("drone")
    empty = np.zeros((0, 3, view.height_px, view.width_px), np.float32)
    assert encoder.encode(empty, "drone").shape == (0, encoder.embedding_dim)


def test_wrong_size_and_unknown_view(directory):
    encoder = Encoder.load(directory, device="cpu")
    with pytest.raises(ValueError, match="takes"):
        encoder.encode(np.zeros((1, 3, 5, 5), np.float32), "ground")
    with pytest.raises(UnknownView) as caught:
        encoder.view("balloon")
    assert "drone" in caught.value.hint


def test_missing_artifact(tmp_path):
    with pytest.raises(EncoderNotFound, match=r"encoder\.json is missing"):
        Encoder.load(tmp_path)


def test_one_flipped_byte_of_the_weights_is_refused(directory):
    model = next(directory.glob("*.onnx"))
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(EncoderCorrupt, match="checksum"):
        Encoder.load(directory)


def test_a_golden_sample_that_no_longer_agrees_is_refused(directory):
    def turn_around(document):
        golden = document["golden"][0]
        golden["embedding"] = [-value for value in golden["embedding"]]

    edit(directory, turn_around)
    with pytest.raises(EncoderCorrupt, match="golden sample"):
        Encoder.load(directory)


def test_changed_preprocessing_does_not_keep_its_space_id(directory):
    def shift(document):
        document["views"]["ground"]["mean"] = [0.1, 0.1, 0.1]

    edit(directory, shift)
    with pytest.raises(EncoderCorrupt, match="embedding_space_id"):
        Encoder.load(directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(surprise=1),
        lambda document: document.pop("views"),
        lambda document: document.update(format_version=99),
    ],
)
def test_manifests_are_read_strictly(directory, change):
    edit(directory, change)
    with pytest.raises(EncoderCorrupt, match=r"encoder\.json is not valid"):
        Encoder.load(directory)


@pytest.mark.parametrize("text", ["gpu", "cpu:1", "cuda:x", ""])
def test_unknown_devices(text):
    with pytest.raises(InvalidParameter, match="device"):
        Device.parse(text)


@pytest.mark.parametrize(
    ("offered", "device", "loads"), [(True, "auto", 1), (True, "cpu", 0), (False, "auto", 0)]
)
def test_libraries_of_nvidias_wheels_are_loaded_before_cuda_is_tried(
    directory, monkeypatch, capsys, offered, device, loads
):
    called = []
    providers = [onnx_session.CUDA, onnx_session.CPU] if offered else [onnx_session.CPU]
    monkeypatch.setattr(onnx_session.onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(
        onnx_session.onnxruntime,
        "preload_dlls",
        lambda: called.append(sys.stdout.write("cublas is missing")),
    )
    monkeypatch.setattr(onnx_session.Device, "providers", lambda _: [onnx_session.CPU])
    onnx_session._load_cuda_libraries.cache_clear()
    Encoder.load(directory, device=device)
    onnx_session._load_cuda_libraries.cache_clear()
    assert len(called) == loads
    assert capsys.readouterr().out == ""


def test_cuda_is_strict(directory):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime offers CUDA")
    with pytest.raises(DeviceUnavailable, match="cuda"):
        Encoder.load(directory, device="cuda")


def test_rewriting_replaces_the_artifact_and_leaves_nothing_beside_it(directory):
    write_tiny_encoder(directory)
    Encoder.load(directory)
    assert [entry.name for entry in directory.parent.iterdir()] == ["encoder"]
