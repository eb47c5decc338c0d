"""Parts are resumed by builds that compute on the same device with the same batches only."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from crossfix.encoder import Encoder
from crossfix.errors import GalleryCorrupt, SourceError
from crossfix.onnx_session import CUDA
from index_builder import build as building
from index_builder.build import BuildRequest, build_gallery, estimate_bytes
from index_builder.embedding import open_task as opening
from index_builder.embedding.old_tiles import OldTiles
from index_builder.embedding.open_task import OpenTask
from index_builder.embedding.task import EmbeddingTask
from index_builder.engines import ray_cluster
from index_builder.recipe import GalleryRecipe
from index_builder.sources.spec import SourceSpec
from tests.made_up_source import MadeUpSource
from tests.tiny_encoder import write_geotiff, write_tiny_encoder


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    write_geotiff(folder / "map.tif", size_px=(160, 160))
    return write_tiny_encoder(folder / "encoder"), folder / "map.tif"


class Told(Exception):
    """Carries the fingerprint out of a build."""


@pytest.fixture
def fingerprint(material, tmp_path, monkeypatch):
    """The fingerprint of a build; `gpus` are those of the cluster."""

    @contextmanager
    def told(_root, fingerprint):
        raise Told(fingerprint)
        yield

    @contextmanager
    def connected(address):
        assert address == "head:1"
        yield SimpleNamespace(cluster_resources=lambda: {"CPU": 4.0, "GPU": float(gpus_there[-1])})

    gpus_there = []
    monkeypatch.setattr(building, "staging", told)
    monkeypatch.setattr(ray_cluster, "connected", connected)

    def ask(device, *, gpus=0, engine="ray", **options):
        gpus_there.append(gpus)
        encoder_dir, raster = material
        recipe = GalleryRecipe(sources=(SourceSpec(location=str(raster)),), tile_sizes_m=(30.0,))
        request = BuildRequest(
            encoder_dir=encoder_dir, recipe=recipe, out=tmp_path / "g", device=device,
            engine=engine, ray_address="head:1", **options,
        )  # fmt: skip
        with pytest.raises(Told) as it:
            build_gallery(request)
        return str(it.value)

    return ask


def test_a_cluster_on_cpus_resumes_what_this_machine_began(fingerprint):
    local = fingerprint("cpu", engine="local")
    assert fingerprint("cpu", batch_size=16) == local
    assert fingerprint("cpu", batch_size=32) == local
    assert fingerprint("auto", gpus=0) == local


def test_a_cluster_with_gpus_is_not_one_without(fingerprint):
    cuda = fingerprint("cuda", batch_size=16)
    assert fingerprint("auto", gpus=2, batch_size=16) == cuda
    assert fingerprint("cuda:1", batch_size=16) == cuda
    others = {fingerprint("auto", gpus=0), fingerprint("cuda", batch_size=32)}
    assert len({cuda, *others}) == 3


def test_this_machine_on_a_gpu_is_the_cluster_on_gpus(fingerprint, monkeypatch):
    load = Encoder.load

    def on_gpu(*arguments, **options):
        encoder = load(*arguments, **{**options, "device": "cpu"})
        encoder.provider = CUDA
        return encoder

    cluster = fingerprint("cuda", batch_size=16)
    monkeypatch.setattr(Encoder, "load", on_gpu)
    assert fingerprint("cuda", engine="local", batch_size=16) == cluster


def test_the_cluster_does_what_was_settled(material, tmp_path, monkeypatch):
    """GPUs that come or go meanwhile do not mix with what is there."""
    seen = []

    class Stops(Exception):
        pass

    def run(_self, task, _parts, _on_result):
        seen.append(task.device)
        raise Stops

    @contextmanager
    def connected(_address):
        yield SimpleNamespace(cluster_resources=lambda: {"CPU": 4.0})

    monkeypatch.setattr(ray_cluster, "connected", connected)
    monkeypatch.setattr("index_builder.engines.ray_engine.RayEngine.run", run)
    encoder_dir, raster = material
    recipe = GalleryRecipe(sources=(SourceSpec(location=str(raster)),), tile_sizes_m=(30.0,))
    with pytest.raises(Stops):
        build_gallery(
            BuildRequest(encoder_dir=encoder_dir, recipe=recipe, out=tmp_path / "g", engine="ray")
        )
    assert seen == ["cpu"]


def make_task(folder, **changes):
    return EmbeddingTask(
        **{
            "encoder_dir": folder, "sources": (), "tile_px": 64, "parts_directory": folder,
            "device": "cpu", "threads": 1, "readers": 1, "batch_size": 1,
            "skip_unreadable": False, "reuse_from": (), **changes,
        }
    )  # fmt: skip


def test_a_task_that_cannot_be_opened_keeps_its_error(material, tmp_path, monkeypatch):
    encoder = Encoder.load(material[0], device="cpu", threads=1)

    class Gone(MadeUpSource):
        def describe(self):
            raise SourceError("it is gone")

    with pytest.raises(SourceError, match="it is gone"):
        OpenTask(make_task(tmp_path), encoder=encoder, sources=[Gone()])

    closed = []
    monkeypatch.setattr(opening, "open_sources", lambda *_, **_kwargs: [MadeUpSource()])
    monkeypatch.setattr(opening, "close_sources", closed.extend)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(GalleryCorrupt):
        OpenTask(make_task(tmp_path, reuse_from=(tmp_path,)), encoder=encoder)
    assert len(closed) == 1


def test_a_task_closes_the_older_version(material, tmp_path, monkeypatch):
    closed = []

    class Old:
        def close(self):
            closed.append(self)

    monkeypatch.setattr(OldTiles, "open", lambda *_, **_kwargs: Old())
    encoder = Encoder.load(material[0], device="cpu", threads=1)
    task = make_task(tmp_path, reuse_from=(tmp_path,))
    OpenTask(task, encoder=encoder, sources=[MadeUpSource()]).close()
    assert len(closed) == 1


def test_a_sharded_build_is_there_three_times_at_its_peak():
    plain = estimate_bytes(1000, 256)
    assert estimate_bytes(1000, 256, shards=1) == plain
    overhead = plain - 2 * estimate_copy()
    assert estimate_bytes(1000, 256, shards=4) == 3 * estimate_copy() + overhead


def estimate_copy():
    """One copy of vectors and pictures of a thousand tiles."""
    return 1000 * (2 * 256 + 30_000)
